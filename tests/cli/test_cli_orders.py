"""`batch create` for whole accounts, `run --dry-run`, `batch close`, and reports of sessions."""

import json

import pyrage
import pytest
from cli_program import calls, emails, refused, writes

from bulkreset.sandbox import UserSpec, generated_user

NOBODY = 'requests_per_second = 1000\nprotected = "none"'
RECIPIENT = str(pyrage.x25519.Identity.generate().to_public())


def order_all(folder, *options, account="zoom"):
    words = folder.order(account)
    at = words.index("--users")
    return folder.run(*words[:at], *words[at + 2 :], "--all-users", *options)


def reads_only(tenant):
    return {call.method for call in tenant.log.calls if "/oauth/" not in call.path} <= {"GET"}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--all-users"], ["either --users FILE or --all-users"]),
        (["--role", "member"], ["--role", "go with --all-users only"]),
        (["--status", "active"], ["--status", "go with --all-users only"]),
        (["--domain", "example.com"], ["--domain", "go with --all-users only"]),
        (["--group", "g"], ["--group", "go with --all-users only"]),
        (["--created-before", "2026-01-01"], ["two dates", "go with --all-users only"]),
        (["--last-login-after", "2026-01-01"], ["two dates", "go with --all-users only"]),
        (["--hold-after-canary"], ["--hold-after-canary", "--canary N"]),
        (["--canary", "-1"], ["canaries", "0 or more"]),
        (["--canary", "many"], ["--canary"]),
        (["--halt-at", "0"], ["--halt-at '0'", "20% or 0.2"]),
        (["--halt-at", "101%"], ["--halt-at '101%'", "20% or 0.2"]),
        (["--halt-at", "few"], ["--halt-at 'few'", "20% or 0.2"]),
        (["--ramp", "-1"], ["ramp", "86,400 seconds"]),
        (["--ramp", "1441"], ["ramp", "86,400 seconds"]),
        (["--ramp", "nan"], ["--ramp nan", "minutes"]),
        (["--escrow-days", "0", "--escrow-to", RECIPIENT], ["1 to 365 days"]),
        (["--escrow-to", "age1nobody"], ["age1nobody"]),
        (["--skip-if-reset-since", "tomorrow"], ["--skip-if-reset-since 'tomorrow'", "2026-01-31T22:00:00Z"]),
        (["--first", "absent.txt"], ["absent.txt", "No such file"]),
        (["--first", "-", "--users", "-"], ["standard input", "once"]),
        (["--emergency"], ["accounts.zoom", "allow_emergency"]),
    ],
)
def test_an_order_that_cannot_be_meant_is_refused(folder, zoom, options, words):
    """Exit 2 and one line for each wrong option; nothing is written, and the account is not asked."""
    folder.write("users.txt", "a@example.com\n")
    before = folder.dump()
    refused(folder.run(*folder.order("zoom", "users.txt"), *options), *words)
    assert folder.dump() == before
    assert zoom.log.total == 0


@pytest.mark.parametrize(
    ("account", "options", "words"),
    [
        ("zoom", ["--role", "king"], ["no role 'king' at zoom", "owner, admin, member"]),
        ("zoom", ["--status", "suspended"], ["no status 'suspended' at zoom"]),
        ("zendesk", ["--role", "owner"], ["no role 'owner' at zendesk"]),
        ("zendesk", ["--group", "7"], ["zendesk", "group"]),
        ("zoom", ["--domain", "a@b"], ["'a@b' is not a domain"]),
        ("zoom", ["--created-before", "then"], ["--created-before 'then'", "2026-01-31T22:00:00Z"]),
        ("zoom", ["--last-login-after", "2026-02-30"], ["--last-login-after '2026-02-30'"]),
        ("zendesk", ["--include-admins"], ["accounts.zendesk", "owner"]),
    ],
)
def test_a_filter_that_the_provider_does_not_know_is_refused(folder, zoom, zendesk, account, options, words):
    """The words that there are stand in the line; the account is not asked."""
    folder.configure(zoom=NOBODY, zendesk='requests_per_minute = 60000\nprotected = "none"')
    refused(order_all(folder, *options, account=account), *words)
    assert (zoom.log.total, zendesk.log.total) == (0, 0)
    assert folder.query("SELECT count(*) FROM batch") == [(0,)]


def test_an_order_for_all_users_needs_a_word_about_the_protected(folder, zoom):
    """Neither a list nor "none" in the configuration: refused, with what to write."""
    refused(order_all(folder), "accounts.zoom", "`protected`", '"none"')
    assert zoom.log.total == 0


def test_more_canaries_than_people_are_refused(folder, zoom):
    """They are counted when the roster is known; nothing is written then."""
    folder.write("users.txt", "\n".join(emails(1, 2)))
    refused(folder.run(*folder.order("zoom", "users.txt"), "--canary", "3"), "3 canaries", "2 users")
    assert folder.query("SELECT count(*) FROM batch") == [(0,)]


def test_an_order_for_all_users_says_whom_it_leaves_out(folder, stand_ins):
    """The summary names how many are listed, skipped and why, who goes first, the calls and the next step."""
    tenant = stand_ins.add("zoom", "zoom", kinds={"owner": 1, "admin": 2, "pending": 1})
    folder.configure(zoom=NOBODY)
    folder.write("first.txt", emails(9)[0])
    ended = order_all(folder, "--first", "first.txt", "--canary", "3", "--revoke-sessions")
    assert (ended.code, ended.err) == (0, "")
    for words in (
        "batch 1: 20 users at zoom (0 excluded, 0 duplicates)",
        "listed  20 users of the account",
        "skipped 4: 2 admin, 1 pending invitation, 1 self",
        "order   3 canaries, 1 to do first",
        "32 calls, about ",
        "`bulkreset run` starts on it",
    ):
        assert words in ended.out, ended.out
    assert reads_only(tenant)
    shown = folder.run("batch", "show", "1", "--json").json
    assert shown["options"]["listing"] == {}
    assert (shown["options"]["canary"], shown["options"]["revoke_sessions"]) == (3, True)
    assert (shown["counts"]["pending"], shown["sessions"]["pending"], shown["counts"]["skipped"]) == (16, 16, 4)


class TestDryRun:
    def test_a_dry_order_writes_and_sends_nothing(self, folder, zoom):
        """It says the same as the order would, needs no key, and leaves the database as it was."""
        folder.configure(zoom=NOBODY)
        folder.key.unlink()
        before = folder.dump()
        ended = order_all(folder, "--dry-run", "--revoke-sessions")
        assert (ended.code, ended.err) == (0, "")
        assert "dry run: 20 users at zoom" in ended.out
        assert "40 calls" in ended.out
        assert "nothing was written, nothing was sent" in ended.out
        assert order_all(folder, "--dry-run", "--json").json["id"] is None
        assert folder.dump() == before
        assert reads_only(zoom)

    def test_a_dry_run_says_what_would_be_sent(self, folder, zoom):
        """For every open batch: passwords, sessions, time; nothing is claimed, made or sent."""
        folder.create("zoom", emails(1, 2, 3), "--revoke-sessions")
        folder.create("zoom", emails(4))
        assert folder.run("batch", "pause", "2").code == 0
        folder.key.unlink()
        before = folder.dump()
        ended = folder.run("run", "--dry-run")
        assert (ended.code, ended.err) == (0, "")
        assert "batch 1 at zoom: would set 3 passwords and end the sessions of 3, about " in ended.out
        assert "batch 2" not in ended.out
        assert ended.out.endswith("dry run: nothing was claimed, made or sent\n")
        found = folder.run("run", "--dry-run", "--json").json
        assert set(found) == {"dry_run", "batches"}
        [batch] = found["batches"]
        keys = "id account passwords sessions protected would_halt warnings estimate_s"
        assert set(batch) == set(keys.split())
        assert (found["dry_run"], batch["id"], batch["passwords"], batch["sessions"]) == (True, 1, 3, 3)
        assert (batch["protected"], batch["would_halt"], batch["warnings"]) == (0, [], [])
        assert folder.dump() == before
        assert reads_only(zoom)

    def test_what_would_halt_a_run_is_exit_code_4(self, folder, stand_ins):
        """A missing scope is named before anybody is called."""
        stand_ins.add("zoom", "zoom")
        folder.create("zoom", emails(1))
        tenant = stand_ins.add("zoom", "zoom", scopes=["user:read:admin", "account:read:admin"])
        ended = folder.run("run", "--dry-run")
        assert (ended.code, ended.err) == (4, "")
        assert "would halt: " in ended.out
        assert reads_only(tenant)

    def test_who_is_protected_since_is_counted_apart(self, folder, zoom):
        """The list may have changed after the order; a run would skip them."""
        folder.create("zoom", emails(1, 2, 3))
        folder.configure(zoom=f'requests_per_second = 1000\nprotected = ["{emails(2)[0].upper()}"]')
        ended = folder.run("run", "--dry-run")
        assert "would set 2 passwords" in ended.out
        assert f"protected: 1 on the roster would be skipped, {emails(2)[0]}" in ended.out

    def test_nothing_to_do_is_said(self, folder, zoom):
        """Without an open batch nothing would be sent, and nobody is asked."""
        ended = folder.run("run", "--dry-run", "--account", "zoom")
        assert (ended.code, ended.out.splitlines()[0]) == (0, "no batch is open; nothing would be sent")
        assert zoom.log.total == 0
        refused(folder.run("run", "--dry-run", "--account", "nowhere"), "'nowhere'", "zendesk, zoom")


class TestClose:
    @pytest.fixture
    def finished(self, folder, stand_ins):
        """A folder with the finished batch 1 of all users, and its tenant."""
        tenant = stand_ins.add("zoom", "zoom", count=6)
        folder.configure(zoom=NOBODY)
        assert order_all(folder).code == 0
        assert folder.run("run", "--once").code == 0
        return folder, tenant

    def test_a_batch_is_shown_as_not_closed_until_it_is(self, finished):
        """List and show say so; the close ends with 0 where nothing differs, and its time stays."""
        folder, _ = finished
        assert "done, not reconciled" in folder.run("batch", "show", "1").out
        assert "done, not reconciled" in folder.run("batch", "list").out
        ended = folder.run("batch", "close", "1")
        assert (ended.code, ended.err) == (0, "")
        assert "batch 1 at zoom: 6 users listed, 6 in the batch" in ended.out
        assert "closed 2" in ended.out
        assert "not reconciled" not in folder.run("batch", "list").out
        closed_at = folder.run("batch", "show", "1", "--json").json["closed_at"]
        assert closed_at.endswith("Z")
        assert folder.run("batch", "close", "1", "--json").json["batch"]["closed_at"] == closed_at

    def test_people_who_came_are_4_until_they_are_topped_up(self, finished):
        """--top-up orders them and ends with 0; the JSON has every part with its count and first people."""
        folder, tenant = finished
        tenant.change_users(add=[UserSpec("new", "new@example.com")], remove=[emails(3)[0]])
        ended = folder.run("batch", "close", "1", "--json")
        assert ended.code == 4
        keys = "batch listed missing_from_listing created left_out vanished open maybe_changed topped_up_by"
        assert set(ended.json) == set(keys.split())
        assert (ended.json["listed"], ended.json["missing_from_listing"]) == (6, 0)
        assert ended.json["topped_up_by"] is None
        assert ended.json["created"] == {
            "count": 1,
            "first": [{"user_ref": "new", "user": "new@example.com"}],
        }
        gone = generated_user("zoom", 3)
        assert ended.json["vanished"]["first"] == [{"user_ref": gone.id, "user": gone.email}]
        assert "--top-up" in folder.run("batch", "close", "1").out

        ended = folder.run("batch", "close", "1", "--top-up")
        assert (ended.code, ended.err) == (0, "")
        assert "batch 2 was ordered for the 1 who were added since" in ended.out
        assert folder.run("run", "--once").code == 0
        assert [call.user for call in writes(tenant)][6:] == ["new"]
        assert folder.run("batch", "close", "1", "--top-up", "--json").json["topped_up_by"] is None

    def test_a_batch_that_has_not_ended_is_4_and_not_closed(self, folder, zoom):
        """What is still open is named, and the batch can be closed later."""
        folder.configure(zoom=NOBODY)
        assert order_all(folder).code == 0
        ended = folder.run("batch", "close", "1")
        assert ended.code == 4
        assert "20 are still without a new password" in ended.out
        assert "not closed: the batch is open" in ended.out
        assert reads_only(zoom)

    def test_failed_people_are_3(self, folder, stand_ins):
        """The batch is closed, and somebody has the old password."""
        stand_ins.add("zoom", "zoom", count=6, kinds={"missing": 1})
        folder.create("zoom", emails(1, 2), "--halt-at", "100%")
        assert folder.run("run", "--once").code == 3
        ended = folder.run("batch", "close", "1")
        assert ended.code == 3
        assert "1 are still without a new password" in ended.out
        assert "closed 2" in ended.out

    def test_a_batch_from_a_file_is_not_topped_up(self, folder, zoom):
        """Nobody can be new to it: refused, and nothing is closed by it."""
        folder.create("zoom", emails(1))
        assert folder.run("run", "--once").code == 0
        refused(folder.run("batch", "close", "1", "--top-up"), "batch 1", "--all-users")
        assert folder.run("batch", "show", "1", "--json").json["closed_at"] is None
        refused(folder.run("batch", "close", "9"), "batch 9", "batch list")


class TestSessions:
    @pytest.fixture
    def ended(self, folder, stand_ins):
        """A finished batch in which one user was reset and is still signed in."""
        odd = {"kind": "answer", "status": 400, "body": '{"code":9,"message":"odd"}', "on": "revocations"}
        tenant = stand_ins.add("zoom", "zoom", faults=[{**odd, "users": emails(3)}])
        folder.create("zoom", emails(1, 2, 3, 4), "--revoke-sessions", "--halt-at", "1")
        tenant.change_users(remove=emails(4))
        assert folder.run("run", "--once").code == 3
        assert [user.sessions for user in tenant.users[:3]] == [0, 0, 1]
        return folder

    def test_who_was_reset_and_is_signed_in_comes_first(self, ended):
        """Before the table of all tasks, by name and with the reason."""
        shown = ended.run("report", "1").out
        assert "sessions 2 succeeded, 1 failed, 1 skipped" in shown
        at = shown.index("reset, but sessions alive:")
        assert shown.index(emails(3)[0], at) < shown.index("user   ", at)
        assert shown[at:].splitlines()[1] == f"  {emails(3)[0]}: unexpected, odd"
        assert emails(1)[0] not in shown[at : shown.index("user   ", at)]

    def test_programs_find_them_too(self, ended):
        """JSON lists them and has both tasks of everybody; CSV has a line for each task."""
        report = ended.run("report", "1", "--format", "json").json
        assert report["sessions_alive"] == emails(3)
        assert report["counts"]["succeeded"] == 3
        actions = [task["action"] for task in report["tasks"]]
        assert (actions.count("set_password"), actions.count("revoke_sessions")) == (4, 4)
        lines = ended.run("report", "1", "--format", "csv").out.splitlines()
        assert len(lines) == 9
        assert sum(",revoke_sessions,succeeded," in line for line in lines) == 2

    def test_sessions_alone_are_retried(self, ended, stand_ins):
        """A retry ends the sessions without a new password, and nobody is left."""
        tenant = stand_ins.sandbox.tenants["zoom"]
        tenant.faults.clear()
        before = len(writes(tenant))
        assert ended.run("batch", "retry", "1", "--outcome", "unexpected").code == 0
        assert ended.run("run", "--once").code == 3  # the one who is gone is still on the books
        assert len(writes(tenant)) == before
        assert tenant.users[2].sessions == 0
        assert ended.run("report", "1", "--format", "json").json["sessions_alive"] == []
        assert "reset, but sessions alive" not in ended.run("report", "1").out

    def test_a_report_without_sessions_does_not_speak_of_them(self, folder, zoom):
        """Where no sessions were ordered to be ended, nobody is said to be signed out."""
        folder.create("zoom", emails(1))
        assert folder.run("run", "--once").code == 0
        assert "sessions" not in folder.run("report", "1").out
        assert "sessions_alive" not in json.loads(folder.run("report", "1", "--format", "json").out)
        assert calls(zoom, "DELETE") == []

"""Names, options, JSON keys and exit codes: what scripts and other systems rely on."""

import csv
import json
import re
import stat
from datetime import UTC, datetime, timedelta

import pytest
from cli_program import calls, emails, meanwhile, refused, writes

from bulkreset.config import load
from bulkreset.passwords.policy import Style, Wishes

NO_ROOM, USED = 'style = "passphrase" has no room', '"characters" is used'
OPTIONS = {
    "": ["--config", "--debug", "--version"],
    "init": ["[DIR]"],
    "db": ["upgrade", "check"],
    "db upgrade": [],
    "db check": [],
    "check": ["--json", "account"],
    "own-password": ["account"],
    "status": ["--json"],
    "key": ["new", "show", "rotate"],
    "key new": ["FILE"],
    "key show": ["--json"],
    "key rotate": ["--json"],
    "batch": ["create", "list", "show", "pause", "resume", "cancel", "retry", "approve", "trail", "close"],
    "batch create": [
        *["--account", "--users", "--incident", "--reason", "--exclude", "--not-before", "--json"],
        *["--all-users", "--role", "--status", "--domain", "--group", "--created-before", "--last-login-after"],
        *["--include-admins", "--skip-if-reset-since", "--check-logins", "--first", "--canary"],
        *["--hold-after-canary", "--ramp", "--halt-at", "--revoke-sessions", "--escrow-to", "--escrow-days"],
        *["--emergency", "--dry-run", "--accept-listing", "--accept-unknown-names", "--again", "--yes"],
    ],
    "batch list": ["--account", "--incident", "--state", "--newest-first", "--json"],
    "batch show": ["--json", "ID"],
    "batch pause": ["--json", "ID"],
    "batch resume": ["--json", "ID"],
    "batch cancel": ["--yes", "--json", "ID"],
    "batch retry": ["--json", "ID", "--outcome"],
    "batch approve": ["--roster", "--json", "ID"],
    "batch trail": ["--json", "ID"],
    "batch close": ["--top-up", "--accept-listing", "--json", "ID"],
    "escrow": ["list", "export", "open", "purge"],
    "run": ["--once", "--account", "--dry-run", "--json"],
    "report": ["--format", "table", "csv", "json", "--state", "--output", "ID"],
    "sandbox": ["--port", "--plan"],
    "demo": [],
}
STATES = {"pending", "running", "succeeded", "failed", "skipped", "cancelled"}
BATCH = {"id", "account", "state", "total", "counts", "outcomes", "maybe_changed"}
FULL = BATCH | {
    *{"incident", "reason", "requester", "created_at", "not_before", "started_at", "finished_at"},
    *{"state_reason", "excluded", "duplicates", "roster_sha256"},
    *{"options", "options_sha256", "approvals_needed", "sessions", "closed_at", "sessions_maybe_ended"},
}
ORDERED_OPTIONS = {
    *{"revoke_sessions", "escrow_to", "escrow_days", "canary", "hold_after_canary", "ramp_s", "halt_at"},
    *{"include_admins", "emergency", "listing", "sends_sha256"},
}
PLACED = {
    *{"missing", "nobody", "not_listed", "not_listed_first", "doubts"},
    *{"id", "account", "total", "excluded", "duplicates", "roster_sha256", "estimate_s"},
    *{
        "sends",
        "calls",
        "skipped",
        "would_halt",
        "warnings",
        "daily_limit",
        "daily_limit_in_s",
        "listed",
        "undecided",
    },
    *{"first", "canaries", "approvals_needed", "options_sha256"},
}
ATTEMPT = {"n", "sent", "sent_at", "closed_at", "http_status", "code", "message", "outcome", "latency_ms"}
TASK = {"user", "action", "state", "outcome", "attempts", "maybe_changed"}


@pytest.mark.parametrize("command", OPTIONS)
def test_every_command_explains_itself(folder, command):
    """--help ends with 0, names every option of the contract, and shows no wreck of Python types."""
    ended = folder.run(*command.split(), "--help", environment={"BULKRESET_CONFIG": "absent.toml"})
    assert (ended.code, ended.err) == (0, "")
    words = re.findall(r"[^\s│,|<>{}()]+", ended.out)
    for option in OPTIONS[command]:
        assert option in words, (option, ended.out)
    for junk in ("bool", "NoneType", "Annotated", "typing", "object at", "pathlib", "Optional", "list["):
        assert junk not in ended.out, ended.out
    # No password, secret or token is ever taken from the command line.
    assert not re.search(r"--[a-z-]*(pass|secret|token|key)", ended.out)


def test_the_exit_codes_are_in_the_help(folder):
    """The first page says what each exit code means."""
    shown = folder.run("--help").out
    for code in ("0 done", "1 error", "2 wrong", "3 finished", "4 work is left", "75 another runner"):
        assert code in " ".join(shown.split())


def test_the_version_is_told(folder):
    """--version needs no command and no configuration."""
    folder.config.unlink()
    ended = folder.run("--version")
    assert (ended.code, ended.err) == (0, "")
    assert re.fullmatch(r"bulkreset \d+\.\d+\S*\n", ended.out)


def test_the_configuration_comes_from_three_places(folder, tmp_path):
    """--config goes before BULKRESET_CONFIG, and that before ./config.toml."""
    bad = tmp_path / "bad.toml"
    bad.write_text("nonsense = 1\n")
    assert folder.run("batch", "list", environment={"BULKRESET_CONFIG": ""}).code == 0
    refused(folder.run("batch", "list", environment={"BULKRESET_CONFIG": str(bad)}), "bad.toml")
    good = folder.run("--config", folder.config, "batch", "list", environment={"BULKRESET_CONFIG": str(bad)})
    assert good.code == 0


class TestInit:
    def test_it_makes_a_folder_that_works(self, folder, tmp_path):
        """The configuration, a key and a database that only the owner can read, and the tables up to date."""
        ended = folder.run("init", tmp_path / "new" / "deep", umask=0)
        assert (ended.code, ended.err) == (0, "")
        made = {path.name: path for path in (tmp_path / "new" / "deep").iterdir()}
        assert set(made) == {"config.toml", "bulkreset.key", "bulkreset.db"}
        for name in ("bulkreset.key", "bulkreset.db"):
            assert stat.S_IMODE(made[name].stat().st_mode) == 0o600
        assert made["bulkreset.key"].read_text().strip() not in ended.out
        assert folder.run("--config", made["config.toml"], "db", "check").code == 0
        assert folder.run("--config", made["config.toml"], "batch", "list", "--json").json == []

    def test_it_never_overwrites(self, folder, tmp_path):
        """Called again it keeps what is there, to the byte, and makes what is missing."""
        new = tmp_path / "new"
        assert folder.run("init", new).code == 0
        (new / "config.toml").write_text((new / "config.toml").read_text() + "# mine\n")
        before = {path.name: path.read_bytes() for path in new.iterdir()}
        again = folder.run("init", new)
        assert (again.code, again.err) == (0, "")
        after = {path.name: path.read_bytes() for path in new.iterdir()}
        # The lock of a runner, taken while the tables are looked at, stands beside them since.
        assert after == {**before, "bulkreset.db.lock": b""}
        (new / "bulkreset.db").unlink()
        assert folder.run("init", new).code == 0
        assert (new / "bulkreset.key").read_bytes() == before["bulkreset.key"]
        assert (new / "bulkreset.db").exists()

    def test_a_folder_that_cannot_be_made_is_named(self, folder):
        """A file in the way: one line, and nothing beside it."""
        refused(folder.run("init", folder.config / "below"), "config.toml", code=1)


class TestTables:
    def test_behind_is_said_with_the_remedy(self, folder):
        """On an empty file `db check` exits 1, every other command names `bulkreset db upgrade`, which helps."""
        folder.database.unlink()
        folder.database.touch(0o600)
        ended = folder.run("db", "check")
        assert (ended.code, ended.err) == (1, "")
        assert "db upgrade" in ended.out
        for arguments in (["batch", "list"], ["batch", "show", "1"], ["run", "--once"], ["report", "1"]):
            refused(folder.run(*arguments), "bulkreset db upgrade", code=1)
        folder.write("users.txt", "a@example.com\n")
        refused(folder.run(*folder.order("zoom", "users.txt")), "bulkreset db upgrade", code=1)
        assert folder.run("db", "upgrade").code == 0
        assert folder.run("db", "upgrade").code == 0
        assert folder.run("db", "check").code == 0
        assert folder.run("batch", "list").code == 0

    def test_drift_is_said(self, folder):
        """A column that somebody added by hand makes `db check` exit 1 and is named."""
        folder.query("ALTER TABLE task ADD COLUMN note TEXT")
        ended = folder.run("db", "check")
        assert ended.code == 1
        assert "note" in ended.out


class TestCheck:
    @pytest.mark.parametrize("account", ["zoom", "zendesk"])
    def test_a_sound_account_passes_and_nothing_is_written(self, folder, zoom, zendesk, account):
        """Exit 0, the rate and the policy shown, and the stand-in saw reads and a login only."""
        ended = folder.run("check", account, "--json")
        assert (ended.code, ended.err) == (0, "")
        found = ended.json
        assert set(found) == {"account", "provider", "rate", "policy", "passwords", "findings", "ok"}
        assert found["ok"]
        assert found["policy"]
        text = folder.run("check", account)
        assert text.code == 0
        assert "FAIL" not in text.out
        tenant = {"zoom": zoom, "zendesk": zendesk}[account]
        assert tenant.log.total > 0
        assert all(call.method == "GET" or call.path.endswith("/oauth/token") for call in calls(tenant))

    @pytest.mark.parametrize("account", ["zoom", "zendesk"])
    def test_new_passwords_are_described_and_none_is_made(self, folder, stand_ins, account):
        """Lengths, classes, runs, style, source and shape, always in the same words, as text and as JSON."""
        stand_ins.add(account, account)
        text, again = (folder.run("check", account).out for _ in range(2))
        assert text == again
        told = folder.run("check", account, "--json").json
        assert set(told["passwords"]) == {"source", "length", "classes", "runs", "style", "shape", "unmet"}
        assert told["passwords"]["source"] == told["policy"]["source"]
        assert told["policy"]["style"] == "characters"
        lines = text.splitlines()
        block = lines[lines.index(f"  new passwords, by {told['policy']['source']}:") :]
        topics = ("length", "classes", "runs", "style", "shape")
        assert block[1:] == [f"    {topic + ':':<8} {told['passwords'][topic]}" for topic in topics]

    def test_wishes_that_the_account_has_no_room_for_are_told(self, folder, stand_ins):
        """The provider's bound wins, the check passes, and says what is used instead."""
        stand_ins.add("zoom", "zoom")
        stand_ins.add("zendesk", "zendesk", policy=["must be at most 27 characters"])
        folder.config.write_text(
            folder.config.read_text().replace("[passwords]", '[passwords]\nlength = 40\nstyle = "passphrase"')
        )
        assert load(folder.config).passwords.wishes == Wishes(40, Style.PASSPHRASE)
        zoom, zendesk = folder.run("check", "zoom"), folder.run("check", "zendesk")
        assert (zoom.code, zendesk.code) == (0, 0)
        assert "    length:  31 characters; the policy takes 8 to 31\n" in zoom.out
        assert "    style:   passphrase, 13 syllables in 5 words" in zoom.out
        refusals = [line for line in (zoom.out + zendesk.out).splitlines() if "not as [passwords] asks" in line]
        assert [line.partition("asks: ")[2] for line in refusals] == [
            "length = 40 is more than this policy takes; 31 is used",
            f"{NO_ROOM}: 64 bits take 28 characters, this policy 27 at most; {USED}",
            "length = 40 is more than this policy takes; 27 is used",
        ]

    def test_a_policy_that_no_password_meets_fails_the_check(self, folder, stand_ins):
        """What would refuse the order is found out here, and exits with 1."""
        stand_ins.add("zendesk", "zendesk", policy=["must be at least 100 characters"])
        ended = folder.run("check", "zendesk")
        assert ended.code == 1
        assert "  FAIL  passwords: none can meet the policy: it asks for at least 100" in ended.out
        assert folder.run("check", "zendesk", "--json").json["passwords"] is None

    @pytest.mark.parametrize(
        ("account", "spec", "environment", "word"),
        [
            ("zoom", {}, {"ZOOM_SECRET": "wrong"}, "client_secret"),
            ("zoom", {"scopes": ["account:read:admin", "user:read:admin"]}, {}, "user:write:admin"),
            ("zendesk", {}, {"ZENDESK_TOKEN": "wrong"}, "authenticate"),
            ("zendesk", {"faults": [{"kind": "403", "on": "any"}]}, {}, "403"),
            ("zendesk", {"users": [{"id": 7, "email": "admin@example.com", "kind": "agent"}]}, {}, "admins"),
        ],
    )
    def test_what_would_refuse_a_reset_is_found_out(self, folder, stand_ins, account, spec, environment, word):
        """A wrong secret, a missing scope, a 403, no admin: exit 1, and the line that failed says why."""
        tenant = stand_ins.add(account, account, **spec)
        ended = folder.run("check", account, environment=environment)
        assert (ended.code, ended.err) == (1, "")
        failed = [line for line in ended.out.splitlines() if "FAIL" in line]
        assert word in " ".join(failed), ended.out
        assert not folder.run("check", account, "--json", environment=environment).json["ok"]
        assert writes(tenant) == []


class TestJson:
    def test_an_order_says_what_it_froze(self, folder, zoom):
        """`batch create --json` is one object with the keys of the contract, which a dry run has too."""
        placed = folder.create("zoom", emails(1, 2, 2, 3))
        assert set(placed) == PLACED
        assert (placed["id"], placed["account"], placed["total"], placed["duplicates"]) == (1, "zoom", 3, 1)
        assert (placed["sends"], placed["calls"], placed["listed"], placed["skipped"]) == (3, 3, 20, {})
        shown = folder.run("batch", "show", "1", "--json").json
        assert (shown["roster_sha256"], shown["options_sha256"]) == (
            placed["roster_sha256"],
            placed["options_sha256"],
        )
        assert folder.run("batch", "cancel", "1").code == 0
        rehearsed = folder.create("zoom", emails(1, 2, 2, 3), "--dry-run")
        assert rehearsed == placed | {"id": None, "estimate_s": rehearsed["estimate_s"]}

    def test_a_batch_has_the_same_keys_everywhere(self, folder, zoom):
        """list, show, pause, resume, cancel and retry show a batch alike; list is an array."""
        folder.create("zoom", emails(1, 2, 3), "--halt-at", "100%")
        zoom.change_users(remove=emails(3))
        assert set(folder.run("batch", "show", "1", "--json").json) == FULL
        assert folder.run("batch", "pause", "1", "--json").json["state"] == "paused"
        assert folder.run("batch", "resume", "1", "--json").json["state"] == "open"
        assert folder.run("run", "--once").code == 3
        retried = folder.run("batch", "retry", "1", "--outcome", "user_not_found", "--json").json
        assert (retried["state"], retried["counts"]["pending"]) == ("open", 1)
        cancelled = folder.run("batch", "cancel", "1", "--json").json
        assert (cancelled["state"], cancelled["counts"]["cancelled"]) == ("cancelled", 1)
        listed = folder.run("batch", "list", "--json").json
        assert isinstance(listed, list)
        for batch in (retried, cancelled, *listed):
            assert set(batch) - {"stop"} == FULL  # what a cancel says beside it
            assert set(batch["counts"]) == set(batch["sessions"]) == STATES
            assert set(batch["options"]) == ORDERED_OPTIONS
            assert sum(batch["counts"].values()) == batch["total"] == 3
        assert (listed[0]["incident"], listed[0]["reason"]) == ("INC-1", "a drill")
        assert listed[0]["requester"]

    def test_a_run_ends_with_its_summary(self, folder, zoom):
        """The last thing on standard output is one object: batches, calls sent, seconds, when more is due."""
        folder.create("zoom", emails(1, 2, 3))
        ended = folder.run("run", "--once", "--json")
        summary = json.loads(ended.out.splitlines()[-1])
        assert set(summary) == {"batches", "sent", "elapsed_s", "next_due_at"}
        assert summary["sent"] == 3
        [batch] = summary["batches"]
        assert set(batch) == BATCH
        assert batch["outcomes"] == {"ok": 3}
        for line in ended.err.splitlines():
            assert {"event", "level", "timestamp"} <= set(json.loads(line))

    def test_a_report_has_every_attempt(self, folder, stand_ins):
        """`report --format json` has the batch, the counts, and each user with every call."""
        stand_ins.add("zoom", "zoom", faults=[{"kind": "5xx", "times": 1}])
        folder.create("zoom", emails(1, 2))
        assert folder.run("run", "--once").code == 0
        report = folder.run("report", "1", "--format", "json").json
        assert set(report) == {"batch", "counts", "tasks"}
        assert set(report["batch"]) == FULL | {"audit_head"}
        assert report["counts"]["succeeded"] == 2
        # On a busy machine a slot may expire unused, which is an attempt too: one that was given back.
        sent = [[one for one in task["attempts"] if one["outcome"] != "released"] for task in report["tasks"]]
        assert sorted(map(len, sent)) == [1, 2]
        for task in report["tasks"]:
            assert set(task) == TASK | {"user_ref", "code", "message", "due_at", "finished_at"}
            for attempt in task["attempts"]:
                assert set(attempt) == ATTEMPT
            for attempt in sent[report["tasks"].index(task)]:
                assert datetime.fromisoformat(attempt["sent_at"]).utcoffset() == timedelta(0)


class TestExitCodes:
    def test_all_done_is_0(self, folder, zoom):
        """Everybody has a new password."""
        folder.create("zoom", emails(1, 2))
        assert folder.run("run", "--once").code == 0

    @pytest.mark.parametrize(("kinds", "code"), [({"missing": 1}, 3), ({"admin": 1}, 0)])
    def test_failed_is_3_and_skipped_as_ordered_is_not(self, folder, stand_ins, kinds, code):
        """Somebody is gone, or is an admin and was left out; a second run, with nothing to do, is 0 again."""
        stand_ins.add("zoom", "zoom", kinds=kinds)
        folder.create("zoom", emails(1, 2), "--halt-at", "100%")
        assert folder.run("run", "--once").code == code
        assert folder.run("run", "--once").code == 0

    def test_work_left_is_4(self, folder, zoom):
        """A batch for later, a paused one and a halted account leave work, and cost no time."""
        later = (datetime.now(UTC) + timedelta(hours=2)).isoformat()
        folder.create("zoom", emails(1), "--not-before", later)
        assert folder.run("run", "--once").code == 4
        folder.create("zoom", emails(2))
        assert folder.run("batch", "pause", "2").code == 0
        assert folder.run("run", "--once").code == 4
        assert writes(zoom) == []

    def test_a_halted_account_is_4(self, folder, stand_ins):
        """A 403 halts the account at once; the batch waits until it is resumed, which lifts the halt."""
        tenant = stand_ins.add("zendesk", "zendesk", password_setting=False)
        folder.create("zendesk", [user.id for user in tenant.users])
        folder.configure(zendesk="requests_per_minute = 600")  # so slow that the first is answered long before
        ended = folder.run("run", "--once", "--json")
        assert ended.code == 4
        assert ended.json["batches"][0]["counts"]["failed"] == 0
        assert len(writes(tenant)) < 20
        folder.configure()
        stand_ins.add("zendesk", "zendesk")
        assert folder.run("batch", "resume", "1").code == 0
        assert folder.run("run", "--once").code == 0

    def test_only_the_named_accounts_are_worked_on(self, folder, zoom, zendesk):
        """--account leaves the others' batches alone, and out of the exit code."""
        folder.create("zoom", emails(1))
        folder.create("zendesk", [zendesk.users[0].id])
        ended = folder.run("run", "--once", "--account", "zendesk", "--json")
        assert ended.code == 0
        assert [batch["account"] for batch in ended.json["batches"]] == ["zendesk"]
        assert writes(zoom) == []


def test_a_run_with_nothing_to_do_is_silent(folder):
    """Cron mails whatever is printed: where nothing happened, that is nothing."""
    ended = folder.run("run", "--once")
    assert (ended.code, ended.out, ended.err) == (0, "", "")


def test_runs_that_overlap_do_no_harm(folder, stand_ins):
    """A second runner ends with 75 and one line; the first goes on, and each user is called once."""
    tenant = stand_ins.add("zoom", "zoom", latency_ms=300, count=60)
    folder.configure(zoom="requests_per_second = 60")
    folder.create("zoom", emails(*range(1, 61)))
    first = folder.fresh("run", "--once")
    try:
        meanwhile(first, lambda: writes(tenant))
        refused(folder.run("run", "--once"), "another runner", str(folder.database), code=75)
        assert folder.run("batch", "list").code == 0  # looking is always allowed
        first.communicate(timeout=30)
    finally:
        first.kill()
        first.communicate()
    assert first.returncode == 0
    assert [user.applied for user in tenant.users] == [1] * 60


def test_what_is_printed_for_a_person_says_the_state(folder, zoom):
    """List and show name the account, the incident, who ordered, and the counts."""
    assert "no batches" in folder.run("batch", "list").out
    folder.create("zoom", [*emails(1, 2), "gone@example.com"])
    assert folder.run("batch", "pause", "1").code == 0
    listed, shown = folder.run("batch", "list").out, folder.run("batch", "show", "1").out
    for text in (listed, shown):
        for word in ("zoom", "paused", "INC-1"):
            assert word in text
    assert "paused by" in shown
    assert "2 pending, 1 skipped" in shown


FORMULA = json.dumps({"code": 9, "message": '=HYPERLINK("http://evil.example","x")'})


@pytest.fixture(scope="module")
def with_a_report(made, stand_ins, tmp_path_factory):
    folder = made.copy(tmp_path_factory.mktemp("reported") / "folder").configure()
    users = [
        {"id": "plus", "email": "+ada@example.com"},
        {"id": "minus", "email": "-2+3@example.com"},
        {"id": "equal", "email": "=cmd|'x'!a1@example.com"},
        {"id": "admin", "email": "admin@example.com", "kind": "admin"},
        {"id": "gone", "email": "gone@example.com"},
    ]
    answer = {"kind": "answer", "status": 400, "body": FORMULA, "users": ["minus"]}
    tenant = stand_ins.add("zoom", "zoom", users=users, faults=[answer])
    folder.create("zoom", [user["email"] for user in users], "--halt-at", "100%")
    tenant.change_users(remove=["gone"])
    assert folder.run("run", "--once").code == 3
    return folder


class TestReport:
    @pytest.fixture
    def reported(self, with_a_report, tmp_path):
        """A finished batch with one user of each kind of end, and messages that a spreadsheet would run."""
        return with_a_report.copy(tmp_path / "reported")

    def test_no_cell_of_the_csv_is_a_formula(self, reported):
        """Users and messages that begin like a formula get an apostrophe; nothing is lost behind it."""
        ended = reported.run("report", "1", "--format", "csv")
        assert ended.code == 0
        lines = list(csv.DictReader(ended.out.splitlines()))
        assert len(lines) == 5
        for line in lines:
            for cell in line.values():
                assert not cell.startswith(("=", "+", "-", "@", "\t", "\r"))
        users = {line["user"] for line in lines}
        assert {"'+ada@example.com", "'-2+3@example.com", "'=cmd|'x'!a1@example.com"} <= users
        assert '\'=HYPERLINK("http://evil.example","x")' in {line["message"] for line in lines}

    def test_only_the_wanted_states_are_shown(self, reported):
        """--state, given more than once, picks the users; the counts stay those of the batch."""
        report = reported.run("report", "1", "--format", "json", "--state", "failed", "--state", "skipped").json
        assert {task["state"] for task in report["tasks"]} == {"failed", "skipped"}
        assert len(report["tasks"]) == 3
        assert report["counts"]["succeeded"] == 2
        table = reported.run("report", "1", "--state", "skipped").out
        assert "admin@example.com" in table
        assert "gone@example.com" not in table

    @pytest.mark.parametrize("form", ["table", "csv", "json"])
    def test_a_report_file_is_its_owners_alone_and_whole(self, reported, form):
        """--output writes what would be printed, mode 0600 whatever the umask, in place of an older file."""
        target = reported.path / "report.out"
        target.write_text("an older report")
        target.chmod(0o644)
        older = target.stat().st_ino
        printed = reported.run("report", "1", "--format", form).out
        ended = reported.run("report", "1", "--format", form, "--output", "report.out", umask=0)
        assert (ended.code, ended.out, ended.err) == (0, "", "")
        assert target.read_text() == printed
        assert stat.S_IMODE(target.stat().st_mode) == 0o600
        assert target.stat().st_ino != older, "written into the old file, not put in its place"

    def test_a_report_that_fails_leaves_the_old_file(self, reported):
        """On a wrong batch, or a disk that fills up, the older report stays and no litter beside it."""
        reported.create("zoom", emails(*range(1, 501)))
        kept = reported.path / "reports"
        kept.mkdir()
        (kept / "report.out").write_text("an older report")
        refused(reported.run("report", "9", "--output", "reports/report.out"), "batch 9")
        full = reported.run(
            "report", "2", "--format", "json", "--output", "reports/report.out", largest_file=50_000
        )
        refused(full, "reports/report.out", code=1)
        assert [path.name for path in kept.iterdir()] == ["report.out"]
        assert (kept / "report.out").read_text() == "an older report"

    def test_a_folder_that_is_not_there_is_named(self, reported):
        """One line with the folder that cannot be written to."""
        refused(reported.run("report", "1", "--output", "absent/report.out"), "absent", code=1)


class TestOnATerminal:
    def test_the_own_password_is_asked_for_without_echo(self, folder, stand_ins, terminal):
        """Old and new are typed, never shown, and the new one is in force."""
        me = {"id": 7, "email": "admin@example.com", "kind": "admin", "password": "old-Secret-1"}
        tenant = stand_ins.add("zendesk", "zendesk", users=[me])
        before = tenant.users[0].password_sha256
        with folder.started("own-password", "zendesk", terminal=terminal.name) as end:
            answer(terminal, "old-Secret-1", "new-Secret-2!", "new-Secret-2!")
            assert end().code == 0
        assert "the password was changed" in terminal.rest()
        assert "Secret" not in terminal.shown
        assert tenant.users[0].password_sha256 != before

    @pytest.mark.parametrize(
        ("typed", "code", "words"),
        [
            (("wrong-Secret", "new-Secret-2!", "new-Secret-2!"), 1, "does not match the current password"),
            (("old-Secret-1", "old-Secret-1", "old-Secret-1"), 2, "the new password is the old one"),
        ],
    )
    def test_a_wrong_password_changes_nothing(self, folder, stand_ins, terminal, typed, code, words):
        """The provider's refusal is shown in one line, without what was typed."""
        me = {"id": 7, "email": "admin@example.com", "kind": "admin", "password": "old-Secret-1"}
        tenant = stand_ins.add("zendesk", "zendesk", users=[me])
        with folder.started("own-password", "zendesk", terminal=terminal.name) as end:
            answer(terminal, *typed)
            assert end().code == code
        assert words in terminal.rest()
        assert "Secret" not in terminal.shown
        assert tenant.users[0].applied == 0

    @pytest.mark.parametrize(("typed", "code", "ordered"), [("n", 2, 0), ("", 2, 0), ("y", 0, 1)])
    def test_an_order_with_a_doubt_asks(self, folder, zoom, terminal, typed, code, ordered):
        """One of three users is not listed: the question says so, and only a yes writes the batch."""
        folder.write("users.txt", "\n".join([*emails(1, 2), "stranger@example.com"]))
        words = [word for word in folder.order("zoom", "users.txt") if word != "--yes"]
        with folder.started(*words, terminal=terminal.name) as end:
            terminal.wait_for("stranger@example.com. Order it all the same? [y/N]: ")
            terminal.type(typed)
            assert end().code == code
        assert "1 of the 3 users is not listed by account 'zoom'" in terminal.rest()
        assert folder.query("SELECT count(*) FROM batch") == [(ordered,)]
        assert writes(zoom) == []

    def test_a_run_shows_its_progress(self, folder, zoom, terminal):
        """On a terminal there is a live view, and no JSON lines among it."""
        folder.create("zoom", [*emails(*range(1, 10)), "stranger@example.com"])
        zoom.change_users(remove=emails(9))
        with folder.started("run", "--once", terminal=terminal.name) as end:
            assert end().code == 3
        shown = terminal.rest()
        for word in (
            "10 of 10 users",
            "our limit 1000/s",
            "8 ok",
            "1 user_not_found",
            "1 skipped",
            "next:",
            "bulkreset batch close 1",
        ):
            assert word in shown, shown
        assert '"event"' not in shown


def answer(terminal, old, new, again):
    """Type the three passwords as they are asked for; the space comes when the echo is off."""
    for question, line in (("Old password: ", old), ("New password: ", new), ("confirmation: ", again)):
        terminal.wait_for(question)
        terminal.type(line)


def test_numbers_are_whole_where_there_is_no_terminal(folder, zoom):
    """A list that is written to a file has every column in full, skipped users beside those that failed."""
    folder.create("zoom", emails(1, 2))
    folder.create("zoom", emails(1, 2, 3))  # two of the three are open in the batch before
    head, *rows = folder.run("batch", "list").out.splitlines()
    assert head.split()[-6:] == ["users", "done", "failed", "skipped", "cancelled", "left"]
    assert [row.split()[-6:] for row in rows] == [["2", "0", "0", "0", "0", "2"], ["3", "0", "0", "2", "0", "1"]]


def test_a_trail_can_be_read_and_compared(folder, zoom):
    """Each event is a line with what it tells below it, one thing a line; what was not ordered is left out."""
    batch = folder.create("zoom", emails(1, 2))
    first, *told = folder.run("batch", "trail", "1").out.splitlines()
    assert first.split()[-2] == "created"
    assert f"  {'roster_sha256':<25}  {batch['roster_sha256']}" in told
    assert not [line for line in told if line.split()[0] in ("not_before", "options.escrow_to")]


def test_a_trail_that_was_changed_is_refused(folder, zoom):
    """Whoever rewrites an event is found out by the hashes, and the place is named."""
    folder.create("zoom", emails(1))
    assert folder.run("batch", "pause", "1").code == 0
    assert "the chain of 2 events is whole" in folder.run("batch", "trail", "1").out
    folder.query("UPDATE event SET actor = 'somebody' WHERE seq = 2")
    for as_json in ([], ["--json"]):
        ended = folder.run("batch", "trail", "1", *as_json)
        assert ended.code == 1
        assert "broken at event 2" in ended.err
        assert "somebody" in ended.out

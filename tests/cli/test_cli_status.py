"""`bulkreset status`: what an operator on another host sees."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from cli_program import emails

from bulkreset.cli import status
from bulkreset.config import load
from bulkreset.errors import StoreError
from bulkreset.report.status import Status


def test_nothing_yet_is_said_in_words(folder):
    """A fresh installation has neither accounts nor batches nor workers, and that is no error."""
    ended = folder.run("status")
    assert ended.code == 0
    assert "no account has been called yet" in ended.out
    assert "no unfinished batch" in ended.out
    assert "start one with `bulkreset run`" in ended.out


def test_a_waiting_batch_and_a_worker_that_ended_are_shown(folder, zoom):
    """After a run: the account's limit, the batch that is left with its state, and who worked."""
    folder.create("zoom", emails(1, 2, 3))
    assert folder.run("run", "--once").code == 0
    folder.create("zoom", emails(4, 5), "--not-before", "2099-01-01T00:00:00Z")
    found = folder.run("status", "--json").json
    assert set(found) == {"now", "accounts", "batches", "workers", "requests", "refused_before", "broken_accounts"}
    [account] = found["accounts"]
    assert (account["account"], account["label"]) == ("zoom", "medium")
    assert account["last_minute_calls"] == 3
    assert account["last_minute_per_s"] == pytest.approx(3 / account["seen_s"], rel=0.1)
    assert account["our_limit"] == "1000/s"
    assert 900 < account["limit_per_s"] < 1000
    [batch] = found["batches"]
    assert (batch["id"], batch["state"], batch["left"], batch["total"]) == (2, "open", 2, 2)
    assert batch["eta_s"] > 365 * 86_400
    [worker] = found["workers"]
    assert worker["last_minute"] == 3
    assert worker["ended_at"] is not None
    shown = folder.run("status").out
    assert "zoom" in shown
    assert worker["name"] in shown
    assert "ended" in shown


def test_a_halt_is_shown_with_its_reason_and_what_to_do(folder, stand_ins):
    """The line an operator needs: why, and how to go on."""
    stand_ins.add("zoom", "zoom", faults=[{"kind": "403"}])
    folder.create("zoom", emails(1, 2, 3))
    folder.run("run", "--once")
    assert folder.run("status", "--json").json["accounts"][0]["halted_reason"]
    shown = " ".join(folder.run("status").out.split())
    assert "halted:" in shown
    assert "account halted" in shown
    assert "fix the cause, then `bulkreset batch resume 1`" in shown
    batch = folder.run("batch", "show", "1").out
    assert "the whole account zoom" in batch
    assert "bulkreset batch resume 1" in batch
    folder.run("batch", "cancel", "1")
    assert "the whole account" not in folder.run("batch", "show", "1").out


def test_a_draft_says_what_it_needs(folder, zoom):
    """A batch that waits for people is not silent: how many approvals, and the command."""
    folder.configure(zoom="requests_per_second = 1000\nrequire_approval = 2")
    folder.create("zoom", emails(1, 2))
    [batch] = folder.run("status", "--json").json["batches"]
    assert (batch["state"], batch["need"]) == ("draft", "needs 2 approvals: `bulkreset batch approve 1`")
    assert "needs 2 approvals: `bulkreset batch approve 1`" in " ".join(folder.run("status").out.split())


def test_orders_by_sql_are_shown_with_the_reason(folder, zoom):
    """A request that was refused says why, one that is ready that a worker takes it up."""
    order = (
        "INSERT INTO batch_request (account, incident, reason, requested_by, state) VALUES (?, ?, 'r', 'soar', ?)"
    )
    folder.query(order, "zoom", "INC-1", "ready")
    folder.query(order, "zoom", "INC-2", "refused")
    folder.query("UPDATE batch_request SET message = ? WHERE id = 2", "request 2 names no users")
    found = folder.run("status", "--json").json["requests"]
    assert [(one["id"], one["state"], one["message"]) for one in found] == [
        (1, "ready", None),
        (2, "refused", "request 2 names no users"),
    ]
    shown = " ".join(folder.run("status").out.split())
    assert "request 2 names no users; correct it and insert a new request" in shown
    assert [one["id"] for one in folder.run("status", "--json", "--incident", "INC-1").json["requests"]] == [1]


def test_status_of_one_incident_shows_its_batches_only(folder, zoom):
    """Two orders of different incidents: `--incident` keeps one."""
    for user, incident in ((1, "INC-1"), (2, "INC-2")):
        folder.run(*folder.order("zoom", incident=incident), stdin=emails(user)[0].encode())
    found = folder.run("status", "--json", "--incident", "INC-2")
    assert [one["id"] for one in json.loads(found.out)["batches"]] == [2]


def test_what_waits_because_of_a_clock_says_until_when(folder, zoom):
    """Tasks ordered under a clock that was two hours ahead: the run, its JSON and `status` name the moment."""
    folder.create("zoom", emails(1, 2))
    assert folder.run("run", "--once").code == 0
    folder.create("zoom", emails(3, 4))
    due = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=2)
    folder.query("UPDATE task SET due_at = ? WHERE batch_id = 2", due.strftime("%Y-%m-%d %H:%M:%S.000000"))
    ended = folder.run("run", "--once", "--json")
    assert ended.code == 4
    assert datetime.fromisoformat(ended.json["next_due_at"]) == due
    [line] = [json.loads(line) for line in ended.err.splitlines() if "due_later" in line]
    assert (datetime.fromisoformat(line["next_due_at"]), line["left"]) == (due, 2)
    [batch] = folder.run("status", "--json").json["batches"]
    assert datetime.fromisoformat(batch["next_due_at"]) == due
    assert 7_000 < batch["eta_s"] <= 7_202
    shown = " ".join(folder.run("status").out.split())
    assert f"nothing is due before {due:%Y-%m-%d %H:%M:%S} UTC; no worker is running" in shown
    assert "a second" not in shown
    folder.query("UPDATE task SET due_at = ?", "2026-01-01 00:00:00.000000")
    assert folder.run("run", "--once", "--json").json["next_due_at"] is None


class TestWatch:
    """`status --watch`: the same picture again, until it is stopped."""

    async def watched(self, folder, monkeypatch, looks, capsys):
        """Watch with a clock of its own: each look is one step, and the last one is stopped as Ctrl-C would."""
        pauses, left = [], iter(looks)

        async def look(store, accounts, *, incident):
            found = next(left)
            if isinstance(found, Exception):
                raise found
            return found

        async def sleep(seconds):
            pauses.append(seconds)
            if len(pauses) == len(looks):
                raise KeyboardInterrupt

        monkeypatch.setattr("bulkreset.report.status.status", look)
        with pytest.raises(KeyboardInterrupt):
            await status._watch(load(folder.config), None, sleep=sleep)
        return pauses, capsys.readouterr().out

    async def test_it_looks_again_every_two_seconds(self, folder, monkeypatch, capsys):
        """Each look is shown with the time of the database, two seconds after the one before."""
        looks = [Status(datetime(2026, 3, 1, 2, 0, second, tzinfo=UTC), (), (), ()) for second in (1, 3)]
        pauses, shown = await self.watched(folder, monkeypatch, looks, capsys)
        assert pauses == [2.0, 2.0]
        assert shown.index("02:00:01 UTC") < shown.index("02:00:03 UTC")
        assert "\x1b" not in shown  # where there is no terminal nothing is cleared

    async def test_it_outlives_a_database_that_is_away(self, folder, monkeypatch, capsys):
        """A look that fails is said in a line, and the next one is shown again."""
        back = Status(datetime(2026, 3, 1, 2, 0, 3, tzinfo=UTC), (), (), ())
        pauses, shown = await self.watched(folder, monkeypatch, [StoreError("no connection"), back], capsys)
        assert len(pauses) == 2
        assert "cannot be reached, trying again: no connection" in shown
        assert shown.index("no connection") < shown.index("02:00:03 UTC")


def test_a_run_with_nothing_to_do_is_silent(folder, zoom):
    """A job that runs every five minutes writes no mail: without a batch, and after the last one has ended."""
    for _ in ("no batch", "a batch that has ended"):
        ended = folder.run("run", "--once")
        assert (ended.code, ended.out, ended.err) == (0, "", "")
        folder.create("zoom", emails(1))
        assert folder.run("run", "--once").code == 0

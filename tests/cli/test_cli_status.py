"""`bulkreset status`: what an operator on another host sees."""

from cli_program import emails


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
    assert set(found) == {"now", "accounts", "batches", "workers"}
    [account] = found["accounts"]
    assert (account["account"], account["label"]) == ("zoom", "medium")
    assert account["last_minute_per_s"] == round(3 / 60, 2)
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
    assert "bulkreset batch resume ID" in shown
    batch = folder.run("batch", "show", "1").out
    assert "the whole account zoom" in batch
    assert "bulkreset batch resume 1" in batch
    folder.run("batch", "cancel", "1")
    assert "the whole account" not in folder.run("batch", "show", "1").out

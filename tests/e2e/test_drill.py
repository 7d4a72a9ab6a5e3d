"""The whole of an incident, as `bulkreset demo --drill` plays it: 5,000 users at each provider."""

import pytest

from bulkreset.cli.demo import DRILL_USERS, drilling
from bulkreset.cli.drill import Drill, DrillFailed, Fact, _holding, show

PROMISES = {
    "a dry run sends no write",
    "an approval by the requester, or for another roster, is refused",
    "everybody on a roster ends in exactly one state",
    "whoever was reset is signed in nowhere",
    "the escrow of batch 1 opens to the passwords in force",
    "the escrow of batch 2 opens to the passwords in force",
    "nothing else that was written holds a password",
    "after the first 403 only what was in flight was sent",
    "the close finds who came and who vanished, and orders the ones who came",
    "no protected user, admin or owner was ever touched",
}


def test_an_org_wide_reset_from_the_first_listing_to_the_close(tmp_path):
    """List, rehearse, approve, an outage, a pause, revoke, escrow, a halt, cancel, close: all of it holds."""
    assert DRILL_USERS == 5_000
    lines = []
    with drilling(tmp_path, lines.append) as drill:
        facts = drill.run()
    assert {fact.promise for fact in facts} == PROMISES
    assert [fact for fact in facts if not fact.held] == [], "\n".join(lines)


def test_a_broken_promise_is_said_and_fails_the_drill():
    """One fact that does not hold is shown as broken, and the whole is not good."""
    lines = []
    assert show([Fact("a", held=True, evidence="x")], lines.append)
    assert not show([Fact("a", held=True, evidence="x"), Fact("b", held=False, evidence="y")], lines.append)
    assert any("BROKEN  b" in line for line in lines)


def test_a_password_anywhere_in_a_file_is_found(tmp_path):
    """The search that finds nothing in a drill finds what was planted, wherever in a file it is."""
    (tmp_path / "clean.db").write_bytes(b"\0" * 1000 + b"nothing here")
    (tmp_path / "dirty.log").write_bytes(b"\xff" * 333 + b"before-Planted!Marker7-after")
    assert _holding(tmp_path, ["Planted!Marker7", "another one that is not there"]) == ["dirty.log"]


def test_a_command_that_ends_otherwise_stops_the_drill(tmp_path):
    """A command's exit code is part of the story."""
    drill = Drill(tmp_path, "http://127.0.0.1:1", lambda line: None)
    with pytest.raises(DrillFailed, match="batch list` ended with 2, not 0"):
        drill.command("batch", "list")

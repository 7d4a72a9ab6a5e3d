"""`bulkreset report`: whom it shows, in which order, and how a run ends that skipped somebody."""

import sqlite3
from contextlib import closing

import pytest
from cli_program import emails


@pytest.fixture
def ended(folder, stand_ins):
    """A batch of four, ordered upside down: one does not exist, one is protected."""
    stand_ins.add("zoom", "zoom")
    folder.configure(zoom='requests_per_second = 1000\nprotected = ["user00002@example.com"]')
    folder.create("zoom", ["nobody@example.com", *reversed(emails(1, 2, 3))], "--revoke-sessions")
    assert folder.run("run", "--once").code == 3
    return folder


def tasks(folder, *options):
    return [(one["user"], one["action"]) for one in folder.run("report", "1", "--json", *options).json["tasks"]]


def test_a_report_is_sorted_by_address_with_passwords_first(ended):
    """Whatever the order of the file: an address is found where a person looks for it."""
    found = tasks(ended)
    assert found == sorted(found, key=lambda one: (one[0], one[1] != "set_password"))
    first = [one for one in found if one[0] == emails(1)[0]]
    assert first == [(emails(1)[0], "set_password"), (emails(1)[0], "revoke_sessions")]
    assert ended.run("report", "1", "--format", "json").out == ended.run("report", "1", "--json").out


def test_a_report_of_one_user_or_one_outcome(ended):
    """The question of a help desk, and that of an auditor; a skip is found by its reason."""
    assert {user for user, _ in tasks(ended, "--user", "USER00003@example.com")} == {emails(3)[0]}
    assert ("nobody@example.com", "set_password") in tasks(ended, "--outcome", "not_listed")
    assert {user for user, _ in tasks(ended, "--outcome", "protected")} == {emails(2)[0]}
    refused = ended.run("report", "1", "--outcome", "fialed")
    assert refused.code == 2
    assert "there is no outcome 'fialed'; outcomes are: ok" in refused.err


@pytest.mark.parametrize("damage", ["x'ff00'", "CAST(x'ff41' AS TEXT)"], ids=["no text", "bent text"])
def test_damaged_rows_are_shown_as_far_as_they_can_be(folder, stand_ins, damage):
    """In every format, and at the close; each of the others as if nothing were wrong."""
    stand_ins.add("zoom", "zoom")
    folder.create("zoom", emails(*range(1, 8)), "--revoke-sessions")
    assert folder.run("run", "--once").code == 0
    columns = ["user_ref", "display", "message", "code", "user_id", "worker"]
    with closing(sqlite3.connect(folder.path / "bulkreset.db")) as connection, connection:
        for number, column in enumerate(columns, 1):
            connection.execute(f"UPDATE task SET {column} = {damage} WHERE id = {number}")
        connection.execute(f"UPDATE attempt SET message = {damage} WHERE task_id = 7")
    assert len(folder.run("report", "1", "--json").json["tasks"]) == 14
    for command in (["report", "1"], ["report", "1", "--format", "csv"], ["batch", "show", "1"], ["status"]):
        ended = folder.run(*command)
        assert (ended.code, ended.err) == (0, ""), command
    closed = folder.run("batch", "close", "1")
    assert "unexpected" not in closed.err
    assert closed.code in (0, 3), closed.err


def test_whoever_is_skipped_as_ordered_has_not_failed(folder, stand_ins):
    """All but the protected succeed: exit code 0."""
    stand_ins.add("zoom", "zoom")
    folder.configure(zoom='requests_per_second = 1000\nprotected = ["user00002@example.com"]')
    folder.create("zoom", emails(1, 2, 3))
    assert folder.run("run", "--once").code == 0
    [batch] = folder.run("batch", "list", "--json").json
    assert (batch["counts"]["succeeded"], batch["counts"]["skipped"]) == (2, 1)


def test_a_refusal_that_nobody_ordered_is_a_failure(folder, stand_ins):
    """An SSO user that only the call finds out about: skipped, and exit code 3."""
    refusal = {"kind": "answer", "status": 400, "body": '{"code": 1123, "message": "SSO"}', "users": emails(2)}
    stand_ins.add("zoom", "zoom", faults=[refusal])
    folder.create("zoom", emails(1, 2))
    assert folder.run("run", "--once").code == 3

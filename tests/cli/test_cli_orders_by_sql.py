"""Orders by SQL: another process inserts rows, a run makes a batch of them or says in one line why not."""

import subprocess
import sys
from contextlib import contextmanager

import pytest
from cli_program import emails, meanwhile, writes


@contextmanager
def other_process(folder, script):
    """Let another process run SQL on the file, as a playbook would."""
    code = "import sqlite3, sys; sqlite3.connect(sys.argv[1]).executescript(sys.argv[2])"
    subprocess.run([sys.executable, "-c", code, str(folder.database), script], check=True, timeout=20)
    yield folder


def request(users, account="'zoom'", incident="'INC-7'", reason="'soar'", who="'playbook 7'", at="NULL"):
    """Return the SQL that orders a batch; each value is SQL too."""
    rows = "".join(
        f"INSERT INTO batch_request_user (request_id, user_ref) SELECT max(id), '{user}' FROM batch_request;"
        for user in users
    )
    return (
        "INSERT INTO batch_request (account, incident, reason, requested_by, not_before) "
        f"VALUES ({account}, {incident}, {reason}, {who}, {at}); {rows}"
        "UPDATE batch_request SET state = 'ready' WHERE id = (SELECT max(id) FROM batch_request);"
    )


class TestOrdersBySql:
    def test_a_ready_request_becomes_a_batch(self, folder, zoom):
        """The run takes it up, does it, and writes the batch's id back; the hash is that of `batch create`."""
        users = [*emails(1, 2), emails(1)[0].upper()]
        with other_process(folder, request(users)):
            ended = folder.run("run", "--once", "--json")
        assert ended.code == 0, ended.err
        assert folder.query("SELECT state, batch_id, message FROM batch_request") == [("accepted", 1, None)]
        batch = folder.run("batch", "show", "1", "--json").json
        assert batch["requester"] == "playbook 7 (by SQL, request 1)"
        assert (batch["incident"], batch["reason"]) == ("INC-7", "soar")
        assert (batch["total"], batch["duplicates"], batch["outcomes"]) == (2, 1, {"ok": 2})
        assert folder.create("zoom", users)["roster_sha256"] == batch["roster_sha256"]

    def test_a_draft_is_left_alone(self, folder, zoom):
        """Until it is set to ready nothing comes of it, and the run is silent."""
        with other_process(folder, request(emails(1)).replace("'ready'", "'draft'")):
            ended = folder.run("run", "--once")
        assert (ended.code, ended.out, ended.err) == (0, "", "")
        assert folder.query("SELECT state FROM batch_request") == [("draft",)]

    def test_a_running_worker_takes_it_up(self, folder, zoom):
        """It need not be started again: within its poll interval the batch is there and done."""
        folder.configure("[runner]\npoll_interval = 0.2")
        runner = folder.fresh("run")
        try:
            with other_process(folder, request(emails(1))):
                meanwhile(runner, lambda: writes(zoom))
            runner.terminate()
            assert runner.wait(20) == 0
        finally:
            runner.kill()
            runner.communicate()
        assert folder.query("SELECT state FROM batch_request") == [("accepted",)]

    def test_of_many_refused_requests_the_last_are_shown_and_the_rest_counted(self, folder):
        """They stay in their table for ever, so not all can be."""
        with other_process(folder, "".join(request([]) for _ in range(8))):
            assert folder.run("run", "--once").code == 3
        found = folder.run("status", "--json").json
        assert [one["id"] for one in found["requests"]] == [4, 5, 6, 7, 8]
        assert found["refused_before"] == 3
        assert "and 3 that were refused before these" in folder.run("status").out

    @pytest.mark.parametrize(
        ("order", "words"),
        [
            (request(["a@example.com"], account="'nowhere'"), ["'nowhere'"]),
            (request([]), ["names no users"]),
            (request(["a@example.com"], at="'tomorrow'"), ["not_before"]),
            (request(["a@example.com"], at="'0001-01-01 00:00:00+14:00'"), ["not_before"]),
            (request(["a@example.com"], at="5"), ["not_before"]),
            (request(["a@example.com"], incident="' '"), ["incident"]),
            (request(["a@example.com"], incident="'a' || char(10) || 'b'"), ["incident"]),
            (request(["a@example.com"], incident="x'80ff'"), ["incident", "UTF-8"]),
            (request(["a@example.com"], reason="''"), ["reason"]),
            (request(["a@example.com"], who="''"), ["requester"]),
            (request(["a@example.com"], who="'a' || char(27) || '[2J'"), ["requester"]),
            (request(["a@example.com", "../me"]), ["request 1:2", "user id"]),
            (request(["a@example.com", "ada@"]), ["request 1:2", "e-mail"]),
            (request(["a@example.com", ""]), ["request 1:2"]),
            (request(["a@example.com"]) + "UPDATE batch_request_user SET user_ref = x'80';", ["user 1", "UTF-8"]),
        ],
    )
    def test_a_request_that_cannot_be_met_is_refused_and_holds_up_nobody(self, folder, zoom, order, words):
        """One line says why, the exit code is 3, and the next request is taken up in the same run."""
        with other_process(folder, order + request(emails(1))):
            ended = folder.run("run", "--once")
        assert ended.code == 3, ended.err
        assert "Traceback" not in ended.err
        bad, good = folder.query("SELECT state, batch_id, message FROM batch_request ORDER BY id")
        assert good[0] == "accepted"
        assert bad[:2] == ("refused", None)
        assert "\n" not in bad[2]
        for word in words:
            assert word in bad[2]
        assert zoom.users[0].applied == 1

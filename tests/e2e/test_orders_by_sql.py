"""Orders by SQL: whatever another system writes, the answer is a batch or one line, and the resets go on."""

import sqlite3

import pytest

from bulkreset.sandbox import generated_user


def addresses(count):
    return [generated_user("zoom", n).email for n in range(1, count + 1)]


@pytest.fixture
def sql(installation):
    def execute(statement, *parameters):
        connection = sqlite3.connect(installation.database)
        with connection:
            connection.execute(statement, parameters)
        connection.close()

    return execute


@pytest.fixture
def zoom(sandbox, installation):
    tenant = sandbox.add({"name": "zoom", "provider": "zoom", "generate": {"count": 20}})
    installation.zoom("zoom", requests_per_second=1000)
    return tenant


POISON = {
    "a time that is none": ({"not_before": "tomorrow"}, "not_before is not a time"),
    "a time past the end of time": ({"not_before": "9999-12-31 23:59:59-14:00"}, "not_before is not a time"),
    "bytes for a reason": ({"reason": b"\xff\xfe"}, "reason is not UTF-8"),
    "a requester in two lines": ({"requested_by": "soar\n\x1b[2J"}, "requester must be one line"),
    "no incident": ({"incident": "  "}, "incident is empty"),
    "an unknown account": ({"account": "nowhere"}, "no account 'nowhere'"),
    "bytes for a user": ({"user": b"\xff@example.com"}, "user 1 is not UTF-8"),
    "a path for a user": ({"user": "../../users/me"}, "request 1:1"),
    "an id that a spreadsheet has bent": ({"user": "3.61E+11"}, "request 1:1: this is a number as a spreadsheet"),
    "an address with an unseen character": ({"user": "a\u200b@example.com"}, "U+200B ZERO WIDTH SPACE"),
    "no users": ({"user": None}, "names no users"),
}


@pytest.mark.parametrize("name", POISON)
async def test_an_order_that_cannot_be_met_is_refused_in_one_line_and_stops_nobody(zoom, installation, sql, name):
    """The request says why; a batch that was ordered beside it is finished all the same."""
    change, words = POISON[name]
    values = {"account": "zoom", "incident": "I", "reason": "r", "requested_by": "soar", "not_before": None}
    values |= {key: value for key, value in change.items() if key != "user"}
    user = change.get("user", addresses(1)[0])
    placed = await installation.order("zoom", addresses(20)[5:])
    sql(
        "INSERT INTO batch_request (account, incident, reason, requested_by, not_before) VALUES (?, ?, ?, ?, ?)",
        *values.values(),
    )
    if user is not None:
        sql("INSERT INTO batch_request_user (request_id, user_ref) VALUES (1, ?)", user)
    sql("UPDATE batch_request SET state = 'ready'")
    await installation.run()
    [(state, batch_id, message)] = installation.query("SELECT state, batch_id, message FROM batch_request")
    assert (state, batch_id) == ("refused", None)
    assert words in message
    assert "\n" not in message
    assert (await installation.batch(placed.id)).outcomes == {"ok": 15}


async def test_a_draft_is_left_alone(zoom, installation, sql):
    """Until it is set to ready, a request is nobody's business."""
    sql("INSERT INTO batch_request (account, incident, reason, requested_by) VALUES ('zoom', 'I', 'r', 's')")
    await installation.run()
    assert installation.query("SELECT state FROM batch_request") == [("draft",)]
    assert zoom.log.total == 0

"""Reports: complete, streamed, and harmless to open."""

import csv
import io
import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkreset.model import BatchState, TaskState
from bulkreset.options import Options
from bulkreset.report.queries import AttemptLine, SessionLine, TaskLine
from bulkreset.report.render import as_csv, as_json, as_table, harmless, standing
from bulkreset.store.batches import Batch
from bulkreset.unsafe import UNSAFE, escaped

AT = datetime(2026, 1, 31, 22, tzinfo=UTC)


def batch(**changes):
    options = Options(revoke_sessions="sessions" in changes)
    values = {
        "id": 7,
        "account": "zoom",
        "incident": "INC-1",
        "reason": "why",
        "requested_by": "ada",
        "created_at": AT,
        "not_before": None,
        "state": BatchState.DONE,
        "state_reason": None,
        "started_at": AT,
        "finished_at": AT,
        "roster_sha256": "00",
        "total": 1,
        "excluded": 0,
        "duplicates": 0,
        "options": options,
        "options_sha256": options.sha256,
        "approvals_needed": 0,
        "wave": 1,
        "closed_at": None,
        "counts": {"succeeded": 1},
        "outcomes": {"ok": 1},
        "sessions": {"succeeded": 0},
    }
    return Batch(**{**values, **changes})


def line(**changes):
    values = {
        "user": "ada@example.com",
        "user_ref": "ada@example.com",
        "action": "set_password",
        "state": "succeeded",
        "outcome": "ok",
        "code": None,
        "message": None,
        "due_at": AT,
        "finished_at": AT,
        "attempts": (AttemptLine(1, AT, AT, 204, None, None, "ok", 12),),
    }
    return TaskLine(**{**values, **changes})


async def stream(*lines):
    for one in lines:
        yield one


@pytest.mark.parametrize("width", [60, 80, 100, 140])
@pytest.mark.parametrize("two", [False, True])
async def test_no_line_of_a_table_is_wider_than_the_terminal(width, two):
    """Columns that matter less go first, and a message that has no room stands beneath its row, whole."""
    message = "This password cannot be changed because it has already been changed the maximum number of times."
    failed = line(user="somebody.with.a.name@example.com", state="failed", outcome="unexpected", message=message)
    out = io.StringIO()
    what = batch(roster_sha256="a" * 64, **({"sessions": {"succeeded": 1}} if two else {}))
    await as_table(out, what, "b" * 64, stream(line(), failed), width=width)
    lines = out.getvalue().splitlines()
    assert max(len(text) for text in lines if "aaaa" not in text and "bbbb" not in text) <= width, out.getvalue()
    assert message in " ".join(" ".join(lines).split())
    assert "unexpected" in out.getvalue()


async def test_nothing_is_cut_where_there_is_no_terminal():
    """A long address and a long message stay whole for the program that reads them, in one line."""
    out = io.StringIO()
    await as_table(out, batch(), "ab", stream(line(user="x" * 80, message="y" * 400)))
    assert [text for text in out.getvalue().splitlines() if "x" * 80 in text and "y" * 400 in text]


@given(st.text())
def test_no_cell_begins_like_a_formula(text):
    """Whatever a name is, a spreadsheet does not run it."""
    cell = str(harmless(text))
    assert not cell.startswith(("=", "+", "-", "@", "\t", "\r"))
    assert cell.removeprefix("'") == escaped(text) or cell == escaped(text)


async def test_csv_has_one_line_a_user_and_survives_odd_names():
    """Commas, quotes and formulas come back as one cell; line feeds and what nobody sees are written out."""
    odd = '=HYPERLINK("http://x","y"),\n'
    out = io.StringIO()
    await as_csv(out, stream(line(user=odd), line()))
    rows = list(csv.DictReader(io.StringIO(out.getvalue())))
    assert [row["user"] for row in rows] == ["'" + odd.replace("\n", "\\u000a"), "ada@example.com"]
    assert rows[1]["http_status"] == "204"
    assert rows[1]["first_sent_at"] == "2026-01-31T22:00:00.000Z"


@pytest.mark.parametrize("count", [0, 1, 3])
async def test_json_is_one_object_however_many_users(count):
    """The streamed text is valid JSON with the contract's keys."""
    out = io.StringIO()
    await as_json(out, batch(), "ab", stream(*[line()] * count))
    report = json.loads(out.getvalue())
    assert set(report) == {"batch", "counts", "tasks"}
    assert len(report["tasks"]) == count
    for task in report["tasks"]:
        assert set(task) >= {"user", "action", "state", "outcome", "attempts", "maybe_changed"}
        assert set(task["attempts"][0]) == {
            "n",
            "sent",
            "sent_at",
            "closed_at",
            "http_status",
            "code",
            "message",
            "outcome",
            "latency_ms",
        }


def attempt(outcome, *, sent=True, n=1):
    return AttemptLine(n, AT if sent else None, AT if outcome else None, None, None, None, outcome, None)


@pytest.mark.parametrize(
    ("call", "sent"),
    [
        (attempt("ok"), "yes"),
        (attempt("unknown"), "yes"),
        (attempt("unknown", sent=False), "maybe"),  # rescued: its worker died
        (attempt(None, sent=False), "maybe"),  # open: nobody has said yet
        (attempt("released", sent=False), "no"),
        (attempt("unreachable", sent=False), "no"),
        (attempt("not_resettable", sent=False), "no"),  # protected since: never called
        (attempt("unexpected", sent=False), "no"),  # a reference that cannot be one
    ],
)
async def test_each_attempt_says_whether_its_call_left(call, sent):
    """Yes, no, or maybe: what counts as a call is what the provider may have seen."""
    out = io.StringIO()
    await as_json(out, batch(), "ab", stream(line(attempts=(call,))))
    (told,) = json.loads(out.getvalue())["tasks"][0]["attempts"]
    assert told["sent"] == sent
    assert line(attempts=(call, attempt("ok", n=2))).calls == (1 if sent == "no" else 2)


async def test_calls_are_those_that_left_in_table_and_csv():
    """Slots that were handed back unused are in the JSON alone."""
    back = line(
        attempts=(attempt("released", sent=False), attempt("released", sent=False, n=2), attempt("ok", n=3))
    )
    table, sheet = io.StringIO(), io.StringIO()
    await as_table(table, batch(), "ab", stream(back))
    await as_csv(sheet, stream(back))
    assert table.getvalue().splitlines()[-1].split()[3] == "1"
    (row,) = csv.DictReader(io.StringIO(sheet.getvalue()))
    assert row["calls"] == "1"


@pytest.mark.parametrize(
    ("action", "words"),
    [
        ("set_password", "an earlier call may have changed it"),
        ("revoke_sessions", "an earlier call may have ended them"),
    ],
)
@pytest.mark.parametrize("message", [None, "odd"])
async def test_who_may_have_been_changed_is_told_so_everywhere(action, words, message):
    """Row, CSV and JSON say it first; the batch's own lines say how many they are, and of which state."""
    doubted = line(action=action, state="failed", outcome="unexpected", message=message, maybe_changed=True)
    both = batch(maybe_changed={"failed": 2, "cancelled": 1}, sessions_maybe_ended={"skipped": 1})
    table, sheet, whole = io.StringIO(), io.StringIO(), io.StringIO()
    await as_table(table, both, "ab", stream(doubted))
    await as_csv(sheet, stream(doubted, line()))
    await as_json(whole, both, "ab", stream(doubted, line()))
    said = f"{words}; odd" if message else words
    assert table.getvalue().splitlines()[-1].endswith(said)
    assert (
        "in doubt: 3 users whose password an earlier call may have changed (2 failed, 1 cancelled)"
        in table.getvalue()
    )
    assert "in doubt: 1 user whose sessions" in table.getvalue()
    rows = list(csv.DictReader(io.StringIO(sheet.getvalue())))
    assert [(row["maybe_changed"], row["message"]) for row in rows] == [("yes", said), ("no", "")]
    told = json.loads(whole.getvalue())
    assert (told["batch"]["maybe_changed"], told["batch"]["sessions_maybe_ended"]) == (3, 1)
    assert [(task["maybe_changed"], task["message"]) for task in told["tasks"]] == [(True, said), (False, None)]


@pytest.mark.parametrize(("state", "said"), [("open", "open"), ("halted", "halted, 2 in doubt")])
def test_a_batch_says_how_many_are_in_doubt_once_it_does_not_go_on(state, said):
    """While it goes on they are being sent again; after that nobody takes them for users who were not reset."""
    doubted = batch(state=BatchState(state), maybe_changed={"failed": 2})
    assert standing(doubted) == said


def test_a_batch_with_somebody_in_doubt_is_not_clean():
    """No exit code calls a batch a success of whose users one may or may not be reset."""
    none = dict.fromkeys(map(str, TaskState), 0)
    assert batch(counts=none, sessions=none).clean
    assert not batch(counts=none, sessions=none, maybe_changed={"cancelled": 1}).clean


async def test_the_table_keeps_to_a_terminals_columns():
    """No line of a user is wider than the terminal."""
    out = io.StringIO()
    await as_table(out, batch(), "ab", stream(line(user="x" * 80, message="y" * 400)), width=120)
    assert max(len(text) for text in out.getvalue().splitlines()[8:]) <= 120


async def test_whoever_was_reset_and_has_living_sessions_stands_before_all_others():
    """The first users of a report are those whose password is new and whose sessions go on."""
    out = io.StringIO()

    async def alive():
        yield [SessionLine("1", "eve@example.com", "failed", "provider_error", "HTTP 500")]

    both = [line(), line(action="revoke_sessions", outcome="provider_error", state="failed")]
    await as_table(out, batch(sessions={"failed": 1}), "00", stream(*both), alive())
    text = out.getvalue()
    assert "sessions 1 failed\n" in text
    title = text.index("reset, but sessions alive:\n  eve@example.com: provider_error, HTTP 500\n")
    assert title < text.index("ada@example.com")
    rows = [row.split()[:2] for row in text.splitlines() if row.startswith("ada@example.com")]
    assert rows == [["ada@example.com", "password"], ["ada@example.com", "sessions"]]
    out = io.StringIO()
    await as_json(out, batch(sessions={"failed": 1}), "00", stream(*both), alive())
    assert json.loads(out.getvalue())["sessions_alive"] == ["eve@example.com"]


HOSTILE = "\x1b]0;PWNED\x07\x1b[31mx\u202e\nforged@example.org   succeeded   ok@example.org"


@pytest.mark.parametrize("writer", ["table", "csv", "json"])
async def test_no_report_lets_a_name_reach_the_terminal_as_more_than_text(writer):
    """Escapes, direction marks and line feeds are written out: no colours, no turned text, no forged line."""
    out = io.StringIO()
    odd = line(user=HOSTILE, message=HOSTILE)
    if writer == "table":
        await as_table(out, batch(reason=HOSTILE, state_reason=HOSTILE), "0" * 64, stream(odd))
    elif writer == "csv":
        await as_csv(out, stream(odd))
    else:
        await as_json(out, batch(reason=HOSTILE), "0" * 64, stream(odd))
        assert json.loads(out.getvalue())["tasks"][0]["user"] == HOSTILE
    lines = out.getvalue().splitlines()
    assert not any(UNSAFE.search(one) for one in lines)
    assert not any(one.lstrip('" ').startswith("forged@") for one in lines)

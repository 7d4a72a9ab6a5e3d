"""Writing a report as a table, CSV or JSON; each line leaves as it is read."""

import csv
import json
import re
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from typing import Any, Final, TextIO

from rich.cells import cell_len

from bulkreset.model import Action, Outcome
from bulkreset.report.grid import folded, joined, padded
from bulkreset.report.queries import AttemptLine, SessionLine, TaskLine
from bulkreset.store.batches import Batch
from bulkreset.unsafe import escaped

CSV_COLUMNS: Final = (
    "user",
    "user_ref",
    "action",
    "state",
    "outcome",
    "calls",
    "http_status",
    "code",
    "message",
    "maybe_changed",
    "first_sent_at",
    "finished_at",
    "due_at",
)

# A spreadsheet runs a cell that begins so as a formula (OWASP: CSV injection).
# With the apostrophes that stand before it already, so that who reads a report can tell which one to take away.
_FORMULA: Final = re.compile("'*[=+\\-@\uff1d\uff0b\uff0d\uff20]")
Alive = AsyncIterator[list[SessionLine]]
"""Who was reset and has living sessions, a page at a time."""

_WIDTHS: Final = {"user": 36, "task": 8, "state": 9, "outcome": 18, "calls": 5, "HTTP": 4, "code": 5}
_SHORTEST_USER: Final = 24
# Where there is no room, these go first; what they hold then stands beneath the row.
_SPARED: Final = ("code", "HTTP", "calls", "state")
# A message stands in its row where it has so much room, and beneath it where it has less or is longer.
_MESSAGE_ROOM: Final = 36


def batch_core(batch: Batch) -> dict[str, Any]:
    """Return a batch as `run --json` shows it."""
    return {
        "id": batch.id,
        "account": batch.account,
        "state": batch.state,
        "total": batch.total,
        "counts": batch.counts,
        "outcomes": batch.outcomes,
        "maybe_changed": sum(batch.maybe_changed.values()),
    }


def batch_full(batch: Batch) -> dict[str, Any]:
    """Return a batch as `batch show --json` and reports show it."""
    return {
        **batch_core(batch),
        "state_reason": batch.state_reason,
        "incident": batch.incident,
        "reason": batch.reason,
        "requester": batch.requested_by,
        "created_at": moment(batch.created_at),
        "not_before": moment(batch.not_before),
        "started_at": moment(batch.started_at),
        "finished_at": moment(batch.finished_at),
        "excluded": batch.excluded,
        "duplicates": batch.duplicates,
        "roster_sha256": batch.roster_sha256,
        "options": json.loads(batch.options.as_json()),
        "options_sha256": batch.options_sha256,
        "approvals_needed": batch.approvals_needed,
        "sessions": batch.sessions,
        "sessions_maybe_ended": sum(batch.sessions_maybe_ended.values()),
        "closed_at": moment(batch.closed_at),
    }


def standing(batch: Batch) -> str:
    """Say a batch's state; of one that has ended whether it was closed, and how many are in doubt."""
    ended = batch.state in ("done", "cancelled") and batch.closed_at is None
    doubt = f", {batch.in_doubt:,} in doubt" if batch.in_doubt and batch.state != "open" else ""
    return f"{batch.state}{', not reconciled' if ended else ''}{doubt}"


def come_to(batch: Batch) -> dict[str, int]:
    """Return how many users came to what; whoever was released was not called, and waits again."""
    return {name: n for name, n in batch.outcomes.items() if name != Outcome.RELEASED}


def doubts(batch: Batch) -> list[str]:
    """Say, a line each, of how many users it is not known whether the batch changed them."""
    told = (
        (batch.maybe_changed, "password an earlier call may have changed"),
        (batch.sessions_maybe_ended, "sessions an earlier call may have ended"),
    )
    return [
        f"in doubt: {(n := sum(states.values())):,} user{'s' * (n != 1)} whose {words} "
        f"({', '.join(f'{count:,} {state}' for state, count in states.items())})"
        for states, words in told
        if states
    ]


async def as_json(
    out: TextIO, batch: Batch, head: str, lines: AsyncIterator[TaskLine], alive: Alive | None = None
) -> None:
    """Write one JSON object, its tasks streamed; before them who was reset and has living sessions."""
    top = {"batch": {**batch_full(batch), "audit_head": head}, "counts": batch.counts}
    out.write(json_text(top, indent=2)[:-2])
    if alive is not None:
        out.write(',\n  "sessions_alive": [')
        separator = ""
        async for page in alive:
            for user in page:
                out.write(separator + json_text(user.user))
                separator = ", "
        out.write("]")
    out.write(',\n  "tasks": [')
    separator = "\n    "
    async for line in lines:
        out.write(separator + json_text(_task(line)))
        separator = ",\n    "
    out.write("]\n}\n" if separator == "\n    " else "\n  ]\n}\n")


async def as_csv(out: TextIO, lines: AsyncIterator[TaskLine]) -> None:
    """Write one line a user, safe to open in a spreadsheet."""
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    async for line in lines:
        sent = [call.sent_at for call in line.attempts if call.sent_at is not None]
        answered = [call.http_status for call in line.attempts if call.http_status is not None]
        cells = (
            line.user,
            line.user_ref,
            line.action,
            line.state,
            line.outcome,
            line.calls,
            answered[-1] if answered else None,
            line.code,
            line.said,
            "yes" if line.maybe_changed else "no",
            moment(sent[0]) if sent else None,
            moment(line.finished_at),
            moment(line.due_at) if line.state == "pending" else None,
        )
        writer.writerow([harmless(cell) for cell in cells])


async def as_table(
    out: TextIO,
    batch: Batch,
    head: str,
    lines: AsyncIterator[TaskLine],
    alive: Alive | None = None,
    *,
    width: int | None = None,
) -> None:
    """Write a summary and a row a task, for a person; no line is wider than `width`, a terminal's columns.

    Before everything else come the users who were reset and whose sessions live.
    """

    def write(text: str) -> None:
        out.write("".join(f"{line}\n" for line in folded(text.removesuffix("\n"), width, rest="  ")))

    widths = _fitting(batch, width)
    room = None if width is None else width - sum(widths.values()) - 2 * len(widths)
    write(escaped(f"batch {batch.id} · {batch.account} · {standing(batch)}{_because(batch)}") + "\n")
    write(escaped(f"incident {batch.incident} · {batch.reason} · ordered by {batch.requested_by}") + "\n")
    times = [("created", batch.created_at), ("started", batch.started_at), ("finished", batch.finished_at)]
    dated = (f"{name} {at:%Y-%m-%d %H:%M:%S} UTC" for name, at in times if at is not None)
    out.writelines(f"{line}\n" for line in joined(dated, width))
    write(f"roster {batch.total:,} users, sha256 {batch.roster_sha256}\n")
    write(f"audit head {head}\n")
    sessions = batch.sessions if any(batch.sessions.values()) else None
    for name, counts in (("states  ", batch.counts), ("outcomes", come_to(batch)), ("sessions", sessions)):
        if counts is not None:
            words = [f"{n:,} {word}" for word, n in counts.items() if n] or ["none yet"]
            words[0] = f"{name} {words[0]}"
            out.writelines(f"{line}\n" for line in joined(words, width, between=", ", rest=" " * 9))
    for doubt in doubts(batch):
        write(f"{doubt}\n")
    out.write("\n")
    if alive is not None:
        await _reset_but_alive(out, alive)
    inline = room is None or room >= _MESSAGE_ROOM
    heads = [name.ljust(size) for name, size in widths.items()]
    out.write("  ".join([*heads, *(["message"] if inline else [])]).rstrip() + "\n")
    rules = ["─" * size for size in widths.values()]
    out.write("  ".join([*rules, *(["─" * min(room or 40, 40)] if inline else [])]) + "\n")
    async for line in lines:
        out.writelines(text + "\n" for text in _rows(line, widths, room if inline else 0, width))


def _fitting(batch: Batch, width: int | None) -> dict[str, int]:
    """Choose the columns that a terminal has room for."""
    widths = dict(_WIDTHS)
    if not batch.options.revoke_sessions:
        del widths["task"]
    if width is None:
        return widths
    for name in _SPARED:
        if (over := sum(widths.values()) + 2 * (len(widths) - 1) - width) <= widths["user"] - _SHORTEST_USER:
            break
        del widths[name]
    over = sum(widths.values()) + 2 * (len(widths) - 1) - width
    widths["user"] = max(8, widths["user"] - max(0, over))
    return widths


def _rows(line: TaskLine, widths: dict[str, int], room: int | None, width: int | None) -> Iterator[str]:
    """Yield a task's row, and beneath it what has no room there."""
    status = next((str(c.http_status) for c in reversed(line.attempts) if c.http_status is not None), "")
    # Whoever was never called has no outcome; the reason for that stands in its place.
    outcome, code = (line.outcome, line.code) if line.outcome else (line.code, None)
    cells = {
        "user": line.user,
        "task": "password" if line.action == Action.SET_PASSWORD else "sessions",
        "state": line.state,
        "outcome": outcome or ("" if "state" in widths else line.state),
        "calls": str(line.calls),
        "HTTP": status,
        "code": code or "",
    }
    said = escaped(line.said or "")
    # Where nothing limits the width nothing is cut, so that a program can read it.
    fit = _padded if width is None else _fit
    row = "  ".join(fit(cells[name], size) for name, size in widths.items())
    if room is None or cell_len(said) <= room:
        yield f"{row}  {said}".rstrip()
        return
    yield row.rstrip()
    hidden = [f"{name} {cells[name]}" for name in ("HTTP", "code") if name not in widths and cells[name]]
    yield from folded(" · ".join([*map(escaped, hidden), said]), width, "    ")


def _padded(text: str, width: int) -> str:
    return escaped(text).ljust(width)


async def _reset_but_alive(out: TextIO, alive: Alive) -> None:
    title = "reset, but sessions alive:\n"
    async for page in alive:
        for user in page:
            why = f": {user.outcome or user.state}{f', {user.message}' if user.message else ''}"
            out.write(f"{title}{escaped(f'  {user.user}{why}')}\n")
            title = ""
    if not title:
        out.write("\n")


def harmless(cell: object) -> object:
    """Return a cell that no spreadsheet runs: text that begins like a formula gets an apostrophe before it."""
    if isinstance(cell, str):
        cell = escaped(cell)
        return "'" + cell if _FORMULA.match(cell) else cell
    return cell


def json_text(value: object, *, indent: int | None = None) -> str:
    """Return a value as JSON that is safe on a terminal too: what nobody could see is written out."""
    text = json.dumps(value, ensure_ascii=False, indent=indent)
    return "\n".join(map(escaped, text.split("\n")))  # JSON writes out the line feeds of its own texts


def moment(at: datetime | None) -> str | None:
    """Write a time for JSON and CSV: ISO 8601, UTC, to the millisecond."""
    if at is None:
        return None
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _task(line: TaskLine) -> dict[str, Any]:
    return {
        "user": line.user,
        "user_ref": line.user_ref,
        "action": line.action,
        "state": line.state,
        "outcome": line.outcome,
        "code": line.code,
        "message": line.said,
        "maybe_changed": line.maybe_changed,
        "due_at": moment(line.due_at) if line.state == "pending" else None,
        "finished_at": moment(line.finished_at),
        "attempts": [_attempt(call) for call in line.attempts],
    }


def _attempt(call: AttemptLine) -> dict[str, Any]:
    return {
        "n": call.n,
        "sent": call.sent,
        "sent_at": moment(call.sent_at),
        "closed_at": moment(call.closed_at),
        "http_status": call.http_status,
        "code": call.code,
        "message": call.message,
        "outcome": call.outcome,
        "latency_ms": call.latency_ms,
    }


def _because(batch: Batch) -> str:
    return f": {batch.state_reason}" if batch.state_reason else ""


def _fit(text: str, width: int) -> str:
    return padded(escaped(text), width)

"""How a person sees batches: one with all that was ordered and happened, or a list of them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from rich.cells import cell_len

from bulkreset.intake.concerns import Concern
from bulkreset.model import TaskState
from bulkreset.report.grid import Column, Row, folded, joined, lines
from bulkreset.report.needs import next_steps
from bulkreset.report.render import come_to, doubts, standing
from bulkreset.report.words import duration
from bulkreset.store.batches import Batch
from bulkreset.unsafe import escaped

_LABEL: Final = 13  # what stands before a fact of a batch: two blanks, its name, and a blank at least
_ENDS: Final = {
    TaskState.SUCCEEDED: "done",
    TaskState.FAILED: "failed",
    TaskState.SKIPPED: "skipped",
    TaskState.CANCELLED: "cancelled",
}

_NAMES: Final = (Column("id"), Column("account", gives=True), Column("state"), Column("incident", gives=True))
_CREATED: Final = Column("created (UTC)", rank=1)
_NUMBERS: Final = tuple(Column(name, right=True) for name in ("users", *_ENDS.values(), "left"))

_ACCEPTED: Final[Mapping[str, str]] = {
    Concern.LISTING: "users whom the provider counts and does not list",
    Concern.UNKNOWN_NAMES: "names of exceptions that match nobody",
    Concern.NOT_LISTED: "users who are not listed",
    Concern.AGAIN: "users who were reset within 24 hours before",
}


@dataclass(frozen=True, slots=True)
class Seen:
    """A batch, who has approved it as it stands, and why its account is halted."""

    batch: Batch
    approvers: Sequence[str]
    halted: str | None


def described(seen: Seen, width: int | None) -> list[str]:
    """Return the lines that describe one batch; no line is wider than `width`, but for its hash."""
    batch = seen.batch
    because = f" ({batch.state_reason})" if batch.state_reason else ""
    said = folded(escaped(f"batch {batch.id} at {batch.account}: {standing(batch)}{because}"), width, rest="  ")
    for name, fact in _facts(seen):
        head = f"{'  ' + name:<{_LABEL}}"
        if isinstance(fact, str):
            said += folded(escaped(head + fact), width, rest=" " * _LABEL)
        else:
            said += joined([head + fact[0], *fact[1:]], width, between=", ", rest=" " * _LABEL)
    return said


def listed(batches: Sequence[Batch], width: int | None) -> list[str]:
    """Return the lines of a table of batches, in the widest of its three forms that a terminal has room for."""
    full = _table((*_NAMES, _CREATED, *_NUMBERS), [_full_row(batch) for batch in batches])
    if width is None or _fits(full, width):
        return full
    for columns, row in (((*_NAMES, *_NUMBERS), _row), ((*_NAMES, _NUMBERS[0], _NUMBERS[-1]), _short_row)):
        rows = [row(batch) for batch in batches]
        if _fits(_table(columns, [Row(one.cells) for one in rows]), width):
            break
    return list(lines(columns, rows, width))


def _table(columns: Sequence[Column], rows: Sequence[Row]) -> list[str]:
    return list(lines(columns, rows, None))


def _fits(table: Sequence[str], width: int) -> bool:
    return max(map(cell_len, table)) <= width


def _full_row(batch: Batch) -> Row:
    created = f"{batch.created_at:%Y-%m-%d %H:%M}"
    return Row((*_names(batch, standing(batch)), created, *_numbers(batch)), _sessions(batch))


def _row(batch: Batch) -> Row:
    beside = standing(batch).removeprefix(str(batch.state)).removeprefix(", ")
    notes = [beside] if beside else []
    return Row((*_names(batch, str(batch.state)), *_numbers(batch)), (*notes, *_sessions(batch)))


def _short_row(batch: Batch) -> Row:
    users, *ends, left = _numbers(batch)
    ended = " · ".join(f"{n} {word}" for n, word in zip(ends, _ENDS.values(), strict=True) if n != "0")
    notes = [ended] if ended else []
    return Row((*_names(batch, str(batch.state)), users, left), (*notes, *_row(batch).notes))


def _names(batch: Batch, state: str) -> tuple[str, ...]:
    return str(batch.id), escaped(batch.account), state, escaped(batch.incident)


def _numbers(batch: Batch) -> tuple[str, ...]:
    """Return how many users a batch has, how many of them ended how, and how many are left: these add up."""
    ends = [batch.counts[state] for state in _ENDS]
    return tuple(f"{n:,}" for n in (batch.total, *ends, sum(batch.counts.values()) - sum(ends)))


def _sessions(batch: Batch) -> tuple[str, ...]:
    """Say how far the sessions are, which the columns do not count."""
    left = batch.sessions[TaskState.PENDING] + batch.sessions[TaskState.RUNNING]
    return (f"sessions of {left:,} users still to end",) if left else ()


def _facts(seen: Seen) -> Iterator[tuple[str, str | list[str]]]:
    batch = seen.batch
    if seen.halted:
        yield "halted", f"the whole account {batch.account}: {seen.halted}"
        yield "", f"put it right, then `bulkreset batch resume {batch.id}`"
    yield "incident", batch.incident
    yield "reason", batch.reason
    yield "ordered by", f"{batch.requested_by}, {batch.created_at:%Y-%m-%d %H:%M:%S} UTC"
    times = (("not before", batch.not_before), ("started", batch.started_at), ("finished", batch.finished_at))
    yield from ((name, f"{at:%Y-%m-%d %H:%M:%S} UTC") for name, at in times if at is not None)
    yield "roster", f"{batch.total:,} users, sha256 {batch.roster_sha256}"
    yield from _ordered_so(seen)
    for name, counts in (("tasks", batch.counts), ("sessions", batch.sessions), ("outcomes", come_to(batch))):
        if words := [f"{n:,} {word}" for word, n in counts.items() if n]:
            yield name, words
    yield from (("in doubt", doubt.removeprefix("in doubt: ")) for doubt in doubts(batch))
    yield from (("next", f"`{step}`") for step in next_steps(batch))


def _ordered_so(seen: Seen) -> Iterator[tuple[str, str]]:
    """Say what is special about how a batch is worked on, and what was accepted with it."""
    batch = seen.batch
    options = batch.options
    for concern, n in options.accepted.items():
        yield "accepted", f"{_ACCEPTED.get(concern, concern)}: {n:,}"
    if options.emergency:
        yield "emergency", "started without approvals"
    if batch.approvals_needed:
        names = f": {', '.join(seen.approvers)}" if seen.approvers else ""
        yield "approvals", f"{len(seen.approvers)} of {batch.approvals_needed}{names}"
    if options.canary:
        yield "canaries", f"{options.canary:,} go first{', then it waits' if options.hold_after_canary else ''}"
    if options.ramp_s:
        yield "ramp", duration(options.ramp_s)
    if options.escrow_to:
        yield "escrow", f"to {', '.join(options.escrow_to)}, for {options.escrow_days} days"

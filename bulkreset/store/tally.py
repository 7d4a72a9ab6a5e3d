"""The tasks of batches, counted: by state, by latest outcome, those in doubt and those that were damaged."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy import Row, Text, func, literal, select
from sqlalchemy.ext.asyncio import AsyncConnection

from bulkreset.model import Action, TaskState
from bulkreset.options import Options
from bulkreset.store import damage
from bulkreset.store.tables import is_maybe_changed, task

_STATES: Final = tuple(map(str, TaskState))


def _zeros() -> dict[str, int]:
    return dict.fromkeys(_STATES, 0)


@dataclass(slots=True)
class Tally:
    """The tasks of one batch; what its fields mean is said at `batches.Batch`."""

    counts: dict[str, int] = field(default_factory=_zeros)
    outcomes: dict[str, int] = field(default_factory=dict)
    sessions: dict[str, int] = field(default_factory=_zeros)
    maybe_changed: dict[str, int] = field(default_factory=dict)
    sessions_maybe_ended: dict[str, int] = field(default_factory=dict)
    damaged: int = 0


async def taken(conn: AsyncConnection, rows: Sequence[Row[Any]]) -> dict[int, Tally]:
    """Count the tasks of batches, whose rows these are; return a tally for each id."""
    tallies = {row.id: Tally() for row in rows}
    two = {row.id for row in rows if Options.or_plain(row.options).revoke_sessions}
    for row in [*await _counted(conn, tallies.keys() - two), *await _counted(conn, two, by_action=True)]:
        if row.state not in _STATES:  # a damaged one, which a worker will mark
            continue
        tally = tallies[row.batch_id]
        if row.action == Action.REVOKE_SESSIONS:
            tally.sessions[row.state] += row.n
            continue
        tally.counts[row.state] += row.n
        if row.outcome is not None:
            tally.outcomes[row.outcome] = tally.outcomes.get(row.outcome, 0) + row.n
    await _doubt(conn, tallies)
    damaged = await damage.counted(conn, list(tallies))
    for row in rows:
        tally = tallies[row.id]
        tally.outcomes = dict(sorted(tally.outcomes.items()))
        tally.damaged = damaged.get(row.id, 0) + max(0, row.total - sum(tally.counts.values()))
    return tallies


async def _counted(conn: AsyncConnection, ids: Collection[int], *, by_action: bool = False) -> Sequence[Row[Any]]:
    """Count tasks by state and outcome; by action as well only where it matters: no index holds all three."""
    if not ids:
        return []
    action = task.c.action if by_action else literal(Action.SET_PASSWORD, Text()).label("action")
    by = [task.c.batch_id, task.c.state, task.c.outcome, *([task.c.action] if by_action else [])]
    wanted = select(task.c.batch_id, task.c.state, task.c.outcome, action, func.count().label("n"))
    return (await conn.execute(wanted.where(task.c.batch_id.in_(ids)).group_by(*by))).all()


async def _doubt(conn: AsyncConnection, tallies: dict[int, Tally]) -> None:
    """Count the tasks that did not succeed, and of which an earlier call may have done what they ask for."""
    wanted = select(task.c.batch_id, task.c.action, task.c.state, func.count().label("n"))
    by = (task.c.batch_id, task.c.action, task.c.state)
    for row in await conn.execute(
        wanted.where(task.c.batch_id.in_(tallies), is_maybe_changed()).group_by(*by).order_by(*by)
    ):
        tally = tallies[row.batch_id]
        if row.action == Action.SET_PASSWORD:  # a damaged word is neither
            tally.maybe_changed[row.state] = row.n
        elif row.action == Action.REVOKE_SESSIONS:
            tally.sessions_maybe_ended[row.state] = row.n

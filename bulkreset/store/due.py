"""What is due: batches that may be claimed from, and their tasks in the order in which they are."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import chain, zip_longest
from typing import Any, Final, NamedTuple

from sqlalchemy import ARRAY, BigInteger, Row, Select, any_, bindparam, func, or_, select, union_all
from sqlalchemy.ext.asyncio import AsyncConnection

from bulkreset.errors import DamagedBatch
from bulkreset.model import Action, BatchState, Quota, TaskState
from bulkreset.options import Options
from bulkreset.store.column_types import NO_TIME
from bulkreset.store.rows import readable, rows_out
from bulkreset.store.tables import any_in_state, any_task, batch, is_pending, quota, task

# Batches of one account that progress side by side; the others follow as these end.
_BATCHES_AT_ONCE: Final = 8


@dataclass(frozen=True, slots=True)
class OpenBatch:
    """What is to be known of a batch while its tasks are worked on."""

    id: int
    policy: str
    wrapped_key: str | None  # None only where somebody took it away
    options: Options
    wave: int
    started: bool
    began_at: datetime  # when its wave was opened, or its first task claimed
    damage: str | None = None  # why nothing may be claimed from it


class Due(NamedTuple):
    """A due task, in the order of the columns that are read; a damaged row may bring anything: see `is_sound`."""

    id: int
    batch_id: int
    user_ref: str
    display: str
    user_id: str | None
    action: str
    attempt: int
    tries: int
    unclear: int
    renewals: int
    password_no: int
    maybe_landed: int
    maybe_changed: int
    sealed: str | None

    @property
    def is_sound(self) -> bool:
        """Whether each value is of its kind, so that a claim can be made of it."""
        values: tuple[object, ...] = self
        return self.action in _ACTIONS and {type(value) for value in values[_NUMBERS]} <= _WHOLE


_ACTIONS: Final = frozenset(map(str, Action))
_NUMBERS: Final = slice(Due._fields.index("attempt"), Due._fields.index("sealed"))
_WHOLE: Final = frozenset({int, bool})


async def next_due(conn: AsyncConnection, which: Quota) -> datetime | None:
    """Return when the earliest pending task under a quota falls due, of all open batches; None without any."""
    first = (
        select(func.min(task.c.due_at))
        .where(
            task.c.batch_id == batch.c.id,
            task.c.label == which.label,
            is_pending(),
            task.c.wave == batch.c.wave,
        )
        .scalar_subquery()
    )
    rows = await conn.execute(
        select(first.label("due_at"), batch.c.not_before).where(
            batch.c.account == which.account, batch.c.state == BatchState.OPEN
        )
    )
    times = [max(row.due_at, row.not_before or row.due_at) for row in rows if row.due_at is not None]
    return min(times, default=None)


async def waits(conn: AsyncConnection, now: datetime) -> dict[int, datetime]:
    """Return when each open batch goes on that has nothing to send before: a pause of its account counts too.

    A batch of which something is claimed does not wait, and one whose account is halted waits for a person.
    """
    first = (
        select(func.min(task.c.due_at))
        .where(task.c.batch_id == batch.c.id, is_pending(), task.c.wave == batch.c.wave)
        .scalar_subquery()
    )
    of_account = quota.c.account == batch.c.account
    rows = await conn.execute(
        select(
            batch.c.id,
            batch.c.not_before,
            first.label("due_at"),
            select(func.max(quota.c.paused_until)).where(of_account).scalar_subquery().label("paused_until"),
        ).where(
            batch.c.state == BatchState.OPEN,
            ~any_in_state(TaskState.RUNNING),
            ~select(quota.c.account).where(of_account, quota.c.halted_reason.is_not(None)).exists(),
        )
    )
    opens = {
        row.id: max(moment for moment in (row.due_at, row.not_before, row.paused_until) if moment is not None)
        for row in rows
        if row.due_at is not None
    }
    return {batch_id: moment for batch_id, moment in opens.items() if moment > now}


async def due_batches(conn: AsyncConnection, which: Quota, now: datetime) -> list[OpenBatch]:
    """Return the open batches that have a due task, those that waited longest for a turn first."""
    has_due = any_task(
        task.c.label == which.label,
        is_pending(),
        task.c.wave == batch.c.wave,
        task.c.due_at <= now,
        along=[task.c.due_at, task.c.id],
    )
    wanted = (
        select(*(batch.c[name] for name in _OF_BATCH))
        .where(
            batch.c.account == which.account,
            batch.c.state == BatchState.OPEN,
            or_(batch.c.not_before.is_(None), batch.c.not_before <= now),
            has_due,
        )
        .order_by(batch.c.id)
        .limit(_BATCHES_AT_ONCE)
    )
    if conn.dialect.name == "sqlite":
        found = list((await conn.execute(wanted)).all())
    else:
        # Held, so that a pause or a cancel comes before this claim or after it, and never in between. One that is
        # under way is not waited for: it is about to take the batch away. Shared, for another label of the account
        # claims from the same batch; but the first claim writes into it and must be the only one. It asks for that
        # at once: two that shared it first would both give way, again and again.
        locks = (
            (batch.c.started_at.is_not(None), {"read": True}),
            (batch.c.started_at.is_(None), {"key_share": True}),
        )
        found = []
        for which_of_them, lock in locks:
            held = wanted.where(which_of_them).with_for_update(of=batch, skip_locked=True, **lock)
            found += (await conn.execute(held)).all()
        found = sorted(found, key=lambda row: row.id)[:_BATCHES_AT_ONCE]
    # A claim may be of one slot only, so whose turn is first must move on from claim to claim.
    turn = now.microsecond // 1000 % len(found) if found else 0
    return [_open_batch(row, now) for row in found[turn:] + found[:turn]]


_OF_BATCH: Final = ("id", "policy", "wrapped_key", "options", "wave", "wave_at", "started_at", "not_before")


async def pick(
    conn: AsyncConnection, which: Quota, batches: Sequence[OpenBatch], now: datetime, most: Mapping[int, int]
) -> list[Due]:
    """Return up to so many due tasks of each batch, one of each in turn, held until the transaction ends."""
    wanted = [one for one in batches if one.id in most]
    if conn.dialect.name == "sqlite":
        found = await rows_out(conn, due_tasks(which, wanted, now, most, Due._fields))
        return [Due._make(row) for row in _take_turns(found, most)]
    # Chosen first and locked then, by their ids: a lock cannot be had on a union, and inside of a join a LIMIT
    # with SKIP LOCKED may lock more rows than it returns.
    chosen = _take_turns(await rows_out(conn, due_tasks(which, wanted, now, most, ("id", "batch_id"))), most)
    locked = await rows_out(
        conn,
        select(*(task.c[name] for name in Due._fields))
        .where(task.c.id == any_(bindparam("ids", [row[0] for row in chosen], ARRAY(BigInteger()))), is_pending())
        .order_by(task.c.id)
        .with_for_update(skip_locked=True, of=task),
    )
    held = {row[0]: Due._make(row) for row in locked}
    return [held[row[0]] for row in chosen if row[0] in held]


def due_tasks(
    which: Quota, batches: Sequence[OpenBatch], now: datetime, most: Mapping[int, int], columns: Sequence[str]
) -> Select[Any]:
    """Select the due tasks of each batch's open wave, oldest first; each part is one range of the claim index."""
    parts = [
        select(*(task.c[name] for name in columns))
        .where(
            task.c.batch_id == one.id,
            task.c.label == which.label,
            is_pending(),
            task.c.wave == one.wave,
            task.c.due_at <= now,
        )
        .order_by(task.c.due_at, task.c.id)
        .limit(most[one.id])
        .subquery()
        for one in batches
    ]
    if len(parts) == 1:
        return select(parts[0])
    return select(union_all(*(select(part) for part in parts)).subquery())


def _take_turns(rows: Sequence[list[Any]], most: Mapping[int, int]) -> list[list[Any]]:
    """Pick rows, one of each batch in turn, so that a small batch need not wait for a huge one."""
    limit = max(most.values())
    by_batch: dict[int, list[list[Any]]] = {}
    for row in rows:
        by_batch.setdefault(row[1], []).append(row)
    if len(by_batch) == 1:
        return list(rows[:limit])
    turns = chain.from_iterable(zip_longest(*by_batch.values()))
    return [row for row in turns if row is not None][:limit]


def _open_batch(row: Row[Any], now: datetime) -> OpenBatch:
    damage = None
    try:
        options = Options.from_json(readable(row.options))
    except DamagedBatch as error:
        options, damage = Options(), str(error)
    values = {name: getattr(row, name) for name in _OF_BATCH}
    if NO_TIME in values.values() or any(isinstance(value, bytes) for value in values.values()):
        damage = "its row is damaged; restore a backup, or order it again"
    return OpenBatch(
        id=row.id,
        policy=row.policy,
        wrapped_key=row.wrapped_key,
        options=options,
        wave=row.wave,
        started=row.started_at is not None,
        began_at=min(row.wave_at or row.started_at or now, now),  # a clock that was set back ends no ramp
        damage=damage,
    )

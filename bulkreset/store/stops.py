"""Stops of a batch: a person pauses or cancels it, and each worker that has claimed from it confirms.

A stop is committed after every claim before it and ahead of every claim after it, since both hold the batch's row.
So the tasks that are running then are all that may still be sent, and their workers are all that must confirm:
each drops what it has not sent and writes down how many calls had left meanwhile.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from time import monotonic
from typing import Final

from sqlalchemy import and_, func, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from bulkreset.limits.quota import GRACE_CEILING_US
from bulkreset.model import BatchState
from bulkreset.store.engine import Store
from bulkreset.store.tables import attempt, batch, is_running, quota, stop_confirmation, task, worker

PATIENCE: Final = timedelta(seconds=5)
"""How long a worker may take to confirm before it is named."""

_LOOK_EVERY_S: Final = 0.05
_GRACE: Final = timedelta(microseconds=GRACE_CEILING_US)
# An attempt is opened up to a second and a half before its slot, and that may be a grace before its call.
_AHEAD: Final = timedelta(seconds=2) + _GRACE


@dataclass(frozen=True, slots=True)
class Stop:
    """A pause or a cancel; `number` counts those of the batch."""

    batch_id: int
    number: int
    at: datetime


@dataclass(frozen=True, slots=True)
class Standing:
    """Whether a batch may be worked on, as a worker that has claimed from it looks it up."""

    batch_id: int
    account: str
    state: BatchState
    account_halted: bool
    stop_no: int
    stopped_at: datetime | None


@dataclass(frozen=True, slots=True)
class Confirmation:
    """What a worker says of a stop: how many calls left after it, and how many are on their way."""

    batch_id: int
    stop_no: int
    departed: int
    in_flight: int


@dataclass(frozen=True, slots=True)
class Holder:
    """A worker with claims of a stopped batch that has not confirmed the stop.

    `expired_at` is when the last of their slots has surely expired: a call that has not left by then never will.
    """

    worker: str
    claims: int
    expired_at: datetime
    seen_at: datetime | None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a stop: calls that left meanwhile, calls on their way at the end, and who is silent."""

    departed: int
    in_flight: int
    silent: tuple[Holder, ...]


async def begun(conn: AsyncConnection, batch_id: int) -> Stop:
    """Return the stop that the transaction has just written into the batch's row."""
    row = (await conn.execute(select(batch.c.stop_no, batch.c.stopped_at).where(batch.c.id == batch_id))).one()
    return Stop(batch_id, row.stop_no, row.stopped_at)


async def look(conn: AsyncConnection, batch_ids: Collection[int]) -> list[Standing]:
    """Return how these batches stand; asked several times a second by each worker that has claims."""
    halted = (
        select(func.count())
        .where(quota.c.account == batch.c.account, quota.c.halted_reason.is_not(None))
        .scalar_subquery()
    )
    rows = await conn.execute(
        select(batch.c.id, batch.c.account, batch.c.state, halted, batch.c.stop_no, batch.c.stopped_at).where(
            batch.c.id.in_(batch_ids)
        )
    )
    return [
        Standing(batch_id, account, BatchState.stored(state), bool(halts), stop_no, stopped_at)
        for batch_id, account, state, halts, stop_no, stopped_at in rows
    ]


async def confirm(conn: AsyncConnection, name: str, now: datetime, given: Sequence[Confirmation]) -> None:
    """Write a worker's confirmations down; a later stop's takes the place of an earlier one's."""
    insert = postgresql.insert if conn.dialect.name == "postgresql" else sqlite.insert
    for one in given:
        values = {"stop_no": one.stop_no, "at": now, "departed": one.departed, "in_flight": one.in_flight}
        await conn.execute(
            insert(stop_confirmation)
            .values(batch_id=one.batch_id, worker=name, **values)
            .on_conflict_do_update(index_elements=["batch_id", "worker"], set_=values)
        )


async def holders(conn: AsyncConnection, stop: Stop) -> list[Holder]:
    """Return the workers that have claims of the batch and have not confirmed the stop."""
    confirmed = and_(
        stop_confirmation.c.batch_id == task.c.batch_id,
        stop_confirmation.c.worker == task.c.worker,
        stop_confirmation.c.stop_no >= stop.number,
    )
    rows = await conn.execute(
        select(
            task.c.worker,
            func.count(),
            func.max(attempt.c.slot_at),
            select(worker.c.seen_at).where(worker.c.name == task.c.worker).scalar_subquery(),
        )
        .join(attempt, and_(attempt.c.task_id == task.c.id, attempt.c.n == task.c.attempt))
        .where(
            task.c.batch_id == stop.batch_id,
            is_running(),
            ~select(stop_confirmation.c.worker).where(confirmed).exists(),
        )
        .group_by(task.c.worker)
        .order_by(task.c.worker)
    )
    return [Holder(name, claims, slot_at + _GRACE, seen_at) for name, claims, slot_at, seen_at in rows]


async def last_slot(conn: AsyncConnection, batch_id: int) -> datetime | None:
    """Return when the last slot that is claimed for a batch has surely expired; None where nothing is claimed."""
    latest = (
        select(func.max(attempt.c.slot_at))
        .join(task, and_(task.c.id == attempt.c.task_id, task.c.attempt == attempt.c.n))
        .where(task.c.batch_id == batch_id, is_running())
    )
    slot_at: datetime | None = (await conn.execute(latest)).scalar_one()
    return None if slot_at is None else slot_at + _GRACE


async def settled(
    store: Store,
    stop: Stop,
    *,
    patience: timedelta = PATIENCE,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    clock: Callable[[], float] = monotonic,
) -> Outcome:
    """Wait until nothing more of a stopped batch can leave, or until patience is at its end.

    Returns at once where no worker has claims of it, and where somebody has resumed it meanwhile.
    """
    until = clock() + patience.total_seconds()
    while True:
        async with store.read() as conn:
            waiting = await holders(conn, stop) if await _is_still(conn, stop) else []
        if waiting and not store.may_be_run:
            waiting = []
        if not waiting or clock() >= until:
            async with store.read() as conn:
                departed, in_flight = await _counts(conn, stop)
            return Outcome(departed, in_flight, tuple(waiting))
        await sleep(_LOOK_EVERY_S)


async def _is_still(conn: AsyncConnection, stop: Stop) -> bool:
    found = await conn.execute(
        select(batch.c.id).where(
            batch.c.id == stop.batch_id,
            batch.c.stop_no == stop.number,
            batch.c.state.in_((BatchState.PAUSED, BatchState.CANCELLED)),
        )
    )
    return found.one_or_none() is not None


async def _counts(conn: AsyncConnection, stop: Stop) -> tuple[int, int]:
    """Count the calls that left after the stop, and those that were on their way when it was confirmed.

    Who confirmed has told both. Another worker's claims had all ended before it looked: they are on record.
    """
    ours = and_(stop_confirmation.c.batch_id == stop.batch_id, stop_confirmation.c.stop_no == stop.number)
    told = (
        await conn.execute(
            select(
                func.coalesce(func.sum(stop_confirmation.c.departed), 0),
                func.coalesce(func.sum(stop_confirmation.c.in_flight), 0),
            ).where(ours)
        )
    ).one()
    recorded = (
        select(func.count())
        .select_from(attempt)
        .join(task, task.c.id == attempt.c.task_id)
        .where(
            attempt.c.opened_at >= stop.at - _AHEAD,
            attempt.c.sent_at >= stop.at,
            task.c.batch_id == stop.batch_id,
            attempt.c.worker.not_in(select(stop_confirmation.c.worker).where(ours)),
        )
    )
    return told[0] + (await conn.execute(recorded)).scalar_one(), told[1]

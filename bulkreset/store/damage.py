"""Rows that nobody here wrote so: each is marked and stops itself alone, and people are told of it.

A disk that loses bits, a hand in the table or a restore that went half way leaves a time that is none, an unknown
word, a count that is behind. What a claim cannot read, or would never come to, is looked for here: such a task
fails, such a batch and such an account halt. What is only ever sent (a password, a reference) is looked at when
it is about to be.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import islice
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Row,
    Select,
    and_,
    case,
    cast,
    func,
    or_,
    select,
    update,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from bulkreset.model import DAMAGED, Action, BatchState, Outcome, Quota, TaskState
from bulkreset.store import faults, quotas, second
from bulkreset.store.column_types import NO_TIME
from bulkreset.store.engine import LONG, Store
from bulkreset.store.faults import Fault, Labels
from bulkreset.store.halts import halt
from bulkreset.store.locks import lock_batch, lock_tasks
from bulkreset.store.tables import any_task, attempt, batch, batch_request, event, is_unfinished, quota, task

_MOST_NAMED: Final = 100
# Ids travel as parameters, of which a statement takes some thousands; and a write should not last long.
_FAILED_AT_ONCE: Final = 1_000


@dataclass(frozen=True, slots=True)
class Marked:
    """What was marked, each with what is wrong with it."""

    tasks: dict[int, str] = field(default_factory=dict)
    batches: dict[int, str] = field(default_factory=dict)
    gone: dict[int, int] = field(default_factory=dict)  # how many users of a batch have no row any more
    quotas: dict[Quota, str] = field(default_factory=dict)
    requests: dict[int, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class DamagedTask:
    """A task that failed because its row was damaged."""

    task_id: int
    batch_id: int
    user: str
    message: str


async def mark(store: Store, labels: Labels) -> Marked:
    """Look through everything that is not finished, and mark what is damaged; harmless to repeat.

    Tasks that are claimed are left to their worker, and looked at when it has given them back.
    """
    async with store.read(LONG) as conn:
        # A clock that was set back, or has not been set yet, makes no time of ours one that lies too far ahead.
        ordered = await conn.scalar(select(func.max(batch.c.created_at)).where(is_unfinished()))
        now = max(await store.now(conn), ordered or NO_TIME)
        of_batch = faults.of_batch(now, labels, sqlite=store.sqlite)
        waiting = select(task.c.id).join(batch, batch.c.id == task.c.batch_id).where(is_unfinished(), _WAITS)
        found = Marked(
            tasks=await _named(conn, waiting, faults.of_task(now, labels, sqlite=store.sqlite)),
            gone=await _gone(conn),
            batches=await _named(conn, select(batch.c.id).where(is_unfinished()), of_batch),
            quotas=await _damaged_quotas(conn, faults.of_quota(now, sqlite=store.sqlite)),
            requests=await _named(conn, select(batch_request.c.id), faults.of_request()),
        )
    for which, what in found.quotas.items():
        await _halt_account(store, which, what)
    for batch_id, what in found.batches.items():
        await _halt_batch(store, batch_id, f"its row is damaged ({what})")
    for batch_id, n in found.gone.items():
        await _halt_batch(store, batch_id, f"the rows of {n:,} of its users are gone", once=True)
    left = iter(found.tasks.items())
    while some := dict(islice(left, _FAILED_AT_ONCE)):
        await _fail_tasks(store, some)
    for request_id, what in found.requests.items():
        await _refuse(store, request_id, what)
    return found


async def batches_with(conn: AsyncConnection) -> list[int]:
    """Return the batches that were not closed and have tasks that failed for their damaged rows."""
    rows = await conn.execute(
        select(batch.c.id)
        .where(
            batch.c.closed_at.is_(None),
            any_task(*_FAILED_SO, along=[task.c.outcome]),
        )
        .order_by(batch.c.id)
    )
    return [row.id for row in rows]


async def tasks_of(conn: AsyncConnection, batch_ids: list[int]) -> list[DamagedTask]:
    """Return the damaged tasks of batches, a hundred at most of each."""
    found: list[DamagedTask] = []
    for batch_id in batch_ids:
        rows = await conn.execute(
            select(task.c.id, task.c.display, task.c.user_ref, task.c.message)
            .where(task.c.batch_id == batch_id, *_FAILED_SO)
            .order_by(task.c.id)
            .limit(_MOST_NAMED)
        )
        found += [
            DamagedTask(row.id, batch_id, _shown(row.display or row.user_ref), row.message or "") for row in rows
        ]
    return found


async def counted(conn: AsyncConnection, batch_ids: list[int]) -> dict[int, int]:
    """Count the damaged tasks of batches."""
    rows = await conn.execute(
        select(task.c.batch_id, func.count())
        .where(task.c.batch_id.in_(batch_ids), *_FAILED_SO)
        .group_by(task.c.batch_id)
    )
    return {row[0]: row[1] for row in rows}


_FAILED_SO: Final = (
    task.c.state == TaskState.FAILED,
    task.c.outcome == Outcome.UNEXPECTED,
    task.c.code == DAMAGED,
)


# Not ended, and held by no worker; a word that is no state is neither.
_WAITS: Final = task.c.state.not_in([state for state in TaskState if state.final or state is TaskState.RUNNING])


async def _named(conn: AsyncConnection, ids: Select[tuple[int]], known: list[Fault]) -> dict[int, str]:
    """Return those of the rows with such a fault, by their ids, each with the first that it has."""
    return {row[0]: row.what for row in await _faulty(conn, ids, known)}


async def _damaged_quotas(conn: AsyncConnection, known: list[Fault]) -> dict[Quota, str]:
    rows = await _faulty(conn, select(quota.c.account, quota.c.label), known)
    return {Quota(row.account, row.label): row.what for row in rows}


async def _faulty(conn: AsyncConnection, query: Select[Any], known: list[Fault]) -> Sequence[Row[Any]]:
    what = faults.first(known).label("what")
    found = query.where(or_(*(wrong for wrong, _ in known))).order_by(*query.selected_columns)
    return (await conn.execute(found.add_columns(what))).all()


async def _halt_account(store: Store, which: Quota, what: str) -> None:
    """Put a quota's row right, on the safe side, and halt its account: somebody must look at it."""
    async with store.write() as conn:
        await quotas.lock_accounts(conn, [which.account])
        now = await store.now(conn)
        midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
        # What was not released may have left, or may leave yet.
        kept = or_(attempt.c.outcome.is_(None), attempt.c.outcome != Outcome.RELEASED)
        counted = (
            select(func.count())
            .select_from(attempt)
            .join(task, task.c.id == attempt.c.task_id)
            .where(
                task.c.account == which.account,
                task.c.label == which.label,
                or_(attempt.c.sent_at >= midnight, attempt.c.opened_at >= midnight),
                kept,
            )
        )
        await conn.execute(
            update(quota)
            .where(quota.c.account == which.account, quota.c.label == which.label)
            .values(
                # Longer than any window: whatever was sent before has left it.
                tat=now + timedelta(minutes=1),
                interval=0,
                paused_until=None,
                day=now.date(),
                used_today=counted.scalar_subquery(),
            )
        )
        reason = f"the row of its rate limit was damaged ({what}) and was put right; see what else may be"
        await quotas.apply(conn, now, [], [quotas.Halt(which, reason)])


async def _gone(conn: AsyncConnection) -> dict[int, int]:
    """Count the users of unfinished batches whose task is not in the table."""
    there = (
        select(func.count())
        .where(task.c.batch_id == batch.c.id, task.c.action != Action.REVOKE_SESSIONS)
        .scalar_subquery()
    )
    rows = await conn.execute(
        select(batch.c.id, batch.c.total - there).where(is_unfinished(), batch.c.total > there)
    )
    return {batch_id: n for batch_id, n in rows if n > 0}


async def _halt_batch(store: Store, batch_id: int, what: str, *, once: bool = False) -> None:
    """Halt a batch; where it can be worked on all the same, `once` only, for somebody may have resumed it."""
    reason = (
        f"{what}: restore a backup and then `bulkreset batch resume {batch_id}`, or cancel it and order it again"
    )
    async with store.write() as conn:
        await lock_batch(conn, batch_id)
        told = select(event.c.detail).where(event.c.batch_id == batch_id, event.c.kind == "halted")
        if once and any(what in detail for detail in (await conn.execute(told)).scalars()):
            return
        which = and_(is_unfinished(), batch.c.state != BatchState.HALTED)
        await halt(conn, batch_id, reason, which, now=await store.now(conn))


async def _fail_tasks(store: Store, found: Mapping[int, str]) -> None:
    """End damaged tasks, with all of their columns put right that a new try needs."""
    c, sibling = task.c, task.alias("sibling")
    sets_password = (
        select(sibling.c.id)
        .where(
            sibling.c.batch_id == c.batch_id,
            sibling.c.user_ref == c.user_ref,
            sibling.c.action == Action.SET_PASSWORD,
        )
        .exists()
    )
    number = cast(c.password_no, BigInteger)
    last = select(func.max(attempt.c.n)).where(attempt.c.task_id == c.id).scalar_subquery()
    by_what: dict[str, list[int]] = {}
    for task_id, what in found.items():
        by_what.setdefault(what, []).append(task_id)
    async with store.write(LONG) as conn:
        now = await store.now(conn)
        which = [c.id.in_(found), _WAITS]
        await lock_tasks(conn, and_(*which))
        for what, ids in by_what.items():
            await conn.execute(
                update(task)
                .where(*which, c.id.in_(ids))
                .values(
                    state=TaskState.FAILED,
                    outcome=Outcome.UNEXPECTED,
                    code=DAMAGED,
                    message=f"its row was damaged ({what}); nothing was sent for it",
                    action=case(
                        (c.action.in_(tuple(Action)), c.action),
                        (sets_password, Action.REVOKE_SESSIONS),
                        else_=Action.SET_PASSWORD,
                    ),
                    attempt=func.coalesce(last, 0),
                    tries=0,
                    unclear=0,
                    renewals=0,
                    password_no=case((number < 0, 0), else_=number),
                    sealed=None,
                    worker=None,
                    lease_until=None,
                    due_at=now,
                    finished_at=now,
                )
            )
        await second.release(conn, [(task_id, False) for task_id in found], now=now)


async def _refuse(store: Store, request_id: int, what: str) -> None:
    async with store.write() as conn:
        await conn.execute(
            update(batch_request)
            .where(batch_request.c.id == request_id, *(wrong for wrong, _ in faults.of_request()))
            .values(state="refused", message=f"its row is damaged ({what})")
        )


def _shown(name: object) -> str:
    return name if isinstance(name, str) else "a user whose name cannot be read"

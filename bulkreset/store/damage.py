"""Rows that nobody here wrote so: each is marked and stops itself alone, and people are told of it.

A disk that loses bits, a hand in the table or a restore that went half way leaves a time that is none, an unknown
word, a count that is behind. What a claim cannot read, or would never come to, is looked for here: such a task
fails, such a batch and such an account halt. What is only ever sent (a password, a reference) is looked at when
it is about to be.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

from sqlalchemy import (
    BigInteger,
    ColumnElement,
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
from bulkreset.store import audit, faults, quotas, second
from bulkreset.store.engine import LONG, Store
from bulkreset.store.faults import Fault, Labels
from bulkreset.store.locks import lock_batch, lock_tasks
from bulkreset.store.tables import (
    NO_TIME,
    any_task,
    attempt,
    batch,
    batch_request,
    event,
    quota,
    task,
)

_ENDED: Final = (BatchState.DONE, BatchState.CANCELLED)
_FINAL: Final = tuple(state for state in TaskState if state.final)
_MOST_NAMED: Final = 100


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
        ordered = await conn.scalar(select(func.max(batch.c.created_at)).where(batch.c.state.not_in(_ENDED)))
        now = max(await store.now(conn), ordered or NO_TIME)
        of_batch = faults.of_batch(now, labels, sqlite=store.sqlite)
        found = Marked(
            tasks=await _damaged_tasks(conn, faults.of_task(now, labels, sqlite=store.sqlite)),
            gone=await _gone(conn),
            batches=await _named(conn, batch.c.id, of_batch, batch.c.state.not_in(_ENDED)),
            quotas=await _damaged_quotas(conn, faults.of_quota(now, sqlite=store.sqlite)),
            requests=await _named(conn, batch_request.c.id, faults.of_request()),
        )
    for which, what in found.quotas.items():
        await _halt_account(store, which, what)
    for batch_id, what in found.batches.items():
        await _halt_batch(store, batch_id, f"its row is damaged ({what})")
    for batch_id, n in found.gone.items():
        await _halt_batch(store, batch_id, f"the rows of {n:,} of its users are gone", once=True)
    if found.tasks:
        await _fail_tasks(store, found.tasks)
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


async def _named(
    conn: AsyncConnection, key: ColumnElement[int], known: list[Fault], *which: ColumnElement[bool]
) -> dict[int, str]:
    """Return the rows of a table with such a fault, by their ids, each with the first that it has."""
    what = faults.first(known).label("what")
    rows = await conn.execute(select(key, what).where(*which, or_(*(wrong for wrong, _ in known))).order_by(key))
    return {row[0]: row.what for row in rows}


async def _damaged_quotas(conn: AsyncConnection, known: list[Fault]) -> dict[Quota, str]:
    what = faults.first(known).label("what")
    rows = await conn.execute(
        select(quota.c.account, quota.c.label, what).where(or_(*(wrong for wrong, _ in known)))
    )
    return {Quota(row.account, row.label): row.what for row in rows}


async def _damaged_tasks(conn: AsyncConnection, known: list[Fault]) -> dict[int, str]:
    """Return the damaged tasks that no worker holds and that have not ended, of batches that have not either."""
    rows = await conn.execute(
        select(task.c.id, faults.first(known).label("what"))
        .join(batch, batch.c.id == task.c.batch_id)
        .where(
            batch.c.state.not_in(_ENDED),
            task.c.state.not_in((*_FINAL, TaskState.RUNNING)),
            or_(*(wrong for wrong, _ in known)),
        )
        .order_by(task.c.id)
    )
    return {row.id: row.what for row in rows}


async def _halt_account(store: Store, which: Quota, what: str) -> None:
    """Put a quota's row right, on the safe side, and halt its account: somebody must look at it."""
    async with store.write() as conn:
        await quotas.lock_accounts(conn, [which.account])
        now = await store.now(conn)
        midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
        sent = (
            select(func.count())
            .select_from(attempt)
            .join(task, task.c.id == attempt.c.task_id)
            .where(task.c.account == which.account, task.c.label == which.label, attempt.c.sent_at >= midnight)
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
                used_today=sent.scalar_subquery(),
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
        select(batch.c.id, batch.c.total - there).where(batch.c.state.not_in(_ENDED), batch.c.total > there)
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
        halted = await conn.execute(
            update(batch)
            .where(batch.c.id == batch_id, batch.c.state.not_in(_ENDED), batch.c.state != BatchState.HALTED)
            .values(state=BatchState.HALTED, state_reason=reason)
        )
        if halted.rowcount:
            now = await store.now(conn)
            await audit.append(conn, batch_id, at=now, actor="runner", kind="halted", reason=reason)


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
        which = [c.id.in_(found), c.state.not_in((*_FINAL, TaskState.RUNNING))]
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

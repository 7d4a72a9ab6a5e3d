"""Batches: created whole or not at all, looked at, paused, resumed, cancelled, retried, finished."""

import hashlib
import json
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Row,
    and_,
    case,
    false,
    insert,
    or_,
    select,
    text,
    update,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from bulkreset.errors import DamagedBatch, InputError, StoreError, UsageError
from bulkreset.model import Action, BatchState, Outcome, TaskState
from bulkreset.options import Options
from bulkreset.store import audit, quotas, rosters, second, stops, tally
from bulkreset.store.engine import LONG, Store
from bulkreset.store.locks import lock_batch, lock_orders, lock_tasks
from bulkreset.store.rosters import Entries
from bulkreset.store.rows import readable
from bulkreset.store.stops import Stop
from bulkreset.store.tables import any_in_state, batch, is_pending, is_unfinished, open_elsewhere, task
from bulkreset.store.tally import Tally

_ACTIVE = (TaskState.PENDING, TaskState.RUNNING)
_OF_TASKS: Final = ("label", "revoke_label", "planned")


@dataclass(frozen=True, slots=True)
class NewBatch:
    """An order, with its roster already counted and hashed."""

    account: str
    label: str
    incident: str
    reason: str
    requested_by: str
    not_before: datetime | None
    roster_sha256: str
    total: int
    excluded: int
    duplicates: int
    policy: str
    wrapped_key: str
    options: str = "{}"
    approvals_needed: int = 0
    revoke_label: str | None = None  # the quota of the second task of each user, where sessions are to end
    login: str | None = None  # of who ordered it, where the system has one
    planned: bool = False  # whether the roster comes as `PlannedEntry`


@dataclass(frozen=True, slots=True)
class Batch:
    """A batch as it stands, with its password tasks counted by state and by latest outcome."""

    id: int
    account: str
    incident: str
    reason: str
    requested_by: str
    created_at: datetime
    not_before: datetime | None
    state: BatchState
    state_reason: str | None
    started_at: datetime | None
    finished_at: datetime | None
    roster_sha256: str
    total: int
    excluded: int
    duplicates: int
    options: Options
    options_sha256: str
    approvals_needed: int
    wave: int
    closed_at: datetime | None
    counts: dict[str, int]
    outcomes: dict[str, int]
    sessions: dict[str, int]  # the revocations by state; all zero where none were ordered
    # Of both, by state, those that did not succeed and of whom an earlier call may have done it all the same.
    maybe_changed: dict[str, int] = field(default_factory=dict)
    sessions_maybe_ended: dict[str, int] = field(default_factory=dict)
    damaged: int = 0  # tasks that failed because their rows were damaged, and users whose rows are gone

    @property
    def left(self) -> int:
        """Return how many tasks are not final yet, revocations included."""
        return sum(counts[state] for counts in (self.counts, self.sessions) for state in _ACTIVE)

    @property
    def tasks(self) -> int:
        """Return how many tasks there are, revocations included."""
        return self.total + sum(self.sessions.values())

    @property
    def in_doubt(self) -> int:
        """Return how many tasks did not succeed and may have been carried out all the same."""
        return sum(self.maybe_changed.values()) + sum(self.sessions_maybe_ended.values())

    @property
    def clean(self) -> bool:
        """Whether nothing failed, and nobody is in doubt; whoever was skipped has a reason of its own."""
        failed = any(counts[TaskState.FAILED] for counts in (self.counts, self.sessions))
        return not failed and not self.in_doubt

    @property
    def is_damaged(self) -> bool:
        """Whether something of it was damaged, and nobody has ordered those users again or closed the batch."""
        return self.damaged > 0 and self.closed_at is None


async def create(conn: AsyncConnection, order: NewBatch, roster: Entries, *, now: datetime) -> int:
    """Write a batch and all its tasks in the caller's transaction and return its id; a crash leaves nothing.

    It is open at once, or a draft where people must approve it first. See `rosters.write` for its tasks.
    """
    options = Options.from_json(order.options)
    told = {name: getattr(order, name) for name in order.__dataclass_fields__ if name not in _OF_TASKS}
    await lock_orders(conn, order.account)
    created = await conn.execute(
        insert(batch).values(
            **told,
            created_at=now,
            state=BatchState.DRAFT if order.approvals_needed else BatchState.OPEN,
            wave=0 if options.canary else 1,
        )
    )
    assert created.inserted_primary_key is not None
    batch_id = int(created.inserted_primary_key[0])
    written = await rosters.write(
        conn,
        roster,
        batch_id=batch_id,
        account=order.account,
        label=order.label,
        planned=order.planned,
        now=now,
    )
    if written != order.total:
        raise InputError(f"the roster changed while it was written: {written} rows instead of {order.total}")
    if order.revoke_label is not None:
        await rosters.add_revocations(conn, batch_id=batch_id, label=order.revoke_label, now=now)
    detail = {name: value for name, value in told.items() if name not in ("wrapped_key", "policy", "options")}
    await audit.append(
        conn,
        batch_id,
        at=now,
        actor=order.requested_by,
        kind="created",
        **detail,
        options=json.loads(order.options),
        options_sha256=options.sha256,
    )
    return batch_id


async def know_sizes(store: Store) -> None:
    """Tell PostgreSQL's planner at once what a new roster has made of the tables; it would find out in a minute.

    Until then it may walk a million tasks for a claim of ten. Not a must: a failure is left to its own upkeep.
    """
    if not store.sqlite:
        with suppress(StoreError):
            async with store.write(LONG) as conn:
                await conn.execute(text("ANALYZE task"))


async def find(
    store: Store,
    *,
    ids: Collection[int] = (),
    accounts: Collection[str] = (),
    incidents: Collection[str] = (),
    states: Collection[str] = (),
    unfinished: bool = False,
) -> list[Batch]:
    """Return batches with their counts, the oldest first: all, or those with these ids or not finished yet.

    The other filters narrow the choice. Only the chosen batches are counted, so a long history costs nothing.
    """
    chosen: list[ColumnElement[bool]] = []
    if ids or unfinished:
        going_on = is_unfinished() if unfinished else false()
        chosen.append(or_(batch.c.id.in_(ids), going_on))
    for column, values in ((batch.c.account, accounts), (batch.c.incident, incidents), (batch.c.state, states)):
        if values:
            chosen.append(column.in_(values))
    async with store.read() as conn:
        rows = (await conn.execute(select(batch).where(*chosen).order_by(batch.c.id))).all()
        tallies = await tally.taken(conn, rows)
    return [_batch(row, tallies[row.id]) for row in rows]


async def get(store: Store, batch_id: int) -> Batch:
    """Return one batch. Raises UsageError where there is none with that id."""
    found = await find(store, ids=[batch_id])
    if not found:
        raise UsageError(f"there is no batch {batch_id}; `bulkreset batch list` shows the batches there are")
    return found[0]


async def pause(store: Store, batch_id: int, actor: str) -> Stop:
    """Stop an open batch: workers claim nothing more and drop what they have; see `stops.settled`."""
    async with store.write() as conn:
        return await _stop(
            conn,
            store,
            batch_id,
            actor,
            "paused",
            {BatchState.OPEN},
            state=BatchState.PAUSED,
            state_reason=f"paused by {actor}",
        )


async def resume(store: Store, batch_id: int, actor: str) -> None:
    """Go on with a paused or halted batch, and lift the halt of its account: somebody has acted.

    Where a ramp was ordered it begins anew.
    """
    async with store.write() as conn:
        found = (
            await conn.execute(select(batch.c.account, batch.c.state).where(batch.c.id == batch_id))
        ).one_or_none()
        if found is not None:
            await quotas.lock_accounts(conn, [found.account])
        halted = await quotas.halts(conn)
        lifts = found is not None and found.account in halted
        # A batch that is open at a halted account is waiting too; resuming it is what its operator means. One that
        # has ended stays as it is: it may be the only one left by which the account can be named.
        allowed = {BatchState.PAUSED, BatchState.HALTED} | ({BatchState.OPEN} if lifts else set())
        if found is not None and lifts and BatchState.stored(found.state).final:
            await lock_batch(conn, batch_id)
            await audit.append(conn, batch_id, at=await store.now(conn), actor=actor, kind="halt_lifted")
        else:
            await change(
                conn,
                store,
                batch_id,
                actor,
                "resumed",
                allowed,
                state=BatchState.OPEN,
                state_reason=None,
                wave_at=case((batch.c.started_at.is_not(None), await store.now(conn)), else_=batch.c.wave_at),
            )
        if found is not None and lifts:
            await quotas.lift(conn, found.account)


async def cancel(store: Store, batch_id: int, actor: str) -> Stop:
    """End a batch: nothing more is claimed, and what waits is cancelled. Calls in flight are still recorded."""
    async with store.write(LONG) as conn:
        stop = await _stop(
            conn,
            store,
            batch_id,
            actor,
            "cancelled",
            {BatchState.DRAFT, BatchState.OPEN, BatchState.PAUSED, BatchState.HALTED},
            state=BatchState.CANCELLED,
            state_reason=f"cancelled by {actor}",
        )
        await _sweep(conn, await store.now(conn), [batch_id])
        return stop


async def retry(
    store: Store, batch_id: int, actor: str, *, outcomes: Sequence[Outcome], fresh_key: Callable[[], str]
) -> int:
    """Make the failed tasks of a batch (those with one of these outcomes, where given) due again, and count them.

    Tries start anew, and each task gets a new password. A user with a task open elsewhere stays as it is.
    """
    async with store.write(LONG) as conn:
        account = (await conn.execute(select(batch.c.account).where(batch.c.id == batch_id))).scalar_one_or_none()
        if account is not None:
            await lock_orders(conn, account)  # one that comes in now may name the same users
        await lock_batch(conn, batch_id)
        now = await store.now(conn)
        chosen = [task.c.batch_id == batch_id, ~open_elsewhere()]
        if outcomes:
            chosen += [task.c.state.in_((TaskState.FAILED, TaskState.SKIPPED)), task.c.outcome.in_(outcomes)]
        else:
            chosen += [task.c.state == TaskState.FAILED]
        await lock_tasks(conn, and_(*chosen))
        reopened = await conn.execute(
            update(task)
            .where(*chosen)
            .values(
                state=TaskState.PENDING,
                due_at=now,
                tries=0,
                unclear=0,
                renewals=0,
                maybe_landed=False,
                sealed=None,
                finished_at=None,
                wave=select(batch.c.wave).where(batch.c.id == batch_id).scalar_subquery(),
            )
        )
        await second.bring_back(conn, batch_id, now=now)
        if reopened.rowcount == 0:
            kind = f" with outcome {', '.join(outcomes)}" if outcomes else ""
            raise UsageError(
                f"batch {batch_id} has no failed task{kind} to retry; see `bulkreset batch show {batch_id}`"
            )
        held = (await conn.execute(select(batch.c.wrapped_key).where(batch.c.id == batch_id))).scalar_one()
        await change(
            conn,
            store,
            batch_id,
            actor,
            "retried",
            {BatchState.OPEN, BatchState.PAUSED, BatchState.HALTED, BatchState.DONE},
            detail={"tasks": reopened.rowcount, "outcomes": list(outcomes)},
            state=case((batch.c.state == BatchState.DONE, BatchState.OPEN), else_=batch.c.state),
            finished_at=None,
            wrapped_key=held or fresh_key(),
        )
        return reopened.rowcount


async def finish(store: Store) -> list[int]:
    """Close what has nothing left to do: such batches become done, and keys that seal nothing are destroyed."""
    async with store.read() as conn:  # most often there is nothing, and then no write is worth its fsync
        if not (await conn.execute(_FINISHED)).all() and not (await conn.execute(_STRAGGLERS)).all():
            return []
    async with store.write(LONG) as conn:
        now = await store.now(conn)
        # Whoever holds one of these rows just now is finishing it too, or changing it; it will be looked at again.
        emptying = await _held(conn, _is_emptying)
        await _sweep(conn, now, emptying)
        held = await _held(conn, _is_finished)
        # Asked again now that they are held: a retry may have given them new tasks while a lock was waited for.
        finished = (await conn.execute(_FINISHED.where(batch.c.id.in_(held)))).all() if held else []
        for row in finished:
            done = row.state != BatchState.CANCELLED
            await conn.execute(
                update(batch)
                .where(batch.c.id == row.id, batch.c.state == row.state)
                .values(state=BatchState.DONE if done else row.state, finished_at=now, wrapped_key=None)
            )
            await audit.append(conn, row.id, at=now, actor="runner", kind="done" if done else "emptied")
        return [row.id for row in finished if row.state != BatchState.CANCELLED]


async def set_policy(store: Store, account: str, policy: str) -> None:
    """Replace the policy that an account's unfinished batches build their passwords to.

    Passwords that were made to another policy and surely have not landed are dropped; new ones follow.
    """
    changes = (
        batch.c.account == account,
        batch.c.state.not_in((BatchState.CANCELLED, BatchState.DONE)),
        batch.c.policy != policy,
    )
    async with store.write(LONG) as conn:
        found = await conn.execute(
            select(batch.c.id).where(*changes).order_by(batch.c.id).with_for_update(key_share=True)
        )
        if not (ids := [row.id for row in found]):
            return
        outdated = and_(task.c.batch_id.in_(ids), is_pending(), task.c.sealed.is_not(None), ~task.c.maybe_landed)
        await lock_tasks(conn, outdated)
        await conn.execute(update(task).where(outdated).values(sealed=None))
        await conn.execute(update(batch).where(batch.c.id.in_(ids)).values(policy=policy))


async def open_work(conn: AsyncConnection) -> dict[str, frozenset[Action]]:
    """Return the accounts that have an open batch, each with the actions that are ordered there."""
    rows = await conn.execute(
        select(batch.c.account, batch.c.options).where(batch.c.state == BatchState.OPEN).distinct()
    )
    work: dict[str, frozenset[Action]] = {}
    for row in rows:
        ordered = {Action.SET_PASSWORD}
        if Options.or_plain(row.options).revoke_sessions:
            ordered.add(Action.REVOKE_SESSIONS)
        work[row.account] = work.get(row.account, frozenset()) | ordered
    return work


async def _stop(
    conn: AsyncConnection,
    store: Store,
    batch_id: int,
    actor: str,
    kind: str,
    allowed: set[BatchState],
    **values: Any,
) -> Stop:
    """Change a batch that workers may have claimed from, so that each of them must confirm it."""
    await lock_batch(conn, batch_id)  # the time is read after the last claim, which this waits for
    values |= {"stop_no": batch.c.stop_no + 1, "stopped_at": await store.now(conn)}
    await change(conn, store, batch_id, actor, kind, allowed, **values)
    return await stops.begun(conn, batch_id)


async def change(
    conn: AsyncConnection,
    store: Store,
    batch_id: int,
    actor: str,
    kind: str,
    allowed: set[BatchState],
    *,
    detail: dict[str, Any] | None = None,
    **values: Any,
) -> None:
    """Change a batch's row and write who did it into its chain. Raises UsageError where its state forbids it."""
    changed = await conn.execute(
        update(batch).where(batch.c.id == batch_id, batch.c.state.in_(allowed)).values(**values)
    )
    if changed.rowcount != 1:
        state = (await conn.execute(select(batch.c.state).where(batch.c.id == batch_id))).scalar_one_or_none()
        if state is None:
            raise UsageError(f"there is no batch {batch_id}; `bulkreset batch list` shows the batches there are")
        words = " or ".join(sorted(allowed))
        raise UsageError(f"batch {batch_id} is {state}; only one that is {words} can be {kind}")
    await audit.append(conn, batch_id, at=await store.now(conn), actor=actor, kind=kind, **(detail or {}))


async def _held(conn: AsyncConnection, *which: ColumnElement[bool]) -> list[int]:
    """Hold the batches that these conditions choose and that nobody else holds; return their ids."""
    rows = select(batch.c.id).where(*which).order_by(batch.c.id)
    found = await conn.execute(rows.with_for_update(of=batch, key_share=True, skip_locked=True))
    return [row.id for row in found]


async def _sweep(conn: AsyncConnection, now: datetime, batch_ids: Sequence[int]) -> None:
    """Cancel what still waits in cancelled batches that are held, a retry that came in since included."""
    if not batch_ids:
        return
    waiting = and_(task.c.batch_id.in_(batch_ids), is_pending())
    await lock_tasks(conn, waiting)
    await conn.execute(update(task).where(waiting).values(state=TaskState.CANCELLED, finished_at=now, sealed=None))


def _batch(row: Row[Any], counted: Tally) -> Batch:
    told = [name for name in Batch.__dataclass_fields__ if name in batch.c]
    values = {name: readable(getattr(row, name)) for name in told}
    values["state"] = BatchState.stored(row.state)
    text = readable(row.options)
    try:
        options = Options.from_json(text)
        values |= {"options": options, "options_sha256": options.sha256}
    except DamagedBatch as error:
        damaged = hashlib.sha256(text.encode()).hexdigest()
        values |= {"options": Options(), "options_sha256": damaged, "state_reason": str(error)}
    return Batch(**values, **{each.name: getattr(counted, each.name) for each in fields(counted)})


_active_task = or_(any_in_state(TaskState.PENDING), any_in_state(TaskState.RUNNING))

# A cancelled batch keeps its key exactly as long as it has a task that is not final.
_is_emptying = and_(batch.c.state == BatchState.CANCELLED, batch.c.wrapped_key.is_not(None))
_is_finished = and_(
    or_(
        batch.c.state.in_((BatchState.OPEN, BatchState.PAUSED, BatchState.HALTED)),
        _is_emptying,
    ),
    ~_active_task,
)
_FINISHED = select(batch.c.id, batch.c.state).where(_is_finished)

_STRAGGLERS = select(batch.c.id).where(_is_emptying, any_in_state(TaskState.PENDING))

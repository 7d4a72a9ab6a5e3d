"""What changes a batch's state: paused, resumed, cancelled, retried, finished. Each change is in its chain."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, and_, case, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from bulkreset.errors import NoSuchBatch, UsageError
from bulkreset.model import BatchState, Outcome, TaskState
from bulkreset.store import audit, quotas, second, stops
from bulkreset.store.engine import LONG, Store
from bulkreset.store.locks import lock_batch, lock_orders, lock_tasks
from bulkreset.store.stops import Stop
from bulkreset.store.tables import any_in_state, batch, is_pending, open_elsewhere, task


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
            raise NoSuchBatch(batch_id)
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

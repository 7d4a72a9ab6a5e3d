"""What lets a batch go on, or end for good: approvals, the gate behind the canaries, the close."""

import hashlib
import re
from contextlib import aclosing
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import and_, case, func, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from bulkreset.errors import DamagedBatch, NoSuchBatch, UsageError
from bulkreset.model import Action, BatchState, TaskState
from bulkreset.options import Options, too_many
from bulkreset.store import audit, lifecycle
from bulkreset.store.engine import LONG, Store
from bulkreset.store.locks import lock_batch, lock_tasks
from bulkreset.store.members import states
from bulkreset.store.tables import approval, batch, event, is_canary, is_pending, task

# An abbreviation that nobody hits by chance, as short as a person reads out over the phone.
_SHORTEST_HASH: Final = 8
# More than any retry of ours: whoever is due later was put off by the provider, most often until tomorrow.
_WAITED_FOR: Final = timedelta(minutes=15)


async def approve(
    store: Store, batch_id: int, approver: str, *, roster: str | None = None, login: str | None = None
) -> int:
    """Let a draft go as far as this person is concerned; return how many approvals are still missing.

    The roster is hashed anew, and what was approved is bound to that hash and the options: an approval for
    anything else never counts. `roster` is the hash, or the beginning of it, that the approver has looked at;
    `login` is where the approval comes from: equal ones are one person. Raises UsageError where the batch is no
    draft, the approver ordered it, or the hashes differ.
    """
    async with store.write(LONG) as conn:
        await lock_batch(conn, batch_id)
        row = (await conn.execute(select(batch).where(batch.c.id == batch_id))).one_or_none()
        if row is None:
            raise NoSuchBatch(batch_id)
        if row.state != BatchState.DRAFT:
            raise UsageError(f"batch {batch_id} is {row.state}; only a draft can be approved")
        if same_person(approver, row.requested_by):
            raise UsageError(f"batch {batch_id} was ordered by {row.requested_by}; somebody else must approve it")
        if login is not None and login == row.login:
            raise UsageError(
                f"batch {batch_id} was ordered by {row.requested_by} from the login that you use, {login}; "
                "somebody else must approve it, from a login of their own"
            )
        options = Options.of_batch(batch_id, row.options)
        await _check_roster(conn, row, options, roster)
        for other, from_login in await _approvers(conn, row, options):
            if same_person(approver, other) or (login is not None and login == from_login):
                raise UsageError(f"batch {batch_id} has the approval of {other} already; another person is needed")
        now = await store.now(conn)
        bound = {"at": now, "roster_sha256": row.roster_sha256, "options_sha256": options.sha256, "login": login}
        known = and_(approval.c.batch_id == batch_id, approval.c.approver == approver)
        if (await conn.execute(update(approval).where(known).values(**bound))).rowcount == 0:
            await conn.execute(insert(approval).values(batch_id=batch_id, approver=approver, **bound))
        hashes = {name: value for name, value in bound.items() if name != "at" and value is not None}
        await audit.append(conn, batch_id, at=now, actor=approver, kind="approved", **hashes)
        missing = int(row.approvals_needed) - len(await _approvers(conn, row, options))
        if missing <= 0:
            await lifecycle.change(
                conn, store, batch_id, "runner", "opened", {BatchState.DRAFT}, state=BatchState.OPEN
            )
        return max(0, missing)


async def approvals(store: Store, batch_id: int) -> list[str]:
    """Return who has approved a batch as it stands."""
    async with store.read() as conn:
        row = (await conn.execute(select(batch).where(batch.c.id == batch_id))).one_or_none()
        found = [] if row is None else await _approvers(conn, row, Options.or_plain(row.options))
    return [approver for approver, _ in found]


def same_person(one: str, other: str) -> bool:
    """Tell whether two actors are one person, who may have been root in between.

    `bob (as ada)` is bob and is ada as well: whose name sudo tells is a variable that ada herself could have set.
    Two who both worked as a third user are two.
    """
    first, second = _names(one), _names(other)
    return first[0] == second[0] or first[0] in second or second[0] in first


async def advance(store: Store) -> list[int]:
    """Open the second wave of the batches whose canaries have all ended; return those batches.

    A batch whose canaries failed more than its options allow, or of whose canaries none succeeded, is halted
    instead, and one that was ordered so is paused for somebody to look. A canary that may not be called for a long
    time yet is not waited for and follows with the others. Harmless to call often and on many workers.
    """
    async with store.read() as conn:  # most often there is nothing, and then no write is worth its fsync
        if not (ids := await _past_canaries(conn, await store.now(conn))):
            return []
    async with store.write(LONG) as conn:
        rows = await conn.execute(
            select(batch)
            .where(batch.c.id.in_(ids))
            .order_by(batch.c.id)
            .with_for_update(of=batch, key_share=True, skip_locked=True)
        )
        held = rows.all()
        now = await store.now(conn)
        still = set(await _past_canaries(conn, now))
        for row in held:
            if row.id in still:
                await _open_gate(conn, row, now)
        return [row.id for row in held if row.id in still]


async def close(store: Store, batch_id: int, actor: str, **found: Any) -> None:
    """Write down that a finished roster was held against the account once more, with what was found."""
    async with store.write() as conn:
        await lifecycle.change(
            conn,
            store,
            batch_id,
            actor,
            "closed",
            {state for state in BatchState if state.final},
            detail=found,
            closed_at=await store.now(conn),
        )


async def trail(store: Store, batch_id: int) -> list[tuple[datetime, str, str, str]]:
    """Return a batch's events in their order: when, who, what, and the detail as JSON."""
    async with store.read() as conn:
        rows = await conn.execute(
            select(event.c.at, event.c.actor, event.c.kind, event.c.detail)
            .where(event.c.batch_id == batch_id)
            .order_by(event.c.seq)
        )
        return [(row.at, row.actor, row.kind, row.detail) for row in rows]


async def _check_roster(conn: AsyncConnection, row: Any, options: Options, roster: str | None) -> None:
    """Hash the tasks as they are and refuse where that is not what was ordered, or not what was looked at."""
    if roster is not None and (len(roster) < _SHORTEST_HASH or not row.roster_sha256.startswith(roster.lower())):
        raise UsageError(
            f"the approval is for the roster {roster}, and batch {row.id} has {row.roster_sha256}; "
            "nothing is approved"
        )
    whole, called = hashlib.sha256(), hashlib.sha256()
    async with aclosing(states(conn, row.id)) as pages:
        async for page in pages:
            whole.update("".join(f"{user_ref}\n" for user_ref, _ in page).encode())
            called.update("".join(f"{ref}\n" for ref, state in page if state == TaskState.PENDING).encode())
    if whole.hexdigest() != row.roster_sha256:
        raise UsageError(
            f"the users of batch {row.id} are not those that were ordered: their hash is {whole.hexdigest()}, not "
            f"{row.roster_sha256}; cancel it, and find out who changed the table"
        )
    if options.sends_sha256 and called.hexdigest() != options.sends_sha256:
        raise UsageError(
            f"who is called in batch {row.id} is not what was ordered: the hash is {called.hexdigest()}, not "
            f"{options.sends_sha256}; cancel it, and find out who changed the table"
        )


async def _approvers(conn: AsyncConnection, row: Any, options: Options) -> list[tuple[str, str | None]]:
    """Return those whose approval is for this roster and these options, each with the login it came from."""
    rows = await conn.execute(
        select(approval.c.approver, approval.c.login)
        .where(
            approval.c.batch_id == row.id,
            approval.c.roster_sha256 == row.roster_sha256,
            approval.c.options_sha256 == options.sha256,
        )
        .order_by(approval.c.at, approval.c.approver)
    )
    return [(one.approver, one.login) for one in rows]


_BY_SQL: Final = re.compile(r" \(by SQL, request [0-9]+\)$")


def _names(actor: str) -> tuple[str, ...]:
    """Return who acted, and as which user of the system where that is another one."""
    actor = _BY_SQL.sub("", actor)
    person = actor.partition(" (as ")[0]
    _, found, user = actor.rpartition(" (as ")
    return tuple(name.strip().casefold() for name in ([person, user.removesuffix(")")] if found else [person]))


async def _past_canaries(conn: AsyncConnection, now: datetime) -> list[int]:
    soon = and_(task.c.state == TaskState.PENDING, task.c.due_at <= now + _WAITED_FOR)
    active = or_(soon, task.c.state == TaskState.RUNNING)
    first = select(task.c.id).where(task.c.batch_id == batch.c.id, is_canary(), active).limit(1).scalar_subquery()
    rows = await conn.execute(
        select(batch.c.id).where(batch.c.state == BatchState.OPEN, batch.c.wave == 0, first.is_(None))
    )
    return [row.id for row in rows]


def _past_gate(row: Any, told: Any) -> tuple[BatchState, str | None]:
    """Say how a batch goes on after its canaries, and why where it does not."""
    try:
        options = Options.from_json(row.options)
    except DamagedBatch as error:
        return BatchState.HALTED, str(error)
    said = f"{told.failed} of {told.n} canaries failed"
    if too_many(told.failed, told.n, options.halt_at):
        return BatchState.HALTED, f"{said}; `bulkreset report {row.id} --state failed` lists them"
    if told.n and not told.succeeded:
        return BatchState.HALTED, f"none of {told.n} canaries succeeded; `bulkreset report {row.id}` lists them"
    if options.hold_after_canary:
        shown = "failed" if told.failed else "succeeded"
        look = f"look with `bulkreset report {row.id} --state {shown}`"
        return BatchState.PAUSED, f"{said}; {look}, then `bulkreset batch resume {row.id}`"
    return BatchState.OPEN, None


async def _open_gate(conn: AsyncConnection, row: Any, now: datetime) -> None:
    ours = and_(task.c.batch_id == row.id, is_canary())
    counts = (
        func.coalesce(func.sum(case((task.c.state == state, 1), else_=0)), 0).label(str(state))
        for state in (TaskState.FAILED, TaskState.SUCCEEDED)
    )
    counted = select(func.count().label("n"), *counts).where(ours, task.c.action == Action.SET_PASSWORD)
    told = (await conn.execute(counted)).one()
    waits = and_(ours, is_pending())
    await lock_tasks(conn, waits)
    await conn.execute(update(task).where(waits).values(wave=1))
    state, reason = _past_gate(row, told)
    await conn.execute(
        update(batch)
        .where(batch.c.id == row.id, batch.c.state == BatchState.OPEN)
        .values(state=state, state_reason=reason, wave=1, wave_at=now)
    )
    kind = {BatchState.OPEN: "canaries_passed", BatchState.HALTED: "halted"}.get(state, "paused")
    await audit.append(conn, row.id, at=now, actor="runner", kind=kind, canaries=told.n, failed=told.failed)

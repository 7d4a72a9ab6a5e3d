"""Batches: created whole or not at all, and looked at; what changes their state is in `lifecycle`."""

import hashlib
import json
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Row,
    and_,
    false,
    insert,
    or_,
    select,
    text,
    update,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from bulkreset.errors import DamagedBatch, InputError, NoSuchBatch, StoreError
from bulkreset.model import Action, BatchState, TaskState
from bulkreset.options import Options
from bulkreset.store import audit, rosters, tally
from bulkreset.store.engine import LONG, Store
from bulkreset.store.locks import lock_orders, lock_tasks
from bulkreset.store.rosters import Entries
from bulkreset.store.rows import readable
from bulkreset.store.tables import batch, is_pending, is_unfinished, task
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
        raise NoSuchBatch(batch_id)
    return found[0]


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

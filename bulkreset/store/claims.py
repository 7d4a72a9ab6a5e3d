"""Claims: free slots matched with due tasks, an attempt opened for each before its call may leave.

After a crash the table knows every call that may have gone out, because its attempt row was committed first.
Locks are taken in one order, here and everywhere: quota rows, then batch rows, then task rows, each by their key.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import chain, zip_longest
from time import monotonic
from typing import Any, Final, NamedTuple, Protocol

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Integer,
    Row,
    Select,
    Text,
    any_,
    bindparam,
    case,
    func,
    insert,
    or_,
    select,
    union_all,
    update,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from bulkreset.errors import StoreError
from bulkreset.limits.quota import Spacing
from bulkreset.model import Action, BatchState, Claim, Quota, TaskState
from bulkreset.secret import Secret
from bulkreset.store import audit, quotas
from bulkreset.store.engine import Store
from bulkreset.store.quotas import Offer, Window
from bulkreset.store.rows import as_json, rows_in, rows_out
from bulkreset.store.tables import (
    UtcDateTime,
    any_task,
    attempt,
    batch,
    is_pending,
    is_running,
    slot_text,
    state_is,
    task,
)

# Batches of one account that progress side by side; the others follow as these end.
_BATCHES_AT_ONCE: Final = 8


@dataclass(frozen=True, slots=True)
class OpenBatch:
    """What a claim needs to know of a batch to seal and open its passwords."""

    id: int
    policy: str
    wrapped_key: str


class Sealer(Protocol):
    """Makes passwords and opens sealed ones, inside the claim's transaction."""

    def fresh(self, of: OpenBatch, *, task_id: int, password_no: int, display: str) -> tuple[Secret, str]:
        """Make a password for this task; return it and its sealed form."""

    def open(self, of: OpenBatch, *, task_id: int, password_no: int, sealed: str) -> Secret:
        """Return the password that was sealed. Raises KeyMismatch."""


@dataclass(frozen=True, slots=True)
class Claimed:
    """What a claim brought: calls to send, and when it is worth asking again.

    `now` is the database's clock and `read_at` this process's monotonic one, taken just after it, so that
    slots can be turned into local waiting times; `clock_doubt` is how long reading it took.
    """

    claims: list[Claim]
    offer: Offer
    now: datetime
    read_at: float
    clock_doubt: float


async def claim(
    store: Store,
    which: Quota,
    spacing: Spacing,
    *,
    sealer: Sealer,
    worker: str,
    window: Window,
    most: int,
    lease: timedelta,
) -> Claimed:
    """Take free slots and as many due tasks, open an attempt for each, and commit before any call may leave.

    The lease of each task runs `lease` from its slot. A crash before the commit leaves nothing; after it, the
    attempts are open and `rescue` finds them. Raises KeyMismatch and StoreError, leaving nothing behind.
    """
    async with store.write() as conn:
        row = await quotas.lock(store, conn, which)
        asked_at = monotonic()
        now = await store.now(conn)
        read_at = monotonic()
        found = quotas.offer(row, now, spacing, window, most)
        claims: list[Claim] = []
        if found.slots:
            claims = await _open_attempts(conn, which, found.slots, now, sealer=sealer, worker=worker, lease=lease)
        if claims or quotas.rewinds(found, row):
            await quotas.take(conn, which, row, now, spacing, found.slots[: len(claims)])
    return Claimed(claims, found, now, read_at, read_at - asked_at)


async def next_due(conn: AsyncConnection, which: Quota) -> datetime | None:
    """Return when the earliest pending task under a quota falls due, of all open batches; None without any."""
    first = (
        select(func.min(task.c.due_at))
        .where(task.c.batch_id == batch.c.id, task.c.label == which.label, is_pending())
        .scalar_subquery()
    )
    rows = await conn.execute(
        select(first.label("due_at"), batch.c.not_before).where(
            batch.c.account == which.account, batch.c.state == BatchState.OPEN
        )
    )
    times = [max(row.due_at, row.not_before or row.due_at) for row in rows if row.due_at is not None]
    return min(times, default=None)


async def next_lease_end(conn: AsyncConnection, accounts: Collection[str]) -> datetime | None:
    """Return when the first lease at these accounts ends; None where no task is running there."""
    first = select(func.min(task.c.lease_until)).where(is_running(), task.c.account.in_(accounts))
    ends: datetime | None = (await conn.execute(first)).scalar_one()
    return ends


async def _open_attempts(
    conn: AsyncConnection,
    which: Quota,
    slots: range,
    now: datetime,
    *,
    sealer: Sealer,
    worker: str,
    lease: timedelta,
) -> list[Claim]:
    batches = await _due_batches(conn, which, now)
    if not batches:
        return []
    picked = await _pick(conn, which, [b.id for b in batches], now, len(slots))
    if not picked:
        return []
    lease_us = lease // timedelta(microseconds=1)
    by_id = {b.id: OpenBatch(b.id, b.policy, b.wrapped_key) for b in batches}
    claims: list[Claim] = []
    rows: list[dict[str, Any]] = []
    for slot_us, values in zip(slots, picked, strict=False):
        due = _Due._make(values)
        of = by_id[due.batch_id]
        password_no = due.password_no
        if due.sealed is None:
            password_no += 1
            password, sealed = sealer.fresh(of, task_id=due.id, password_no=password_no, display=due.display)
        else:
            sealed = due.sealed
            password = sealer.open(of, task_id=due.id, password_no=password_no, sealed=sealed)
        claims.append(
            Claim(
                task_id=due.id,
                batch_id=due.batch_id,
                n=due.attempt + 1,
                user_ref=due.user_ref,
                action=Action(due.action),
                slot_at=quotas.at(slot_us),
                tries=due.tries,
                unclear=due.unclear,
                renewals=due.renewals,
                password_no=password_no,
                # A password that is new cannot have landed, whatever became of the one before it.
                maybe_landed=bool(due.maybe_landed) and due.sealed is not None,
                password=password,
            )
        )
        rows.append(
            {
                "task_id": due.id,
                "n": due.attempt + 1,
                "password_no": password_no,
                "sealed": sealed,
                "slot_at": slot_text(slot_us),
                "lease_until": slot_text(slot_us + lease_us),
            }
        )
    parameters = {"claims": as_json(rows), "worker": worker, "now": now}
    started = await conn.execute(_START_TASKS, parameters)
    if started.rowcount != len(claims):
        raise StoreError(
            f"a claim of {len(claims)} tasks found only {started.rowcount} still pending; it is undone"
        )
    await conn.execute(_OPEN_ATTEMPTS, parameters)
    fresh = {b.id for b in batches if b.started_at is None} & {c.batch_id for c in claims}
    for batch_id in sorted(fresh):
        await conn.execute(update(batch).where(batch.c.id == batch_id).values(started_at=now))
        await audit.append(conn, batch_id, at=now, actor="runner", kind="started", worker=worker)
    return claims


class _Due(NamedTuple):
    """A row of `_due_tasks`, in its order."""

    id: int
    batch_id: int
    user_ref: str
    display: str
    action: str
    attempt: int
    tries: int
    unclear: int
    renewals: int
    password_no: int
    maybe_landed: int
    sealed: str | None


async def _due_batches(conn: AsyncConnection, which: Quota, now: datetime) -> Sequence[Row[Any, Any, Any, Any]]:
    """Return the open batches that have a due task, those that waited longest for a turn first."""
    has_due = any_task(
        task.c.label == which.label, is_pending(), task.c.due_at <= now, along=[task.c.due_at, task.c.id]
    )
    rows = await conn.execute(
        select(batch.c.id, batch.c.policy, batch.c.wrapped_key, batch.c.started_at)
        .where(
            batch.c.account == which.account,
            batch.c.state == BatchState.OPEN,
            or_(batch.c.not_before.is_(None), batch.c.not_before <= now),
            has_due,
        )
        .order_by(batch.c.id)
        .limit(_BATCHES_AT_ONCE)
        # Held, so that a pause or a cancel comes before this claim or after it, and never in between. One that
        # is under way is not waited for: it is about to take the batch away.
        .with_for_update(of=batch, key_share=True, skip_locked=True)
    )
    batches = rows.all()
    # A claim may be of one slot only, so whose turn is first must move on from claim to claim.
    turn = now.microsecond // 1000 % len(batches) if batches else 0
    return list(batches[turn:]) + list(batches[:turn])


async def _pick(
    conn: AsyncConnection, which: Quota, batch_ids: Sequence[int], now: datetime, most: int
) -> list[list[Any]]:
    """Return up to `most` due tasks, a batch at a time in turn, held until the transaction ends."""
    if conn.dialect.name == "sqlite":
        return _take_turns(await rows_out(conn, due_tasks(which, batch_ids, now, most, _Due._fields)), most)
    # Chosen first and locked then, by their ids: a lock cannot be had on a union, and inside of a join a LIMIT
    # with SKIP LOCKED may lock more rows than it returns.
    chosen = _take_turns(await rows_out(conn, due_tasks(which, batch_ids, now, most, ("id", "batch_id"))), most)
    locked = await rows_out(
        conn,
        select(*(task.c[name] for name in _Due._fields))
        .where(task.c.id == any_(bindparam("ids", [row[0] for row in chosen], ARRAY(BigInteger()))), is_pending())
        .order_by(task.c.id)
        .with_for_update(skip_locked=True, of=task),
    )
    held = {row[0]: row for row in locked}
    return [held[row[0]] for row in chosen if row[0] in held]


def due_tasks(
    which: Quota, batch_ids: Sequence[int], now: datetime, most: int, columns: Sequence[str]
) -> Select[Any]:
    """Select up to `most` due tasks of each batch, oldest first; each part is one range of the claim index."""
    parts = [
        select(*(task.c[name] for name in columns))
        .where(task.c.batch_id == batch_id, task.c.label == which.label, is_pending(), task.c.due_at <= now)
        .order_by(task.c.due_at, task.c.id)
        .limit(most)
        .subquery()
        for batch_id in batch_ids
    ]
    if len(parts) == 1:
        return select(parts[0])
    return select(union_all(*(select(part) for part in parts)).subquery())


def _take_turns(rows: Sequence[list[Any]], most: int) -> list[list[Any]]:
    """Pick `most` rows, one of each batch in turn, so that a small batch need not wait for a huge one."""
    by_batch: dict[int, list[list[Any]]] = {}
    for row in rows:
        by_batch.setdefault(row[1], []).append(row)
    if len(by_batch) == 1:
        return list(rows[:most])
    turns = chain.from_iterable(zip_longest(*by_batch.values()))
    return [row for row in turns if row is not None][:most]


_claims = rows_in(
    "claims",
    {
        "task_id": BigInteger(),
        "n": Integer(),
        "password_no": Integer(),
        "sealed": Text(),
        "slot_at": UtcDateTime(),
        "lease_until": UtcDateTime(),
    },
)

_START_TASKS = (
    update(task)
    .where(task.c.id == _claims.c.task_id, state_is(TaskState.PENDING))
    .values(
        state=TaskState.RUNNING,
        attempt=_claims.c.n,
        password_no=_claims.c.password_no,
        maybe_landed=case((task.c.sealed.is_(None), False), else_=task.c.maybe_landed),
        sealed=_claims.c.sealed,
        worker=bindparam("worker", type_=Text()),
        lease_until=_claims.c.lease_until,
    )
)

_OPEN_ATTEMPTS = insert(attempt).from_select(
    ["task_id", "n", "password_no", "slot_at", "worker", "opened_at"],
    select(
        _claims.c.task_id,
        _claims.c.n,
        _claims.c.password_no,
        _claims.c.slot_at,
        bindparam("worker", type_=Text()),
        bindparam("now", type_=UtcDateTime()),
    ),
)

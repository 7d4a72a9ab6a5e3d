"""Claims: free slots matched with due tasks, an attempt opened for each before its call may leave.

After a crash the table knows every call that may have gone out, because its attempt row was committed first.
Locks are taken in one order, here and everywhere: quota rows, then batch rows, then task rows, each by their key.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from time import monotonic
from typing import Any, Final, Protocol

from sqlalchemy import (
    BigInteger,
    Integer,
    Text,
    bindparam,
    case,
    func,
    insert,
    select,
    update,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from bulkreset.errors import KeyMismatch, StoreError
from bulkreset.limits.clock import ClockWatch
from bulkreset.limits.quota import US, Spacing
from bulkreset.limits.ramp import on_ramp
from bulkreset.model import Action, Claim, Quota, TaskState
from bulkreset.secret import Secret
from bulkreset.store import audit, quotas
from bulkreset.store.column_types import UtcDateTime, slot_text
from bulkreset.store.due import Due, OpenBatch, due_batches, pick
from bulkreset.store.engine import Store
from bulkreset.store.quotas import Offer, Window
from bulkreset.store.rows import as_json, rows_in
from bulkreset.store.tables import attempt, batch, is_running, state_is, task

_CLOCK_READINGS: Final = 3


class Sealer(Protocol):
    """Makes passwords and opens sealed ones, inside the claim's transaction."""

    def obstacle(self, of: OpenBatch) -> str | None:
        """Say why no password of this batch can be made or opened; None where they can."""

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
    batches: Mapping[int, OpenBatch]
    spent: range = range(0)  # the slots that were taken, with a call or without
    held_back: bool = False  # a ramp left slots unused on purpose
    unusable: Mapping[int, str] = field(default_factory=dict)  # batches that must stop, and why
    damaged: int = 0  # due tasks of which no claim can be made: see bulkreset.store.damage


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
    withheld: int = 0,
    clock: ClockWatch | None = None,
) -> Claimed:
    """Take free slots and as many due tasks, open an attempt for each, and commit before any call may leave.

    So many slots as are `withheld` are taken without a call: earlier calls that may arrive late have used them up.
    Where the `clock` was set, nothing is given out to anybody before all that was is a window back.
    The lease of each task runs `lease` from its slot. A crash before the commit leaves nothing; after it, the
    attempts are open and `rescue` finds them. Raises StoreError, leaving nothing behind.

    Nothing is claimed from a batch that is `unusable`. A claim without the password that its action needs is of a
    task whose sealed password does not open.
    """
    async with store.write() as conn:
        row = await quotas.lock(store, conn, which)
        asked_at, now, read_at = await _read_clock(store, conn, spacing)
        doubt = read_at - asked_at
        if clock is not None and clock.stepped(now, asked_at=asked_at, read_at=read_at):
            # What any worker holds was given out by the clock before, and is sent within the horizon.
            begin = quotas.microseconds(now + window.horizon) + spacing.window_us
            await quotas.take(conn, which, row, now, spacing, range(begin, begin), calls=0)
            closed = Offer(range(0), quotas.at(begin), halted_reason=row.halted_reason)
            return Claimed([], closed, now, read_at, doubt, {}, range(0))
        found = quotas.offer(row, now, spacing, window, most + withheld)
        idle, usable = found.slots[:withheld], found.slots[withheld:]
        opened = _Opened({}, [], usable[:0], {})
        if usable:
            opened = await _open_attempts(
                conn, which, usable, now, spacing, sealer=sealer, worker=worker, lease=lease
            )
        claims = opened.claims
        held_back = len(opened.spent) > len(claims)
        spent = range(idle.start, opened.spent.stop, spacing.interval_us) if idle and opened.spent else idle
        spent = spent or opened.spent
        if spent or quotas.rewinds(found, row):
            await quotas.take(conn, which, row, now, spacing, spent, calls=len(claims))
    return Claimed(
        claims, found, now, read_at, doubt, opened.batches, spent, held_back, opened.unusable, opened.damaged
    )


async def next_lease_end(conn: AsyncConnection, accounts: Collection[str]) -> datetime | None:
    """Return when the first lease at these accounts ends; None where no task is running there."""
    first = select(func.min(task.c.lease_until)).where(is_running(), task.c.account.in_(accounts))
    ends: datetime | None = (await conn.execute(first)).scalar_one()
    return ends


@dataclass(frozen=True, slots=True)
class _Opened:
    """The attempts that a claim opened, and the slots that are spent for them."""

    batches: dict[int, OpenBatch]
    claims: list[Claim]
    spent: range
    unusable: dict[int, str]
    damaged: int = 0


async def _read_clock(store: Store, conn: AsyncConnection, spacing: Spacing) -> tuple[float, datetime, float]:
    """Read the database's clock, with the instants before and after; a slow reading is made once more, or twice.

    By a reading that took too long nothing can be sent: all slots of its claim would be given back.
    """
    for _ in range(_CLOCK_READINGS):
        asked_at = monotonic()
        now = await store.now(conn)
        read_at = monotonic()
        if read_at - asked_at <= spacing.clock_doubt_s:
            break
    return asked_at, now, read_at


async def _open_attempts(
    conn: AsyncConnection,
    which: Quota,
    slots: range,
    now: datetime,
    spacing: Spacing,
    *,
    sealer: Sealer,
    worker: str,
    lease: timedelta,
) -> _Opened:
    by_id = {one.id: one for one in await due_batches(conn, which, now)}
    unusable = {one.id: why for one in by_id.values() if (why := one.damage or sealer.obstacle(one)) is not None}
    by_id = {batch_id: one for batch_id, one in by_id.items() if batch_id not in unusable}
    usable, spent = _ramped(by_id, slots, spacing)
    if not usable:
        return _Opened(by_id, [], spent, unusable)
    picked = await pick(conn, which, list(by_id.values()), now, {of: len(own) for of, own in usable.items()})
    sound = [due for due in picked if due.is_sound]
    damaged = len(picked) - len(sound)
    pairs = _matched(sound, usable, slots)
    claims: list[Claim] = []
    starts: list[dict[str, Any]] = []
    lease_us = lease // timedelta(microseconds=1)
    for slot_us, due in pairs:
        sealed, password, password_no = _password(sealer, by_id[due.batch_id], due)
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
                display=due.display,
                user_id=due.user_id,
                maybe_changed=bool(due.maybe_changed),
            )
        )
        starts.append(
            {
                "task_id": due.id,
                "n": due.attempt + 1,
                "password_no": password_no,
                "sealed": sealed,
                "slot_at": slot_text(slot_us),
                "lease_until": slot_text(slot_us + lease_us),
            }
        )
    if not claims:
        return _Opened(by_id, [], spent, unusable, damaged)
    parameters = {"claims": as_json(starts), "worker": worker, "now": now}
    started = await conn.execute(_START_TASKS, parameters)
    if started.rowcount != len(claims):
        raise StoreError(
            f"a claim of {len(claims)} tasks found only {started.rowcount} still pending; it is undone"
        )
    await conn.execute(_OPEN_ATTEMPTS, parameters)
    fresh = {c.batch_id for c in claims if not by_id[c.batch_id].started}
    for batch_id in sorted(fresh):
        await conn.execute(update(batch).where(batch.c.id == batch_id).values(started_at=now))
        await audit.append(conn, batch_id, at=now, actor="runner", kind="started", worker=worker)
    last = pairs[-1][0]
    return _Opened(by_id, claims, spent or range(slots.start, last + slots.step, slots.step), unusable, damaged)


def _password(sealer: Sealer, of: OpenBatch, due: Due) -> tuple[str | None, Secret | None, int]:
    """Return what a call sends, its sealed form and its number; nothing where the action needs no password.

    A sealed password that does not open is left as it is, and there is nothing to send.
    """
    if due.action != Action.SET_PASSWORD:
        return None, None, due.password_no
    if due.sealed is None:
        password_no = due.password_no + 1
        password, sealed = sealer.fresh(of, task_id=due.id, password_no=password_no, display=due.display)
        return sealed, password, password_no
    try:
        password = sealer.open(of, task_id=due.id, password_no=due.password_no, sealed=due.sealed)
    except KeyMismatch:
        return due.sealed, None, due.password_no
    return due.sealed, password, due.password_no


def _ramped(
    of: Mapping[int, OpenBatch], slots: range, spacing: Spacing
) -> tuple[dict[int, Collection[int]], range]:
    """Return the slots that each batch may use, and those that are spent whatever becomes of them.

    Where every batch is on its ramp, all of the slots are: those between two calls are left out on purpose.
    """
    usable: dict[int, Collection[int]] = {}
    ramping = 0
    for one in of.values():
        began_us = quotas.microseconds(one.began_at) if one.started else slots.start
        ramp_us = one.options.ramp_s * US
        if ramp_us and slots.stop < began_us + ramp_us:
            ramping += 1
            usable[one.id] = [
                slot for slot in slots if on_ramp(slot - began_us, ramp_us, interval_us=spacing.interval_us)
            ]
        else:
            usable[one.id] = slots
    spent = slots if ramping and ramping == len(of) else slots[:0]
    return {batch_id: own for batch_id, own in usable.items() if own}, spent


def _matched(picked: Sequence[Due], usable: Mapping[int, Collection[int]], slots: range) -> list[tuple[int, Due]]:
    """Give each slot the first task, in the order picked, whose batch may use it."""
    if all(own is slots for own in usable.values()):
        return list(zip(slots, picked, strict=False))
    waiting = list(picked)
    pairs = []
    for slot in slots:
        due = next((one for one in waiting if slot in usable[one.batch_id]), None)
        if due is not None:
            waiting.remove(due)
            pairs.append((slot, due))
    return pairs


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

"""The quota row of an account's label: taking slots, pausing, halting."""

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from time import monotonic
from typing import Any, Final

from sqlalchemy import Row, func, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from bulkreset.limits.quota import US, Spacing, free_slots, left_today
from bulkreset.model import Quota
from bulkreset.store.engine import Store
from bulkreset.store.tables import quota

_US: Final = timedelta(microseconds=1)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Window:
    """How far ahead slots are taken: from `lead` after the database's now up to `horizon` after it."""

    lead: timedelta
    horizon: timedelta


@dataclass(frozen=True, slots=True)
class Offer:
    """The free slots of a quota, or why there are none.

    `opens_at` is when slots may next be had where there are none now; None with `halted_reason` set.
    """

    slots: range
    opens_at: datetime | None = None
    pause_reason: str | None = None
    halted_reason: str | None = None


@dataclass(frozen=True, slots=True)
class Pause:
    """The wish that nobody calls under a quota before a time."""

    quota: Quota
    until: datetime
    reason: str


@dataclass(frozen=True, slots=True)
class Halt:
    """The finding that an account must not be called again until a person has acted."""

    quota: Quota
    reason: str


def at(slot_us: int) -> datetime:
    """Return a slot as a time."""
    return _EPOCH + slot_us * _US


def microseconds(moment: datetime) -> int:
    """Return a time as slots are counted: microseconds since 1970."""
    return (moment - _EPOCH) // _US


async def lock(store: Store, conn: AsyncConnection, which: Quota) -> Row[Any]:
    """Return the quota's row, held until the transaction ends; made where it is missing.

    Read the clock after it: what waited for the lock must not count from before it.
    """
    ours = (quota.c.account == which.account) & (quota.c.label == which.label)
    row = (await conn.execute(select(quota).where(ours).with_for_update())).one_or_none()
    if row is None:
        await _ensure(conn, which, await store.now(conn))
        row = (await conn.execute(select(quota).where(ours).with_for_update())).one()
    return row


def offer(
    row: Row[Any], now: datetime, spacing: Spacing, window: Window, most: int, *, through_halt: bool = False
) -> Offer:
    """Work out which slots a locked quota row has free. Pure; nothing is taken yet."""
    if row.halted_reason is not None and not through_halt:
        return Offer(range(0), halted_reason=row.halted_reason)
    if row.paused_until is not None and row.paused_until >= now + window.horizon:
        return Offer(range(0), opens_at=row.paused_until, pause_reason=row.pause_reason)
    left = left_today(spacing, used=_used_today(row, now))
    if left == 0:
        midnight = datetime.combine(now.date() + timedelta(days=1), time.min, UTC)
        return Offer(range(0), opens_at=midnight, pause_reason=f"the daily limit of {spacing.daily:,} is used up")
    slots = free_slots(
        tat_us=microseconds(row.tat),
        now_us=microseconds(now),
        spacing=spacing,
        lead_us=window.lead // _US,
        horizon_us=window.horizon // _US,
        most=most if left is None else min(most, left),
        not_before_us=0 if row.paused_until is None else microseconds(row.paused_until),
    )
    return Offer(slots, opens_at=None if slots else at(slots.stop) - window.horizon)


async def take(
    conn: AsyncConnection,
    which: Quota,
    row: Row[Any],
    now: datetime,
    spacing: Spacing,
    slots: range,
    *,
    calls: int,
) -> None:
    """Move a locked quota row's line of time to the end of these slots, and count the calls that use them."""
    used = _used_today(row, now)
    values = {"tat": at(slots.stop), "interval": spacing.interval_us / US}
    if slots:
        day = now.date() if row.day is None else max(row.day, now.date())
        values |= {"day": day, "used_today": used + calls, "paused_until": None, "pause_reason": None}
    await conn.execute(
        update(quota).where(quota.c.account == which.account, quota.c.label == which.label).values(values)
    )


async def give_back(conn: AsyncConnection, which: Quota, day: date, *, calls: int) -> None:
    """Take calls that never left out of the count of their day, in a row that is locked.

    Nothing is taken out of a later day's count, nor of one that is too small to hold them: that one was damaged.
    """
    await conn.execute(
        update(quota)
        .where(
            quota.c.account == which.account,
            quota.c.label == which.label,
            quota.c.day == day,
            quota.c.used_today >= calls,
        )
        .values(used_today=quota.c.used_today - calls)
    )


def rewinds(found: Offer, row: Row[Any]) -> bool:
    """Whether the offer has put right a line of time that lay impossibly far ahead: the clock was set back."""
    return 0 < found.slots.stop < microseconds(row.tat)


async def take_one(
    store: Store,
    which: Quota,
    spacing: Spacing,
    window: Window,
    *,
    through_halt: bool = False,
    monotonic: Callable[[], float] = monotonic,
) -> tuple[datetime, float, Offer]:
    """Take one slot for a call outside of any task; return the database's now, when it was read, and the slot."""
    async with store.write() as conn:
        row = await lock(store, conn, which)
        now = await store.now(conn)
        read_at = monotonic()
        found = offer(row, now, spacing, window, most=1, through_halt=through_halt)
        if found.slots or rewinds(found, row):
            await take(conn, which, row, now, spacing, found.slots, calls=len(found.slots))
        return now, read_at, found


async def lock_accounts(conn: AsyncConnection, accounts: Collection[str]) -> None:
    """Hold every quota row of these accounts, in the one order that everybody locks them in."""
    rows = select(quota.c.label).where(quota.c.account.in_(accounts)).order_by(quota.c.account, quota.c.label)
    await conn.execute(rows.with_for_update())


async def apply(
    conn: AsyncConnection,
    now: datetime,
    pauses: Iterable[Pause],
    halts: Iterable[Halt],
    *,
    locked: Collection[str] = (),
) -> None:
    """Write pauses and halts; the later end wins over an earlier pause, and the first halt's reason stays.

    The rows of the accounts to be `locked` are written later in the transaction: locked then, they would be out of
    order.
    """
    pauses, halts = list(pauses), list(halts)
    found = sorted({pause.quota for pause in pauses} | {halt.quota for halt in halts})
    for which in found:
        await _ensure(conn, which, now)
    if accounts := {which.account for which in found}.union(locked):
        await lock_accounts(conn, accounts)
    for pause in pauses:
        later = or_(quota.c.paused_until.is_(None), quota.c.paused_until < pause.until)
        await conn.execute(
            update(quota)
            .where(quota.c.account == pause.quota.account, quota.c.label == pause.quota.label, later)
            .values(paused_until=pause.until, pause_reason=pause.reason)
        )
    for halt in halts:
        await conn.execute(
            update(quota)
            .where(quota.c.account == halt.quota.account)
            .values(halted_reason=func.coalesce(quota.c.halted_reason, halt.reason))
        )


async def lift(conn: AsyncConnection, account: str) -> None:
    """Let an account be called again; the pauses that its provider asked for stay."""
    await conn.execute(update(quota).where(quota.c.account == account).values(halted_reason=None))


async def halts(conn: AsyncConnection) -> dict[str, str]:
    """Return the reason for each halted account."""
    rows = await conn.execute(
        select(quota.c.account, quota.c.halted_reason).where(quota.c.halted_reason.is_not(None))
    )
    return {row.account: row.halted_reason for row in rows}


async def _ensure(conn: AsyncConnection, which: Quota, now: datetime) -> None:
    """Make a quota's row where it is missing; a halted account is halted under a label that comes later too."""
    values = {"account": which.account, "label": which.label, "interval": 0, "tat": now}
    insert = postgresql.insert if conn.dialect.name == "postgresql" else sqlite.insert
    made = await conn.execute(insert(quota).values(values).on_conflict_do_nothing())
    if made.rowcount == 1:
        # Held first, and read in a statement of its own: a halt comes before this row or finds it.
        await lock_accounts(conn, [which.account])
        if (reason := (await halts(conn)).get(which.account)) is not None:
            await conn.execute(
                update(quota)
                .where(quota.c.account == which.account, quota.c.label == which.label)
                .values(halted_reason=reason)
            )


def _used_today(row: Row[Any], now: datetime) -> int:
    # A day that lies ahead was written before the clock was set back; it still counts.
    return int(row.used_today) if row.day is not None and row.day >= now.date() else 0

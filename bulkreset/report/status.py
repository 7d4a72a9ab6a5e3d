"""How things stand, from the database alone: accounts, unfinished batches, and the workers seen lately."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from bulkreset.model import BatchState, Quota
from bulkreset.report.render import batch_core, moment
from bulkreset.store import batches, workers
from bulkreset.store.batches import Batch
from bulkreset.store.engine import Store
from bulkreset.store.tables import attempt, quota, task
from bulkreset.store.workers import Seen

_MINUTE: Final = timedelta(minutes=1)
# An attempt is opened up to a second and a half before its slot.
_AHEAD: Final = timedelta(seconds=2)
_WORKERS_SINCE: Final = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class AccountStatus:
    """A quota as it stands. `limit_per_s` is what its workers claim with; None before the first claim."""

    account: str
    label: str
    limit_per_s: float | None
    last_minute_per_s: float
    paused_until: datetime | None
    pause_reason: str | None
    halted_reason: str | None
    used_today: int


@dataclass(frozen=True, slots=True)
class BatchStatus:
    """An unfinished batch; `eta_s` is None where nobody can tell, as when it is paused or its account halted."""

    batch: Batch
    eta_s: float | None


@dataclass(frozen=True, slots=True)
class WorkerStatus:
    """A worker, with the calls that it sent in the last minute."""

    seen: Seen
    last_minute: int


@dataclass(frozen=True, slots=True)
class Status:
    """Everything, as of `now` by the database's clock."""

    now: datetime
    accounts: tuple[AccountStatus, ...]
    batches: tuple[BatchStatus, ...]
    workers: tuple[WorkerStatus, ...]


async def status(store: Store) -> Status:
    """Look at the database; needs neither a provider nor a running worker."""
    unfinished = await batches.find(store, unfinished=True)
    async with store.read() as conn:
        now = await store.now(conn)
        by_quota, by_worker = await _sent(conn, now)
        accounts = tuple(
            AccountStatus(
                account=row.account,
                label=row.label,
                limit_per_s=round(1 / row.interval, 3) if row.interval else None,
                last_minute_per_s=round(by_quota.get(Quota(row.account, row.label), 0) / 60, 2),
                paused_until=row.paused_until if row.paused_until and row.paused_until > now else None,
                pause_reason=row.pause_reason if row.paused_until and row.paused_until > now else None,
                halted_reason=row.halted_reason,
                used_today=row.used_today if row.day == now.date() else 0,
            )
            for row in await conn.execute(select(quota).order_by(quota.c.account, quota.c.label))
        )
        found = await workers.seen(conn, since=now - _WORKERS_SINCE)
    return Status(
        now=now,
        accounts=accounts,
        batches=tuple(BatchStatus(batch, eta(batch, unfinished, accounts, now)) for batch in unfinished),
        workers=tuple(WorkerStatus(one, by_worker.get(one.name, 0)) for one in found),
    )


def eta(
    batch: Batch, unfinished: Sequence[Batch], accounts: Sequence[AccountStatus], now: datetime
) -> float | None:
    """Return how many seconds a batch still takes at its account's limit, which its open batches share in turns.

    Pure. While this one goes on, each of the others gets as many calls as this one, or all that it needs.
    """
    ours = [account for account in accounts if account.account == batch.account]
    if batch.state is not BatchState.OPEN or any(account.halted_reason for account in ours):
        return None
    rates = [account.limit_per_s for account in ours if account.limit_per_s]
    if not rates:
        return None
    calls = sum(
        min(other.left, batch.left)
        for other in unfinished
        if other.account == batch.account and other.state is BatchState.OPEN
    )
    starts = [account.paused_until for account in ours if account.paused_until is not None]
    if batch.not_before is not None:
        starts.append(batch.not_before)
    wait = max((start - now).total_seconds() for start in [*starts, now])
    return round(wait + calls / min(rates), 1)


def as_dict(found: Status) -> dict[str, Any]:
    """Return what `status --json` shows."""
    return {
        "now": moment(found.now),
        "accounts": [{**asdict(one), "paused_until": moment(one.paused_until)} for one in found.accounts],
        "batches": [
            {**batch_core(one.batch), "left": one.batch.left, "eta_s": one.eta_s} for one in found.batches
        ],
        "workers": [
            {
                "name": one.seen.name,
                "version": one.seen.version,
                "started_at": moment(one.seen.started_at),
                "seen_at": moment(one.seen.seen_at),
                "ended_at": moment(one.seen.ended_at),
                "last_minute": one.last_minute,
            }
            for one in found.workers
        ],
    }


async def _sent(conn: AsyncConnection, now: datetime) -> tuple[dict[Quota, int], dict[str, int]]:
    """Count the calls of the last minute that are on record, by quota and by worker."""
    rows = await conn.execute(
        select(task.c.account, task.c.label, attempt.c.worker, func.count().label("n"))
        .join(task, task.c.id == attempt.c.task_id)
        .where(attempt.c.opened_at >= now - _MINUTE - _AHEAD, attempt.c.sent_at >= now - _MINUTE)
        .group_by(task.c.account, task.c.label, attempt.c.worker)
    )
    by_quota: dict[Quota, int] = {}
    by_worker: dict[str, int] = {}
    for row in rows:
        which = Quota(row.account, row.label)
        by_quota[which] = by_quota.get(which, 0) + row.n
        by_worker[row.worker] = by_worker.get(row.worker, 0) + row.n
    return by_quota, by_worker

"""How things stand, from the database alone: accounts, batches, orders by SQL, and workers seen lately."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import case, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from bulkreset.limits.quota import calls_in
from bulkreset.limits.rates import SECOND, Rate
from bulkreset.model import BatchState, Quota, TaskState
from bulkreset.report.needs import need
from bulkreset.report.render import batch_core, moment
from bulkreset.settings import AccountSettings
from bulkreset.store import agreement, batches, control, damage, due, workers
from bulkreset.store.agreement import Obstacle
from bulkreset.store.batches import Batch
from bulkreset.store.damage import DamagedTask
from bulkreset.store.engine import Store
from bulkreset.store.rows import as_written
from bulkreset.store.tables import attempt, batch_request, quota, task
from bulkreset.store.workers import Seen
from bulkreset.unsafe import escaped

_MINUTE: Final = timedelta(minutes=1)
# An attempt is opened up to a second and a half before its slot.
_AHEAD: Final = timedelta(seconds=2)
_WORKERS_SINCE: Final = timedelta(minutes=10)
_ACTIVE: Final = (TaskState.PENDING, TaskState.RUNNING)
# Refused requests stay in their table for ever, so only the last are shown.
_REFUSED_SHOWN: Final = 5
# Two halves of a minute that differ by less are a steady rate, and one below the limit is the provider's doing.
_STEADY: Final = 0.1


@dataclass(frozen=True, slots=True)
class AccountStatus:
    """A quota as it stands. `limit_per_s` is what its workers claim with; None before the first claim.

    `last_minute_per_s` is over the part of the last minute that calls were sent in: `seen_s` seconds. `limit` is
    our limit in the provider's own unit, and `share` the part of the provider's limit that it is.
    """

    account: str
    label: str
    limit_per_s: float | None
    last_minute_per_s: float
    paused_until: datetime | None
    pause_reason: str | None
    halted_reason: str | None
    used_today: int
    limit: Rate | None = None
    share: float = 1.0
    last_minute_calls: int = 0
    seen_s: float = 60.0
    steady: bool = False  # for a whole minute, at a rate that does not change

    @property
    def pace_per_s(self) -> float | None:
        """Return how fast calls will go on: by the limit, or by what is steadily kept up below it."""
        if self.limit_per_s is None or not self.steady or self.paused_until is not None:
            return self.limit_per_s
        return min(self.limit_per_s, self.last_minute_per_s)


@dataclass(frozen=True, slots=True)
class BatchStatus:
    """An unfinished batch; `eta_s` is None where nobody can tell, as when it is paused or its account halted."""

    batch: Batch
    eta_s: float | None
    approvals: int = 0
    next_due_at: datetime | None = None  # where nothing is sent before, because of a clock
    damaged: tuple[DamagedTask, ...] = ()


@dataclass(frozen=True, slots=True)
class RequestStatus:
    """An order by SQL that is waiting or was refused; `message` is the reason, where there is one."""

    id: int
    account: str
    incident: str
    state: str
    message: str | None


@dataclass(frozen=True, slots=True)
class WorkerStatus:
    """A worker, with the calls that it sent in the last minute."""

    seen: Seen
    last_minute: int
    waits: tuple[Obstacle, ...] = ()  # for workers whose configuration of an account differs from its own


@dataclass(frozen=True, slots=True)
class Status:
    """Everything, as of `now` by the database's clock."""

    now: datetime
    accounts: tuple[AccountStatus, ...]
    batches: tuple[BatchStatus, ...]
    workers: tuple[WorkerStatus, ...]
    requests: tuple[RequestStatus, ...] = ()
    refused_before: int = 0  # refused orders by SQL that are older than those among `requests`


@dataclass(frozen=True, slots=True)
class _Sent:
    """The calls of a quota in the last minute: how many, in its last half, and the first in two minutes."""

    calls: int
    lately: int
    first: datetime | None


async def status(
    store: Store,
    configured: Mapping[str, AccountSettings] | None = None,
    *,
    incident: str | None = None,
    also: Sequence[int] = (),
) -> Status:
    """Look at the database; needs neither a provider nor a running worker.

    `configured` are the accounts as this host knows them: the units and shares of their limits. `also` are batches
    that are wanted even when they have finished.
    """
    async with store.read() as conn:
        harmed = await damage.batches_with(conn)
    shown = await batches.find(store, ids=[*also, *harmed], unfinished=True)
    async with store.read() as conn:
        damaged = await damage.tasks_of(conn, harmed)
        now = await store.now(conn)
        by_quota, by_worker = await _sent(conn, now)
        rows = await conn.execute(select(quota).order_by(quota.c.account, quota.c.label))
        accounts = tuple(
            _account(row, by_quota.get(Quota(row.account, row.label)), now, (configured or {}).get(row.account))
            for row in rows
        )
        workers_seen = await workers.seen(conn, since=now - _WORKERS_SINCE)
        waits = [] if store.exclusive else agreement.waiting(await agreement.at_work(conn), now)
        requests, refused_before = await _requests(conn)
        waiting = await due.waits(conn, now)
    approvals = {
        one.id: len(await control.approvals(store, one.id)) for one in shown if one.state is BatchState.DRAFT
    }
    return Status(
        now=now,
        accounts=accounts,
        batches=tuple(
            BatchStatus(
                one,
                eta(one, shown, accounts, now, next_due_at=waiting.get(one.id)),
                approvals.get(one.id, 0),
                waiting.get(one.id),
                tuple(each for each in damaged if each.batch_id == one.id),
            )
            for one in shown
            if incident is None or one.incident == incident
        ),
        workers=tuple(
            WorkerStatus(one, by_worker.get(one.name, 0), tuple(w for w in waits if w.worker == one.name))
            for one in workers_seen
        ),
        requests=tuple(one for one in requests if incident is None or one.incident == incident),
        refused_before=0 if incident else refused_before,
    )


def users_done(batch: Batch) -> int:
    """Return how many users nothing more is sent for: passwords and sessions, where both were ordered."""
    waiting = (sum(counts[state] for state in _ACTIVE) for counts in (batch.counts, batch.sessions))
    return max(0, batch.total - max(waiting))


def eta(
    batch: Batch,
    shown: Sequence[Batch],
    accounts: Sequence[AccountStatus],
    now: datetime,
    *,
    next_due_at: datetime | None = None,
) -> float | None:
    """Return how many seconds a batch still takes at its account's pace, which its open batches share in turns.

    Pure. While this one goes on, each of the others gets as many calls as this one, or all that it needs. Where
    sessions have a limit of their own they are ended beside the passwords, and are the cheaper calls.
    """
    ours = [account for account in accounts if account.account == batch.account]
    if batch.state is not BatchState.OPEN or any(account.halted_reason for account in ours):
        return None
    rates = sorted(account.pace_per_s for account in ours if account.pace_per_s)
    if not rates:
        return None
    rivals = [one for one in shown if one.account == batch.account and one.state is BatchState.OPEN]
    if len(rates) > 1 and any(batch.sessions.values()):
        took = max(
            sum(min(_left(one.counts), _left(batch.counts)) for one in rivals) / rates[0],
            sum(min(_left(one.sessions), _left(batch.sessions)) for one in rivals) / rates[-1],
        )
    else:
        took = sum(min(one.left, batch.left) for one in rivals) / rates[0]
    starts = [account.paused_until for account in ours if account.paused_until is not None]
    starts += [moment for moment in (batch.not_before, next_due_at) if moment is not None]
    wait = max((start - now).total_seconds() for start in [*starts, now])
    return round(wait + took, 1)


def as_dict(found: Status) -> dict[str, Any]:
    """Return what `status --json` shows."""
    return {
        "now": moment(found.now),
        "accounts": [
            {
                "account": one.account,
                "label": one.label,
                "limit_per_s": one.limit_per_s,
                "last_minute_per_s": one.last_minute_per_s,
                "paused_until": moment(one.paused_until),
                "pause_reason": one.pause_reason,
                "halted_reason": one.halted_reason,
                "used_today": one.used_today,
                "our_limit": None if one.limit is None else str(one.limit),
                "share": one.share,
                "last_minute_calls": one.last_minute_calls,
                "seen_s": one.seen_s,
            }
            for one in found.accounts
        ],
        "batches": [
            {
                **batch_core(one.batch),
                "left": one.batch.left,
                "eta_s": one.eta_s,
                "next_due_at": moment(one.next_due_at),
                "incident": one.batch.incident,
                "state_reason": one.batch.state_reason,
                "users_done": users_done(one.batch),
                "finish_at": None if one.eta_s is None else moment(found.now + timedelta(seconds=one.eta_s)),
                "approvals": one.approvals,
                "approvals_needed": one.batch.approvals_needed,
                "need": need(one, found),
                "damaged": one.batch.damaged,
                "damaged_tasks": [
                    {"task": each.task_id, "user": each.user, "message": each.message} for each in one.damaged
                ],
            }
            for one in found.batches
        ],
        "workers": [
            {
                "name": one.seen.name,
                "version": one.seen.version,
                "started_at": moment(one.seen.started_at),
                "seen_at": moment(one.seen.seen_at),
                "ended_at": moment(one.seen.ended_at),
                "last_minute": one.last_minute,
                "waits": [
                    {
                        "account": found.account,
                        "for": found.other,
                        "differs": [asdict(d) for d in found.differences],
                    }
                    for found in one.waits
                ],
            }
            for one in found.workers
        ],
        "requests": [
            {name: getattr(one, name) for name in RequestStatus.__dataclass_fields__} for one in found.requests
        ],
        "refused_before": found.refused_before,
    }


def _left(counts: Mapping[str, int]) -> int:
    return sum(counts.get(state, 0) for state in _ACTIVE)


def _account(row: Any, sent: _Sent | None, now: datetime, settings: AccountSettings | None) -> AccountStatus:
    sent = sent or _Sent(0, 0, None)
    seen_s = 60.0 if sent.first is None else min(60.0, max(1.0, (now - sent.first).total_seconds()))
    paused = row.paused_until is not None and row.paused_until > now
    per_s = round(sent.calls / seen_s, 2)
    limit = None
    interval = row.interval if isinstance(row.interval, float) and row.interval > 0 else None
    if interval:
        known = settings is not None and row.label in settings.labels
        window = settings.rate(row.label).window if settings is not None and known else SECOND
        limit = Rate(calls_in(window, interval), window)
    early = sent.calls - sent.lately
    return AccountStatus(
        account=row.account,
        label=row.label,
        limit_per_s=round(1 / interval, 3) if interval else None,
        last_minute_per_s=per_s,
        paused_until=row.paused_until if paused else None,
        pause_reason=row.pause_reason if paused else None,
        halted_reason=row.halted_reason,
        used_today=row.used_today if row.day == now.date() else 0,
        limit=limit,
        share=1.0 if settings is None else settings.share,
        last_minute_calls=sent.calls,
        seen_s=round(seen_s, 1),
        steady=seen_s >= 60 and early > 0 and abs(sent.lately - early) <= _STEADY * early,
    )


async def _sent(conn: AsyncConnection, now: datetime) -> tuple[dict[Quota, _Sent], dict[str, int]]:
    """Count the calls of the last minute that are on record, by quota and by worker."""
    in_minute = case((attempt.c.sent_at >= now - _MINUTE, 1), else_=0)
    in_half = case((attempt.c.sent_at >= now - _MINUTE / 2, 1), else_=0)
    rows = await conn.execute(
        select(
            task.c.account,
            task.c.label,
            attempt.c.worker,
            func.sum(in_minute).label("n"),
            func.sum(in_half).label("lately"),
            func.min(attempt.c.sent_at).label("first"),
        )
        .join(task, task.c.id == attempt.c.task_id)
        .where(attempt.c.opened_at >= now - 2 * _MINUTE - _AHEAD, attempt.c.sent_at >= now - 2 * _MINUTE)
        .group_by(task.c.account, task.c.label, attempt.c.worker)
    )
    by_quota: dict[Quota, _Sent] = {}
    by_worker: dict[str, int] = {}
    for row in rows:
        which = Quota(row.account, row.label)
        known = by_quota.get(which, _Sent(0, 0, None))
        first = row.first if known.first is None else min(known.first, row.first)
        by_quota[which] = _Sent(known.calls + row.n, known.lately + row.lately, first)
        by_worker[row.worker] = by_worker.get(row.worker, 0) + row.n
    return by_quota, by_worker


async def _requests(conn: AsyncConnection) -> tuple[list[RequestStatus], int]:
    """Read the orders by SQL that wait, and the last that were refused; what they hold need not be text.

    Count those that were refused before.
    """
    told = [as_written(batch_request.c[name]) for name in ("account", "incident", "message")]
    wanted = select(batch_request.c.id, batch_request.c.state, *told)
    ready = await conn.execute(wanted.where(batch_request.c.state == "ready").order_by(batch_request.c.id))
    is_refused = batch_request.c.state == "refused"
    last = wanted.where(is_refused).order_by(batch_request.c.id.desc()).limit(_REFUSED_SHOWN)
    refused = (await conn.execute(last)).all()
    count = await conn.scalar(select(func.count()).select_from(batch_request).where(is_refused)) or 0
    shown = [
        RequestStatus(
            row.id,
            _readable(row.account) or "",
            _readable(row.incident) or "",
            row.state,
            _readable(row.message),
        )
        for row in [*ready, *reversed(refused)]
    ]
    return shown, count - len(refused)


def _readable(value: bytes | None) -> str | None:
    return None if value is None else escaped(value.decode("utf-8", errors="replace"))

"""Results: what came of each call, written in batches and fenced by the attempt's number.

A result that comes too late closes its own attempt row and can never overwrite what happened since. Release is
a result too, with outcome `released`, and its call no longer counts for the day. What no result will come for,
because its worker is gone, is rescued, and its call counts: it may have left.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any, Final

from sqlalchemy import BigInteger, Boolean, Integer, Text, bindparam, case, func, insert, or_, select, true, update
from sqlalchemy.ext.asyncio import AsyncConnection

from bulkreset.model import UNCLEAR_LIMIT, BatchState, Decision, Outcome, Quota, Result, TaskState
from bulkreset.store import quotas, second, stops
from bulkreset.store.column_types import UtcDateTime, time_text
from bulkreset.store.engine import Store
from bulkreset.store.halts import halt
from bulkreset.store.locks import lock_tasks
from bulkreset.store.quotas import Halt, Pause
from bulkreset.store.rows import as_json, rows_in, rows_out
from bulkreset.store.stops import Confirmation
from bulkreset.store.tables import attempt, batch, escrow, is_running, state_is, task

_RESCUED_AT_ONCE: Final = 1_000


@dataclass(frozen=True, slots=True)
class Escrowed:
    """A password that was set, sealed to the escrow's recipients, and when it is to be destroyed."""

    sealed: str
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Closing:
    """A result with what was decided about its task; `chained` where the user's other task waits for its end."""

    result: Result
    decision: Decision
    chained: bool = False
    escrowed: Escrowed | None = None


@dataclass(slots=True)
class Ledger:
    """Everything one record writes, in one transaction."""

    closings: list[Closing] = field(default_factory=list)
    pauses: list[Pause] = field(default_factory=list)
    halts: list[Halt] = field(default_factory=list)
    batch_halts: dict[int, str] = field(default_factory=dict)
    confirmations: list[Confirmation] = field(default_factory=list)  # of the worker that writes

    def __bool__(self) -> bool:
        return bool(self.closings or self.pauses or self.halts or self.batch_halts or self.confirmations)


async def record(store: Store, ledger: Ledger, *, worker: str = "") -> int:
    """Write results, pauses and halts in one transaction; return how many tasks moved.

    Fewer than the ledger's closings moved where a lease had been lost or the same ledger is written again:
    both are harmless.
    """
    async with store.write() as conn:
        now = await store.now(conn)
        unsent = _unsent(ledger.closings)
        accounts = await _accounts(conn, unsent) if unsent else ()
        await quotas.apply(conn, now, ledger.pauses, ledger.halts, locked=accounts)
        for batch_id, reason in sorted(ledger.batch_halts.items()):
            await halt(conn, batch_id, reason, batch.c.state == BatchState.OPEN, now=now)
        moved = 0
        if ledger.closings:
            rows = sorted((_closing_row(c) for c in ledger.closings), key=lambda r: (r["task_id"], r["n"]))
            parameters = {"closings": as_json(rows)}
            await lock_tasks(conn, task.c.id.in_(select(_closings.c.task_id)), parameters)
            if unsent:
                await _give_back(conn, unsent)
            await conn.execute(_CLOSE_ATTEMPTS, parameters)
            moved = (await conn.execute(_MOVE_TASKS, parameters)).rowcount
            await _keep_in_escrow(conn, ledger.closings)
            ended = [c for c in ledger.closings if c.chained and c.decision.state.final]
            await second.release(
                conn, [(c.result.claim.task_id, c.result.verdict.elsewhere) for c in ended], now=now
            )
        await stops.confirm(conn, worker, now, ledger.confirmations)
        return moved


async def rescue(store: Store, *, all_running: bool = False) -> int:
    """Give back tasks whose lease has ended: their attempts end `unknown`, and the same password goes again.

    With `all_running` no lease is waited for; only a runner that holds the file's lock may ask for that.
    Harmless to run twice or on many workers: every statement names the state that it expects.
    """
    async with store.write() as conn:
        now = await store.now(conn)
        running = select(task.c.id.label("task_id"), task.c.attempt.label("n")).where(is_running())
        # One without a lease was damaged. Asked for apart: an OR of both would not be found by the index.
        ended = [true()] if all_running else [task.c.lease_until < now, task.c.lease_until.is_(None)]
        rows: list[list[Any]] = []
        for which in ended:
            # In the order of the lease index. A row that is held is being rescued or recorded just now.
            gone = running.where(which).order_by(task.c.lease_until).limit(_RESCUED_AT_ONCE - len(rows))
            rows += await rows_out(conn, gone.with_for_update(skip_locked=True))
        rows.sort()
        if not rows:
            return 0
        parameters = {
            "gone": as_json([{"task_id": task_id, "n": n} for task_id, n in rows]),
            "now": now,
            "why": "the runner was lost before it could record an answer",
        }
        await conn.execute(_CLOSE_LOST_ATTEMPTS, parameters)
        rescued = (await conn.execute(_RESCUE_TASKS, parameters)).rowcount
        await second.release(conn, [(task_id, False) for task_id, _ in rows], now=now)
        return rescued


def _unsent(closings: Sequence[Closing]) -> str | None:
    """Return the attempts that end without their call having left, as a parameter; None where there are none."""
    rows = [
        (closing.result.claim.task_id, closing.result.claim.n)
        for closing in closings
        if closing.decision.outcome is Outcome.RELEASED
    ]
    return as_json(rows) if rows else None


async def _accounts(conn: AsyncConnection, unsent: str) -> Sequence[str]:
    """Return the accounts of these attempts' tasks; a task never moves to another, so no lock is needed."""
    of_tasks = select(task.c.account).where(task.c.id.in_(select(_unsent_attempts.c.task_id))).distinct()
    return (await conn.execute(of_tasks, {"unsent": unsent})).scalars().all()


async def _give_back(conn: AsyncConnection, unsent: str) -> None:
    """Take these attempts' calls out of the count of the day they were claimed on; before the attempts are closed.

    An attempt that is closed already was given back before, or its call did leave.
    """
    days: Counter[tuple[Quota, date]] = Counter()
    for account, label, opened_at, calls in await conn.execute(_CLAIMED, {"unsent": unsent}):
        days[Quota(account, label), opened_at.date()] += calls
    for (which, day), calls in sorted(days.items()):
        await quotas.give_back(conn, which, day, calls=calls)


async def _keep_in_escrow(conn: AsyncConnection, closings: Sequence[Closing]) -> None:
    """Keep the sealed passwords of tasks that have just succeeded; one that was kept before stays."""
    kept = [
        {
            "task_id": closing.result.claim.task_id,
            "n": closing.result.claim.n,
            "sealed": closing.escrowed.sealed,
            "sealed_at": time_text(closing.result.closed_at),
            "expires_at": time_text(closing.escrowed.expires_at),
        }
        for closing in closings
        if closing.escrowed is not None
    ]
    if kept:
        await conn.execute(_KEEP_IN_ESCROW, {"kept": as_json(kept)})


def _closing_row(closing: Closing) -> dict[str, Any]:
    result, decision, verdict = closing.result, closing.decision, closing.result.verdict
    final = decision.state.final
    closed_at = time_text(result.closed_at)
    return {
        "task_id": result.claim.task_id,
        "n": result.claim.n,
        "outcome": decision.outcome,
        "http_status": verdict.http_status,
        "code": verdict.code,
        "message": verdict.message,
        "request_id": verdict.request_id,
        "sent_at": None if result.sent_at is None else time_text(result.sent_at),
        "closed_at": closed_at,
        "latency_ms": result.latency_ms,
        "state": decision.state,
        "due_at": None if decision.due_at is None else time_text(decision.due_at),
        "keep_password": decision.keep_password and not final,
        "tries": decision.tries,
        "unclear": decision.unclear,
        "renewals": decision.renewals,
        "maybe_landed": decision.maybe_landed,
        "maybe_changed": decision.maybe_changed,
        "finished_at": closed_at if final else None,
    }


_ATTEMPT: Final = {"task_id": BigInteger(), "n": Integer()}
_gone = rows_in("gone", _ATTEMPT)
_unsent_attempts = rows_in("unsent", _ATTEMPT)
_closings = rows_in(
    "closings",
    {
        "task_id": BigInteger(),
        "n": Integer(),
        "outcome": Text(),
        "http_status": Integer(),
        "code": Text(),
        "message": Text(),
        "request_id": Text(),
        "sent_at": UtcDateTime(),
        "closed_at": UtcDateTime(),
        "latency_ms": Integer(),
        "state": Text(),
        "due_at": UtcDateTime(),
        "keep_password": Boolean(),
        "tries": Integer(),
        "unclear": Integer(),
        "renewals": Integer(),
        "maybe_landed": Boolean(),
        "maybe_changed": Boolean(),
        "finished_at": UtcDateTime(),
    },
)

_kept = rows_in(
    "kept",
    {
        "task_id": BigInteger(),
        "n": Integer(),
        "sealed": Text(),
        "sealed_at": UtcDateTime(),
        "expires_at": UtcDateTime(),
    },
)

_KEEP_IN_ESCROW = insert(escrow).from_select(
    ["task_id", "batch_id", "sealed_at", "expires_at", "sealed"],
    select(task.c.id, task.c.batch_id, _kept.c.sealed_at, _kept.c.expires_at, _kept.c.sealed).where(
        task.c.id == _kept.c.task_id,
        task.c.attempt == _kept.c.n,
        state_is(TaskState.SUCCEEDED),
        ~select(escrow.c.task_id).where(escrow.c.task_id == task.c.id).exists(),
    ),
)

# An attempt that rescue has closed as unknown may still learn its real end, when the answer comes late.
_still_open = or_(attempt.c.closed_at.is_(None), attempt.c.outcome == Outcome.UNKNOWN)

# One row for each claim: its attempts were opened at the same instant.
_CLAIMED = (
    select(task.c.account, task.c.label, attempt.c.opened_at, func.count())
    .where(
        attempt.c.task_id == _unsent_attempts.c.task_id,
        attempt.c.n == _unsent_attempts.c.n,
        task.c.id == attempt.c.task_id,
        _still_open,
    )
    .group_by(task.c.account, task.c.label, attempt.c.opened_at)
)

_CLOSE_ATTEMPTS = (
    update(attempt)
    .where(attempt.c.task_id == _closings.c.task_id, attempt.c.n == _closings.c.n, _still_open)
    .values(
        {
            name: _closings.c[name]
            for name in (
                "outcome",
                "http_status",
                "code",
                "message",
                "request_id",
                "sent_at",
                "closed_at",
                "latency_ms",
            )
        }
    )
)

_MOVE_TASKS = (
    update(task)
    .where(
        task.c.id == _closings.c.task_id,
        # The fence: a task that was rescued and claimed again since has a later attempt.
        task.c.attempt == _closings.c.n,
        state_is(TaskState.RUNNING),
    )
    .values(
        {
            **{
                name: _closings.c[name]
                for name in (
                    "state",
                    "outcome",
                    "code",
                    "message",
                    "tries",
                    "unclear",
                    "renewals",
                    "maybe_landed",
                    "maybe_changed",
                    "finished_at",
                )
            },
            "due_at": func.coalesce(_closings.c.due_at, task.c.due_at),
            "sealed": case((_closings.c.keep_password, task.c.sealed), else_=None),
            "worker": None,
            "lease_until": None,
        }
    )
)

_CLOSE_LOST_ATTEMPTS = (
    update(attempt)
    .where(attempt.c.task_id == _gone.c.task_id, attempt.c.n == _gone.c.n, attempt.c.closed_at.is_(None))
    .values(
        outcome=Outcome.UNKNOWN,
        closed_at=bindparam("now", type_=UtcDateTime()),
        message=bindparam("why", type_=Text()),
    )
)

_gives_up = task.c.unclear + 1 >= UNCLEAR_LIMIT

_RESCUE_TASKS = (
    update(task)
    .where(task.c.id == _gone.c.task_id, task.c.attempt == _gone.c.n, state_is(TaskState.RUNNING))
    .values(
        state=case((_gives_up, TaskState.FAILED), else_=TaskState.PENDING),
        outcome=Outcome.UNKNOWN,
        code=None,
        message=bindparam("why", type_=Text()),
        unclear=task.c.unclear + 1,
        maybe_landed=True,
        maybe_changed=True,
        sealed=case((_gives_up, None), else_=task.c.sealed),
        due_at=bindparam("now", type_=UtcDateTime()),
        finished_at=case((_gives_up, bindparam("now", type_=UtcDateTime())), else_=None),
        worker=None,
        lease_until=None,
    )
)

"""Reading what happened to a batch, a page at a time, so that its size never matters."""

from array import array
from collections.abc import AsyncIterator, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from sqlalchemy import collate, func, or_, select

from bulkreset.model import Action, Outcome, TaskState
from bulkreset.store.audit import GENESIS
from bulkreset.store.engine import Store
from bulkreset.store.rows import as_written, is_after, readable
from bulkreset.store.tables import attempt, event, task

_PAGE: Final = 1_000
_IDS_AT_ONCE: Final = 10_000

MAYBE_WORDS: Final = {
    Action.SET_PASSWORD: "an earlier call may have changed it",
    Action.REVOKE_SESSIONS: "an earlier call may have ended them",
}


class Sent(StrEnum):
    """Whether a call left."""

    YES = "yes"
    NO = "no"  # handed back, or no connection: the provider has seen nothing
    MAYBE = "maybe"


@dataclass(frozen=True, slots=True)
class AttemptLine:
    """One call, or one slot that was given back unused, as the audit trail has it."""

    n: int
    sent_at: datetime | None
    closed_at: datetime | None
    http_status: int | None
    code: str | None
    message: str | None
    outcome: str | None
    latency_ms: int | None

    @property
    def sent(self) -> Sent:
        """Tell whether the call left; a worker that was lost before it could say leaves that open."""
        if self.sent_at is not None:
            return Sent.YES
        # Without an end, or rescued: every other unsent attempt was closed by the worker that did not send it.
        return Sent.MAYBE if self.outcome in (None, Outcome.UNKNOWN) else Sent.NO


@dataclass(frozen=True, slots=True)
class TaskLine:
    """One user's task with all its attempts, the oldest first."""

    user: str
    user_ref: str
    action: str
    state: str
    outcome: str | None
    code: str | None
    message: str | None
    due_at: datetime
    finished_at: datetime | None
    attempts: tuple[AttemptLine, ...]
    user_id: str | None = None  # of somebody who is called by address, where it is known
    maybe_changed: bool = False  # it did not succeed, and an earlier call may have done it all the same

    @property
    def calls(self) -> int:
        """Return how many calls left, or may have left."""
        return sum(call.sent is not Sent.NO for call in self.attempts)

    @property
    def said(self) -> str | None:
        """Return the message, after what must be known first."""
        if not self.maybe_changed:
            return self.message
        return (
            f"{MAYBE_WORDS[Action(self.action)]}; {self.message}"
            if self.message
            else MAYBE_WORDS[Action(self.action)]
        )


@dataclass(frozen=True, slots=True)
class SessionLine:
    """A user who has a new password and is still signed in somewhere, as far as anybody knows."""

    user_ref: str
    user: str
    state: str
    outcome: str | None
    message: str | None


async def tasks(
    store: Store,
    batch_id: int,
    states: Sequence[TaskState] = (),
    *,
    outcomes: Collection[str] = (),
    users: Collection[str] = (),
) -> AsyncIterator[TaskLine]:
    """Yield a batch's tasks by address, each user's password first; each page is one snapshot of its own.

    `outcomes` are those of calls, or why somebody was skipped without one; `users` are addresses or ids.
    """
    ids = await _sorted(store, batch_id, states, outcomes, users)
    for start in range(0, len(ids), _PAGE):
        page = list(ids[start : start + _PAGE])
        place = {task_id: number for number, task_id in enumerate(page)}
        async with store.read() as conn:
            found_rows = (await conn.execute(select(task).where(task.c.id.in_(page)))).all()
            rows = sorted(found_rows, key=lambda row: place[row.id])
            calls: dict[int, list[AttemptLine]] = {row.id: [] for row in rows}
            found = await conn.execute(
                select(attempt).where(attempt.c.task_id.in_(list(calls))).order_by(attempt.c.task_id, attempt.c.n)
            )
            for call in found:
                calls[call.task_id].append(
                    AttemptLine(*(readable(getattr(call, name)) for name in AttemptLine.__dataclass_fields__))
                )
        for row in rows:
            yield TaskLine(
                user=readable(row.display),
                user_ref=readable(row.user_ref),
                action=readable(row.action),
                state=readable(row.state),
                outcome=readable(row.outcome),
                code=readable(row.code),
                message=readable(row.message),
                due_at=row.due_at,
                finished_at=row.finished_at,
                attempts=tuple(calls[row.id]),
                user_id=readable(row.user_id),
                maybe_changed=row.maybe_changed,
            )


async def _sorted(
    store: Store,
    batch_id: int,
    states: Sequence[TaskState],
    outcomes: Collection[str],
    users: Collection[str],
) -> "array[int]":
    """Return the ids of the tasks in the order of a report; eight bytes each, and none comes or goes later."""
    address = task.c.display if store.sqlite else collate(task.c.display, "C")
    wanted = (
        select(task.c.id)
        .where(task.c.batch_id == batch_id)
        .order_by(address, task.c.user_ref, task.c.action.desc())  # set_password, revoke_sessions
    )
    if states:
        wanted = wanted.where(task.c.state.in_(states))
    if outcomes:
        wanted = wanted.where(func.coalesce(task.c.outcome, task.c.code).in_(outcomes))
    if users:
        named = [user.strip().lower() for user in users]
        known_by = (task.c.display, task.c.user_ref, task.c.user_id)
        wanted = wanted.where(or_(*(func.lower(name).in_(named) for name in known_by)))
    ids = array("q")
    async with store.read() as conn:  # a part at a time: a million rows as objects are ten times the memory
        found = await conn.stream_scalars(wanted.execution_options(yield_per=_IDS_AT_ONCE))
        async for part in found.partitions():
            ids.extend(part)
    return ids


async def sessions_alive(store: Store, batch_id: int) -> AsyncIterator[list[SessionLine]]:
    """Yield, a page at a time, whose password was set and whose sessions, which were to be ended, were not."""
    first, last = task.alias("first"), b""
    columns = {"user_ref": task.c.user_ref, "user": task.c.display} | {
        name: task.c[name] for name in ("state", "outcome", "message")
    }
    wanted = (
        select(as_written(task.c.user_ref).label("written"), *(c.label(name) for name, c in columns.items()))
        .join(first, (first.c.batch_id == task.c.batch_id) & (first.c.user_ref == task.c.user_ref))
        .where(
            task.c.batch_id == batch_id,
            task.c.action == Action.REVOKE_SESSIONS,
            task.c.state != TaskState.SUCCEEDED,
            first.c.action == Action.SET_PASSWORD,
            first.c.state == TaskState.SUCCEEDED,
        )
        .order_by(task.c.user_ref)
        .limit(_PAGE)
    )
    while True:
        async with store.read() as conn:
            rows = (await conn.execute(wanted.where(is_after(conn, task.c.user_ref, last)))).all()
        if not rows:
            return
        yield [SessionLine(**{name: readable(getattr(row, name)) for name in columns}) for row in rows]
        last = rows[-1].written


async def audit_head(store: Store, batch_id: int) -> str:
    """Return the hash of the batch's last event; kept elsewhere, it shows whether the chain was cut later."""
    async with store.read() as conn:
        head = (
            await conn.execute(
                select(event.c.hash).where(event.c.batch_id == batch_id).order_by(event.c.seq.desc()).limit(1)
            )
        ).scalar_one_or_none()
    return head or GENESIS

"""Rosters on their way into the table: one statement a chunk, and the second task of each user at the end."""

import asyncio
from collections.abc import AsyncIterable, Sequence
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

from sqlalchemy import (
    BigInteger,
    Boolean,
    ColumnElement,
    Insert,
    Integer,
    Select,
    Text,
    bindparam,
    case,
    cast,
    insert,
    literal,
    null,
    or_,
    select,
)
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.types import TypeEngine

from bulkreset.model import Action, Outcome, Skip, TaskState
from bulkreset.store.column_types import UtcDateTime, time_text
from bulkreset.store.rows import as_json, rows_in
from bulkreset.store.tables import is_active, task

WAITS_FOR_PASSWORD: Final = None
"""The wave of a task that its user's other task will give it when that has ended."""


class RosterEntry(NamedTuple):
    """One user of a roster, in the order of the columns of `_roster`.

    `user_ref` is what the provider's call takes and `display` the name that people know; `resolved` is False
    where the provider takes ids only and lists nobody by this address. `user_id` is the id of somebody who is
    called by address, where it is known. A tuple, not a dataclass: it is made a million times a roster, at a third
    of the cost.
    """

    user_ref: str
    display: str
    resolved: bool = True
    user_id: str | None = None


class PlannedEntry(NamedTuple):
    """One user of a roster that was looked at before: who is skipped and why, who goes first.

    `ahead` are the seconds that the task is due before those of ordinary users, which puts it before them;
    `wave` 0 is for canaries, 1 for the rest. The first four are those of a `RosterEntry`.
    """

    user_ref: str
    display: str
    resolved: bool = True
    user_id: str | None = None
    skipped: Skip | None = None
    message: str | None = None
    ahead: int = 0
    wave: int = 1


Entries = AsyncIterable[Sequence[RosterEntry] | Sequence[PlannedEntry]]


async def write(
    conn: AsyncConnection,
    entries: Entries,
    *,
    batch_id: int,
    account: str,
    label: str,
    planned: bool,
    now: datetime,
) -> int:
    """Write a password task for each entry and return how many there were.

    Users with such a task still open in another batch become `skipped` rows, and users that the provider does
    not list become `failed` rows with outcome `user_not_found`, so that every roster line has its row.
    """
    common = {"batch_id": batch_id, "account": account, "label": label, "now": now}
    # Most often nothing else is open at the account, and then no user need be looked up. It stays so: orders wait.
    beside_others = (await conn.execute(_ANY_ACTIVE, {"account": account})).first() is not None
    statement = _STATEMENTS[planned, beside_others]
    written = 0
    async for chunk in entries:
        rows = await asyncio.to_thread(_as_json, chunk, now)
        written += (await conn.execute(statement, {"roster": rows, **common})).rowcount
    return written


async def add_revocations(conn: AsyncConnection, *, batch_id: int, label: str, now: datetime) -> int:
    """Give everybody on a written roster who is to be called a second task, which ends the sessions.

    It waits for the password; where there can be none, because the user signs in elsewhere, it is due at once.
    """
    parameters = {"batch_id": batch_id, "label": label, "now": now}
    return (await conn.execute(_ADD_REVOCATIONS, parameters)).rowcount


def _as_json(chunk: Sequence[RosterEntry] | Sequence[PlannedEntry], now: datetime) -> str:
    due: dict[int, str] = {}
    rows: list[tuple[Any, ...]] = []
    for entry in chunk:
        if isinstance(entry, RosterEntry):
            return as_json(chunk)  # all are alike
        if entry.ahead not in due:
            due[entry.ahead] = time_text(now - timedelta(seconds=entry.ahead))
        rows.append((*entry[:6], due[entry.ahead], entry.wave))
    return as_json(rows)


_ENTRY: Final[dict[str, TypeEngine[Any]]] = {
    "user_ref": Text(),
    "display": Text(),
    "resolved": Boolean(),
    "user_id": Text(),
}
_roster = rows_in("roster", _ENTRY)
_planned = rows_in(
    "roster",
    {
        **_ENTRY,
        "skipped": Text(),
        "message": Text(),
        "due_at": UtcDateTime(),
        "wave": Integer(),
    },
)
_other = task.alias("other")

_ANY_ACTIVE = (
    select(task.c.id)
    .where(task.c.account == bindparam("account", type_=Text()), is_active())
    .order_by(task.c.account, task.c.user_ref)
    .limit(1)
)


def _insert_tasks(*, planned: bool, beside_others: bool) -> Insert:
    """Write a chunk of a roster; beside others, a user with an open task is looked for and skipped."""
    rows: Any = _planned if planned else _roster
    resolved = rows.c.resolved
    # A search for each user, not a join: PostgreSQL would gather all open tasks anew for every chunk.
    taken_in: ColumnElement[int | None] = (
        _open_in(bindparam("account", type_=Text()), rows.c.user_ref, Action.SET_PASSWORD)
        if beside_others
        else cast(null(), BigInteger())
    )
    taken = taken_in.is_not(None)
    skipped = rows.c.skipped.is_not(None) if planned else literal(False)
    now = bindparam("now", type_=UtcDateTime())
    values: dict[str, ColumnElement[Any]] = {
        "batch_id": bindparam("batch_id", type_=BigInteger()),
        "account": bindparam("account", type_=Text()),
        "label": bindparam("label", type_=Text()),
        "user_ref": rows.c.user_ref,
        "display": rows.c.display,
        "user_id": rows.c.user_id,
        "action": literal(Action.SET_PASSWORD, Text()),
        "due_at": rows.c.due_at if planned else now,
        "state": case(
            (~resolved, TaskState.FAILED.value),
            *([(skipped, TaskState.SKIPPED.value)] if planned else []),
            (taken, TaskState.SKIPPED.value),
            else_=TaskState.PENDING.value,
        ),
        "outcome": case((~resolved, Outcome.USER_NOT_FOUND.value)),
        "message": case(
            (~resolved, "the account's listing has no user with this address"),
            *([(skipped, rows.c.message)] if planned else []),
            (taken, literal("already open in batch ", Text()).concat(cast(taken_in, Text()))),
        ),
        "finished_at": case((or_(~resolved, *([skipped] if planned else []), taken), now)),
    }
    if planned:
        values["code"] = case(
            (~resolved, cast(null(), Text())),
            (skipped, rows.c.skipped),
            (taken, Skip.OPEN_ELSEWHERE.value),
        )
        values["wave"] = rows.c.wave
    return insert(task).from_select(list(values), select(*values.values()).select_from(rows))


def _open_in(
    account: ColumnElement[str], user_ref: ColumnElement[str], action: Action
) -> ColumnElement[int | None]:
    """Find the batch in which a user's task of this action is open already."""
    found: Select[tuple[int]] = (
        select(_other.c.batch_id)
        .where(
            _other.c.account == account,
            _other.c.user_ref == user_ref,
            _other.c.action == action,
            is_active(_other),
        )
        .limit(1)
    )
    return found.scalar_subquery()


_STATEMENTS: Final = {
    (planned, beside_others): _insert_tasks(planned=planned, beside_others=beside_others)
    for planned in (False, True)
    for beside_others in (False, True)
}


def _insert_revocations() -> Insert:
    first = task.alias("first")
    taken_in = _open_in(first.c.account, first.c.user_ref, Action.REVOKE_SESSIONS)
    taken = taken_in.is_not(None)
    now = bindparam("now", type_=UtcDateTime())
    values: dict[str, ColumnElement[Any]] = {
        "batch_id": first.c.batch_id,
        "account": first.c.account,
        "label": bindparam("label", type_=Text()),
        "user_ref": first.c.user_ref,
        "display": first.c.display,
        "user_id": first.c.user_id,
        "action": literal(Action.REVOKE_SESSIONS, Text()),
        "due_at": first.c.due_at,
        "state": case((taken, TaskState.SKIPPED.value), else_=TaskState.PENDING.value),
        "code": case((taken, Skip.OPEN_ELSEWHERE.value)),
        "message": case((taken, literal("already open in batch ", Text()).concat(cast(taken_in, Text())))),
        "finished_at": case((taken, now)),
        "wave": case((first.c.state == TaskState.SKIPPED, first.c.wave), else_=cast(null(), Integer())),
    }
    called = first.c.state == TaskState.PENDING
    elsewhere = (first.c.state == TaskState.SKIPPED) & (first.c.code == Skip.SSO)
    chosen = select(*values.values()).where(
        first.c.batch_id == bindparam("batch_id", type_=BigInteger()), or_(called, elsewhere)
    )
    return insert(task).from_select(list(values), chosen.order_by(first.c.id))


_ADD_REVOCATIONS = _insert_revocations()

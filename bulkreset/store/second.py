"""The second task of a user, which ends the sessions: it waits for the end of the first, which sets the password.

While it waits it is pending in no wave, so that nothing claims it. It is released when the password is set, and
skipped where none will be; where the user signs in elsewhere it is released all the same.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    ColumnElement,
    FromClause,
    Text,
    and_,
    bindparam,
    case,
    literal,
    or_,
    select,
    update,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from bulkreset.model import Action, Skip, TaskState
from bulkreset.store.column_types import UtcDateTime
from bulkreset.store.locks import lock_tasks
from bulkreset.store.rows import as_json, rows_in
from bulkreset.store.tables import is_pending, open_elsewhere, task

_WITHOUT_PASSWORD: Final = "skipped: no password was set for this user"  # noqa: S105
_MAYBE_WITHOUT: Final = "skipped: nobody knows whether a password was set for this user"


async def release(conn: AsyncConnection, ended: Sequence[tuple[int, bool]], *, now: datetime) -> None:
    """Move the tasks that wait for these ones, where these are really final now; harmless to repeat.

    Each comes with whether its user signs in elsewhere. To be called in the transaction that ended them.
    """
    if ended:
        rows = as_json([{"task_id": task_id, "elsewhere": elsewhere} for task_id, elsewhere in ended])
        await lock_tasks(conn, _WAITING, {"ended": rows})
        await conn.execute(_RELEASE, {"ended": rows, "now": now})


async def bring_back(conn: AsyncConnection, batch_id: int, *, now: datetime) -> None:
    """Let the second tasks wait again whose first ones were made due again by a retry."""
    await conn.execute(_BRING_BACK, {"of_batch": batch_id, "now": now})


_ended = rows_in("ended", {"task_id": BigInteger(), "elsewhere": Boolean()})
_first = task.alias("first")
_second = task.alias("second")


def _waits(of: FromClause) -> ColumnElement[bool]:
    """Whether a task waits for one of those that have ended."""
    return and_(
        _first.c.id == _ended.c.task_id,
        of.c.batch_id == _first.c.batch_id,
        of.c.user_ref == _first.c.user_ref,
        of.c.action == Action.REVOKE_SESSIONS,
        of.c.wave.is_(None),
    )


# By id, as a cancel takes them meanwhile: an UPDATE alone would lock them as it finds them.
_WAITING = task.c.id.in_(select(_second.c.id).where(_waits(_second)))

_released = or_(
    _first.c.state == TaskState.SUCCEEDED, and_(_first.c.state == TaskState.SKIPPED, _ended.c.elsewhere)
)
_now = bindparam("now", type_=UtcDateTime())
# Before whoever else is due: a user is out of an intruder's hands only when both are done.
_at_once = literal(datetime(2000, 1, 1, tzinfo=UTC), UtcDateTime())

_RELEASE = (
    update(task)
    .where(
        _waits(task),
        _first.c.action == Action.SET_PASSWORD,
        _first.c.state.not_in((TaskState.PENDING, TaskState.RUNNING)),
        is_pending(),
    )
    .values(
        state=case((_released, TaskState.PENDING.value), else_=TaskState.SKIPPED.value),
        wave=_first.c.wave,
        due_at=_at_once,
        code=case((_released, None), else_=literal(Skip.NO_PASSWORD.value, Text())),
        message=case(
            (_released, None),
            (_first.c.maybe_changed, literal(_MAYBE_WITHOUT, Text())),
            else_=literal(_WITHOUT_PASSWORD, Text()),
        ),
        finished_at=case((_released, None), else_=_now),
    )
)

_again = (
    select(_first.c.id)
    .where(
        _first.c.batch_id == task.c.batch_id,
        _first.c.user_ref == task.c.user_ref,
        _first.c.action == Action.SET_PASSWORD,
        _first.c.state == TaskState.PENDING,
    )
    .exists()
)

_BRING_BACK = (
    update(task)
    .where(
        task.c.batch_id == bindparam("of_batch", type_=BigInteger()),
        task.c.action == Action.REVOKE_SESSIONS,
        task.c.state == TaskState.SKIPPED,
        task.c.code == Skip.NO_PASSWORD,
        _again,
        ~open_elsewhere(),
    )
    .values(state=TaskState.PENDING, wave=None, due_at=_now, code=None, message=None, finished_at=None)
)

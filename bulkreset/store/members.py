"""What the rosters of batches hold, a page at a time, so that their size never matters."""

from collections.abc import AsyncGenerator
from datetime import datetime
from typing import Any, Final, NamedTuple

from sqlalchemy import ColumnElement, case, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from bulkreset.model import Action, Skip, TaskState
from bulkreset.store.engine import Store
from bulkreset.store.tables import batch, task

_PAGE: Final = 5_000


class Member(NamedTuple):
    """One user of a roster and how far setting the password has come; `called` once a call may have left.

    `left_to` names the batch that a skipped user was left to, which had them already.
    """

    user_ref: str
    display: str
    state: str
    outcome: str | None
    called: bool
    left_to: str | None = None


async def members(store: Store, batch_id: int) -> AsyncGenerator[list[Member], None]:
    """Yield the users of a batch by `user_ref`; each page is a snapshot of its own and holds up no writer."""
    left_to = case((task.c.code == Skip.OPEN_ELSEWHERE, task.c.message)).label("left_to")
    wanted = (task.c.user_ref, task.c.display, task.c.state, task.c.outcome, task.c.attempt, left_to)
    ours = (task.c.batch_id == batch_id, task.c.action == Action.SET_PASSWORD)
    last = ""
    while True:
        async with store.read() as conn:
            rows = await _page(conn, wanted, ours, last)
        if not rows:
            return
        yield [
            Member(row.user_ref, row.display, row.state, row.outcome, row.attempt > 0, row.left_to) for row in rows
        ]
        last = rows[-1].user_ref


async def reset_since(conn: AsyncConnection, account: str, since: datetime) -> AsyncGenerator[list[str], None]:
    """Yield the references of the users of an account whose password was set at or after a time.

    Somebody whom two batches reset comes twice. Batches that had ended by then are not read.
    """
    possible = or_(batch.c.finished_at.is_(None), batch.c.finished_at >= since)
    found = await conn.execute(select(batch.c.id).where(batch.c.account == account, possible).order_by(batch.c.id))
    for (batch_id,) in found.all():
        ours = (
            task.c.batch_id == batch_id,
            task.c.action == Action.SET_PASSWORD,
            task.c.state == TaskState.SUCCEEDED,
            task.c.finished_at >= since,
        )
        last = ""
        while rows := await _page(conn, (task.c.user_ref,), ours, last):
            yield [row.user_ref for row in rows]
            last = rows[-1].user_ref


async def open_in(conn: AsyncConnection, account: str) -> AsyncGenerator[tuple[int, list[str]], None]:
    """Yield the references of the users of an account whose password a batch has still to set, with the batch."""
    found = await conn.execute(
        select(batch.c.id).where(batch.c.account == account, batch.c.finished_at.is_(None)).order_by(batch.c.id)
    )
    for (batch_id,) in found.all():
        ours = (
            task.c.batch_id == batch_id,
            task.c.action == Action.SET_PASSWORD,
            task.c.state.in_((TaskState.PENDING, TaskState.RUNNING)),
        )
        last = ""
        while rows := await _page(conn, (task.c.user_ref,), ours, last):
            yield batch_id, [row.user_ref for row in rows]
            last = rows[-1].user_ref


async def _page(
    conn: AsyncConnection,
    wanted: tuple[ColumnElement[Any], ...],
    which: tuple[ColumnElement[bool], ...],
    last: str,
) -> list[Any]:
    # Along the unique index of the roster, so that every page begins where the last one ended.
    page = select(*wanted).where(*which, task.c.user_ref > last).order_by(task.c.user_ref).limit(_PAGE)
    return list((await conn.execute(page)).all())

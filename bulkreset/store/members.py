"""What the rosters of batches hold, a page at a time, so that their size never matters.

Whose reference is no text any more, at SQLite, is on no page: the row is damaged, and `status` names it.
"""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import datetime
from itertools import chain
from typing import Any, Final, NamedTuple

from sqlalchemy import ColumnElement, case, func, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from bulkreset.model import Action, Skip, TaskState
from bulkreset.store.engine import Store
from bulkreset.store.rows import as_written, is_after, readable
from bulkreset.store.tables import batch, task

_PAGE: Final = 5_000


class Member(NamedTuple):
    """One user of a roster and how far setting the password has come; `called` once a call may have left.

    `left_to` names the batch that a skipped user was left to, which had them already. `maybe_changed` where the
    password is not known to be set, and an earlier call may have set it all the same. `code` says why a user was
    skipped.
    """

    user_ref: str
    display: str
    state: str
    outcome: str | None
    called: bool
    left_to: str | None = None
    maybe_changed: bool = False
    code: str | None = None


async def members(store: Store, batch_id: int) -> AsyncGenerator[list[Member], None]:
    """Yield the users of a batch by `user_ref`; each page is a snapshot of its own and holds up no writer."""
    left_to = case((task.c.code == Skip.OPEN_ELSEWHERE, task.c.message)).label("left_to")
    wanted = (
        task.c.display,
        task.c.state,
        task.c.outcome,
        task.c.attempt,
        left_to,
        task.c.maybe_changed,
        task.c.code,
    )
    last = b""
    while True:
        async with store.read() as conn:
            rows = await _page(conn, batch_id, last, *wanted)
        if not rows:
            return
        yield [
            Member(
                row.user_ref,
                readable(row.display),
                readable(row.state),
                readable(row.outcome),
                bool(row.attempt),
                readable(row.left_to),
                row.maybe_changed,
                readable(row.code),
            )
            for row in rows
        ]
        last = rows[-1].written


async def states(conn: AsyncConnection, batch_id: int) -> AsyncGenerator[list[tuple[str, str]], None]:
    """Yield the references of a batch's users, by `user_ref`, each with the state of setting the password."""
    async with aclosing(_pages(conn, batch_id, task.c.state)) as pages:
        async for page in pages:
            yield [(row.user_ref, readable(row.state)) for row in page]


async def reset_since(
    conn: AsyncConnection, account: str, since: datetime, *, shown: bool = False
) -> AsyncGenerator[list[str], None]:
    """Yield the references of the users of an account whose password was set at or after a time.

    The name that they were shown by comes too where `shown`. Somebody whom two batches reset comes twice. Batches
    that had ended by then are not read.
    """
    possible = or_(batch.c.finished_at.is_(None), batch.c.finished_at >= since)
    which = (task.c.state == TaskState.SUCCEEDED, task.c.finished_at >= since)
    for batch_id in await _batches(conn, account, possible):
        async with aclosing(_pages(conn, batch_id, task.c.display, which=which)) as pages:
            async for page in pages:
                yield _names(page, shown=shown)


async def lately(conn: AsyncConnection, account: str, since: datetime) -> list[tuple[int, datetime]]:
    """Return the batches of an account that set a password since then, the latest first, each with when."""
    last = func.max(task.c.finished_at).label("last")
    found = await conn.execute(
        select(task.c.batch_id, last)
        .join(batch, batch.c.id == task.c.batch_id)
        .where(
            batch.c.account == account,
            or_(batch.c.finished_at.is_(None), batch.c.finished_at >= since),
            task.c.action == Action.SET_PASSWORD,
            task.c.state == TaskState.SUCCEEDED,
            task.c.finished_at >= since,
        )
        .group_by(task.c.batch_id)
        .order_by(task.c.batch_id.desc())
    )
    return [(row.batch_id, row.last) for row in found]


async def reset_in(conn: AsyncConnection, batch_id: int, since: datetime) -> AsyncGenerator[list[str], None]:
    """Yield the names, by reference and as people know them, of whom a batch has set a password since then."""
    which = (task.c.state == TaskState.SUCCEEDED, task.c.finished_at >= since)
    async with aclosing(_pages(conn, batch_id, task.c.display, which=which)) as pages:
        async for page in pages:
            yield _names(page, shown=True)


async def open_in(
    conn: AsyncConnection, account: str, *, shown: bool = False
) -> AsyncGenerator[tuple[int, list[str]], None]:
    """Yield the references of the users of an account whose password a batch has still to set, with the batch.

    The name that they are shown by comes too where `shown`.
    """
    which = (task.c.state.in_((TaskState.PENDING, TaskState.RUNNING)),)
    for batch_id in await _batches(conn, account, batch.c.finished_at.is_(None)):
        async with aclosing(_pages(conn, batch_id, task.c.display, which=which)) as pages:
            async for page in pages:
                yield batch_id, _names(page, shown=shown)


def _names(page: list[Any], *, shown: bool) -> list[str]:
    names = ((row.user_ref, readable(row.display)) if shown else (row.user_ref,) for row in page)
    return list(chain.from_iterable(names))


async def _batches(conn: AsyncConnection, account: str, which: ColumnElement[bool]) -> list[int]:
    found = await conn.execute(select(batch.c.id).where(batch.c.account == account, which).order_by(batch.c.id))
    return list(found.scalars())


async def _pages(
    conn: AsyncConnection, batch_id: int, *more: ColumnElement[Any], which: tuple[ColumnElement[bool], ...] = ()
) -> AsyncGenerator[list[Any], None]:
    last = b""
    while page := await _page(conn, batch_id, last, *more, which=which):
        yield page
        last = page[-1].written


async def _page(
    conn: AsyncConnection,
    batch_id: int,
    last: bytes,
    *more: ColumnElement[Any],
    which: tuple[ColumnElement[bool], ...] = (),
) -> list[Any]:
    # Along the unique index of the roster, so that every page begins where the last one ended.
    page = (
        select(task.c.user_ref, as_written(task.c.user_ref).label("written"), *more)
        .where(
            task.c.batch_id == batch_id,
            task.c.action == Action.SET_PASSWORD,
            *which,
            is_after(conn, task.c.user_ref, last),
        )
        .order_by(task.c.user_ref)
        .limit(_PAGE)
    )
    return list((await conn.execute(page)).all())

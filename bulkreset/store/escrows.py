"""Escrowed passwords: handed out, purged, deleted when their time is over; the batch's trail tells of each.

What is stored here is sealed to the recipients of the batch. The rows of a batch are deleted only by who holds
the batch's row, so that no deletion is counted twice.
"""

from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import delete, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from bulkreset.errors import NoSuchBatch, UsageError
from bulkreset.options import Options
from bulkreset.store import audit
from bulkreset.store.engine import LONG, Store
from bulkreset.store.locks import lock_batch
from bulkreset.store.rows import readable
from bulkreset.store.tables import batch, escrow, task

_PAGE: Final = 1_000
# At SQLite no call is claimed meanwhile, which is about 0.05 s.
_EXPIRED_AT_ONCE: Final = 2_000


@dataclass(frozen=True, slots=True)
class Escrowed:
    """A user's password as its recipients can open it."""

    user: str
    user_ref: str
    set_at: datetime
    sealed: str


@dataclass(frozen=True, slots=True)
class Holding:
    """What is in escrow of one batch: how many passwords, since when, and when the first and last are deleted."""

    batch_id: int
    account: str
    rows: int
    since: datetime
    expires_first: datetime
    expires_last: datetime
    recipients: tuple[str, ...]


async def pages(store: Store, batch_id: int) -> AsyncIterator[Sequence[Escrowed]]:
    """Yield a batch's passwords in the order of its roster; one whose time is over is never among them.

    Each page is one snapshot: a purge meanwhile takes those that were not yielded yet.
    """
    last = 0
    while True:
        async with store.read() as conn:
            found = await conn.execute(
                select(escrow.c.task_id, task.c.display, task.c.user_ref, escrow.c.sealed_at, escrow.c.sealed)
                .join(task, task.c.id == escrow.c.task_id)
                .where(
                    escrow.c.batch_id == batch_id,
                    escrow.c.task_id > last,
                    escrow.c.expires_at > await store.now(conn),
                )
                .order_by(escrow.c.task_id)
                .limit(_PAGE)
            )
            rows = found.all()
        if not rows:
            return
        yield [Escrowed(*map(readable, row[1:])) for row in rows]
        last = rows[-1].task_id


async def holdings(store: Store) -> list[Holding]:
    """Return what is in escrow, by batch, the oldest first."""
    async with store.read() as conn:
        found = await conn.execute(
            select(
                escrow.c.batch_id,
                func.count().label("rows"),
                func.min(escrow.c.sealed_at).label("since"),
                func.min(escrow.c.expires_at).label("expires_first"),
                func.max(escrow.c.expires_at).label("expires_last"),
            )
            .where(escrow.c.expires_at > await store.now(conn))
            .group_by(escrow.c.batch_id)
            .order_by(escrow.c.batch_id)
        )
        counted = {row.batch_id: row for row in found}
        of = select(batch.c.id, batch.c.account, batch.c.options).where(batch.c.id.in_(list(counted)))
        batches = {row.id: row for row in await conn.execute(of)}
    return [
        Holding(
            batch_id=batch_id,
            account=batches[batch_id].account,
            rows=row.rows,
            since=row.since,
            expires_first=row.expires_first,
            expires_last=row.expires_last,
            recipients=Options.or_plain(batches[batch_id].options).escrow_to,
        )
        for batch_id, row in counted.items()
    ]


async def recipients(store: Store, batch_id: int) -> tuple[str, ...]:
    """Return to whom a batch's passwords are sealed. Raises UsageError where there is no batch or no escrow."""
    async with store.read() as conn:
        options = await _options(conn, batch_id)
    if not options.escrow_to:
        raise UsageError(
            f"batch {batch_id} was ordered without escrow: nobody can read its passwords; "
            "users come in again through the provider's own reset mail"
        )
    return options.escrow_to


async def exported(
    store: Store, batch_id: int, actor: str, *, rows: int, sha256: str, recipients: Sequence[str]
) -> None:
    """Write into the batch's trail that its passwords were put into a file; before anybody has it."""
    async with store.write() as conn:
        await lock_batch(conn, batch_id)
        await audit.append(
            conn,
            batch_id,
            at=await store.now(conn),
            actor=actor,
            kind="escrow_exported",
            rows=rows,
            sha256=sha256,
            recipients=list(recipients),
        )


async def purge(store: Store, batch_id: int, actor: str) -> int:
    """Delete a batch's passwords, all or none, and return how many there were. Raises UsageError for no batch.

    What a batch sets later is kept again.
    """
    async with store.write(LONG) as conn:
        await lock_batch(conn, batch_id)
        await _options(conn, batch_id)
        gone = (await conn.execute(delete(escrow).where(escrow.c.batch_id == batch_id))).rowcount
        if gone:
            at = await store.now(conn)
            await audit.append(conn, batch_id, at=at, actor=actor, kind="escrow_purged", rows=gone)
        return gone


async def expire(store: Store) -> int:
    """Delete passwords whose time is over, 2,000 at most, and return how many; each batch's trail has an entry.

    For every worker at every poll: it reads one row of an index where there is nothing to do. A batch that
    somebody else holds just now is left for the next time.
    """
    async with store.read() as conn:
        first = (await conn.execute(_FIRST_TO_END)).scalar_one_or_none()
        if first is None or first > await store.now(conn):
            return 0
    async with store.write() as conn:
        now = await store.now(conn)
        ended = select(escrow.c.task_id, escrow.c.batch_id).where(escrow.c.expires_at <= now)
        portion = ended.order_by(escrow.c.expires_at).limit(_EXPIRED_AT_ONCE)
        named = (
            select(batch.c.id).where(batch.c.id.in_(select(portion.subquery().c.batch_id))).order_by(batch.c.id)
        )
        found = await conn.execute(named.with_for_update(of=batch, key_share=True, skip_locked=True))
        held = [row.id for row in found]
        if not held:
            return 0
        # Asked again now that they are held: another worker may have deleted them since.
        chosen = portion.where(escrow.c.batch_id.in_(held)).subquery()
        deleted = delete(escrow).where(escrow.c.task_id.in_(select(chosen.c.task_id))).returning(escrow.c.batch_id)
        gone = Counter(row.batch_id for row in await conn.execute(deleted))
        for batch_id, rows in sorted(gone.items()):
            await audit.append(conn, batch_id, at=now, actor="runner", kind="escrow_expired", rows=rows)
        return gone.total()


async def _options(conn: AsyncConnection, batch_id: int) -> Options:
    text = (await conn.execute(select(batch.c.options).where(batch.c.id == batch_id))).scalar_one_or_none()
    if text is None:
        raise NoSuchBatch(batch_id)
    return Options.of_batch(batch_id, text)


_FIRST_TO_END: Final = select(escrow.c.expires_at).order_by(escrow.c.expires_at).limit(1)

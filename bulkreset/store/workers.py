"""Workers tell that they are there, for people to see. No decision hangs on it: a lease is what counts."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import delete, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from bulkreset import __version__
from bulkreset.store.engine import Store
from bulkreset.store.tables import worker

_KEPT_FOR: Final = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Seen:
    """A worker as it last told; `ended_at` is None where it did not say goodbye."""

    name: str
    version: str
    started_at: datetime
    seen_at: datetime
    ended_at: datetime | None


async def arrive(store: Store, name: str) -> None:
    """Say that this worker begins; what an earlier one of its name left, or anybody a day ago, is forgotten."""
    async with store.write() as conn:
        now = await store.now(conn)
        await conn.execute(delete(worker).where(or_(worker.c.name == name, worker.c.seen_at < now - _KEPT_FOR)))
        await conn.execute(insert(worker).values(name=name, version=__version__, started_at=now, seen_at=now))


async def tell(store: Store, name: str, *, ends: bool = False) -> None:
    """Say that this worker is still there, or that it ends."""
    async with store.write() as conn:
        now = await store.now(conn)
        values = {"seen_at": now, "ended_at": now if ends else None}
        await conn.execute(update(worker).where(worker.c.name == name).values(values))


async def seen(conn: AsyncConnection, *, since: datetime) -> list[Seen]:
    """Return the workers that told something since then, the latest first."""
    wanted = (
        select(worker)
        .where(or_(worker.c.seen_at >= since, worker.c.ended_at >= since))
        .order_by(worker.c.seen_at.desc(), worker.c.name)
    )
    return [Seen(*row) for row in await conn.execute(wanted)]

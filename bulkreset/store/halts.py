"""How a runner halts a batch: in its row and in its chain of events, with the reason."""

from datetime import datetime

from sqlalchemy import ColumnElement, update
from sqlalchemy.ext.asyncio import AsyncConnection

from bulkreset.model import BatchState
from bulkreset.store import audit
from bulkreset.store.tables import batch


async def halt(
    conn: AsyncConnection, batch_id: int, reason: str, which: ColumnElement[bool], *, now: datetime
) -> None:
    """Halt a batch where its state is one of `which`, in the caller's transaction; any other stays as it is."""
    halted = await conn.execute(
        update(batch).where(batch.c.id == batch_id, which).values(state=BatchState.HALTED, state_reason=reason)
    )
    if halted.rowcount:
        await audit.append(conn, batch_id, at=now, actor="runner", kind="halted", reason=reason)

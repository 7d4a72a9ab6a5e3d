"""Row locks at PostgreSQL, taken in one order everywhere; at SQLite a writer holds the whole file anyway.

The order: quota rows by account and label, batch rows by id, task rows by id. What else is written belongs to a
row that is held.
"""

from collections.abc import Mapping
from typing import Any, Final

from sqlalchemy import ColumnElement, func, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from bulkreset.store.tables import batch, task

# With the account's name, the lock that serialises orders of one account.
_ORDERS: Final = 6_184_202


async def lock_batch(conn: AsyncConnection, batch_id: int) -> None:
    """Hold a batch's row, where there is one, until the transaction ends."""
    if conn.dialect.name == "postgresql":
        await conn.execute(select(batch.c.id).where(batch.c.id == batch_id).with_for_update(key_share=True))


async def lock_tasks(
    conn: AsyncConnection, which: ColumnElement[bool], parameters: Mapping[str, Any] | None = None
) -> None:
    """Hold these task rows until the transaction ends, by id: an UPDATE alone would lock them as it finds them."""
    if conn.dialect.name == "postgresql":
        held = select(task.c.id).where(which).order_by(task.c.id).with_for_update(of=task).cte().prefix_with(
            "MATERIALIZED"
        )  # fmt: skip
        await conn.execute(select(func.count()).select_from(held), parameters or {})


async def lock_orders(conn: AsyncConnection, account: str) -> None:
    """Let orders of one account come one after the other, until the transaction ends.

    Two at once could name the same user, and only the later one can tell; claims and results are not held up.
    """
    if conn.dialect.name == "postgresql":
        await conn.execute(
            text("SELECT pg_advisory_xact_lock(:kind, hashtext(:account))"), {"kind": _ORDERS, "account": account}
        )

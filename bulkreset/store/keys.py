"""The keys of batches, each wrapped by a master key: who has one still, and how they change hands."""

from collections.abc import Callable

from sqlalchemy import select, update

from bulkreset.store import audit
from bulkreset.store.engine import Store
from bulkreset.store.tables import batch


async def wrapped_keys(store: Store) -> list[tuple[int, str]]:
    """Return every batch that still has a key, with the wrapped key."""
    async with store.read() as conn:
        rows = await conn.execute(select(batch.c.id, batch.c.wrapped_key).where(batch.c.wrapped_key.is_not(None)))
        return [(row.id, row.wrapped_key) for row in rows]


async def rewrap(store: Store, actor: str, wrap: Callable[[str], str]) -> list[int]:
    """Put every batch key that is left under another master key, all or none; return the batches that changed.

    `wrap` returns the same text where nothing is to be done. Workers that know both keys go on meanwhile.
    """
    async with store.write() as conn:
        held = select(batch.c.id, batch.c.wrapped_key).where(batch.c.wrapped_key.is_not(None)).order_by(batch.c.id)
        rows = (await conn.execute(held.with_for_update(key_share=True))).all()
        renewed = [(row.id, wrapped) for row in rows if (wrapped := wrap(row.wrapped_key)) != row.wrapped_key]
        now = await store.now(conn)
        for batch_id, wrapped in renewed:
            await conn.execute(update(batch).where(batch.c.id == batch_id).values(wrapped_key=wrapped))
            await audit.append(conn, batch_id, at=now, actor=actor, kind="rewrapped")
    return [batch_id for batch_id, _ in renewed]

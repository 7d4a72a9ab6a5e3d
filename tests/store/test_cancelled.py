"""What is cancelled in the middle of a transaction leaves nothing behind: no change, and no lock."""

import asyncio

import pytest
from sqlalchemy import event, text

# It takes a while until its row is there, and then that row waits to be fetched.
SLOW = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 300000) SELECT max(i) FROM n"


@pytest.mark.parametrize("statement", [SLOW, "UPDATE alembic_version SET version_num = 'again'"])
async def test_a_cancelled_write_lets_others_write(store, statement):
    """SQLite keeps a file locked while anybody holds a cursor with a row to fetch, as a traceback does."""
    under_way = asyncio.Event()

    @event.listens_for(store.engine.sync_engine, "before_cursor_execute")
    def look(_, __, about_to_run, *___):
        if about_to_run == statement:
            under_way.set()

    async def change():
        async with store.write() as conn:
            await conn.execute(text("UPDATE alembic_version SET version_num = 'changed'"))
            await conn.execute(text(statement))
            await asyncio.Event().wait()

    async with store.read() as conn:
        before = (await conn.execute(text("SELECT version_num FROM alembic_version"))).scalar_one()
    task = asyncio.create_task(change())
    await under_way.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError) as kept:
        await task
    async with asyncio.timeout(20), store.write() as conn:
        found = (await conn.execute(text("SELECT version_num FROM alembic_version"))).scalar_one()
    assert found == before
    assert kept.value.__traceback__ is not None

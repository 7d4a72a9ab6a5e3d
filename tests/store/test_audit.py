"""The event chain: what was done stays readable, and a change of it shows."""

import pytest
from sqlalchemy import text

from bulkreset.store import audit, lifecycle


async def chain(store, order):
    batch_id = await order(["a"])
    await lifecycle.pause(store, batch_id, "ada")
    await lifecycle.resume(store, batch_id, "bob")
    await lifecycle.cancel(store, batch_id, "eve")
    return batch_id


async def test_every_step_is_in_the_trail_with_its_actor(store, order):
    """Created, paused, resumed, cancelled: in order, each by whom."""
    await chain(store, order)
    async with store.read() as conn:
        rows = await conn.execute(text("SELECT seq, actor, kind FROM event ORDER BY seq"))
        assert [tuple(row) for row in rows] == [
            (1, "tester", "created"),
            (2, "ada", "paused"),
            (3, "bob", "resumed"),
            (4, "eve", "cancelled"),
        ]


async def test_an_untouched_chain_is_whole(store, order):
    """Verification finds nothing in a chain that nobody changed."""
    batch_id = await chain(store, order)
    async with store.read() as conn:
        assert await audit.verify(conn, batch_id) is None


@pytest.mark.parametrize(
    ("change", "seq"),
    [
        ("UPDATE event SET actor = 'mallory' WHERE seq = 3", 3),
        ("UPDATE event SET detail = '{}' WHERE seq = 1", 1),
        ("UPDATE event SET at = '2020-01-01 00:00:00.000000' WHERE seq = 4", 4),
        ("DELETE FROM event WHERE seq = 2", 2),
    ],
)
async def test_a_changed_or_missing_entry_is_found(store, order, change, seq):
    """The first entry that does not fit is named."""
    batch_id = await chain(store, order)
    async with store.write() as conn:
        await conn.execute(text(change))
    async with store.read() as conn:
        found = await audit.verify(conn, batch_id)
    assert found.seq == seq
    assert ("missing" in found.reason) == change.startswith("DELETE")

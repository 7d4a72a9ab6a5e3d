"""What the rosters of batches hold, on both databases."""

from datetime import timedelta

from sqlalchemy import update

from bulkreset.model import TaskState
from bulkreset.store import members as read
from bulkreset.store.tables import batch, task


async def change(store, ref, batch_id, **values):
    async with store.write() as conn:
        found = (task.c.user_ref == ref) & (task.c.batch_id == batch_id)
        assert (await conn.execute(update(task).where(found).values(**values))).rowcount == 1


async def gathered(store, pages, *arguments):
    async with store.read() as conn:
        return [page async for page in pages(conn, *arguments)]


async def test_members_come_in_order_page_by_page(store, order, monkeypatch):
    """By reference in byte order, each with how far it came; pages end nobody twice or unseen."""
    monkeypatch.setattr(read, "_PAGE", 2)
    batch_id = await order(["b", "a", "C", "d", "e"])
    await order(["z"])
    await change(store, "b", batch_id, state=TaskState.SUCCEEDED, outcome="ok", attempt=2)
    pages = [page async for page in read.members(store, batch_id)]
    assert [[member.user_ref for member in page] for page in pages] == [["C", "a"], ["b", "d"], ["e"]]
    assert pages[1] == [
        ("b", "b", "succeeded", "ok", True, None, False, None),
        ("d", "d", "pending", None, False, None, False, None),
    ]


async def test_resets_since_a_time_are_those_of_this_account_that_succeeded(store, order, hand, monkeypatch):
    """At the time or after it; batches that had ended before are not even read."""
    monkeypatch.setattr(read, "_PAGE", 1)
    now = hand.now
    first = await order(["a", "b", "c", "d"])
    other = await order(["e"], account="elsewhere")
    for ref, state, at in (
        ("a", TaskState.SUCCEEDED, now),
        ("b", TaskState.SUCCEEDED, now - timedelta(microseconds=1)),
        ("c", TaskState.FAILED, now),
        ("d", TaskState.SUCCEEDED, now + timedelta(hours=1)),
    ):
        await change(store, ref, first, state=state, finished_at=at)
    await change(store, "e", other, state=TaskState.SUCCEEDED, finished_at=now)
    second = await order(["a"])
    await change(store, "a", second, state=TaskState.SUCCEEDED, finished_at=now)
    assert await gathered(store, read.reset_since, "zoom", now) == [["a"], ["d"], ["a"]]
    async with store.write() as conn:
        ended = now - timedelta(seconds=1)
        await conn.execute(update(batch).where(batch.c.id == first).values(finished_at=ended))
    assert await gathered(store, read.reset_since, "zoom", now) == [["a"]]


async def test_open_users_come_with_their_batch(store, order, monkeypatch):
    """Who waits or is called just now, of this account only; nobody of a batch that has ended."""
    monkeypatch.setattr(read, "_PAGE", 1)
    first = await order(["a", "b", "c"])
    await order(["e"], account="elsewhere")
    second = await order(["d"])
    await change(store, "a", first, state=TaskState.RUNNING)
    await change(store, "b", first, state=TaskState.SUCCEEDED)
    assert await gathered(store, read.open_in, "zoom") == [(first, ["a"]), (first, ["c"]), (second, ["d"])]

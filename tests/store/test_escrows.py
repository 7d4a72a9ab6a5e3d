"""Escrowed passwords in the database."""

import asyncio
import json
from datetime import timedelta

import pytest
from closings import rows
from sqlalchemy import event, insert, select, update

from bulkreset.errors import UsageError
from bulkreset.options import Options
from bulkreset.store import audit, escrows
from bulkreset.store.tables import batch, escrow, task

DAY = timedelta(days=1)
TO = ("age1one", "age1two")


@pytest.fixture
def escrowed(store, order, hand):
    """Order a batch whose passwords are all in escrow for so many days; `days` may be one for each user."""

    async def make(users, days=30):
        batch_id = await order(users)
        each = days if isinstance(days, list) else [days] * len(users)
        async with store.write() as conn:
            options = Options(escrow_to=TO).as_json()
            await conn.execute(update(batch).where(batch.c.id == batch_id).values(options=options))
            ids = (
                await conn.execute(select(task.c.id).where(task.c.batch_id == batch_id).order_by(task.c.id))
            ).scalars()
            values = [
                {
                    "task_id": task_id,
                    "batch_id": batch_id,
                    "sealed_at": hand.now,
                    "expires_at": hand.now + days * DAY,
                    "sealed": f"sealed-{task_id}",
                }
                for task_id, days in zip(ids, each, strict=True)
            ]
            await conn.execute(insert(escrow), values)
        return batch_id

    return make


async def trail(store, batch_id):
    """Return the batch's entries after its creation, by kind with detail; the chain must be whole."""
    async with store.read() as conn:
        assert await audit.verify(conn, batch_id) is None
    found = await rows(store, f"SELECT kind, actor, detail FROM event WHERE batch_id = {batch_id} ORDER BY seq")
    return [(kind, actor, json.loads(detail)) for kind, actor, detail in found[1:]]


async def users(store, batch_id):
    return [one.user for page in [page async for page in escrows.pages(store, batch_id)] for one in page]


async def test_a_batch_is_handed_out_in_the_order_of_its_roster(store, escrowed, hand, monkeypatch):
    """Every user once, with what is sealed for them, however it is cut into pages; no other batch's."""
    monkeypatch.setattr(escrows, "_PAGE", 2)
    await escrowed(["other"])
    batch_id = await escrowed(["c", "a", "b", "e", "d"])
    pages = [page async for page in escrows.pages(store, batch_id)]
    assert [len(page) for page in pages] == [2, 2, 1]
    found = [one for page in pages for one in page]
    assert [(one.user, one.user_ref, one.set_at) for one in found] == [(u, u, hand.now) for u in "abcde"]
    assert [one.sealed for one in found] == [f"sealed-{n}" for n in range(2, 7)]


async def test_what_is_over_is_not_handed_out(store, escrowed, hand):
    """From the moment that its time is over, though no worker runs that would delete it."""
    batch_id = await escrowed(["a", "b"], days=[1, 2])
    hand.pass_(DAY.total_seconds())
    assert await users(store, batch_id) == ["b"]
    assert [one.rows for one in await escrows.holdings(store)] == [1]
    hand.pass_(DAY.total_seconds())
    assert await users(store, batch_id) == []
    assert await escrows.holdings(store) == []


async def test_an_export_is_in_the_trail(store, escrowed):
    """Who, how many, for whom, and the hash of the file."""
    batch_id = await escrowed(["a"])
    await escrows.exported(store, batch_id, "ada", rows=1, sha256="ab12", recipients=TO)
    detail = {"rows": 1, "sha256": "ab12", "recipients": list(TO)}
    assert await trail(store, batch_id) == [("escrow_exported", "ada", detail)]


async def test_the_recipients_are_those_of_the_order(store, escrowed, order):
    """A batch without any, and one that there is not, are told apart."""
    assert await escrows.recipients(store, await escrowed(["a"])) == TO
    plain = await order(["b"])
    with pytest.raises(UsageError, match=f"batch {plain} was ordered without escrow"):
        await escrows.recipients(store, plain)
    with pytest.raises(UsageError, match="there is no batch 9"):
        await escrows.recipients(store, 9)


async def test_a_purge_deletes_a_batch_and_no_other(store, escrowed):
    """All of it, once, with one entry that says how many; purging again changes nothing."""
    first, second = await escrowed(["a", "b"]), await escrowed(["c"])
    assert await escrows.purge(store, first, "ada") == 2
    assert await escrows.purge(store, first, "ada") == 0
    assert await rows(store, "SELECT sealed FROM escrow") == [("sealed-3",)]
    assert await trail(store, first) == [("escrow_purged", "ada", {"rows": 2})]
    assert await trail(store, second) == []
    with pytest.raises(UsageError, match="there is no batch 9"):
        await escrows.purge(store, 9, "ada")


async def test_what_is_held_is_shown_by_batch(store, escrowed, hand):
    """How many, since when, until when, and for whom."""
    first, since = await escrowed(["a", "b"], days=[3, 1]), hand.now
    hand.pass_(60)
    second = await escrowed(["c"])
    found = await escrows.holdings(store)
    assert [(one.batch_id, one.account, one.rows, one.recipients) for one in found] == [
        (first, "zoom", 2, TO),
        (second, "zoom", 1, TO),
    ]
    assert (found[0].since, found[0].expires_first, found[0].expires_last) == (since, since + DAY, since + 3 * DAY)


async def test_nothing_is_deleted_before_its_time(store, escrowed, hand):
    """To the microsecond; then it goes, with one entry for each batch."""
    first, second = await escrowed(["a", "b"], days=1), await escrowed(["c", "d"], days=[1, 2])
    hand.pass_(DAY.total_seconds() - 1e-6)
    assert await escrows.expire(store) == 0
    hand.pass_(1e-6)
    assert await escrows.expire(store) == 3
    assert await escrows.expire(store) == 0
    assert await rows(store, "SELECT sealed FROM escrow") == [("sealed-4",)]
    assert await trail(store, first) == [("escrow_expired", "runner", {"rows": 2})]
    assert await trail(store, second) == [("escrow_expired", "runner", {"rows": 1})]


async def test_many_are_deleted_in_portions(store, escrowed, hand, monkeypatch):
    """So that no other writer waits for long; the entries add up."""
    monkeypatch.setattr(escrows, "_EXPIRED_AT_ONCE", 2)
    batch_id = await escrowed(["a", "b", "c", "d", "e"], days=1)
    hand.pass_(DAY.total_seconds())
    assert [await escrows.expire(store) for _ in range(4)] == [2, 2, 1, 0]
    assert [detail["rows"] for _, _, detail in await trail(store, batch_id)] == [2, 2, 1]


async def test_many_workers_delete_each_once(store, escrowed, hand, monkeypatch):
    """At the same moment: nothing is counted twice, no entry is lost, and a purge may come between."""
    monkeypatch.setattr(escrows, "_EXPIRED_AT_ONCE", 3)
    ids = [await escrowed([f"{name}{n}" for n in range(7)], days=1) for name in "abc"]
    hand.pass_(DAY.total_seconds())
    gone = await asyncio.gather(*(escrows.expire(store) for _ in range(8)), escrows.purge(store, ids[1], "ada"))
    while more := await escrows.expire(store):
        gone.append(more)
    assert sum(gone) == 21
    entries = [entry for batch_id in ids for entry in await trail(store, batch_id)]
    assert sum(detail["rows"] for _, _, detail in entries) == 21
    assert await rows(store, "SELECT count(*) FROM escrow") == [(0,)]


async def test_a_batch_that_is_held_is_left_for_later(store, escrowed, hand, opened, database_url):
    """A worker at its poll never waits for a purge or an approval of somebody else."""
    if store.sqlite:
        pytest.skip("SQLite has one writer at a time")
    held, free = await escrowed(["a"], days=1), await escrowed(["b"], days=1)
    hand.pass_(DAY.total_seconds())
    async with store.write() as conn:
        await conn.execute(select(batch.c.id).where(batch.c.id == held).with_for_update())
        assert await escrows.expire(await opened(database_url, clock=hand)) == 1
        assert await rows(store, "SELECT batch_id FROM escrow") == [(held,)]
    assert [entry[0] for entry in await trail(store, free)] == ["escrow_expired"]
    assert await escrows.expire(store) == 1


async def test_nothing_to_do_is_one_read_of_an_index(store, escrowed, hand):
    """A poll every second must cost nothing while there is nothing over: one statement, along the index."""
    await escrowed(["a", "b"])
    ran = []
    event.listen(store.engine.sync_engine, "before_cursor_execute", lambda *call: ran.append(call[2:4]))
    assert await escrows.expire(store) == 0
    [(statement, parameters)] = [each for each in ran if "escrow" in each[0]]
    assert not [each for each in ran if each[0].startswith(("UPDATE", "DELETE", "INSERT"))]
    async with store.write() as conn:
        if not store.sqlite:
            # a table of two rows is read whole where that is allowed
            await conn.exec_driver_sql("SET LOCAL enable_seqscan = off")
        how = "EXPLAIN QUERY PLAN" if store.sqlite else "EXPLAIN"
        plan = (await conn.exec_driver_sql(f"{how} {statement}", parameters)).all()
    assert "ix_escrow_expires_at" in str(plan)
    assert "B-TREE" not in str(plan)
    assert "Sort" not in str(plan)

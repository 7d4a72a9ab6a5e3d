"""Who waits for whom at PostgreSQL where a batch has two kinds of tasks and two labels to claim under."""

import asyncio
import dataclasses

import pytest
from closings import closing, rows, succeeded
from sqlalchemy import text

from bulkreset.model import Outcome, Quota, Skip, TaskState
from bulkreset.options import Options
from bulkreset.store import lifecycle, results
from bulkreset.store.engine import LONG
from bulkreset.store.quotas import Pause
from bulkreset.store.results import Ledger
from bulkreset.store.rosters import PlannedEntry


@pytest.fixture
def database_url(postgres_server):
    return postgres_server.fresh()


async def test_second_tasks_are_released_in_the_order_in_which_a_cancel_takes_them(store, order, claim, hand):
    """A result waits for the lowest of them and holds none beyond, so that neither has to be undone."""
    await order(["a", "b"], options=Options(revoke_sessions=True))
    held = [dataclasses.replace(succeeded(one, hand.now), chained=True) for one in (await claim()).claims]
    waiting = await rows(store, "SELECT id FROM task WHERE action = 'revoke_sessions' ORDER BY id")
    lock = text("SELECT id FROM task WHERE id = :id FOR UPDATE NOWAIT")
    async with store.write(LONG) as conn:
        await conn.execute(lock, {"id": waiting[0][0]})
        recording = asyncio.create_task(results.record(store, Ledger(held[::-1])))
        await _somebody_waits(conn)
        await conn.execute(lock, {"id": waiting[1][0]})
    assert await recording == 2
    assert await rows(store, "SELECT wave FROM task WHERE action = 'revoke_sessions'") == [(1,), (1,)]


async def test_what_is_given_back_waits_for_its_limit_before_it_holds_a_task(store, order, claim, hand):
    """A claim holds the limit's row and comes for tasks: a record that held one and waited would hold up both."""
    await order(["a"])
    await order(["b"], account="other")
    held = [*(await claim()).claims, *(await claim(which=Quota("other", "medium"))).claims]
    ends = [closing(held[0], Outcome.RELEASED, TaskState.PENDING, hand.now, due_at=hand.now, keep=True)]
    ledger = Ledger([*ends, succeeded(held[1], hand.now)], [Pause(Quota("other", "medium"), hand.now, "429")])
    async with store.write(LONG) as conn:
        await conn.execute(text("SELECT 1 FROM quota WHERE account = 'zoom' FOR UPDATE NOWAIT"))
        recording = asyncio.create_task(results.record(store, ledger))
        await _somebody_waits(conn)
        await conn.execute(text("SELECT id FROM task FOR UPDATE NOWAIT"))
    assert await recording == 2
    assert await rows(store, "SELECT used_today FROM quota ORDER BY account") == [(1,), (0,)]


async def _somebody_waits(conn):
    asked = text("SELECT count(*) FROM pg_locks WHERE NOT granted")  # unlike activity, never of a snapshot
    while not (await conn.execute(asked)).scalar_one():  # noqa: ASYNC110  (no event tells of a lock)
        await asyncio.sleep(0.01)


async def test_of_two_labels_that_claim_first_at_once_one_gets_the_batch(store, order, claim, hand):
    """The first claim writes into the batch; where both gave way to each other it would begin only by luck."""
    for n in range(10):
        sso = PlannedEntry(f"s{n}", f"s{n}", skipped=Skip.SSO, message="sso")
        batch_id = await order(
            (), planned=[PlannedEntry(f"a{n}", f"a{n}"), sso], options=Options(revoke_sessions=True)
        )
        both = await asyncio.gather(claim(), claim(which=Quota("zoom", "light")))
        held = [one for claimed in both for one in claimed.claims]
        assert held
        await results.record(store, Ledger([succeeded(one, hand.now) for one in held]))
        await lifecycle.cancel(store, batch_id, "bob")
        hand.pass_(1)

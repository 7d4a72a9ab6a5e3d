"""Several workers on one PostgreSQL: one limit for all, every user once, and no trouble but one's own."""

import asyncio

import pytest
from installation import Installation, calls_reach, check_books, resets

from bulkreset.cli.context import guard, master_key, transport
from bulkreset.config import load
from bulkreset.providers.http import WriteTransport
from bulkreset.runner.worker import Worker
from bulkreset.sandbox import generated_user, parse_rule
from bulkreset.store.engine import open_store


def addresses(first, last, provider="zoom"):
    return [generated_user(provider, n).email for n in range(first, last + 1)]


@pytest.fixture
def installation(tmp_path, sandbox, postgres_server):
    return Installation(tmp_path, sandbox.url, postgres_server.fresh())


@pytest.fixture
def account(sandbox, installation):
    def make(name, *, count, per_second, limit=None, faults=()):
        tenant = sandbox.add({"name": name, "provider": "zoom", "generate": {"count": count}, "limit": limit})
        tenant.faults.add([parse_rule(rule) for rule in faults])
        installation.zoom(name, requests_per_second=per_second)
        return tenant

    return make


async def work(installation, workers, meanwhile=None):
    """Run so many workers beside each other until nothing is due; return how many calls each sent."""
    settings = load(installation.config)

    async def one(number):
        store = await open_store(settings.database, settings.base)
        try:
            async with transport(WriteTransport, settings) as way:
                key, name = master_key(settings), f"host{number}:1"
                worker = Worker(store, settings, way, key, guard=guard(settings), name=name, once=True)
                return (await worker.run()).sent
        finally:
            await store.close()

    running = [asyncio.create_task(one(number)) for number in range(workers)]
    if meanwhile is not None:
        await meanwhile()
    return await asyncio.gather(*running)


def batches_in_order(installation):
    """Return the batch of every attempt that was sent, in the order of their slots."""
    rows = installation.query(
        "SELECT t.batch_id FROM attempt a JOIN task t ON t.id = a.task_id WHERE a.sent_at IS NOT NULL "
        "ORDER BY a.slot_at"
    )
    return [batch_id for (batch_id,) in rows]


@pytest.mark.parametrize("workers", [2, 3])
async def test_workers_share_one_limit_and_the_work(account, installation, workers):
    """At a limit that refuses one call too many, no call is refused; each user is reset once; all took part."""
    tenant = account("zoom", count=80, per_second=60, limit=60)
    placed = await installation.order("zoom", addresses(1, 80))
    sent = await work(installation, workers)
    check_books(installation, tenant)
    assert tenant.main_gate.refused == 0
    assert (sum(sent), min(sent) > 0) == (80, True)
    assert all(user.applied == 1 for user in tenant.users)
    batch = await installation.batch(placed.id)
    assert (batch.state, batch.outcomes) == ("done", {"ok": 80})
    names = installation.query("SELECT worker, count(*) FROM attempt WHERE sent_at IS NOT NULL GROUP BY worker")
    assert dict(names) == {f"host{number}:1": count for number, count in enumerate(sent)}
    slots = installation.query("SELECT count(*), count(DISTINCT slot_at) FROM attempt")
    assert slots[0][0] == slots[0][1]


async def test_two_batches_of_an_account_progress_together(account, installation):
    """Of the first half of all calls, neither batch has less than a third."""
    tenant = account("zoom", count=120, per_second=150)
    first = await installation.order("zoom", addresses(1, 60))
    second = await installation.order("zoom", addresses(61, 120))
    await work(installation, 2)
    check_books(installation, tenant)
    half = batches_in_order(installation)[:60]
    assert min(half.count(first.id), half.count(second.id)) >= 20


async def test_a_small_batch_that_comes_later_ends_long_before_the_huge_one(account, installation):
    """Ordered in the middle of a huge run, ten users are done while many of the others still wait."""
    # Each call of an order waits behind what the workers have claimed ahead, a second at most, and it makes two.
    tenant = account("zoom", count=600, per_second=100)
    huge = await installation.order("zoom", addresses(1, 590))
    small = []

    async def later():
        await calls_reach(tenant, 20)
        small.append(await installation.order("zoom", addresses(591, 600)))

    await work(installation, 2, later)
    check_books(installation, tenant)
    order = batches_in_order(installation)
    assert (order.count(huge.id), order.count(small[0].id)) == (590, 10)
    last = len(order) - order[::-1].index(small[0].id)
    assert order[last:].count(huge.id) >= 40


async def test_a_pause_of_one_account_is_kept_by_all_workers_and_slows_no_other(account, installation):
    """While one account waits as its 429 asks for, the other is done; the pause holds for every worker."""
    waits = account("waits", count=60, per_second=100, faults=[{"kind": "429", "retry_after": 4, "times": 1}])
    goes = account("goes", count=60, per_second=100)
    await installation.order("waits", addresses(1, 60))
    await installation.order("goes", addresses(1, 60))
    await work(installation, 2)
    calls = sorted(resets(waits), key=lambda call: call.t)
    assert (len(resets(goes)), len({call.user for call in calls})) == (60, 60)
    refused = next(n for n, call in enumerate(calls) if call.status == 429)
    gap = max(range(refused, len(calls) - 1), key=lambda n: calls[n + 1].t - calls[n].t)
    before, after = calls[: gap + 1], calls[gap + 1 :]
    assert len(before) < 30, "the pause reached a worker late"
    assert len(after) >= 30
    assert all(call.t < after[0].t for call in resets(goes))


async def test_a_halt_of_one_account_is_kept_by_all_workers_and_stops_no_other(account, installation):
    """An account whose credentials are refused is left alone by every worker; the other is finished."""
    halted = account("halted", count=200, per_second=100, faults=[{"kind": "401"}])
    goes = account("goes", count=60, per_second=100)
    stopped = await installation.order("halted", addresses(1, 200))
    done = await installation.order("goes", addresses(1, 60))
    await work(installation, 2)
    assert (await installation.batch(done.id)).outcomes == {"ok": 60}
    assert (await installation.batch(stopped.id)).left == 200
    assert len(resets(halted)) < 60
    assert len(resets(goes)) == 60
    [(reason,)] = installation.query("SELECT halted_reason FROM quota WHERE account = 'halted'")
    assert reason

"""One fault at a time at PostgreSQL, each with the promise that it is about; real processes, real signals."""

import asyncio
import signal

import pytest
from databases import run_apart
from fleet import Worker
from installation import Installation, calls_reach, check_books, writes
from proxy import Proxy

from benchmarks.cluster import Cluster, execute
from bulkreset.sandbox import generated_user
from bulkreset.store.engine import SHORT

USERS = 300
LOST = "SELECT count(*) FROM attempt WHERE message LIKE 'the runner was lost%'"
UNKNOWN = "SELECT count(*) FROM attempt WHERE outcome = 'unknown'"


@pytest.fixture(scope="module")
def cluster():
    with Cluster() as cluster:
        yield cluster


@pytest.fixture
def tenant(sandbox):
    tenant = sandbox.add({"name": "zoom", "provider": "zoom", "latency_ms": 50, "generate": {"count": USERS}})
    tenant.url = sandbox.url
    return tenant


@pytest.fixture
def installation(tmp_path, tenant, cluster, request):
    name = f"faults_{request.node.name[:40]}"
    run_apart(execute(cluster.url("postgres"), f'CREATE DATABASE "{name}"'))
    installation = Installation(tmp_path, tenant.url, cluster.url(name))
    installation.http = "total_timeout = 3\nconnect_timeout = 2"  # a lease is as long, and a little more
    installation.zoom("zoom", requests_per_second=100)
    return installation


@pytest.fixture
async def hire(installation, tmp_path):
    """Make a worker, by way of a proxy where one is given; it is ended with the test."""
    hired = []

    async def hire(name, proxy=None, **options):
        config = installation.config
        if proxy is not None:
            config = tmp_path / f"{name}.toml"
            told = installation.config.read_text()
            config.write_text(told.replace(f":{proxy.target_port}/", f":{proxy.port}/"))
        worker = Worker(name, config, tmp_path, tmp_path / "journal", **options)
        hired.append(worker)
        await worker.start(keep=False)
        return worker

    yield hire
    await asyncio.gather(*(worker.end(patience=0) for worker in hired))
    assert [fault for worker in hired for fault in worker.faults()] == []


async def placed(installation):
    return await installation.order("zoom", [generated_user("zoom", n).email for n in range(1, USERS + 1)])


async def finished(installation, order, *, within):
    """Wait until the batch is done, and return it."""
    async with asyncio.timeout(within):
        while (batch := await installation.batch(order.id)).state != "done":  # noqa: ASYNC110  (in another process)
            await asyncio.sleep(0.1)
    return batch


async def appears(path):
    while not path.exists():  # noqa: ASYNC110  (made by another process)
        await asyncio.sleep(0.01)


async def test_a_worker_stopped_with_the_quota_in_hand_gives_way(installation, tenant, hire):
    """SIGSTOP in mid-transaction, the quota row locked: others call again when the idle bound has freed it."""
    order = await placed(installation)
    frozen = await hire("frozen")
    other = await hire("other")
    await calls_reach(tenant, 60)
    (frozen.folder / "freeze").touch()
    async with asyncio.timeout(60):
        await appears(frozen.folder / "frozen")
    try:
        # Less than two seconds of slots are in hand; a call beyond needs the row, which only the bound frees.
        async with asyncio.timeout(SHORT.lock.total_seconds() + 60):
            await calls_reach(tenant, tenant.log.total + 120)
        assert other.process.returncode is None
    finally:
        frozen.send(signal.SIGCONT)
    batch = await finished(installation, order, within=120)
    assert batch.counts["succeeded"] == USERS
    check_books(installation, tenant)


async def test_a_killed_postgresql_costs_nothing_but_time(installation, tenant, hire, cluster):
    """Killed and started again under two workers, for longer than a lease: both go on, and nothing is rescued.

    What came back meanwhile waited in memory, and was saved before anybody could take its task for lost.
    """
    order = await placed(installation)
    workers = [await hire(name, lease_margin=0) for name in ("one", "two")]
    await calls_reach(tenant, 80)
    await asyncio.to_thread(cluster.stop, "immediate")
    try:
        # A lease is four seconds here: horizon, grace, and the time-out of a call.
        await asyncio.sleep(4.5)
    finally:
        await asyncio.to_thread(cluster.start)
    at_the_return = tenant.log.total
    batch = await finished(installation, order, within=120)
    assert [worker.process.returncode for worker in workers] == [None, None]
    assert tenant.log.total > at_the_return
    assert batch.counts["succeeded"] == USERS
    # Every call was answered, so every end is known: not one had to be guessed, nor sent again.
    assert installation.query(LOST) == [(0,)]
    assert installation.query(UNKNOWN) == [(0,)]
    assert batch.outcomes == {"ok": USERS}
    check_books(installation, tenant)


async def test_a_worker_that_lost_the_database_for_good_holds_nobody_up(installation, tenant, hire, cluster):
    """Cut off in mid-run: it sends nothing more once its slots are used, and the other finishes its tasks too."""
    order = await placed(installation)
    async with Proxy(cluster.port) as proxy:
        cut_off = await hire("cut_off", proxy, lease_margin=1)
        await hire("other", lease_margin=1)
        await calls_reach(tenant, 80)
        proxy.part()
        name = f"%:{cut_off.pid}"
        batch = await finished(installation, order, within=120)
    assert batch.counts["succeeded"] == USERS
    lost = installation.query(f"{LOST} AND worker LIKE ?", name)[0][0]
    assert lost > 0
    # What it sent before nobody could write down is found to have been done, and not done again.
    arrived = {tuple(map(int, call.request_id.split("-")[1:])) for call in writes(tenant) if call.status == 204}
    gone = set(
        installation.query("SELECT task_id, n FROM attempt WHERE outcome = 'unknown' AND worker LIKE ?", name)
    )
    confirmed = {task for (task,) in installation.query("SELECT id FROM task WHERE outcome = 'confirmed'")}
    assert {task for task, _ in gone & arrived} <= confirmed
    check_books(installation, tenant)

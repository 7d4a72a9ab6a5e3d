"""How a person stops things: signals to real processes, and stops that a worker cannot confirm."""

import asyncio
import signal

import pytest
from installation import Installation, calls_reach, check_books, writes
from program import ended, said_of

from bulkreset.sandbox import generated_user, parse_rule

USERS = [generated_user("zoom", n).email for n in range(1, 301)]
OPEN = "SELECT count(*) FROM attempt WHERE closed_at IS NULL OR outcome = 'unknown'"
RUNNING = "SELECT count(*) FROM task WHERE state = 'running'"


@pytest.fixture
def tenant(sandbox):
    return sandbox.add({"name": "zoom", "provider": "zoom", "latency_ms": 100, "generate": {"count": 300}})


@pytest.fixture
def installation(tmp_path, sandbox, tenant, database_url):
    installation = Installation(tmp_path, sandbox.url, database_url)
    installation.http = "total_timeout = 60\nconnect_timeout = 2"
    installation.zoom("zoom", requests_per_second=20)
    return installation


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGINT, signal.SIGTERM])
async def test_the_first_signal_is_a_clean_stop(installation, tenant, program, number):
    """It says what it waits for; no attempt is left open or unknown, and what is left is told by the exit code."""
    placed = await installation.order("zoom", USERS)
    runner = await program(installation.config, "run")
    await calls_reach(tenant, 20)
    runner.send_signal(number)
    code, _, said = await ended(runner)
    assert (code, "stopping: " in said, number.name in said) == (4, True, True), said
    assert "Ctrl-C again ends at once" in said or "no call is on its way" in said
    assert installation.query(RUNNING) == installation.query(OPEN) == [(0,)]
    batch = await installation.batch(placed.id)
    assert batch.counts["succeeded"] == len(writes(tenant))
    check_books(installation, tenant)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_the_second_signal_ends_at_once_and_a_hang_up_never_does(installation, tenant, program, number):
    """A closing terminal sends several hang-ups; a person who is in a hurry sends two of the others."""
    tenant.faults.add([parse_rule({"kind": "hang"})])
    await installation.order("zoom", USERS[:50])
    runner = await program(installation.config, "run")
    await calls_reach(tenant, 10)
    runner.send_signal(signal.SIGHUP)
    said = await said_of(runner, "run_stopping")
    assert "on their way" in said
    assert "Ctrl-C again ends at once" in said
    runner.send_signal(signal.SIGHUP)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.5):
            await runner.wait()
    runner.send_signal(number)
    code, _, _ = await ended(runner, 5)
    assert code == 128 + number


@pytest.mark.parametrize("act", ["pause", "cancel"])
async def test_a_worker_that_stands_still_is_named_by_whoever_stops_its_batch(installation, tenant, program, act):
    """The command ends with 4 and says by when its slots have expired; nothing leaves afterwards."""
    placed = await installation.order("zoom", USERS)
    runner = await program(installation.config, "run")
    await calls_reach(tenant, 20)
    runner.send_signal(signal.SIGSTOP)
    try:
        code, _, said = await ended(await program(installation.config, "batch", act, str(placed.id)))
    finally:
        arrived = len(writes(tenant))
        runner.send_signal(signal.SIGCONT)
    assert code == 4, said
    assert f":{runner.pid}" in said
    assert "slots" in said
    assert "expire" in said
    if "not stopped yet" in said:  # at SQLite it may have been in the middle of a write
        code, _, said = await ended(await program(installation.config, "batch", act, str(placed.id)))
        assert code == 0, said
        arrived = len(writes(tenant))
    runner.send_signal(signal.SIGTERM)
    await ended(runner)
    assert len(writes(tenant)) == arrived  # of its claims, all slots had expired when it went on
    assert installation.query(RUNNING) == [(0,)]


async def test_ctrl_c_while_an_order_is_placed_leaves_nothing(installation, tenant, program):
    """The account was being listed; no batch, no task, and the next order is placed."""
    tenant.faults.add([parse_rule({"kind": "hang", "on": "any"})])
    seen = tenant.log.total
    (installation.folder / "users.csv").write_text("\n".join(USERS))
    words = ["batch", "create", "--account", "zoom", "--users", str(installation.folder / "users.csv")]
    words += ["--incident", "I", "--reason", "r", "--yes"]
    order = await program(installation.config, *words)
    await calls_reach(tenant, seen + 1)
    order.send_signal(signal.SIGINT)
    code, printed, said = await ended(order)
    assert (code, printed, "Traceback" in said) == (130, "", False), said
    assert installation.query("SELECT count(*) FROM batch") == installation.query("SELECT count(*) FROM task")
    assert installation.query("SELECT count(*) FROM batch") == [(0,)]
    tenant.faults.clear()
    code, _, said = await ended(await program(installation.config, *words))
    assert code == 0, said

"""A worker in trouble: a wrong key, an order that hangs, an account that hangs, a login that is away."""

import asyncio
import sqlite3

import pytest
from installation import calls_reach

from bulkreset.errors import KeyMismatch
from bulkreset.passwords.keyfile import write_key_file
from bulkreset.sandbox import generated_user, parse_rule


def addresses(count, provider="zoom"):
    return [generated_user(provider, n).email for n in range(1, count + 1)]


def order_by_sql(installation, account, *users):
    connection = sqlite3.connect(installation.database)
    with connection:
        connection.execute(
            "INSERT INTO batch_request (account, incident, reason, requested_by) VALUES (?, 'I', 'r', 'soar')",
            (account,),
        )
        connection.executemany(
            "INSERT INTO batch_request_user (request_id, user_ref) VALUES (1, ?)", [(u,) for u in users]
        )
        connection.execute("UPDATE batch_request SET state = 'ready'")
    connection.close()


async def test_a_batch_under_another_key_ends_the_run_and_says_so(sandbox, installation):
    """A key that does not fit, met in mid-run, ends the worker with that error; nothing hangs."""
    tenant = sandbox.add({"name": "zoom", "provider": "zoom", "generate": {"count": 20}})
    installation.zoom("zoom", requests_per_second=1000)
    await installation.order("zoom", addresses(1))

    async def swap(worker):
        await calls_reach(tenant, 1)
        (installation.folder / "bulkreset.key").rename(installation.folder / "old.key")
        write_key_file(installation.folder / "bulkreset.key")
        await installation.order("zoom", addresses(20)[1:])

    async with asyncio.timeout(20):
        with pytest.raises(KeyMismatch):
            await installation.run(once=False, meanwhile=swap)


async def test_a_stop_is_obeyed_while_an_order_hangs_at_its_provider(sandbox, installation):
    """An order by SQL whose listing never answers holds up neither the resets nor the stop."""
    zoom = sandbox.add({"name": "zoom", "provider": "zoom", "generate": {"count": 300}})
    zendesk = sandbox.add({"name": "zendesk", "provider": "zendesk", "generate": {"count": 5}})
    zendesk.faults.add([parse_rule({"kind": "hang", "on": "any"})])
    installation.http = "total_timeout = 60"
    installation.zoom("zoom", requests_per_second=60)
    installation.zendesk("zendesk", requests_per_minute=6_000)
    await installation.order("zoom", addresses(300))
    order_by_sql(installation, "zendesk", *addresses(1, "zendesk"))

    async def stop(worker):
        await calls_reach(zendesk, 1)
        await calls_reach(zoom, zoom.log.total + 60)
        worker.stop()

    async with asyncio.timeout(30):
        await installation.run(once=False, meanwhile=stop)
    assert zoom.log.total < 250
    assert installation.query("SELECT state, batch_id FROM batch_request") == [("ready", None)]


async def test_an_account_that_hangs_takes_no_connection_from_another(sandbox, installation):
    """With every slot of one account stuck in calls that hang, the other one goes on unharmed."""
    zoom = sandbox.add({"name": "zoom", "provider": "zoom", "generate": {"count": 60}})
    sandbox.add({"name": "zendesk", "provider": "zendesk", "generate": {"count": 40}})
    zoom.faults.add([parse_rule({"kind": "hang"})])
    installation.http = "total_timeout = 4\nconnect_timeout = 0.3"
    installation.runner = "poll_interval = 0.2\nconcurrency = 8"
    installation.zoom("zoom", requests_per_second=60)
    installation.zendesk("zendesk", requests_per_minute=2_000)
    await installation.order("zoom", addresses(60))
    placed = await installation.order("zendesk", addresses(40, "zendesk"))
    task = asyncio.create_task(installation.run(once=False))
    async with asyncio.timeout(30):
        while (await installation.batch(placed.id)).left:  # noqa: ASYNC110  (the database has no event for it)
            await asyncio.sleep(0.1)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert (await installation.batch(placed.id)).outcomes == {"ok": 40}
    outcomes = installation.query(
        "SELECT DISTINCT a.outcome FROM attempt a JOIN task t ON t.id = a.task_id WHERE t.account = 'zendesk'"
    )
    assert ("unreachable",) not in outcomes


async def test_a_login_that_is_away_is_tried_ever_more_rarely_and_claims_nothing(sandbox, installation):
    """While OAuth fails no task is claimed; when it is back the batch is finished."""
    tenant = sandbox.add({"name": "zoom", "provider": "zoom", "generate": {"count": 5}})
    installation.zoom("zoom", requests_per_second=1000)
    placed = await installation.order("zoom", addresses(5))
    tenant.faults.add([parse_rule({"kind": "5xx", "on": "token", "times": 3})])
    seen = tenant.log.total
    await installation.run()
    assert (await installation.batch(placed.id)).outcomes == {"ok": 5}
    logins = [call.t for call in tenant.log.calls[seen:] if "oauth" in call.path]
    assert len(logins) == 4
    assert logins[2] - logins[1] > logins[1] - logins[0] > 0.9
    assert installation.query("SELECT DISTINCT attempt FROM task") == [(1,)]


async def test_an_order_by_sql_is_taken_up_once_and_answered(sandbox, installation):
    """A running worker makes the batch, resets its users, and writes the batch's id back."""
    tenant = sandbox.add({"name": "zoom", "provider": "zoom", "generate": {"count": 5}})
    installation.zoom("zoom", requests_per_second=1000)
    order_by_sql(installation, "zoom", *addresses(5), addresses(5)[0].upper())
    await installation.run()
    [(state, batch_id, message)] = installation.query("SELECT state, batch_id, message FROM batch_request")
    assert (state, message) == ("accepted", None)
    batch = await installation.batch(batch_id)
    assert (batch.outcomes, batch.duplicates, batch.requested_by) == ({"ok": 5}, 1, "soar")
    await installation.run()
    assert all(user.applied == 1 for user in tenant.users)

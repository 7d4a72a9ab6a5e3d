"""A worker in trouble: a wrong key, an order that hangs, an account that hangs, a login that is away."""

import asyncio
import sqlite3
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise

import pytest
from installation import addresses, calls_reach

from bulkreset.errors import ProviderRefused, StoreError
from bulkreset.passwords.keyfile import write_key_file
from bulkreset.passwords.policy import Policy, Style
from bulkreset.providers.zendesk.password_requirements import policy_from
from bulkreset.runner import standing
from bulkreset.runner.claimer import Claimer
from bulkreset.sandbox import ZendeskPolicy, ZoomPolicy, parse_rule
from bulkreset.store import batches, claims, lifecycle, results


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


async def test_a_batch_under_another_key_is_halted_and_the_run_goes_on(sandbox, installation):
    """A key that does not fit, met in mid-run, stops the batch that needs it; the account's next one is done."""
    tenant = sandbox.add({"name": "zoom", "provider": "zoom", "generate": {"count": 20}})
    installation.zoom("zoom", requests_per_second=1000)
    await installation.order("zoom", addresses(1))

    async def swap(_):
        await calls_reach(tenant, 1)
        (installation.folder / "bulkreset.key").rename(installation.folder / "old.key")
        write_key_file(installation.folder / "bulkreset.key")
        await installation.order("zoom", addresses(5)[1:])
        (installation.folder / "old.key").replace(installation.folder / "bulkreset.key")
        await installation.order("zoom", addresses(20)[5:])

    async with asyncio.timeout(60):
        await installation.run(meanwhile=swap)
    shown = [await installation.batch(batch_id) for batch_id in (1, 2, 3)]
    assert [batch.state for batch in shown] == ["done", "halted", "done"]
    assert "configure the key it was sealed under" in shown[1].state_reason
    assert shown[1].counts["pending"] == 4


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

    async with asyncio.timeout(60):
        await installation.run(once=False, meanwhile=stop)
    assert zoom.log.total < 250
    assert installation.query("SELECT state, batch_id FROM batch_request") == [("ready", None)]


async def test_an_account_that_hangs_takes_no_connection_from_another(sandbox, installation):
    """With every slot of one account stuck in calls that hang, the other one goes on unharmed."""
    zoom = sandbox.add({"name": "zoom", "provider": "zoom", "generate": {"count": 60}})
    sandbox.add({"name": "zendesk", "provider": "zendesk", "generate": {"count": 40}})
    zoom.faults.add([parse_rule({"kind": "hang"})])
    installation.http = "total_timeout = 4\nconnect_timeout = 3"
    installation.runner = "poll_interval = 0.2\nconcurrency = 8"
    installation.zoom("zoom", requests_per_second=60)
    installation.zendesk("zendesk", requests_per_minute=2_000)
    await installation.order("zoom", addresses(60))
    placed = await installation.order("zendesk", addresses(40, "zendesk"))
    task = asyncio.create_task(installation.run(once=False))
    async with asyncio.timeout(60):
        while (await installation.batch(placed.id)).left:  # noqa: ASYNC110  (the database has no event for it)
            await asyncio.sleep(0.1)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert (await installation.batch(placed.id)).outcomes == {"ok": 40}
    outcomes = installation.query(
        "SELECT DISTINCT a.outcome FROM attempt a JOIN task t ON t.id = a.task_id WHERE t.account = 'zendesk'"
    )
    assert ("unreachable",) not in outcomes


async def test_a_login_that_is_away_is_tried_ever_more_rarely_and_claims_nothing(
    sandbox, installation, monkeypatch
):
    """While OAuth fails no task is claimed; when it is back the batch is finished."""
    tenant = sandbox.add({"name": "zoom", "provider": "zoom", "generate": {"count": 5}})
    installation.zoom("zoom", requests_per_second=1000)
    placed = await installation.order("zoom", addresses(5))
    tenant.faults.add([parse_rule({"kind": "5xx", "on": "token", "times": 3})])
    seen = tenant.log.total
    waits, backoff = [], standing.backoff

    def shortened(spent, jitter):
        waits.append(backoff(spent, jitter) / 10)
        return waits[-1]

    monkeypatch.setattr(standing, "backoff", shortened)
    await installation.run()
    assert (await installation.batch(placed.id)).outcomes == {"ok": 5}
    logins = [call.t for call in tenant.log.calls[seen:] if "oauth" in call.path]
    assert len(logins) == 4
    assert waits == sorted(waits)
    assert all(
        later - earlier >= wait.total_seconds()
        for (earlier, later), wait in zip(pairwise(logins), waits, strict=True)
    )
    left = "SELECT count(*) FROM attempt WHERE sent_at IS NOT NULL GROUP BY task_id"
    assert installation.query(left) == [(1,)] * 5


async def test_an_order_by_sql_is_taken_up_once_and_answered(sandbox, installation):
    """A running worker makes the batch, resets its users, and writes the batch's id back."""
    tenant = sandbox.add({"name": "zoom", "provider": "zoom", "generate": {"count": 5}})
    installation.zoom("zoom", requests_per_second=1000)
    order_by_sql(installation, "zoom", *addresses(5), addresses(5)[0].upper())
    await installation.run()
    [(state, batch_id, message)] = installation.query("SELECT state, batch_id, message FROM batch_request")
    assert (state, message) == ("accepted", None)
    batch = await installation.batch(batch_id)
    assert (batch.outcomes, batch.duplicates, batch.requested_by) == ({"ok": 5}, 1, "soar (by SQL, request 1)")
    await installation.run()
    assert all(user.applied == 1 for user in tenant.users)


async def test_results_that_could_not_be_saved_are_saved_before_anything_is_rescued(
    sandbox, installation, monkeypatch
):
    """After the database was away longer than the leases, no known result is called unknown and sent again."""
    tenant = sandbox.add({"name": "zendesk", "provider": "zendesk", "generate": {"count": 30}})
    installation.zendesk("zendesk", requests_per_minute=60_000)
    placed = await installation.order("zendesk", addresses(30, "zendesk"))
    record, lease = results.record, timedelta(seconds=1)
    away = asyncio.Event()

    async def refused(store, ledger, **by):
        if not away.is_set():
            raise StoreError("the database cannot grow: the disk is full")
        return await record(store, ledger, **by)

    monkeypatch.setattr(results, "record", refused)
    monkeypatch.setattr(Claimer, "lease", lease, raising=False)
    monkeypatch.setattr(
        Claimer, "__setattr__", lambda one, name, value: name == "lease" or object.__setattr__(one, name, value)
    )

    polled, finish = asyncio.Event(), lifecycle.finish

    async def watched(store):
        polled.set()
        return await finish(store)

    monkeypatch.setattr(lifecycle, "finish", watched)
    running = "SELECT count(*) FROM task WHERE lease_until >= strftime('%Y-%m-%d %H:%M:%f', 'now')"

    async def come_back(worker):
        await calls_reach(tenant, tenant.log.total + 30)
        over = 0
        while over < 3:  # polls that find every lease ended
            polled.clear()
            await polled.wait()
            over += installation.query(running) == [(0,)]
        away.set()

    await installation.run(meanwhile=come_back)
    assert (await installation.batch(placed.id)).outcomes == {"ok": 30}
    assert all(user.applied == 1 for user in tenant.users)


async def test_a_recorder_that_dies_ends_the_run(sandbox, installation, monkeypatch):
    """An error that nobody foresaw in writing results is an error of the run, not a silence."""
    sandbox.add({"name": "zoom", "provider": "zoom", "generate": {"count": 5}})
    installation.zoom("zoom", requests_per_second=1000)
    await installation.order("zoom", addresses(5))

    async def broken(store, ledger, **by):
        raise RuntimeError("a bug")

    monkeypatch.setattr(results, "record", broken)
    async with asyncio.timeout(60):
        with pytest.raises(RuntimeError, match="a bug"):
            await installation.run()
    assert installation.query("SELECT DISTINCT state FROM task") == [("running",)]


async def test_a_policy_tightened_in_mid_run_is_read_again_and_everybody_is_reset(sandbox, installation):
    """New passwords are built to the new policy; refusals of older ones neither fail users nor halt the batch."""
    tenant = sandbox.add({"name": "zoom", "provider": "zoom", "latency_ms": 200, "generate": {"count": 150}})
    installation.zoom("zoom", requests_per_second=60)
    placed = await installation.order("zoom", addresses(150))

    async def tighten(worker):
        await calls_reach(tenant, 40)
        tenant.change(replace(tenant.spec, policy=ZoomPolicy(minimum_password_length=28)))

    await installation.run(meanwhile=tighten)
    batch = await installation.batch(placed.id)
    assert (batch.state, batch.outcomes) == ("done", {"ok": 150})


async def test_wishes_outlive_a_policy_that_is_read_again(sandbox, installation):
    """The tightened policy and the wishes of the configuration stand together on the batch, and it ends well."""
    tenant = sandbox.add({"name": "zoom", "provider": "zoom", "latency_ms": 100, "generate": {"count": 20}})
    installation._head += 'length = 28\nstyle = "passphrase"\n'
    installation.zoom("zoom", requests_per_second=60)
    placed = await installation.order("zoom", addresses(20))
    tenant.change(replace(tenant.spec, policy=ZoomPolicy(minimum_password_length=30)))
    await installation.run()
    [(text,)] = installation.query("SELECT policy FROM batch")
    policy = Policy.from_json(text)
    assert (policy.min_length, policy.length, policy.style) == (30, 28, Style.PASSPHRASE)
    assert (await installation.batch(placed.id)).outcomes == {"ok": 20}


@pytest.mark.parametrize("strict", [["must be at least 100 characters"], ["must be at most 11 characters"]])
async def test_a_policy_that_no_password_meets_halts_and_is_read_again_after_resume(sandbox, installation, strict):
    """The halt says so; when the policy was put right, resume finishes the batch."""
    tenant = sandbox.add({"name": "zendesk", "provider": "zendesk", "generate": {"count": 5}})
    installation.zendesk("zendesk", requests_per_minute=60_000)
    placed = await installation.order("zendesk", addresses(5, "zendesk"))
    tenant.change(replace(tenant.spec, policy=ZendeskPolicy(strict, 100)))
    await installation.with_store(
        lambda store: batches.set_policy(store, "zendesk", policy_from(strict).as_json())
    )
    await installation.run()
    [(reason,)] = installation.query("SELECT halted_reason FROM quota")
    assert "no password can meet" in reason
    with pytest.raises(ProviderRefused, match="halted"):
        await installation.order("zendesk", ["361000000001"])
    tenant.change(replace(tenant.spec, policy=ZendeskPolicy(["must be at least 5 characters"], 5)))
    await installation.with_store(lambda store: lifecycle.resume(store, placed.id, "tester"))
    await installation.run()
    assert (await installation.batch(placed.id)).outcomes == {"ok": 5}


async def test_a_claim_that_a_pause_overtakes_is_not_sent(sandbox, installation, monkeypatch):
    """What was being claimed when the buffer was emptied is given back unsent, and claimed anew."""
    tenant = sandbox.add({"name": "zoom", "provider": "zoom", "generate": {"count": 10}})
    installation.zoom("zoom", requests_per_second=1000)
    placed = await installation.order("zoom", addresses(10))
    claim, workers = claims.claim, []

    async def overtaken(*arguments, **options):
        claimed = await claim(*arguments, **options)
        if workers:
            workers.pop().lanes[0].drop(why="a pause")
        return claimed

    async def note(worker):
        workers.append(worker)

    monkeypatch.setattr(claims, "claim", overtaken)
    await installation.run(meanwhile=note)
    assert (await installation.batch(placed.id)).outcomes == {"ok": 10}
    given_back = "SELECT count(*) FROM attempt WHERE message = 'the buffer was emptied while they were claimed'"
    assert installation.query(given_back) == [(10,)]
    assert all(user.applied == 1 for user in tenant.users)

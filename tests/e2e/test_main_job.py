"""The main job, whole: a roster at a stand-in, within the limit, and books that agree with the truth."""

import asyncio
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from installation import addresses, calls_reach, check_books, resets
from sqlalchemy import text

from bulkreset.errors import ProviderRefused, UsageError
from bulkreset.runner import completions
from bulkreset.store import claims, lifecycle, results


def codes(installation):
    """Return why users were skipped, and how many for each reason."""
    return set(installation.query("SELECT code, count(*) FROM task WHERE state = 'skipped' GROUP BY code"))


def outcome_of(installation, user):
    return installation.query("SELECT state, outcome FROM task WHERE user_ref = ?", user)[0]


async def test_every_user_of_a_zoom_roster_gets_a_new_password(zoom, installation):
    """Each user is called once, each with a password of its own, and the batch is done."""
    tenant = zoom(40)
    placed = await installation.order("zoom", addresses(40))
    summary = await installation.run()
    check_books(installation, tenant)
    batch = await installation.batch(placed.id)
    assert (batch.state, batch.counts["succeeded"], batch.outcomes) == ("done", 40, {"ok": 40})
    assert summary.sent == 40
    assert len({user.password_sha256 for user in tenant.users}) == 40
    assert all(user.applied == 1 for user in tenant.users)


async def test_zendesk_addresses_are_looked_up_and_strangers_reported(zendesk, installation):
    """Addresses become ids through the listing; one that nobody has is a `user_not_found` row, not an error."""
    tenant = zendesk(250)
    placed = await installation.order("zendesk", [*addresses(30, "zendesk"), "Stranger@Example.com"])
    await installation.run()
    check_books(installation, tenant)
    batch = await installation.batch(placed.id)
    assert batch.outcomes == {"ok": 30, "user_not_found": 1}
    assert installation.query("SELECT display, attempt FROM task WHERE state = 'failed'") == [
        ("Stranger@Example.com", 0)
    ]
    assert sum(call.method == "GET" and "users.json" in call.path for call in tenant.log.calls) <= 3


KINDS = {"admin": 2, "owner": 1, "sso": 2, "pending": 1, "missing": 1}


async def test_users_that_cannot_be_reset_are_skipped_with_the_reason(zoom, installation):
    """Nobody looked before: Zoom's answers skip admins, SSO users and pending ones; a missing one fails."""
    tenant = zoom(40, generate={"count": 40, "kinds": KINDS})
    placed = await installation.order("zoom", addresses(40))
    await installation.run()
    batch = await installation.batch(placed.id)
    # The owner is whom the app works as, which is known without a look at anybody else.
    assert batch.outcomes == {"ok": 33, "not_resettable": 5, "user_not_found": 1}
    assert codes(installation) == {("1117", 2), ("1120", 1), ("1123", 2), ("self", 1)}
    assert batch.counts["skipped"] == 6
    assert batch.counts["failed"] == 1
    assert sum(call.method == "PUT" for call in tenant.log.calls) == 39


async def test_the_preflight_skips_them_before_anything_is_sent(zoom, installation):
    """What the listing shows is not asked of Zoom again: only those it cannot know are called and refused."""
    tenant = zoom(40, generate={"count": 40, "kinds": KINDS})
    placed = await installation.order("zoom", addresses(40), preflight=True)
    assert placed.skipped == {"admin": 2, "pending_invitation": 1, "self": 1, "not_listed": 1}
    await installation.run()
    batch = await installation.batch(placed.id)
    assert batch.outcomes == {"ok": 33, "not_resettable": 2}
    assert codes(installation) == {
        *(("admin", 2), ("pending_invitation", 1), ("1123", 2), ("self", 1), ("not_listed", 1))
    }
    assert (batch.counts["skipped"], batch.counts["failed"]) == (7, 0)
    called = {call.ref for call in tenant.log.calls if call.method == "PUT"}
    assert len(called) == 35
    assert not called & {user.email for user in tenant.users if user.kind in ("admin", "owner", "pending")}


async def test_a_write_that_landed_unseen_is_confirmed_with_the_same_password(zoom, installation):
    """The connection drops after the write: the same password goes again, and its refusal is the proof."""
    tenant = zoom(5, faults=[{"kind": "apply_drop", "users": [addresses(1)[0]], "times": 1}])
    await installation.order("zoom", addresses(5))
    await installation.run()
    check_books(installation, tenant)
    assert outcome_of(installation, addresses(1)[0]) == ("succeeded", "confirmed")
    user = tenant.directory.by_email(addresses(1)[0])
    sent = {call.password_sha256 for call in tenant.log.calls if call.user == user.id and call.password_sha256}
    assert sent == {user.password_sha256}


async def test_an_error_behind_which_the_write_stands_is_confirmed_too(zoom, installation):
    """A 502 whose write was carried out ends `confirmed`, never as a second password."""
    user = addresses(1)[0]
    tenant = zoom(3, faults=[{"kind": "5xx", "status": 502, "applied": True, "users": [user], "times": 1}])
    await installation.order("zoom", addresses(3))
    await installation.run()
    assert outcome_of(installation, user) == ("succeeded", "confirmed")
    assert tenant.directory.by_email(user).changes == 1


async def test_the_same_password_without_doubt_before_it_means_a_new_one(zoom, installation):
    """With no unclear attempt before it, the refusal proves nothing and another password is made."""
    user = addresses(1)[0]
    says = '{"code":300,"message":"Your new password can not match the old password."}'
    tenant = zoom(3, faults=[{"kind": "answer", "status": 400, "body": says, "users": [user], "times": 1}])
    await installation.order("zoom", addresses(3))
    await installation.run()
    assert outcome_of(installation, user) == ("succeeded", "ok")
    numbers = installation.query(
        "SELECT a.password_no FROM attempt a JOIN task t ON t.id = a.task_id "
        "WHERE t.user_ref = ? AND a.outcome <> 'released' ORDER BY n",
        user,
    )
    assert numbers == [(1,), (2,)]
    assert tenant.directory.by_email(user).applied == 1


async def test_too_many_changes_wait_a_day_and_keep_their_password(zoom, installation):
    """The 24-hour limit of one user parks that user until tomorrow; nothing is spent."""
    user = addresses(1)[0]
    says = (
        '{"code":300,"message":"This password cannot be changed because it has already been changed the maximum '
        'number of times over the past 24 hours."}'
    )
    zoom(3, faults=[{"kind": "answer", "status": 400, "body": says, "users": [user]}])
    placed = await installation.order("zoom", addresses(3))
    await installation.run()
    batch = await installation.batch(placed.id)
    assert (batch.state, batch.left, batch.outcomes) == ("open", 1, {"ok": 2, "too_many_changes": 1})
    [(due_at, tries, sealed)] = installation.query(
        "SELECT due_at, tries, sealed FROM task WHERE state = 'pending'"
    )
    wait = datetime.fromisoformat(due_at).replace(tzinfo=UTC) - datetime.now(UTC)
    assert timedelta(hours=23, minutes=59) < wait <= timedelta(hours=24)
    assert tries == 0
    assert sealed


async def test_a_first_forbidden_halts_the_account_and_resume_goes_on(zendesk, installation):
    """At the first 403 only the calls in flight went out; after the setting is on, resume finishes the batch."""
    tenant = zendesk(200, password_setting=False, account={"requests_per_minute": 6_000})
    placed = await installation.order("zendesk", addresses(200, "zendesk"))
    await installation.run()
    refused = [call for call in tenant.log.calls if call.status == 403]
    assert 1 <= len(refused) <= 20
    [(reason,)] = installation.query("SELECT halted_reason FROM quota")
    assert "admins can set passwords" in reason
    with pytest.raises(ProviderRefused, match="halted"):
        await installation.order("zendesk", ["361000000001"])
    tenant.change(replace(tenant.spec, password_setting=True))
    installation.zendesk("zendesk", requests_per_minute=60_000)
    await installation.with_store(lambda store: lifecycle.resume(store, placed.id, "tester"))
    await installation.run()
    batch = await installation.batch(placed.id)
    assert batch.counts["succeeded"] == 200
    check_books(installation, tenant)


async def test_a_rejected_token_is_renewed_once_and_nothing_fails(zoom, sandbox, installation):
    """Tokens revoked in mid-run cost a second attempt for the calls that met it, and no user."""
    tenant = zoom(120, account={"requests_per_second": 100})

    async def revoke(worker):
        await calls_reach(tenant, 30)
        sandbox.revoke_tokens("zoom")

    placed = await installation.order("zoom", addresses(120))
    await installation.run(meanwhile=revoke)
    batch = await installation.batch(placed.id)
    assert batch.outcomes == {"ok": 120}
    assert installation.query("SELECT count(*) FROM attempt WHERE outcome = 'unauthorized'")[0][0] >= 1
    check_books(installation, tenant)


async def test_credentials_that_never_work_halt_the_account_after_two_calls(zendesk, installation):
    """A 401 for a fresh login halts: no run of refused calls."""
    tenant = zendesk(50, faults=[{"kind": "401"}], account={"requests_per_minute": 600})
    await installation.order("zendesk", addresses(50, "zendesk"))
    await installation.run()
    [(reason,)] = installation.query("SELECT halted_reason FROM quota")
    assert "401" in reason
    assert 2 <= sum(call.status == 401 for call in tenant.log.calls) <= 5


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "429"},
        {"kind": "429", "retry_after": 1},
        {"kind": "429", "retry_after": 1, "form": "iso"},
        {"kind": "429", "retry_after": 1, "form": "http_date"},
    ],
    ids=["bare", "seconds", "iso", "http-date"],
)
async def test_a_429_pauses_the_account_and_spends_no_try(zoom, installation, fault):
    """A 429 in any form sends the user back unspent, pauses the quota, and all are reset in the end."""
    user = addresses(3)[2]
    tenant = zoom(30, faults=[{**fault, "users": [user], "times": 1}])
    placed = await installation.order("zoom", addresses(30))
    await installation.run()
    assert (await installation.batch(placed.id)).outcomes == {"ok": 30}
    assert installation.query("SELECT tries FROM task WHERE user_ref = ?", user) == [(0,)]
    check_books(installation, tenant)


async def test_one_accounts_halt_does_not_slow_another(zoom, zendesk, installation):
    """While Zendesk refuses everything, Zoom finishes."""
    zoom(40)
    zendesk(40, password_setting=False)
    at_zoom = await installation.order("zoom", addresses(40))
    at_zendesk = await installation.order("zendesk", addresses(40, "zendesk"))
    await installation.run()
    assert (await installation.batch(at_zoom.id)).state == "done"
    assert (await installation.batch(at_zendesk.id)).left == 40


async def test_a_user_open_in_another_batch_is_skipped_and_says_where(zoom, installation):
    """Two open batches never hold one user twice."""
    zoom(10)
    first = await installation.order("zoom", addresses(6))
    second = await installation.order("zoom", addresses(10))
    rows = installation.query(
        "SELECT count(*), message FROM task WHERE batch_id = ? AND state = 'skipped'", second.id
    )
    assert rows == [(6, f"already open in batch {first.id}")]
    await installation.run()
    assert (await installation.batch(second.id)).outcomes == {"ok": 4}


async def test_a_pause_reaches_a_running_worker_within_one_claim(zoom, installation):
    """After a pause at most one horizon of calls leaves; resume finishes the rest."""
    tenant = zoom(300, account={"requests_per_second": 60})
    placed = await installation.order("zoom", addresses(300))

    async def pause(worker):
        await calls_reach(tenant, 30)
        await installation.with_store(lambda store: lifecycle.pause(store, placed.id, "tester"))

    summary = await installation.run(meanwhile=pause)
    batch = await installation.batch(placed.id)
    assert batch.state == "paused"
    assert summary.sent <= 30 + 2 * 60
    await installation.with_store(lambda store: lifecycle.resume(store, placed.id, "tester"))
    installation.zoom("zoom", requests_per_second=1000)
    await installation.run()
    assert (await installation.batch(placed.id)).counts["succeeded"] == 300
    check_books(installation, tenant)


async def test_a_cancelled_batch_sends_nothing_more_and_keeps_no_secret(zoom, installation):
    """What waits is cancelled, what was sent is recorded, and the batch's key is destroyed."""
    tenant = zoom(300, account={"requests_per_second": 60})
    placed = await installation.order("zoom", addresses(300))

    async def cancel(worker):
        await calls_reach(tenant, 20)
        await installation.with_store(lambda store: lifecycle.cancel(store, placed.id, "tester"))

    await installation.run(meanwhile=cancel)
    batch = await installation.batch(placed.id)
    assert batch.state == "cancelled"
    assert batch.left == 0
    assert batch.counts["succeeded"] == sum(user.applied for user in tenant.users)
    assert installation.query("SELECT wrapped_key FROM batch") == [(None,)]
    check_books(installation, tenant)


async def test_failed_users_can_be_retried_with_new_passwords(zoom, installation):
    """`batch retry` reopens the failed ones only, and they succeed once the cause is gone."""
    users = addresses(3)
    tenant = zoom(
        20, faults=[{"kind": "answer", "status": 400, "body": '{"code":9,"message":"odd"}', "users": users}]
    )
    placed = await installation.order("zoom", addresses(20))
    await installation.run()
    assert (await installation.batch(placed.id)).outcomes == {"ok": 17, "unexpected": 3}
    tenant.faults.clear()

    async def retry(store):
        from bulkreset.cli.context import master_key
        from bulkreset.config import load

        master = master_key(load(installation.config))
        return await lifecycle.retry(
            store, placed.id, "tester", outcomes=[], fresh_key=lambda: master.wrap(master.new_batch_key())
        )

    assert await installation.with_store(retry) == 3
    await installation.run()
    assert (await installation.batch(placed.id)).outcomes == {"ok": 20}
    with pytest.raises(UsageError, match="no failed task"):
        await installation.with_store(retry)
    check_books(installation, tenant)


async def test_twenty_same_refusals_in_a_row_halt_the_batch(zoom, installation):
    """A refusal that meets everybody stops the batch and names itself; nobody is burned through."""
    says = '{"code":7777,"message":"Something new."}'
    tenant = zoom(
        200, faults=[{"kind": "answer", "status": 400, "body": says}], account={"requests_per_second": 200}
    )
    placed = await installation.order("zoom", addresses(200))
    await installation.run()
    batch = await installation.batch(placed.id)
    assert batch.state == "halted"
    assert "Something new." in batch.state_reason
    assert 20 <= batch.counts["failed"] < 120
    check_books(installation, tenant)


async def test_a_stop_releases_what_was_not_sent_and_records_what_was(zoom, installation):
    """The first signal leaves nothing running, nothing unknown, and every answer recorded."""
    tenant = zoom(300, account={"requests_per_second": 60}, latency_ms=50)
    await installation.order("zoom", addresses(300))

    async def stop(worker):
        await calls_reach(tenant, 40)
        worker.stop()

    summary = await installation.run(once=False, meanwhile=stop)
    assert installation.query("SELECT count(*) FROM task WHERE state = 'running'") == [(0,)]
    assert installation.query("SELECT count(*) FROM attempt WHERE closed_at IS NULL OR outcome = 'unknown'") == [
        (0,)
    ]
    assert installation.query("SELECT count(*) FROM attempt WHERE outcome = 'ok'") == [(summary.sent,)]
    check_books(installation, tenant)


async def test_slots_that_passed_during_a_stall_are_given_back_and_not_fired(zoom, installation):
    """After the process stood still, calls past their grace are released; no clump leaves."""
    tenant = zoom(120, account={"requests_per_second": 60})
    placed = await installation.order("zoom", addresses(120))

    async def stall(worker):
        await calls_reach(tenant, 20)
        time.sleep(0.3)  # noqa: ASYNC251  (the stall itself)

    await installation.run(meanwhile=stall)
    assert (await installation.batch(placed.id)).outcomes == {"ok": 120}
    [(expired,)] = installation.query("SELECT count(*) FROM attempt WHERE message = 'its slot had expired'")
    assert expired >= 10
    check_books(installation, tenant)


async def test_a_batch_for_later_is_not_touched_before_its_time(zoom, installation):
    """--not-before in an hour: a run with --once ends at once and sends nothing."""
    zoom(5)
    await installation.order("zoom", addresses(5), not_before=datetime.now(UTC) + timedelta(hours=1))
    summary = await installation.run()
    assert summary.sent == 0


async def used_before(installation, calls):
    """Count so many calls for today, as if they had been made before."""

    async def write(store):
        async with store.write() as conn:
            await conn.execute(text("UPDATE quota SET used_today = :calls, day = date('now')"), {"calls": calls})

    await installation.with_store(write)


async def test_the_daily_limit_of_a_free_plan_is_kept(zoom, installation):
    """Once the day's calls are used up the account waits for midnight UTC, and the run ends."""
    tenant = zoom(30, account={"plan": "free"})
    placed = await installation.order("zoom", addresses(30))
    await used_before(installation, 1995)
    await installation.run()
    batch = await installation.batch(placed.id)
    assert batch.counts["succeeded"] == 5
    assert len(resets(tenant)) == 5


async def test_what_was_not_sent_leaves_the_daily_limit_to_others(zoom, installation, monkeypatch):
    """A run whose last calls of the day were claimed and not sent does not end before they are."""
    tenant = zoom(30, account={"plan": "free"})
    placed = await installation.order("zoom", addresses(30))
    await used_before(installation, 1998)
    claim, spoilt, workers = claims.claim, [], []

    async def overtaken(*arguments, **options):
        claimed = await claim(*arguments, **options)
        if len(spoilt) < 2:
            spoilt.extend(claimed.claims)
            workers[0].lanes[0].drop(why="a stall")
        return claimed

    async def note(worker):
        workers.append(worker)

    monkeypatch.setattr(claims, "claim", overtaken)
    # Long after all is saved the lane looks again, so that the run must not go by what it saw before.
    installation.runner = "poll_interval = 30"
    installation.write()
    monkeypatch.setattr(completions, "GATHER_S", 0.5)
    await installation.run(meanwhile=note)
    assert len(spoilt) >= 2
    assert (await installation.batch(placed.id)).counts["succeeded"] == 2
    assert len(resets(tenant)) == 2


async def test_an_outage_opens_the_breaker_and_burns_nobody(zoom, installation):
    """When every call fails the account is paused after a handful, and all tasks are still there to do."""
    tenant = zoom(200, faults=[{"kind": "5xx", "status": 503}], account={"requests_per_second": 100})
    placed = await installation.order("zoom", addresses(200))

    async def stop(worker):
        while not any(lane.paused_until for lane in worker.lanes):  # noqa: ASYNC110  (a lane has no event for it)
            await asyncio.sleep(0.01)
        worker.stop()

    await installation.run(once=False, meanwhile=stop)
    batch = await installation.batch(placed.id)
    assert batch.counts["failed"] == 0
    assert batch.left == 200
    assert sum(call.method == "PUT" for call in tenant.log.calls) <= 60
    [(reason,)] = installation.query("SELECT pause_reason FROM quota")
    assert "503" in reason


async def test_a_late_answer_closes_its_own_attempt_and_no_other(zoom, installation):
    """A result whose lease was lost is kept in the audit row and cannot move the task."""
    from bulkreset.model import Decision, Outcome, Result, TaskState, Verdict

    zoom(1)
    await installation.order("zoom", addresses(1))
    from bulkreset.cli.context import master_key
    from bulkreset.config import load
    from bulkreset.limits.quota import Spacing
    from bulkreset.limits.rates import SECOND, Rate
    from bulkreset.model import Quota
    from bulkreset.runner.keyring import Keyring
    from bulkreset.store.quotas import Window

    async def act(store):
        keyring = Keyring(master_key(load(installation.config)))

        async def claim():
            while True:
                claimed = await claims.claim(
                    store,
                    Quota("zoom", "medium"),
                    Spacing.of(Rate(1000, SECOND)),
                    sealer=keyring,
                    worker="w",
                    window=Window(timedelta(0), timedelta(seconds=1)),
                    most=1,
                    lease=timedelta(seconds=30),
                )
                if claimed.claims:
                    return claimed.claims[0]

        def closing(claim, outcome, state, due_at=None):
            now = datetime.now(UTC)
            return results.Closing(
                Result(claim, Verdict(outcome), now, now, 1), Decision(state, outcome, due_at, keep_password=True)
            )

        first = await claim()
        assert await results.rescue(store, all_running=True) == 1
        second = await claim()
        assert (first.n, second.n, second.maybe_landed) == (1, 2, True)
        assert first.password.reveal() == second.password.reveal()
        late = results.Ledger([closing(first, Outcome.OK, TaskState.SUCCEEDED)])
        assert await results.record(store, late) == 0
        ours = results.Ledger([closing(second, Outcome.CONFIRMED, TaskState.SUCCEEDED)])
        assert await results.record(store, ours) == 1
        assert await results.record(store, ours) == 0

    await installation.with_store(act)
    assert installation.query("SELECT n, outcome FROM attempt ORDER BY n") == [(1, "ok"), (2, "confirmed")]
    assert installation.query("SELECT state, outcome, attempt FROM task") == [("succeeded", "confirmed", 2)]

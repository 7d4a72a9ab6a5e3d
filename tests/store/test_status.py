"""How things stand, read from the database alone."""

from datetime import timedelta
from types import SimpleNamespace

import pytest
from closings import succeeded

from bulkreset.model import BatchState, Decision, Outcome, Quota, Result, TaskState, Verdict
from bulkreset.report.status import AccountStatus, eta, status
from bulkreset.store import lifecycle, results, workers
from bulkreset.store.quotas import Halt, Pause
from bulkreset.store.results import Closing, Ledger

QUOTA = Quota("zoom", "medium")


async def test_the_last_minute_is_counted_by_account_and_by_worker(store, order, claim, hand):
    """Calls of the last minute count, older ones do not, and slots that were given back are no calls."""
    await workers.arrive(store, "w1")
    await order([f"u{n:03}" for n in range(200)])
    old = (await claim(30)).claims
    await results.record(store, Ledger([succeeded(one, hand.now) for one in old]))
    hand.pass_(90)
    new = (await claim(60)).claims
    release = Decision(TaskState.PENDING, Outcome.RELEASED, hand.now, keep_password=True)
    given_back = Closing(Result(new[0], Verdict(Outcome.RELEASED), None, hand.now, None), release)
    await results.record(store, Ledger([given_back, *(succeeded(one, hand.now) for one in new[1:])]))
    hand.pass_(30)
    found = await status(store)
    [account] = found.accounts
    assert (account.account, account.label, account.last_minute_calls) == ("zoom", "medium", 59)
    assert account.last_minute_per_s == round(59 / 60, 2)
    assert str(account.limit) == "1000/s"
    assert account.limit_per_s == pytest.approx(1000 / 1.025, rel=0.01)
    assert account.used_today == 89
    [worker] = found.workers
    assert (worker.seen.name, worker.last_minute) == ("w1", 59)
    [batch] = found.batches
    assert batch.batch.left == 200 - 89
    assert batch.eta_s == pytest.approx(111 / account.limit_per_s, abs=0.1)


async def test_a_pause_and_a_halt_are_shown_with_their_reason(store, order, claim, hand):
    """A pause that is over is not shown; nobody can tell when a halted account goes on."""
    await order(["a"])
    await claim(0)
    await results.record(store, Ledger(pauses=[Pause(QUOTA, hand.now + timedelta(seconds=90), "a 429")]))
    found = await status(store)
    assert (found.accounts[0].paused_until, found.accounts[0].pause_reason) == (
        hand.now + timedelta(seconds=90),
        "a 429",
    )
    hand.pass_(91)
    assert (await status(store)).accounts[0].paused_until is None
    await results.record(store, Ledger(halts=[Halt(QUOTA, "no permission")]))
    found = await status(store)
    assert found.accounts[0].halted_reason == "no permission"
    assert found.batches[0].eta_s is None


async def test_workers_are_seen_until_ten_minutes_after(store, hand):
    """One that said goodbye, one that fell silent, and one from before."""
    await workers.arrive(store, "before")
    hand.pass_(700)
    await workers.arrive(store, "gone")
    await workers.tell(store, "gone", ends=True)
    hand.pass_(100)
    await workers.arrive(store, "here")
    hand.pass_(20)
    await workers.tell(store, "here")
    found = {one.seen.name: one.seen for one in (await status(store)).workers}
    assert list(found) == ["here", "gone"]
    assert found["here"].ended_at is None
    assert found["gone"].ended_at == hand.now - timedelta(seconds=120)
    assert (hand.now - found["here"].started_at).total_seconds() == 20
    hand.pass_(2 * 86_400)
    await workers.arrive(store, "here")
    async with store.read() as conn:
        assert [one.name for one in await workers.seen(conn, since=hand.now - timedelta(days=30))] == ["here"]


async def test_a_finished_batch_is_not_shown(store, order, hand):
    """Only what is unfinished; a paused one has no end in sight."""
    done, paused = await order(["a"]), await order(["b"])
    await lifecycle.cancel(store, done, "tester")
    await lifecycle.finish(store)
    await lifecycle.pause(store, paused, "tester")
    found = (await status(store)).batches
    assert [(one.batch.id, one.batch.state, one.eta_s) for one in found] == [(paused, BatchState.PAUSED, None)]


def one_batch(left, *, account="zoom", state=BatchState.OPEN, not_before=None):
    return SimpleNamespace(left=left, account=account, state=state, not_before=not_before, counts={}, sessions={})


def account(rate=10.0, **values):
    empty = dict.fromkeys(("paused_until", "pause_reason", "halted_reason"))
    values = {"last_minute_per_s": 0.0, "used_today": 0, **empty, **values}
    return AccountStatus("zoom", "medium", rate, **values)


@pytest.mark.parametrize(
    ("others", "expected"),
    [
        ([], 10.0),
        ([one_batch(100)], 20.0),  # both end together
        ([one_batch(10_000)], 20.0),  # a huge one takes every other turn, and no more
        ([one_batch(20)], 12.0),  # a small one takes what it needs
        ([one_batch(100, account="other")], 10.0),
        ([one_batch(100, state=BatchState.PAUSED)], 10.0),
    ],
)
def test_batches_of_an_account_share_its_limit_in_turns(hand, others, expected):
    """A hundred users at ten a second: alone, beside others, and beside what does not count."""
    ours = one_batch(100)
    assert eta(ours, [ours, *others], [account()], hand.now) == expected


def test_a_batch_that_may_not_begin_waits_first(hand):
    """The later of a pause and of not-before is added; before the first claim nobody can tell."""
    ours = one_batch(100, not_before=hand.now + timedelta(seconds=50))
    assert eta(ours, [ours], [account()], hand.now) == 60.0
    paused = account(paused_until=hand.now + timedelta(seconds=70))
    assert eta(ours, [ours], [paused], hand.now) == 80.0
    assert eta(ours, [ours], [account(rate=None)], hand.now) is None


async def test_the_first_seconds_of_a_run_show_its_rate(store, order, claim, hand):
    """Twenty calls in the first two seconds are ten a second, not a third of one."""
    await order([f"u{n:03}" for n in range(20)])
    calls = (await claim(20)).claims
    await results.record(store, Ledger([succeeded(one, hand.now) for one in calls]))
    hand.pass_(2)
    [seen] = (await status(store)).accounts
    assert seen.last_minute_calls == 20
    assert seen.last_minute_per_s == pytest.approx(20 / 2, rel=0.1)


def test_a_steady_pace_below_the_limit_is_what_an_end_is_reckoned_by(hand):
    """At half the limit for a whole minute it takes twice as long; a rate that still changes tells nothing."""
    ours = one_batch(100)
    slow = account(last_minute_per_s=5.0, steady=True)
    assert eta(ours, [ours], [slow], hand.now) == 20.0
    assert eta(ours, [ours], [account(last_minute_per_s=5.0)], hand.now) == 10.0


def test_sessions_with_a_limit_of_their_own_end_beside_the_passwords(hand):
    """A hundred passwords at ten a second and as many sessions at twenty take ten seconds together."""
    counts = {"pending": 100, "running": 0}
    ours = one_batch(200)
    ours.counts = ours.sessions = counts
    light = AccountStatus("zoom", "light", 20.0, 0.0, None, None, None, 0)
    assert eta(ours, [ours], [account(), light], hand.now) == 10.0
    assert eta(ours, [ours], [account()], hand.now) == 20.0

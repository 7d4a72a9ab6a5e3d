"""What lets a batch past its canaries, up its ramp and out of its draft, and what must not; on both databases."""

from datetime import timedelta

import pytest
from closings import closing, rows, succeeded

from bulkreset.errors import UsageError
from bulkreset.model import BatchState, Outcome, TaskState
from bulkreset.options import Options
from bulkreset.store import batches, control, lifecycle, results
from bulkreset.store.results import Ledger
from bulkreset.store.rosters import PlannedEntry


def canaries(names, of):
    return [PlannedEntry(name, name, wave=0 if name in names else 1) for name in of]


def skipped(claim, at):
    return closing(claim, Outcome.NOT_RESETTABLE, TaskState.SKIPPED, at)


def in_a_day(claim, at):
    return closing(
        claim, Outcome.TOO_MANY_CHANGES, TaskState.PENDING, at, due_at=at + timedelta(hours=24), keep=True
    )


async def test_canaries_of_whom_none_succeeded_open_nothing(store, order, claim, hand):
    """Who was skipped has not shown that it works; somebody must look, and may go on."""
    batch_id = await order((), planned=canaries("ab", "abc"), options=Options(canary=2))
    await results.record(store, Ledger([skipped(one, hand.now) for one in (await claim()).claims]))
    await control.advance(store)
    found = await batches.get(store, batch_id)
    assert (found.state, found.state_reason.split(";")[0]) == (BatchState.HALTED, "none of 2 canaries succeeded")
    assert (await claim()).claims == []
    await lifecycle.resume(store, batch_id, "bob")
    assert [one.user_ref for one in (await claim()).claims] == ["c"]


async def test_a_batch_whose_canaries_were_all_skipped_before_goes_on(store, order, claim):
    """Where nobody is left to go first nothing is waited for."""
    await order((), planned=canaries("", "c"), options=Options(canary=2))
    await control.advance(store)
    assert len((await claim()).claims) == 1


async def test_a_canary_that_must_wait_until_tomorrow_does_not_hold_everybody(store, order, claim, hand):
    """Zoom lets some wait for a day; the others have shown what there is to show, and it follows with the rest."""
    batch_id = await order((), planned=canaries("ab", "abc"), options=Options(canary=2))
    one, two = (await claim()).claims
    await results.record(store, Ledger([in_a_day(one, hand.now)]))
    assert await control.advance(store) == []  # the other one is under way
    await results.record(store, Ledger([succeeded(two, hand.now)]))
    assert await control.advance(store) == [batch_id]
    assert [one.user_ref for one in (await claim()).claims] == ["c"]
    hand.pass_(25 * 3600)
    assert [one.user_ref for one in (await claim()).claims] == ["a"]


async def test_a_canary_that_is_tried_again_soon_is_waited_for(store, order, claim, hand):
    """A wait of minutes is a retry, whose end the gate waits for."""
    await order((), planned=canaries("ab", "abc"), options=Options(canary=2))
    one, two = (await claim()).claims
    again = closing(one, Outcome.UNKNOWN, TaskState.PENDING, hand.now, due_at=hand.now + timedelta(minutes=5))
    await results.record(store, Ledger([again, succeeded(two, hand.now)]))
    assert await control.advance(store) == []


@pytest.mark.parametrize("how", ["canaries", "pause"])
async def test_a_ramp_begins_anew_where_a_batch_goes_on(store, order, claim, hand, how):
    """While somebody looked no call was made, so that the time on the ramp was none."""
    users = [f"u{n:03}" for n in range(400)]
    options = Options(ramp_s=600, canary=1 if how == "canaries" else 0, hold_after_canary=how == "canaries")
    batch_id = await order((), planned=canaries(users[:1] if options.canary else "", users), options=options)
    first = await claim(1, rate=100)
    if how == "canaries":
        while not first.claims:
            hand.pass_(1)
            first = await claim(1, rate=100)
        await results.record(store, Ledger([succeeded(one, hand.now) for one in first.claims]))
        await control.advance(store)
    else:
        await lifecycle.pause(store, batch_id, "bob")
    hand.pass_(3600)
    await lifecycle.resume(store, batch_id, "bob")
    claimed = await claim(rate=100)
    assert claimed.held_back
    assert len(claimed.claims) < 20


async def test_a_batch_that_was_not_begun_keeps_its_ramp_for_its_beginning(store, order, claim, hand):
    """A pause before the first call changes nothing."""
    users = [f"u{n:03}" for n in range(400)]
    start = hand.now + timedelta(hours=2)
    batch_id = await order(users, options=Options(ramp_s=600), not_before=start)
    await lifecycle.pause(store, batch_id, "bob")
    await lifecycle.resume(store, batch_id, "bob")
    hand.pass_(3 * 3600)
    claimed = await claim(rate=100)
    assert claimed.held_back
    assert len(claimed.claims) < 20


@pytest.mark.parametrize("who", ["bob (as tester)", "bob (as carol) (as TESTER)"])
async def test_a_name_that_the_requester_took_is_the_requester(store, order, who):
    """Whose name sudo tells is a variable that anybody can set; which user the process runs as is not."""
    batch_id = await order(["a"], approvals_needed=1)
    with pytest.raises(UsageError, match="somebody else must approve"):
        await control.approve(store, batch_id, who)
    assert (await batches.get(store, batch_id)).state is BatchState.DRAFT


async def test_nobody_approves_twice_under_a_name_that_was_taken(store, order):
    """The same for a second approval; two people who both work as a third user are two."""
    batch_id = await order(["a"], approvals_needed=3)
    await control.approve(store, batch_id, "bob")
    with pytest.raises(UsageError, match="another person is needed"):
        await control.approve(store, batch_id, "eve (as bob)")
    assert await control.approve(store, batch_id, "carol (as root)") == 1
    assert await control.approve(store, batch_id, "dave (as root)") == 0


async def retry(store, batch_id, actor):
    await lifecycle.retry(store, batch_id, actor, outcomes=[], fresh_key=lambda: "key")


@pytest.mark.parametrize("act", [lifecycle.pause, lifecycle.resume, retry])
async def test_a_draft_is_started_by_its_approvals_and_by_nothing_else(store, order, claim, act):
    """Not by whatever else is done to batches, and `finish` leaves it alone."""
    batch_id = await order(["a"], approvals_needed=1)
    with pytest.raises(UsageError):
        await act(store, batch_id, "bob")
    assert await lifecycle.finish(store) == []
    assert await control.advance(store) == []
    assert await rows(store, "SELECT state FROM batch") == [("draft",)]
    assert (await claim()).claims == []


@pytest.mark.parametrize("rate", [0.5, 3, 12])
async def test_a_batch_on_a_ramp_begins_at_any_rate(order, claim, hand, rate):
    """Claims look a second ahead, in which a tenth of most limits is no call at all."""
    await order([f"u{n:03}" for n in range(100)], options=Options(ramp_s=600))
    sent = 0
    for _ in range(20):
        sent += len((await claim(rate=rate)).claims)
        hand.pass_(0.5)
    assert 1 <= sent <= 1 + 10 * rate * 0.2

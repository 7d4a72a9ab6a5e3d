"""The sender: a call is sent once, its answer is judged, and nothing that was claimed is left open."""

import asyncio
from datetime import timedelta

import pytest
from rooms import NOW, QUOTA, Clock, Seat, answer, claim_of, parts_of

from bulkreset.errors import ConfigError
from bulkreset.model import Outcome, Verdict
from bulkreset.runner.sender import Sender

OK = answer(Verdict(Outcome.OK, 204))
REFUSED = answer(Verdict(Outcome.UNAUTHORIZED, 401))


@pytest.fixture
def clock(monkeypatch):
    return Clock(monkeypatch)


async def send(parts, claim, found=OK, *, drops=None):
    parts.way_out.answers[claim.task_id] = found
    seat = Seat()
    await Sender(parts).send(claim, parts.buffer.drops if drops is None else drops, seat)
    return seat


def on_the_way(parts, number):
    """Send a call whose answer is still to come; return its task and the answer's future."""
    found = asyncio.get_running_loop().create_future()
    return asyncio.create_task(send(parts, claim_of(number), found)), found


async def settle():
    for _ in range(10):
        await asyncio.sleep(0)


async def test_a_success_is_recorded_with_its_times(clock):
    """By the database's clock."""
    parts = parts_of(clock)
    sending, found = on_the_way(parts, 1)
    await settle()
    assert parts.departures.in_flight[1] == 1
    clock.now += 0.25
    found.set_result(OK)
    await sending
    (closing,) = parts.context.recorder.closings
    assert (closing.decision.outcome, closing.result.latency_ms) == (Outcome.OK, 250)
    assert (closing.result.sent_at, closing.result.closed_at) == (NOW, NOW + timedelta(seconds=0.25))
    assert (parts.tally.sent, parts.tally.heard, parts.departures.in_flight.total()) == (1, True, 0)


async def test_what_was_stopped_between_buffer_and_here_is_not_sent(clock):
    """An answer came in that moment, and emptied the buffer."""
    parts = parts_of(clock)
    drops = parts.buffer.drops
    parts.drop(None, "halted")
    seat = await send(parts, claim_of(1), drops=drops)
    assert parts.context.recorder.outcomes == [(1, "released")]
    assert (parts.way_out.did_not_leave, seat.given_back, parts.tally.sent) == ([1], 1, 0)


async def test_a_call_on_its_way_is_recorded_though_all_else_was_dropped(clock):
    """It has left, and what it did is known from its answer alone."""
    parts = parts_of(clock)
    parts.buffer.put(claim_of(2), clock.now + 1)
    sending, found = on_the_way(parts, 1)
    await settle()
    parts.drop(None, "paused")
    found.set_result(OK)
    await sending
    assert parts.context.recorder.outcomes == [(2, "released"), (1, "ok")]


async def test_refusals_of_a_login_that_was_replaced_since_say_nothing(clock):
    """The first of many ends the login and what waits; the others left before that was known."""
    parts = parts_of(clock)
    parts.buffer.put(claim_of(3), clock.now + 1)
    first, found_first = on_the_way(parts, 1)
    second, found_second = on_the_way(parts, 2)
    await settle()
    found_first.set_result(REFUSED)
    await first
    assert (parts.login.number, len(parts.buffer)) == (1, 0)
    found_second.set_result(REFUSED)
    await second
    assert (parts.login.number, parts.valve.halted) == (1, None)


async def test_a_new_login_that_is_refused_as_well_halts_the_account(clock):
    """With what to do about it."""
    parts = parts_of(clock)
    for number in (1, 2):
        await send(parts, claim_of(number), REFUSED)
    assert parts.valve.halted.endswith("; make a new token")
    assert len(parts.context.recorder.halts) == 1


async def test_somebody_protected_since_the_order_is_not_called(clock):
    """It is asked once more when the call is about to leave."""
    parts = parts_of(clock, guard=lambda *names: "1" in names)
    seat = await send(parts, claim_of(1))
    (closing,) = parts.context.recorder.closings
    assert (closing.decision.state, closing.result.verdict.code) == ("skipped", "protected")
    assert (seat.given_back, parts.tally.sent) == (1, 0)


async def test_nothing_is_sent_where_nobody_knows_who_is_protected(clock):
    """The account stands until the list can be read again."""

    def guard(*_):
        raise ConfigError("the list cannot be read")

    parts = parts_of(clock, guard=guard)
    parts.buffer.put(claim_of(2), clock.now + 1)
    await send(parts, claim_of(1))
    assert parts.valve.halted == "the list cannot be read"
    assert parts.context.recorder.outcomes == [(1, "released")]
    assert parts.tally.sent == 0


async def test_a_password_that_does_not_open_fails_its_task_alone(clock):
    """The row is named as damaged."""
    parts = parts_of(clock)
    await send(parts, claim_of(1, password=None))
    await send(parts, claim_of(2))
    assert [closing.result.verdict.code for closing in parts.context.recorder.closings] == ["damaged", None]
    assert parts.valve.halted is None


async def test_a_limit_that_is_refused_pauses_the_quota(clock):
    """Until the provider's own time, and nothing that waits leaves before."""
    parts = parts_of(clock)
    later = NOW + timedelta(seconds=9)

    class Lane:
        quota = QUOTA

        def drop(self, batch_id=None, why=""):
            parts.drop(batch_id, why)

    parts.valve.join(Lane())
    parts.buffer.put(claim_of(2), clock.now + 1)
    limited = Verdict(Outcome.RATE_LIMITED, 429, retry_at=later, pauses_quota=True)
    await send(parts, claim_of(1), answer(limited))
    assert (parts.valve.paused_until(QUOTA), len(parts.buffer)) == (later, 0)
    assert parts.context.recorder.pauses[0].until == later


async def test_calls_that_fail_one_after_another_are_an_outage(clock):
    """The account is paused, and then probed by one call."""
    parts = parts_of(clock)
    for number in range(10):
        await send(parts, claim_of(number), Verdict(Outcome.UNREACHABLE, message="refused"))
    assert len(parts.context.recorder.pauses) == 1
    assert parts.watch.probing
    await send(parts, claim_of(99))
    assert not parts.watch.probing


async def test_a_password_that_an_older_policy_made_is_no_refusal_of_the_new_one(clock):
    """The policy is read again first; what was built to the old one is dropped, and counts for nothing."""
    parts = parts_of(clock)
    parts.buffer.put(claim_of(2), clock.now + 1)
    rejected = answer(Verdict(Outcome.POLICY_REJECTED, 400))
    for number in range(30, 60):
        await send(parts, claim_of(number), rejected)
    assert (parts.policy.doubted, len(parts.buffer)) == (True, 0)
    assert parts.context.recorder.batch_halts == []


async def test_a_call_that_did_not_leave_after_all_counts_for_nothing(clock):
    """Its connection was closed in the last moment."""
    parts = parts_of(clock)
    await send(parts, claim_of(1), Verdict(Outcome.RELEASED, message="the provider closed its connection"))
    (closing,) = parts.context.recorder.closings
    assert (closing.decision.outcome, closing.result.sent_at, parts.tally.sent) == (Outcome.RELEASED, None, 0)

"""What may arrive at once stays within the limit, however the network between stands still."""

from dataclasses import dataclass, field
from itertools import count

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bulkreset.limits.flight import Flight
from bulkreset.limits.quota import US, Spacing
from bulkreset.limits.rates import MINUTE, SECOND, Rate

STEP_S = 0.001
NEVER = float("inf")


@dataclass
class Worker:
    """One worker's lane, and the network before it."""

    flight: Flight
    answers: list[tuple[float, int]] = field(default_factory=list)
    sent: int = 0


def play(rate, *, seconds, latency, stalls=(), workers=1, block=1, spare=None):
    """Send at every slot that may be used; return when each call arrived and how many slots there were.

    A stall is (begins, ends, worker): what that worker sends meanwhile arrives at its end, and no answer comes.
    `block` slots in a row go to one worker, as claims take them. With a `spare` for each worker, what one may not
    use goes to the next one that may.
    """
    spacing = Spacing.of(rate)
    lanes = [Worker(Flight(rate, spacing)) for _ in range(workers)]
    for lane in lanes if spare is not None else ():
        lane.flight.fall_silent_at(spare)
    interval = spacing.interval_us / US
    arrivals, numbers = [], count()
    slots = int(seconds / interval)

    def through(number, moment):
        return max([moment, *(end for begin, end, of in stalls if of in (number, None) and begin <= moment < end)])

    for nth in range(slots):
        now = nth * interval
        number = nth // block % workers
        for each in lanes:
            while each.answers and each.answers[0][0] <= now:
                at, call = each.answers.pop(0)
                each.flight.answered(call, at)
        if spare is not None:
            turns = [(number + turn) % workers for turn in range(workers)]
            number = next((one for one in turns if lanes[one].flight.may_send(now)), number)
        lane = lanes[number]
        lane.flight.take([now])
        if lane.flight.may_send(now):
            call = next(numbers)
            lane.flight.sent(call, now)
            lane.sent += 1
            arrived = through(number, now)
            arrivals.append(arrived)
            lane.answers.append((through(number, arrived + latency(call)), call))
            lane.answers.sort()
    return sorted(arrivals), slots, lanes


def fullest(arrivals, window_s):
    """Return the most arrivals in any window, its end left out."""
    best = first = 0
    for last, moment in enumerate(arrivals):
        while moment - arrivals[first] >= window_s - 1e-9:
            first += 1
        best = max(best, last - first + 1)
    return best


RATES = [Rate(20, SECOND), Rate(54, SECOND), Rate(60, SECOND), Rate(200, SECOND)]
stalls = st.lists(
    st.tuples(st.floats(3.0, 12.0), st.floats(0.05, 8.0)).map(lambda two: (two[0], two[0] + two[1])),
    max_size=3,
)


@settings(deadline=None, max_examples=60)
@given(st.sampled_from(RATES), stalls, st.floats(0.001, 0.9))
def test_no_stall_lets_more_arrive_than_the_limit(rate, stalls, latency_s):
    """However long and often the network stands still, no window holds more than N where answers are steady."""
    standing = [(begin, end, None) for begin, end in stalls]
    arrivals, _, _ = play(rate, seconds=25, latency=lambda _: latency_s, stalls=standing)
    assert fullest(arrivals, 1.0) <= rate.calls


@settings(deadline=None, max_examples=40)
@given(
    st.sampled_from(RATES),
    st.lists(st.tuples(st.floats(3.0, 12.0), st.floats(0.05, 8.0), st.sampled_from([0, 1, 2, None])), max_size=3),
)
def test_several_workers_keep_to_one_limit_when_only_some_stand_still(rate, stalls):
    """Whichever worker's network stands still, all keep to one limit, each to a call, and none asks another."""
    standing = [(begin, begin + length, of) for begin, length, of in stalls]
    arrivals, _, _ = play(rate, seconds=25, latency=lambda _: 0.05, stalls=standing, workers=3)
    # Each counts its own slots in a stretch that is no whole number of turns, so each further worker may round up
    # by one call. Here slots are dealt one at a time; blocks of them, as claims take, may round up by more.
    assert fullest(arrivals, 1.0) <= rate.calls + 2


def test_a_stall_of_a_minute_holds_no_more_than_a_minutes_calls():
    """Where the limit is by the minute, a minute's calls may be on their way, and no more."""
    rate = Rate(630, MINUTE)
    arrivals, _, _ = play(rate, seconds=400, latency=lambda _: 0.2, stalls=[(60.0, 200.0, None)])
    assert fullest(arrivals, 60.0) <= rate.calls


@pytest.mark.parametrize("latency_s", [0.005, 0.3, 2.0, 6.0, 12.0])
def test_steady_answers_cost_nothing_once_they_are_known(latency_s):
    """A provider that is slow, and steadily so, is called at the full rate after its first answers."""
    rate = Rate(60, SECOND)
    arrivals, slots, _ = play(rate, seconds=60, latency=lambda _: latency_s)
    spaced = Spacing.of(rate).interval_us / US
    late = [moment for moment in arrivals if moment > 3 * latency_s + 3]
    assert len(late) >= 0.99 * (60 - 3 * latency_s - 3) / spaced
    assert slots >= len(arrivals)


def test_uneven_answers_cost_little():
    """Answers between 50 and 500 ms leave more than nine tenths of the rate."""
    arrivals, slots, _ = play(
        Rate(60, SECOND), seconds=60, latency=lambda call: 0.05 + 0.45 * (call * 37 % 100) / 100
    )
    assert len(arrivals) >= 0.9 * slots


def test_one_call_that_hangs_takes_one_place():
    """A single call without an answer costs one slot of each window, not the lane."""
    arrivals, slots, _ = play(Rate(60, SECOND), seconds=30, latency=lambda call: NEVER if call == 100 else 0.02)
    assert len(arrivals) >= slots - 31


def test_a_provider_that_turns_slow_is_learned():
    """Answers that take six seconds from one moment on hold calls back for some seconds, not for good."""
    arrivals, _, _ = play(Rate(60, SECOND), seconds=80, latency=lambda call: 0.05 if call < 600 else 6.0)
    assert len([moment for moment in arrivals if moment > 40]) >= 0.9 * 40 * 60


def test_a_stall_is_not_taken_for_slowness():
    """After stalls, what is usual is still what it was before."""
    _, _, [lane] = play(
        Rate(60, SECOND), seconds=40, latency=lambda _: 0.05, stalls=[(5, 8, None), (15, 25, None), (28, 29, None)]
    )
    assert lane.flight.usual_s < 0.1


def test_what_was_given_up_counts_for_a_window_more():
    """A call whose end is not known may have arrived as late as it was given up."""
    flight = Flight(Rate(1, SECOND), Spacing.of(Rate(1, SECOND)))
    flight.take([0.0, 1.1, 6.0, 6.6])
    assert flight.may_send(0.0)
    flight.sent("a", 0.0)
    assert not flight.may_send(1.1)
    assert flight.overdue(1.1) == 1
    flight.lost("a", 5.5)
    assert not flight.may_send(6.0)
    assert flight.may_send(6.6)


def test_what_did_not_leave_counts_for_nothing():
    """A call that was held back at the last moment leaves its place to the next."""
    flight = Flight(Rate(1, SECOND), Spacing.of(Rate(1, SECOND)))
    flight.take([0.0, 0.1])
    flight.sent("a", 0.0)
    flight.unsent("a")
    assert flight.may_send(0.1)


@settings(deadline=None)
@given(
    workers=st.integers(2, 4),
    block=st.sampled_from([1, 5, 27, 54]),
    begin=st.floats(2, 4),
    length=st.floats(0.5, 8),
    latency=st.floats(0.002, 0.03),
)
def test_where_one_network_of_several_stands_still_the_rest_has_room(workers, block, begin, length, latency):
    """The others take all its slots, and what it sent before it noticed fits into what the share leaves free."""
    rate = Rate(54, SECOND)
    stalls = [(begin, begin + length, 0)]
    spare = 6 // workers
    arrivals, _, _ = play(
        rate, seconds=14, latency=lambda _: latency, stalls=stalls, workers=workers, block=block, spare=spare
    )
    assert fullest(arrivals, 1.0) <= 60


def test_a_call_that_hangs_alone_stops_nothing():
    """While later calls are answered the network is there, however many users hang."""
    flight = Flight(Rate(54, SECOND), Spacing.of(Rate(54, SECOND)))
    flight.fall_silent_at(2)
    for nth in range(50):
        now = nth / 54
        flight.take([now])
        assert flight.may_send(now + 0.001)
        flight.sent(nth, now + 0.001)
        if nth % 10:
            flight.answered(nth, now + 0.005)


def test_a_silent_network_is_noticed_by_as_many_calls_as_are_spare():
    """And one answer is enough to go on."""
    flight = Flight(Rate(54, SECOND), Spacing.of(Rate(54, SECOND)))
    flight.fall_silent_at(2)
    flight.take([nth / 54 for nth in range(54)])
    for nth in range(40):
        flight.sent(nth, nth / 54)
        flight.answered(nth, nth / 54 + 0.005)
    sent = 0
    for nth in range(40, 54):
        if flight.may_send(nth / 54):
            flight.sent(nth, nth / 54)
            sent += 1
    assert sent == 2
    flight.answered(41, 1.0)
    assert flight.may_send(1.0)

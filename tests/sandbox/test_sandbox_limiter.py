import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkreset.sandbox.limiter import DAY_S, Gate, SlidingWindow

GAPS = st.lists(st.integers(0, 40), max_size=120)
LIMITS = st.integers(1, 8)
WINDOW = 100  # whole numbers: equality at the edge of a window is exact


def fullest(times: list[int], window: int) -> int:
    """Count the fullest half-open window by brute force: some fullest one ends with a call."""
    return max((sum(end - window < t <= end for t in times) for end in times), default=0)


@given(gaps=GAPS, limit=LIMITS)
def test_no_window_anywhere_holds_more_than_the_limit(gaps, limit):
    """Whatever comes in, no window holds more accepted calls than the limit, and the peak is exact."""
    window, now, accepted = SlidingWindow(limit, WINDOW), 0, []
    for gap in gaps:
        now += gap
        if window.admit(now):
            accepted.append(now)
    assert fullest(accepted, WINDOW) <= limit
    assert window.peak == fullest(accepted, WINDOW)


@given(gaps=GAPS, limit=LIMITS)
def test_a_call_is_refused_only_where_the_window_is_full(gaps, limit):
    """The limiter is strict and not stricter: it refuses exactly when the last window holds `limit` calls."""
    window, now, accepted = SlidingWindow(limit, WINDOW), 0, []
    for gap in gaps:
        now += gap
        room = sum(now - WINDOW < t for t in accepted) < limit
        assert window.remaining(now) > 0 if room else window.remaining(now) == 0
        assert window.admit(now) is room
        if room:
            accepted.append(now)


@given(gaps=GAPS, limit=LIMITS)
def test_the_wait_told_is_the_shortest_that_works(gaps, limit):
    """After `wait_s` a call is admitted, and one unit of time before it is not."""
    window, now = SlidingWindow(limit, WINDOW), 0
    for gap in gaps:
        now += gap
        window.admit(now)
    wait = window.wait_s(now)
    if wait >= 1:
        assert window.remaining(now + wait - 1) == 0
    assert window.remaining(now + wait) > 0


def test_refused_calls_do_not_count():
    """A storm of refused calls does not postpone the moment at which a call is admitted again."""
    window = SlidingWindow(1, 10)
    assert window.admit(0)
    assert not any(window.admit(t) for t in range(1, 10))
    assert window.admit(10)


def test_without_a_limit_all_are_admitted_and_the_peak_is_known():
    """A tenant without a limit shows how many calls came in its fullest window."""
    window = SlidingWindow(None, 10)
    assert all(window.admit(t) for t in (0, 1, 2, 20, 21))
    assert window.peak == 3
    assert window.wait_s(21) == 0


def test_the_daily_count_ends_at_midnight_utc():
    """The daily limit refuses with its own reason and begins anew at 00:00 UTC of the wall clock."""
    gate = Gate("Medium", None, 1, daily=2)
    noon = 10 * DAY_S + DAY_S / 2
    assert [gate.admit(t, noon) for t in range(3)] == [None, None, "daily"]
    assert gate.next_day(noon) == 11 * DAY_S
    assert gate.admit(4, 11 * DAY_S - 0.5) == "daily"
    assert gate.admit(5, 11 * DAY_S) is None
    assert (gate.pace()["accepted"], gate.pace()["refused"]) == (3, 2)


def test_calls_refused_by_the_window_do_not_use_up_the_day():
    """What a second refuses is not counted against the day."""
    gate = Gate("Medium", 1, 1, daily=2)
    assert [gate.admit(0, 0), gate.admit(0.5, 0), gate.admit(1, 0), gate.admit(2, 0)] == [
        None,
        "window",
        None,
        "daily",
    ]


def test_the_pace_tells_the_share_of_the_limit_that_was_used():
    """Eleven calls in ten seconds under two a second are half of what the limit allows."""
    gate = Gate("Medium", 2, 1)
    for second in range(11):
        gate.admit(second, 0)
    gate.admit(10, 0)
    gate.admit(10, 0)
    pace = gate.pace()
    assert pace["calls"] == 13
    assert (pace["accepted"], pace["refused"]) == (12, 1)
    assert (pace["max_in_window"], pace["max_arrived_in_window"]) == (2, 3)
    assert pace["used_share"] == pytest.approx(11 / 10 / 2)


def test_a_reset_forgets_the_pace_and_not_the_limit():
    """A measurement that begins anew does not open the window again."""
    gate = Gate("Medium", 1, 1)
    gate.admit(0, 0)
    gate.reset()
    assert gate.pace()["max_in_window"] == 0
    assert gate.admit(0.5, 0) == "window"
    assert gate.pace()["accepted"] == 0

"""The ramp of a batch: few calls at first, then more, and never more than the limit."""

from hypothesis import given
from hypothesis import strategies as st

from bulkreset.limits.quota import US, Spacing
from bulkreset.limits.ramp import FIRST_SHARE, extra_s, on_ramp
from bulkreset.limits.rates import SECOND, Rate

intervals = st.integers(1_000, 2 * US)
ramps = st.integers(1, 3_600).map(lambda seconds: seconds * US)


def used(ramp_us, interval_us, *, first=0, until=None):
    """Return the slots of an even line of time that the ramp lets through."""
    until = ramp_us if until is None else until
    return [at for at in range(first, until, interval_us) if on_ramp(at, ramp_us, interval_us=interval_us)]


@given(st.integers(20_000, 2 * US), st.integers(10, 600).map(lambda seconds: seconds * US), st.data())
def test_as_many_calls_as_the_area_under_the_ramp(interval_us, ramp_us, data):
    """Wherever the line of time begins, the calls of a whole ramp are the mean of its two ends, within one."""
    first = data.draw(st.integers(0, interval_us - 1))
    expected = ramp_us / interval_us * (1 + FIRST_SHARE) / 2
    assert abs(len(used(ramp_us, interval_us, first=first)) - expected) <= 2


@given(st.integers(20_000, 200_000), st.integers(60, 600).map(lambda seconds: seconds * US))
def test_the_rate_grows(interval_us, ramp_us):
    """Each quarter of the ramp carries more calls than the one before it."""
    slots = used(ramp_us, interval_us)
    quarters = [sum(q * ramp_us <= 4 * at < (q + 1) * ramp_us for at in slots) for q in range(4)]
    assert quarters == sorted(quarters)
    assert quarters[0] < quarters[3]


@given(intervals, ramps, st.integers(0, 10**10))
def test_after_the_ramp_every_slot_is_used(interval_us, ramp_us, late):
    """Nothing of a ramp is left when its time is over."""
    assert on_ramp(ramp_us + late, ramp_us, interval_us=interval_us)


@given(st.integers(20_000, 100_000), st.integers(60, 300).map(lambda seconds: seconds * US), st.integers(2, 5))
def test_workers_that_share_the_line_of_time_keep_to_one_ramp(interval_us, ramp_us, workers):
    """Each slot tells by itself: dealt out to several workers, the same slots are used as by one."""
    slots = range(0, ramp_us, interval_us)
    dealt = [slots[number::workers] for number in range(workers)]
    together = sorted(at for own in dealt for at in own if on_ramp(at, ramp_us, interval_us=interval_us))
    assert together == used(ramp_us, interval_us)


@given(intervals, ramps)
def test_a_ramp_begins_with_its_first_slot(interval_us, ramp_us):
    """A tenth of a low rate is no call for many seconds; a batch whose first call waits for that never begins."""
    assert on_ramp(0, ramp_us, interval_us=interval_us)


def test_a_ramp_costs_what_its_lower_rate_costs():
    """Long orders take 45 % of the ramp longer, and short ones end on it."""
    spacing = Spacing.of(Rate(10, SECOND))
    assert extra_s(1_000, 0, interval_us=spacing.interval_us) == 0
    assert extra_s(10_000, 600, interval_us=spacing.interval_us) == 270
    assert 0 < extra_s(10, 600, interval_us=spacing.interval_us) < 30
    assert extra_s(0, 600, interval_us=spacing.interval_us) == 0

"""The slot arithmetic, over any sequence of claims."""

from datetime import timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkreset.limits.quota import US, Spacing, free_slots, left_today
from bulkreset.limits.rates import MINUTE, SECOND, Rate
from bulkreset.providers.zendesk.settings import PLANS as ZENDESK
from bulkreset.providers.zoom.settings import PLANS as ZOOM

RATES = [
    *(plan[label] for plan in ZOOM.values() for label in ("light", "medium")),
    *ZENDESK.values(),
    Rate(1.8, SECOND),
    Rate(54, SECOND),
    Rate(630, MINUTE),
    Rate(0.5, SECOND),
]

rates = st.sampled_from(RATES) | st.builds(
    Rate, st.floats(0.1, 50_000), st.sampled_from([SECOND, MINUTE]), st.none()
)
# (time passed since the claim before, slots wanted, worker's horizon)
claims = st.lists(
    st.tuples(st.integers(0, 3 * US), st.integers(0, 400), st.sampled_from([US // 2, US, 2 * US])),
    min_size=1,
    max_size=60,
)


def taken(rate, sequence):
    """Play a sequence of claims on one quota row and return every slot that was given out."""
    spacing = Spacing.of(rate)
    tat, now, slots = 0, 1_700_000_000 * US, []
    for passed, most, horizon in sequence:
        now += passed
        found = free_slots(tat_us=tat, now_us=now, spacing=spacing, lead_us=40_000, horizon_us=horizon, most=most)
        if found:
            tat = found.stop
        slots += found
    return spacing, slots


@given(rates, claims, st.randoms(use_true_random=False))
def test_no_window_ever_holds_more_than_the_limit(rate, sequence, random):
    """However claims come and however late calls arrive within the jitter, no window holds more than N."""
    spacing, slots = taken(rate, sequence)
    lateness = spacing.grace_us + spacing.spread_us
    arrivals = sorted(slot + random.choice((0, lateness, random.randint(0, lateness))) for slot in slots)
    limit = max(1, -int(-rate.calls // 1))
    for first, beyond in zip(arrivals, arrivals[limit:], strict=False):
        assert beyond - first >= spacing.window_us


@given(rates, claims)
def test_slots_are_spaced_and_never_given_twice(rate, sequence):
    """Slots only ever move forward, one interval apart or more."""
    spacing, slots = taken(rate, sequence)
    assert all(later - earlier >= spacing.interval_us for earlier, later in pairwise(slots))


@given(rates, st.integers(1, 500), st.integers(0, 10 * US))
def test_a_claim_keeps_to_its_bounds(rate, most, idle):
    """No claim gets more slots than it asked for, none before its lead and none at or past its horizon."""
    spacing = Spacing.of(rate)
    now = 1_700_000_000 * US
    found = free_slots(tat_us=now - idle, now_us=now, spacing=spacing, lead_us=40_000, horizon_us=US, most=most)
    assert 1 <= len(found) <= most
    assert all(now + 40_000 <= slot < now + US for slot in found)


@pytest.mark.parametrize("rate", RATES, ids=str)
def test_nearly_all_of_the_limit_is_used(rate):
    """A worker that claims twice a second is given at least 97 % of the limit over ten windows."""
    seconds = int(10 * rate.window / SECOND)
    spacing, slots = taken(rate, [(US // 2, 10_000, US)] * (2 * seconds))
    share = len(slots) / ((slots[-1] + spacing.interval_us - slots[0]) / spacing.window_us) / rate.calls
    assert share >= 0.97


def test_nothing_is_given_before_the_end_of_a_pause():
    """The first slot after a pause is at its end, not before."""
    spacing = Spacing.of(Rate(20, SECOND))
    now = 1_700_000_000 * US
    found = free_slots(
        tat_us=0, now_us=now, spacing=spacing, lead_us=0, horizon_us=US, most=5, not_before_us=now + US // 2
    )
    assert found.start == now + US // 2


def test_a_clock_set_back_costs_one_window_and_not_an_hour():
    """A line of time that lies an hour ahead is not waited for, and still no window can be crossed."""
    spacing = Spacing.of(Rate(20, SECOND))
    now = 1_700_000_000 * US
    found = free_slots(tat_us=now + 3600 * US, now_us=now, spacing=spacing, lead_us=0, horizon_us=2 * US, most=5)
    assert found.start == now + spacing.window_us


def test_grace_is_generous_only_where_the_limit_is_far_above_any_worker():
    """At 60/s a call expires within milliseconds; at a million a second it may be seconds late."""
    assert Spacing.of(Rate(60, SECOND)).grace_us < 30_000
    assert Spacing.of(Rate(1_000_000, SECOND)).grace_us >= US


def test_a_daily_limit_counts_down_to_nothing():
    """The daily limit allows what is left of it, never less than nothing."""
    spacing = Spacing.of(Rate(2, SECOND, 2_000))
    assert left_today(spacing, used=1_999) == 1
    assert left_today(spacing, used=2_500) == 0
    assert left_today(Spacing.of(Rate(2, SECOND)), used=9) is None


def test_a_share_scales_the_rate_and_the_day():
    """Half the share is half the calls, by window and by day."""
    assert Rate(2, SECOND, 2_000).shared(0.5) == Rate(1.0, timedelta(seconds=1), 1_000)

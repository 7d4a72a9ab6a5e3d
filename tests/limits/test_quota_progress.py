"""The slot arithmetic never leaves a claimer without a slot for ever, and never goes back."""

from hypothesis import assume, given
from hypothesis import strategies as st

from bulkreset.limits.quota import US, Spacing, free_slots
from bulkreset.limits.rates import MINUTE, SECOND, Rate

NOW = 1_700_000_000 * US

spacings = st.builds(
    Spacing.of, st.builds(Rate, st.floats(0.1, 50_000), st.sampled_from([SECOND, MINUTE]), st.none())
)
horizons = st.sampled_from([US // 2, US, 2 * US])
moments = st.integers(-3 * US, 3 * US).map(lambda offset: NOW + offset)


def ask(spacing, tat, now, horizon, most=1_000, **options):
    return free_slots(tat_us=tat, now_us=now, spacing=spacing, lead_us=0, horizon_us=horizon, most=most, **options)


def believed(spacing, tat, now, horizon):
    """Whether a line of time is not taken for the work of a clock that has been set back since."""
    return tat <= now + max(2 * horizon, spacing.window_us) + spacing.interval_us


@given(spacings, moments, moments, horizons, st.integers(1, 500))
def test_a_slot_is_had_as_soon_as_the_line_of_time_or_a_pause_ends_within_the_horizon(
    spacing, tat, until, horizon, most
):
    """Whoever asks less than a horizon before the line's next point, or at any time after it, gets a slot."""
    for late in (0, 1, horizon - 1, horizon, 10 * horizon):
        now = max(tat, until) - horizon + 1 + late
        assume(believed(spacing, tat, now, horizon))
        found = ask(spacing, tat, now, horizon, most, not_before_us=until)
        assert 1 <= len(found) <= most
    assume(believed(spacing, tat, max(tat, until) - horizon, horizon))
    assert len(ask(spacing, tat, max(tat, until) - horizon, horizon, most, not_before_us=until)) == 0


@given(spacings, st.integers(0, 10 * US), horizons, st.integers(1, 50), st.integers(1, 20))
def test_two_claimers_that_take_turns_both_get_on(spacing, idle, horizon, greed, rounds):
    """However greedy the one before, the next gets a slot once time has passed to the end of what was taken."""
    tat, now = NOW - idle, NOW
    for _ in range(rounds):
        for most in (greed * 100, 1):
            found = ask(spacing, tat, now, horizon, most)
            assert found
            assert found.start >= tat
            tat = found.stop
            now = max(now, tat - horizon + 1)  # the time at which the line comes within reach again


@given(spacings, moments, moments, horizons, st.integers(0, 500), st.integers(0, 500))
def test_asking_for_more_gives_the_same_slots_and_more(spacing, tat, now, horizon, few, more):
    """The slots of a small claim are the first ones of a large claim at the same time."""
    few, more = sorted((few, more))
    small, large = (list(ask(spacing, tat, now, horizon, most)) for most in (few, more))
    assert large[: len(small)] == small


@given(spacings, moments, moments, st.integers(0, 3 * US), horizons)
def test_slots_never_come_earlier_for_asking_later_or_for_a_later_line(spacing, tat, now, later, horizon):
    """First slots and the next line of time only move forward with the clock, the line and a pause."""
    assume(believed(spacing, tat + later, now, horizon))
    base = ask(spacing, tat, now, horizon)
    for other in (
        ask(spacing, tat, now + later, horizon),
        ask(spacing, tat + later, now, horizon),
        ask(spacing, tat, now, horizon, not_before_us=now + later),
    ):
        assert other.start >= base.start
        assert not other or other[0] >= tat


@given(spacings, moments, moments)
def test_a_wider_horizon_only_adds_slots(spacing, tat, now):
    """A worker that looks further ahead is given the slots of one that does not, and later ones."""
    assume(believed(spacing, tat, now, US // 2))
    near, far = (list(ask(spacing, tat, now, horizon, 100_000)) for horizon in (US // 2, 2 * US))
    assert far[: len(near)] == near
    assert all(slot >= now + US // 2 for slot in far[len(near) :])
    assert far == ask_all(spacing, tat, now)


def ask_all(spacing, tat, now):
    """Return what claims of one slot each come to, one after the other, at the same time."""
    slots = []
    while found := ask(spacing, tat, now, 2 * US, 1):
        slots += found
        tat = found.stop
        if len(slots) > 200:  # as good as all
            return slots + list(ask(spacing, tat, now, 2 * US, 100_000))
    return slots


@given(spacings, st.integers(0, 400 * 24 * 3600 * US), horizons)
def test_a_line_of_time_that_lies_too_far_ahead_costs_a_window_at_most(spacing, ahead, horizon):
    """Wherever a wrong clock has left the line, a slot is had within a window, an interval and a horizon."""
    tat, now = NOW + ahead, NOW
    if not believed(spacing, tat, now, horizon):
        tat = ask(spacing, tat, now, horizon).stop  # what the claim writes back
    # A line up to two horizons, a window and an interval ahead is waited for, and a claim looks a horizon ahead.
    patience = horizon + spacing.window_us + spacing.interval_us + 1
    assert tat < now + patience + horizon
    assert ask(spacing, tat, now + patience, horizon)

"""A clock that was set is noticed, and one that only runs is not."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkreset.limits.clock import ClockWatch

START = datetime(2026, 11, 27, tzinfo=UTC)


def later(seconds):
    return START + timedelta(seconds=seconds)


@given(st.lists(st.tuples(st.floats(0, 600), st.floats(0, 5), st.floats(0, 1)), max_size=20))
def test_a_clock_that_runs_is_never_taken_for_one_that_was_set(readings):
    """However long a reading takes, and whenever within it the clock is read."""
    watch, mono = ClockWatch(), 0.0
    for passed, took, part in readings:
        asked_at = mono + passed
        mono = asked_at + took
        assert not watch.stepped(later(asked_at + part * took), asked_at=asked_at, read_at=mono)


@pytest.mark.parametrize("step", [-86_400, -3, -0.05, 0.05, 1, 5, 86_400])
def test_a_step_is_noticed_once(step):
    """Forward or back, at the first reading after it."""
    watch = ClockWatch()
    assert not watch.stepped(later(0), asked_at=10.0, read_at=10.001)
    assert watch.stepped(later(1 + step), asked_at=11.0, read_at=11.001)
    assert not watch.stepped(later(2 + step), asked_at=12.0, read_at=12.001)

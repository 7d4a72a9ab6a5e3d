"""The rate that one lane keeps to."""

from datetime import timedelta

import pytest

from bulkreset.limits.quota import Spacing
from bulkreset.limits.rates import SECOND, Rate
from bulkreset.runner.pace import Pace


def test_the_lower_of_both_limits_is_kept_by_its_share():
    """What the provider tells is shared as the configured limit is; what it was before is returned."""
    pace = Pace(Rate(54, SECOND), 0.9)
    assert pace.heed(Rate(20, SECOND)) == Rate(54, SECOND)
    assert pace.rate == Rate(18, SECOND)
    assert pace.spacing == Spacing.of(Rate(18, SECOND))
    assert pace.heed(Rate(20, SECOND)) is None
    assert pace.heed(None) == Rate(18, SECOND)
    assert pace.rate == Rate(54, SECOND)


def test_a_higher_limit_than_the_configured_one_changes_nothing():
    """The configuration may mean to be slower than the provider allows."""
    pace = Pace(Rate(54, SECOND), 0.9)
    assert pace.heed(Rate(80, SECOND)) is None
    assert pace.rate == Rate(54, SECOND)


@pytest.mark.parametrize(("sent", "seconds"), [(1, 60 / 200), (2, 60), (500, 60)])
def test_after_more_than_one_call_a_whole_window_passes(sent, seconds):
    """Of one call only itself can be in the window of the next."""
    pace = Pace(Rate(700, timedelta(minutes=1)), 1.0)
    pace.heed(Rate(200, timedelta(minutes=1)))
    assert pace.settles_after(sent) == pytest.approx(seconds, rel=0.02)

"""Calls that have left, by batch."""

from bulkreset.runner.departures import Departures


def test_calls_are_counted_from_a_moment_on_and_until_their_answer():
    """What left before the moment, of another batch, or has its answer is not counted."""
    calls = Departures()
    for at, batch_id in ((1.0, 7), (2.0, 7), (2.0, 8), (3.0, 7)):
        calls.leave(batch_id, at)
    assert (calls.since(7, 2.0), calls.since(8, 2.5), calls.since(9, 0.0)) == (2, 0, 0)
    calls.land(7)
    calls.land(8)
    assert dict(calls.in_flight) == {7: 2}
    assert calls.since(7, 2.0) == 2


def test_what_left_long_ago_is_forgotten():
    """A worker runs for weeks; nobody asks for more than a few seconds."""
    calls = Departures()
    for second in range(1000):
        calls.leave(1, float(second))
    assert calls.since(1, 0.0) == 11

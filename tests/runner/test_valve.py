"""The valve: what shuts it, for which lanes, and until when."""

import pytest
from rooms import NOW, QUOTA, Notes

from bulkreset.model import Quota
from bulkreset.runner.valve import Valve

LIGHT = Quota("acme", "light")


class Lane:
    """A lane that notes what it is told."""

    def __init__(self, quota):
        self.quota = quota
        self.dropped = []
        self.reopened_times = 0

    def drop(self, batch_id=None, why=""):
        self.dropped.append(batch_id)

    def reopened(self):
        self.reopened_times += 1


@pytest.fixture
def lanes():
    return [Lane(QUOTA), Lane(LIGHT)]


@pytest.fixture
def valve(lanes):
    valve = Valve("acme", Notes())
    for lane in lanes:
        valve.join(lane)
    return valve


def test_a_halt_is_of_all_lanes_at_once(valve, lanes):
    """And known to all of them before it is in the tables."""
    valve.halt(QUOTA, "403")
    assert (valve.halted, valve.settled) == ("403", False)
    assert [lane.dropped for lane in lanes] == [[None], [None]]
    valve._recorder.save()
    assert valve.settled


def test_a_pause_is_of_one_quota(valve, lanes):
    """The other label of the account goes on."""
    valve.pause(QUOTA, NOW, "429")
    assert (valve.paused_until(QUOTA), valve.paused_until(LIGHT)) == (NOW, None)
    assert [lane.dropped for lane in lanes] == [[None], []]
    valve.note_pause(QUOTA, None)
    assert valve.paused_until(QUOTA) is None


def test_a_halted_batch_is_dropped_by_every_lane_and_no_other_batch_is(valve, lanes):
    """Its passwords and its sessions are two lanes at some providers."""
    valve.halt_batch(7, "20 refusals")
    assert [lane.dropped for lane in lanes] == [[7], [7]]
    assert (valve.halted, valve._recorder.batch_halts) == (None, [(7, "20 refusals")])


def test_a_lifted_halt_reopens_every_lane_that_is_still_there(valve, lanes):
    """One that has ended is not called any more."""
    valve.note_halt("403")
    valve.leave(lanes[1])
    valve.lift()
    assert (valve.halted, [lane.reopened_times for lane in lanes]) == (None, [1, 0])


def test_a_halt_that_is_known_is_said_once(valve, monkeypatch):
    """Each claim reads it again."""

    class Log:
        said = ()

        def error(self, event, **_):
            self.said += (event,)

    log = Log()
    monkeypatch.setattr("bulkreset.runner.valve.logger", lambda: log)
    valve.note_halt("403")
    valve.note_halt("403")
    assert log.said == ("account_halted",)

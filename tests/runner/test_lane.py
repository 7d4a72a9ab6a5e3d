"""A lane as a whole: its rooms together, from the claim to the result, and how it stops."""

import asyncio
from datetime import timedelta

import pytest
from rooms import NOW, Clock, Tables, answer, claim_of, parts_of

from bulkreset.model import Outcome, Verdict
from bulkreset.runner.lane import Lane

OK = answer(Verdict(Outcome.OK, 204))


class Bench:
    """A lane with two claims, and what it runs with."""

    def __init__(self, monkeypatch):
        self.clock = Clock(monkeypatch)
        self.parts = parts_of(self.clock)
        self.tables = Tables(self.clock, monkeypatch)
        self.tables.claims = [claim_of(1), claim_of(2)]
        self.lane = Lane(self.parts)
        self.outcomes = self.parts.context.recorder

    async def until(self, condition):
        async with asyncio.timeout(20):
            while not condition():  # noqa: ASYNC110  (what it waits for has no event)
                await asyncio.sleep(0)


@pytest.fixture
def bench(monkeypatch):
    return Bench(monkeypatch)


async def test_what_is_claimed_is_sent_and_recorded(bench):
    """Then the lane is idle until more is due."""
    bench.parts.way_out.answers = {1: OK, 2: OK}
    running = asyncio.create_task(bench.lane.run())
    await bench.until(lambda: len(bench.outcomes.closings) == 2)
    await bench.until(lambda: bench.lane.idle)
    bench.lane.stop()
    await asyncio.wait_for(running, 20)
    assert bench.outcomes.outcomes == [(1, "ok"), (2, "ok")]
    assert (bench.lane.sent, bench.lane.claimed, bench.lane.touched) == (2, 2, {1})


async def test_a_stop_gives_back_what_waits_and_waits_for_what_has_left(bench):
    """The call on its way is recorded, and nothing goes on after it."""
    bench.tables.claims = [claim_of(1), claim_of(2, 60.0)]
    found = asyncio.get_running_loop().create_future()
    bench.parts.way_out.answers = {1: found, 2: OK}
    before = asyncio.all_tasks()
    running = asyncio.create_task(bench.lane.run())
    await bench.until(lambda: bench.lane.on_their_way == 1 and bench.lane.holds_unsent(1))
    assert bench.lane.holds == {1}
    bench.lane.stop()
    await bench.until(lambda: bench.outcomes.outcomes == [(2, "released")])
    for _ in range(20):
        await asyncio.sleep(0)
    assert not running.done()
    found.set_result(OK)
    await asyncio.wait_for(running, 20)
    assert bench.outcomes.outcomes == [(2, "released"), (1, "ok")]
    assert asyncio.all_tasks() == before


async def test_a_room_that_breaks_ends_the_lane(bench):
    """With its error, which ends the worker too: claims that nobody sends must not go on."""

    def break_down():
        raise RuntimeError("surprise")

    bench.parts.way_out.before_reserved = break_down
    running = asyncio.create_task(bench.lane.run())
    await bench.until(running.done)
    with pytest.raises(RuntimeError, match="surprise"):
        running.result()
    assert bench.outcomes.outcomes == [(1, "released"), (2, "released")]


async def test_calls_are_counted_from_a_time_of_the_databases_clock(bench):
    """So many had left when somebody stopped the batch."""
    bench.parts.departures.leave(1, bench.clock.now)
    bench.parts.departures.leave(1, bench.clock.now + 2)
    assert [bench.lane.departed(1, NOW + timedelta(seconds=second)) for second in (0, 1, 3)] == [2, 1, 0]
    assert bench.lane.in_flight(1) == 2

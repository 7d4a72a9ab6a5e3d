"""The dispatcher: each call leaves at its slot or not at all."""

import asyncio

import pytest
from rooms import Clock, claim_of, parts_of

from bulkreset.runner.dispatcher import Dispatcher

PATIENCE_S = 20


@pytest.fixture
def clock(monkeypatch):
    return Clock(monkeypatch)


class Sent:
    """Where calls go; `answer` lets them end."""

    def __init__(self):
        self.calls = []
        self.answer = asyncio.Event()
        self.fault = None

    async def __call__(self, claim, drops, reserved):
        self.calls.append(claim.task_id)
        if self.fault is not None:
            raise self.fault
        await self.answer.wait()


async def within(work):
    async with asyncio.timeout(PATIENCE_S):
        return await work


async def settle():
    for _ in range(10):
        await asyncio.sleep(0)


async def test_a_call_leaves_at_its_slot_and_is_in_flight_until_it_is_done(clock):
    """And its room is free for another one afterwards."""
    parts, sent = parts_of(clock, concurrency=1), Sent()
    dispatcher = Dispatcher(parts, sent)
    for number in (1, 2):
        sent.answer.clear()
        parts.buffer.put(claim_of(number), clock.now)
        await within(dispatcher.step())
        await settle()
        assert (sent.calls[-1], len(parts.in_flight), parts.way_out.left[-1]) == (number, 1, number)
        sent.answer.set()
        await settle()
        assert not parts.in_flight


async def test_no_call_leaves_while_all_rooms_are_taken(clock):
    """It waits, and leaves when one is free."""
    parts, sent = parts_of(clock, concurrency=1), Sent()
    dispatcher = Dispatcher(parts, sent)
    parts.buffer.put(claim_of(1), clock.now)
    await within(dispatcher.step())
    parts.buffer.put(claim_of(2), clock.now)
    waiting = asyncio.create_task(dispatcher.step())
    await settle()
    assert (sent.calls, waiting.done()) == ([1], False)
    sent.answer.set()
    await within(waiting)
    await settle()
    assert sent.calls == [1, 2]


async def test_a_stall_lets_slots_expire_and_they_are_given_back(clock):
    """A late call would arrive among those of a later moment."""
    parts, sent = parts_of(clock), Sent()
    parts.buffer.more = True
    for number in (1, 2):
        parts.buffer.put(claim_of(number), clock.now)
    clock.now += 5
    parts.buffer.put(claim_of(3), clock.now)
    await within(Dispatcher(parts, sent).step())
    await settle()
    assert parts.context.recorder.outcomes == [(1, "released"), (2, "released")]
    assert sent.calls == [3]
    assert parts.way_out.asked_for == [clock.now], "the limiter was passed for a slot that had expired"
    assert parts.low.is_set()
    sent.answer.set()


async def test_what_a_stop_takes_away_while_a_connection_is_waited_for_is_not_sent(clock):
    """Nor are later claims sent before their slots."""
    parts, sent = parts_of(clock, concurrency=1), Sent()
    dispatcher = Dispatcher(parts, sent)

    def stop_and_claim_anew():
        parts.drop(None, "stopped")
        parts.buffer.put(claim_of(2), clock.now + 1)

    parts.way_out.before_reserved = stop_and_claim_anew
    parts.buffer.put(claim_of(1), clock.now)
    await within(dispatcher.step())
    assert (sent.calls, parts.way_out.seats[0].given_back) == ([], 1)
    assert parts.context.recorder.outcomes == [(1, "released")]
    parts.way_out.before_reserved = None
    clock.now += 1
    await within(dispatcher.step())
    await settle()
    assert sent.calls == [2], "its room was not given back"
    sent.answer.set()


async def test_a_call_without_a_connection_is_given_back_when_its_slot_has_expired(clock):
    """And keeps no room from the next."""
    parts, sent = parts_of(clock, concurrency=1), Sent()
    dispatcher = Dispatcher(parts, sent)

    def pass_time():
        clock.now += 5

    parts.way_out.none_left, parts.way_out.before_reserved = True, pass_time
    parts.buffer.put(claim_of(1), clock.now)
    await within(dispatcher.step())
    assert (sent.calls, parts.context.recorder.outcomes) == ([], [(1, "released")])
    parts.way_out.none_left, parts.way_out.before_reserved = False, None
    parts.buffer.put(claim_of(2), clock.now)
    await within(dispatcher.step())
    await settle()
    assert sent.calls == [2]
    sent.answer.set()


async def test_a_call_whose_answer_breaks_the_program_stops_nothing_else(clock, caplog):
    """Its attempt stays open, and is rescued as unknown."""
    parts, sent = parts_of(clock, concurrency=1), Sent()
    dispatcher = Dispatcher(parts, sent)
    sent.fault = RuntimeError("surprise")
    parts.buffer.put(claim_of(1), clock.now)
    await within(dispatcher.step())
    await settle()
    sent.fault = None
    sent.answer.set()
    parts.buffer.put(claim_of(2), clock.now)
    await within(dispatcher.step())
    await settle()
    assert sent.calls == [1, 2]
    assert parts.context.recorder.outcomes == []


async def test_it_ends_when_it_is_told_to_and_nothing_waits(clock):
    """What waits is dropped by its lane before."""
    parts, stopping = parts_of(clock), asyncio.Event()
    running = asyncio.create_task(Dispatcher(parts, Sent()).run(stopping))
    await settle()
    stopping.set()
    parts.buffer.filled.set()
    await within(running)

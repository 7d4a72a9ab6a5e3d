"""Stops of a batch: who must confirm, what is counted, and when nobody is waited for."""

from datetime import timedelta

import pytest
from closings import succeeded

from bulkreset.model import Decision, Outcome, Result, TaskState, Verdict
from bulkreset.store import lifecycle, results, stops, workers
from bulkreset.store.filelock import file_lock
from bulkreset.store.results import Closing, Ledger
from bulkreset.store.stops import PATIENCE, Confirmation


@pytest.fixture
def runner(store):
    """Hold the right to run, as a worker does."""
    if not store.sqlite:
        yield
        return
    with file_lock(store.place.path):
        yield


@pytest.fixture
def settle(store):
    """Wait for a stop to settle on a clock that each look moves by a second; `acts` come one after each look."""

    async def wait(stop, *acts):
        queue, clock = list(acts), [0.0]

        async def sleep(_):
            clock[0] += 1
            if queue:
                await queue.pop(0)()

        return await stops.settled(store, stop, sleep=sleep, clock=lambda: clock[0]), clock[0]

    return wait


def released(claim, at):
    decision = Decision(TaskState.PENDING, Outcome.RELEASED, at, keep_password=True)
    return Closing(Result(claim, Verdict(Outcome.RELEASED), None, at, None), decision)


def confirms(store, stop, *, departed=0, in_flight=0, worker="w1"):
    async def act():
        said = Confirmation(stop.batch_id, stop.number, departed, in_flight)
        await results.record(store, Ledger(confirmations=[said]), worker=worker)

    return act


@pytest.mark.parametrize("act", [lifecycle.pause, lifecycle.cancel])
async def test_nobody_is_waited_for_where_nothing_is_claimed(store, order, claim, settle, runner, act):
    """Without a claim, or once every claim has its result, a stop has settled at once."""
    first, second = await order(["a"]), await order(["b", "c"])
    outcome, waited = await settle(await act(store, first, "tester"))
    assert (outcome.departed, outcome.in_flight, outcome.silent, waited) == (0, 0, (), 0)
    claims = (await claim()).claims
    await results.record(store, Ledger([succeeded(claims[0], claims[0].slot_at)]))
    await results.record(store, Ledger([released(claims[1], claims[1].slot_at)]))
    outcome, waited = await settle(await act(store, second, "tester"))
    assert (outcome.silent, waited) == ((), 0)


@pytest.mark.parametrize("act", [lifecycle.pause, lifecycle.cancel])
async def test_a_worker_with_claims_confirms_and_tells_what_left(store, order, claim, settle, runner, act):
    """The stop settles with the confirmation, and counts what the worker says; other batches are not asked."""
    batch_id, _ = await order(["a", "b", "c"]), await order(["d"])
    await claim()
    stop = await act(store, batch_id, "tester")
    outcome, waited = await settle(stop, confirms(store, stop, departed=1, in_flight=2))
    assert (outcome.departed, outcome.in_flight, outcome.silent, waited) == (1, 2, (), 1)


async def test_a_worker_that_does_not_confirm_is_named(store, order, claim, settle, runner, hand):
    """With how much it has claimed, when it was last seen, and when the last of its slots has expired."""
    await workers.arrive(store, "w1")
    batch_id = await order(["a", "b", "c"])
    claims = (await claim(rate=10)).claims
    stop = await lifecycle.pause(store, batch_id, "tester")
    outcome, waited = await settle(stop)
    [holder] = outcome.silent
    assert waited == PATIENCE.total_seconds()
    assert (holder.worker, holder.claims, holder.seen_at) == ("w1", 3, hand.now)
    assert holder.expired_at == claims[-1].slot_at + timedelta(seconds=5)


async def test_every_worker_is_asked(store, order, claim, settle, runner):
    """One that confirms does not speak for another."""
    batch_id = await order(["a", "b", "c", "d"])
    await claim(2)
    stop = await lifecycle.pause(store, batch_id, "tester")
    outcome, _ = await settle(stop, confirms(store, stop, worker="w2", departed=1))
    assert ([one.worker for one in outcome.silent], outcome.departed) == (["w1"], 1)


async def test_an_earlier_stop_s_confirmation_does_not_count(store, order, claim, settle, runner):
    """Paused, confirmed, resumed, paused again: the second stop is confirmed anew."""
    batch_id = await order(["a", "b"])
    await claim(1)
    first = await lifecycle.pause(store, batch_id, "tester")
    await confirms(store, first, in_flight=1)()
    await lifecycle.resume(store, batch_id, "tester")
    second = await lifecycle.pause(store, batch_id, "tester")
    assert second.number == first.number + 1
    outcome, _ = await settle(second)
    assert [one.worker for one in outcome.silent] == ["w1"]
    outcome, waited = await settle(second, confirms(store, second))
    assert (outcome.silent, waited) == ((), 1)


async def test_a_stop_that_somebody_lifts_is_waited_for_no_longer(store, order, claim, settle, runner):
    """Resumed while it is waited for, the batch may be sent from again."""
    batch_id = await order(["a"])
    await claim()
    stop = await lifecycle.pause(store, batch_id, "tester")
    outcome, waited = await settle(stop, lambda: lifecycle.resume(store, batch_id, "tester"))
    assert (outcome.silent, waited) == ((), 1)


async def test_calls_that_are_on_record_already_count_too(store, order, claim, settle, runner, hand):
    """A worker whose results came in before it looked need not confirm; what left after the stop is counted."""
    batch_id = await order(["a", "b", "c"])
    before, after, unsent = (await claim()).claims
    await results.record(store, Ledger([succeeded(before, hand.now)]))
    hand.pass_(0.2)
    stop = await lifecycle.cancel(store, batch_id, "tester")
    hand.pass_(0.1)

    async def ends():
        await results.record(store, Ledger([succeeded(after, hand.now), released(unsent, hand.now)]))

    outcome, _ = await settle(stop, ends)
    assert (outcome.departed, outcome.in_flight, outcome.silent) == (1, 0, ())


async def test_a_file_that_nobody_runs_on_needs_no_confirmation(store, order, claim, settle):
    """A killed runner's claims are in the table, and its lock on the file is gone: nothing can leave."""
    batch_id = await order(["a"])
    await claim()
    stop = await lifecycle.pause(store, batch_id, "tester")
    outcome, waited = await settle(stop)
    if store.sqlite:
        assert (outcome.silent, waited) == ((), 0)
    else:
        assert [one.worker for one in outcome.silent] == ["w1"]


async def test_what_stands_is_looked_up_by_batch(store, order):
    """State, stop and halt of the batches that are asked for."""
    first, second = await order(["a"]), await order(["b"])
    stop = await lifecycle.pause(store, first, "tester")
    async with store.read() as conn:
        found = {one.batch_id: one for one in await stops.look(conn, [first, second])}
    assert (found[first].state, found[first].stop_no, found[first].stopped_at) == ("paused", 1, stop.at)
    assert (found[second].state, found[second].stop_no, found[second].stopped_at) == ("open", 0, None)
    assert not found[first].account_halted

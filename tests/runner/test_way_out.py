"""The way out: a call leaves over an open connection, within its slot, with room for what may arrive with it."""

import asyncio
from time import monotonic
from types import SimpleNamespace

import pytest

from bulkreset.limits.quota import US, Spacing
from bulkreset.limits.rates import SECOND, Rate
from bulkreset.providers.connections import Connections
from bulkreset.providers.no_answer import Unreachable
from bulkreset.runner.pace import Pace
from bulkreset.runner.way_out import WayOut

PATIENCE_S = 20
RATE = Rate(100, SECOND)
PROVIDER = SimpleNamespace(account="zoom", base_url="http://127.0.0.1:1")


class Opened:
    """What stands for a connection."""

    closed = False
    given_back = 0

    def close(self):
        self.closed = True

    def release(self):
        Opened.given_back += 1


class Transport:
    """Opens connections when it is told to, or fails to."""

    def __init__(self):
        self.open = asyncio.Event()
        self.fault = None
        self.opened = 0

    def connections(self, url, *, calls_per_s, changed):
        async def open_one():
            await self.open.wait()
            if self.fault is not None:
                raise self.fault
            self.opened += 1
            return Opened()

        return Connections(open_one, calls_per_s=calls_per_s, changed=changed)


@pytest.fixture
async def transport():
    return Transport()


def way(transport, connected=lambda: None):
    return WayOut(transport, PROVIDER, Pace(RATE, 1.0), connected)


def claim(number):
    return SimpleNamespace(task_id=number, n=1)


async def within(work):
    async with asyncio.timeout(PATIENCE_S):
        return await work


async def blocked(work):
    """Let a reservation run until it waits; it must not have ended."""
    task = asyncio.create_task(work)
    for _ in range(20):
        await asyncio.sleep(0)
    assert not task.done()
    return task


def slot_for_long():
    """A slot that is good for a while yet, whatever else the machine does."""
    return monotonic() + PATIENCE_S


async def test_the_first_calls_wait_until_connections_are_there(transport):
    """Nothing is claimed while handshakes go on; once they have ended, the claimer is woken."""
    woken = asyncio.Event()
    out = way(transport, connected=woken.set)
    assert not out.ready()
    assert not woken.is_set()
    transport.open.set()
    await within(woken.wait())
    async with asyncio.timeout(PATIENCE_S):
        while not out.ready():
            woken.clear()
            await woken.wait()
    woken.clear()
    place = await within(_reserve(out))
    place.give_back()
    await out.close()
    assert not woken.is_set()  # nobody waits any more, so nobody is woken


async def _reserve(out):
    out.take([monotonic()])
    return await out.reserve(slot_for_long())


async def test_a_call_without_a_connection_does_not_leave_and_does_not_wait_past_its_slot(transport):
    """A slot that has passed its grace ends the wait with nothing in hand."""
    out = way(transport)
    out.ready()
    out.take([monotonic()])
    assert await within(out.reserve(monotonic() - PATIENCE_S)) is None
    assert await within(out.reserve(monotonic())) is None  # its grace goes by before a connection comes
    assert transport.opened == 0
    await out.close()


async def test_a_call_leaves_as_soon_as_its_connection_is_open(transport):
    """The dispatcher is woken by the connection and not by a clock."""
    out = way(transport)
    out.ready()
    out.take([monotonic()])
    waiting = await blocked(out.reserve(slot_for_long()))
    transport.open.set()
    place = await within(waiting)
    assert place is not None
    place.give_back()
    await out.close()


async def test_no_more_leave_than_slots_were_taken(transport):
    """A second call waits while the first may still be on its way, and goes when the first did not leave."""
    out = way(transport)
    transport.open.set()
    out.ready()
    slot = slot_for_long()
    out.take([monotonic()])
    first = await within(out.reserve(slot))
    out.sent(claim(1), first, slot)
    waiting = await blocked(out.reserve(slot))
    out.unsent(claim(1))
    first.give_back()
    second = await within(waiting)
    out.sent(claim(2), second, slot)
    assert await within(out.reserve(monotonic())) is None  # an unanswered call keeps its place
    second.give_back()
    await out.close()


async def test_the_latest_moment_to_write_is_the_end_of_the_grace_and_half_of_the_spread(transport):
    """What the network needs of the spread is left to it."""
    spacing = Spacing.of(RATE)
    out = way(transport)
    transport.open.set()
    out.ready()
    slot = slot_for_long()
    out.take([monotonic()])
    place = await within(out.reserve(slot))
    out.sent(claim(1), place, slot)
    assert place.until == pytest.approx(slot + (spacing.grace_us + spacing.spread_us / 2) / US)
    place.give_back()
    await out.close()


async def test_a_provider_that_cannot_be_reached_stops_nobody_from_saying_so(transport):
    """Where no connection can be had a call is let through to the reason, so that it ends as unreachable."""
    transport.fault = Unreachable("nobody: no route")
    transport.open.set()
    out = way(transport)
    out.ready()
    out.take([monotonic()])
    place = await within(out.reserve(slot_for_long()))
    with pytest.raises(Unreachable, match="no route"):
        place.hand_over(None)
    await out.close()


async def test_everything_is_given_back_at_the_end(transport):
    """Connections that no call had are released when the lane ends, one that was reserved with its call."""
    out = way(transport)
    transport.open.set()
    out.ready()
    out.take([monotonic()])
    Opened.given_back = 0
    place = await within(out.reserve(slot_for_long()))
    place.give_back()
    place.give_back()
    await out.close()
    assert 0 < transport.opened == Opened.given_back
    assert await within(out.reserve(monotonic())) is None


async def test_closing_before_anything_was_opened_is_nothing(transport):
    """A lane that never worked has nothing to give back."""
    await way(transport).close()

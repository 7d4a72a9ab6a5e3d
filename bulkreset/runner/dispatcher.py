"""Lets each call leave at its slot: the only one that waits on the way out.

A call leaves over a connection that was open before, unless what may still be on its way to the provider forbids
it; one that is later than its grace is given back, not sent.
"""

import asyncio
from collections.abc import Callable, Coroutine
from time import monotonic

from bulkreset.limits.quota import US
from bulkreset.logs import logger
from bulkreset.model import Claim
from bulkreset.providers.connections import Reserved
from bulkreset.runner.claimer import MOST_CLAIMED
from bulkreset.runner.parts import Parts

Send = Callable[[Claim, int, Reserved], Coroutine[None, None, None]]
"""Send a call, once; the number is how often the buffer had been emptied when it was taken out."""


class Dispatcher:
    """The one that takes claims out of a lane's buffer; each call that leaves is a task of its own."""

    def __init__(self, parts: Parts, send: Send) -> None:
        self._parts = parts
        self._buffer = parts.buffer
        self._way_out = parts.way_out
        self._send = send
        self._room = asyncio.Semaphore(parts.context.concurrency)

    async def run(self, stopping: asyncio.Event) -> None:
        """Let calls leave until `stopping` is set and nothing waits any more."""
        while not (stopping.is_set() and not self._buffer):
            await self.step()

    async def step(self) -> None:
        """Wait for the first slot, or for a claim where there is none, and let its call leave if it still may."""
        buffer = self._buffer
        if not buffer:
            buffer.filled.clear()
            if buffer.more:
                self._parts.low.set()
            await buffer.filled.wait()
            return
        if (wait := buffer.slot - monotonic()) > 0:
            await buffer.until_dropped(wait)
            if buffer.slot > monotonic():
                return
        await self._room.acquire()
        # A stall that lets slots expire may have held up the call before them on its way out, so the belt
        # is passed for it; but once only, since each pass makes a slot of the next window wait and expire.
        self._release_expired()
        if not buffer:
            self._room.release()
            return
        reserved = await self._way_out.reserve(buffer.slot)
        self._release_expired()
        # While we waited the buffer may have been emptied, and filled again with later slots.
        if reserved is None or buffer.slot > monotonic():
            self._room.release()
            if reserved is not None:
                reserved.give_back()
            return
        claim, slot = buffer.take()
        self._top_up()
        self._way_out.sent(claim, reserved, slot)
        call = asyncio.create_task(self._send(claim, buffer.drops, reserved))
        self._parts.in_flight.add(call)
        call.add_done_callback(self._landed)

    def _release_expired(self) -> None:
        """Give back every claim whose slot is too far behind to be used."""
        if late := self._buffer.expired(monotonic() - self._parts.pace.spacing.grace_us / US):
            self._parts.completions.release(late, "its slot had expired")
            self._top_up()

    def _top_up(self) -> None:
        """Wake the claimer where the buffer runs low and there is more to be had."""
        if self._buffer.more and len(self._buffer) < MOST_CLAIMED // 2:
            self._parts.low.set()

    def _landed(self, call: asyncio.Task[None]) -> None:
        self._parts.in_flight.discard(call)
        self._room.release()
        if not call.cancelled() and (error := call.exception()) is not None:
            # Its attempt stays open and is rescued as unknown; nothing is guessed.
            logger().error("result_not_understood", account=self._parts.quota.account, exc_info=error)

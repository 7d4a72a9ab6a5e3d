"""One account's label at work: claim ahead, dispatch at each slot, send, judge the answer.

    claimer → buffer → dispatcher → sender → recorder
                 ▲                     │
                 └─────── valve ◄──────┘

A pause or a halt shuts the account's valve, which empties the buffers of all its lanes at once, so that nothing
leaves after it but the calls already in flight.
"""

import asyncio
from datetime import datetime

from bulkreset.runner.claimer import Claimer
from bulkreset.runner.dispatcher import Dispatcher
from bulkreset.runner.parts import Parts
from bulkreset.runner.sender import Sender
from bulkreset.runner.waiting import until_set


class Lane:
    """The loop of one quota. Start `run` as a task; `stop` ends it with nothing in hand."""

    def __init__(self, parts: Parts) -> None:
        self.quota = parts.quota
        self.provider = parts.provider
        self._parts = parts
        self._valve = parts.valve
        self._claimer = Claimer(parts)
        self._dispatcher = Dispatcher(parts, Sender(parts).send)
        self._stopping = asyncio.Event()
        self._valve.join(self)

    @property
    def halted(self) -> str | None:
        """Why the account is halted; None where it is not."""
        return self._valve.halted

    @property
    def paused_until(self) -> datetime | None:
        """Until when nothing leaves; None where calls may."""
        return self._valve.paused_until(self.quota)

    @property
    def sent(self) -> int:
        """How many calls have left."""
        return self._parts.tally.sent

    @property
    def claimed(self) -> int:
        """How many calls were claimed, sent or not."""
        return self._parts.tally.claimed

    @property
    def touched(self) -> set[int]:
        """The batches of which something was claimed."""
        return self._parts.tally.touched

    @property
    def idle(self) -> bool:
        """Whether nothing is claimed, waiting or in flight."""
        return not self._claimer.busy and self._parts.idle

    @property
    def holds(self) -> frozenset[int]:
        """The batches of which something is claimed here or on its way."""
        return self._parts.buffer.batches.union(self._parts.departures.in_flight)

    @property
    def on_their_way(self) -> int:
        """How many calls have left and have no answer yet."""
        return self._parts.departures.in_flight.total()

    def departed(self, batch_id: int, since: datetime) -> int:
        """Count the calls of a batch that left since a time by the database's clock."""
        return self._parts.departures.since(batch_id, self._parts.clock.instant(since))

    def in_flight(self, batch_id: int) -> int:
        """Count the calls of a batch that have left and have no answer yet."""
        return self._parts.departures.in_flight[batch_id]

    def holds_unsent(self, batch_id: int) -> bool:
        """Whether a claim of the batch waits for its slot here."""
        return batch_id in self._parts.buffer.batches

    def drop(self, batch_id: int | None = None, why: str = "the runner is stopping") -> None:
        """Send nothing of a batch, or of any, that has not left, what is being claimed just now included."""
        self._parts.drop(batch_id, why)

    def reopened(self) -> None:
        """Count refusals from nothing again: somebody has lifted the account's halt."""
        self._parts.watch.reset()

    def failed_lately(self, batch_id: int) -> tuple[int, int]:
        """Return how many of a batch's last users failed here, and of how many."""
        return self._parts.watch.failed_lately(batch_id)

    async def run(self) -> None:
        """Work until `stop`; then release what was not sent and wait for what was."""
        parts = self._parts
        dispatching = asyncio.create_task(
            self._dispatcher.run(self._stopping), name=f"dispatch {self.quota.account}"
        )
        # It ends before a stop only by an error, and then this lane ends with that error, and the worker with it.
        dispatching.add_done_callback(lambda _: parts.low.set())
        try:
            while not self._stopping.is_set() and not dispatching.done():
                await self._nap(await self._claimer.step())
        finally:
            self._stopping.set()  # an error ends the dispatcher too
            self.drop()
            parts.buffer.filled.set()
            await dispatching
            if parts.in_flight:
                await asyncio.wait(parts.in_flight)
            await parts.way_out.close()

    def stop(self) -> None:
        """Claim nothing more, and send nothing that is not on its way."""
        self._stopping.set()
        self._parts.low.set()
        self.drop()

    async def _nap(self, seconds: float) -> None:
        """Wait, but not when the buffer runs low or the lane stops."""
        if seconds <= 0:
            return
        await until_set(self._parts.low, seconds)
        self._parts.low.clear()

"""Obeys what is decided elsewhere: a batch that is paused, cancelled or halted, an account that is halted.

A claim would notice it too, but a claim is made for half a second of calls. So the batches that this worker has
claims of are looked up ten times a second. It is one read of a few rows, and works through any pooler.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

from bulkreset.errors import StoreError
from bulkreset.model import BatchState
from bulkreset.runner.lane import Lane
from bulkreset.runner.recorder import Recorder
from bulkreset.store import stops
from bulkreset.store.engine import Store
from bulkreset.store.stops import Confirmation, Standing

LOOK_EVERY_S: Final = 0.1


class Steering:
    """Drops what the lanes hold of a stopped batch, and confirms each stop that a person waits for."""

    def __init__(self, store: Store, recorder: Recorder, lanes: Callable[[], Sequence[Lane]]) -> None:
        self._store = store
        self._recorder = recorder
        self._lanes = lanes
        self._obeyed: dict[int, Standing] = {}

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            await self.step()
            await asyncio.sleep(LOOK_EVERY_S)

    async def step(self) -> None:
        """Look once; a database that is away is the worker's to report, and lets nobody claim."""
        held = frozenset[int]().union(*(lane.holds for lane in self._lanes()))
        if not held:
            return
        try:
            async with self._store.read() as conn:
                found = await stops.look(conn, held)
        except StoreError:
            return
        for one in found:
            if one.state is BatchState.OPEN and not one.account_halted:
                self._obeyed.pop(one.batch_id, None)
            else:
                self._obey(one)

    def _obey(self, one: Standing) -> None:
        lanes = [lane for lane in self._lanes() if lane.quota.account == one.account]
        # A claim that is under way may bring more of the batch, and is spoiled; one that begins later cannot. Each
        # drop spoils other batches' claims too, so there is one only.
        first = self._obeyed.get(one.batch_id) != one
        self._obeyed[one.batch_id] = one
        why = "its account is halted" if one.account_halted else "its batch was stopped"
        for lane in lanes:
            if first or lane.holds_unsent(one.batch_id):
                lane.drop(one.batch_id, why)
        if not first or one.stopped_at is None or one.state not in (BatchState.PAUSED, BatchState.CANCELLED):
            return
        self._recorder.put(
            confirmation=Confirmation(
                one.batch_id,
                one.stop_no,
                departed=sum(lane.departed(one.batch_id, one.stopped_at) for lane in lanes),
                in_flight=sum(lane.in_flight(one.batch_id) for lane in lanes),
            )
        )

"""Writes results, batched, for as long as it takes: a result that cannot be saved now is kept and tried again."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Final

from bulkreset.errors import DatabaseReplaced, StoreError
from bulkreset.logs import logger
from bulkreset.runner.waiting import until_set
from bulkreset.store import results
from bulkreset.store.engine import Store
from bulkreset.store.quotas import Halt, Pause
from bulkreset.store.results import Closing, Ledger
from bulkreset.store.stops import Confirmation

GATHER_S: Final = 0.1
"""How long results are gathered: a commit is a wait for the disk, and a later row costs nothing."""

_ENOUGH: Final = 250
_MOST_AT_ONCE: Final = 1_000
_WAITING_LIMIT: Final = 5_000
# Well below the steady while after which others take our claims for lost.
_RETRY_CEILING_S: Final = 2.0


class Recorder:
    """The one writer of results in a process. `put` never waits; `ready` says whether claiming may go on."""

    def __init__(
        self, store: Store, worker: str = "", *, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    ) -> None:
        self._store = store
        self._worker = worker
        self._sleep = sleep
        self._ledger = Ledger()
        self._enough = asyncio.Event()
        self._some = asyncio.Event()
        self._saved = asyncio.Event()
        self._saved.set()
        self._failing = False
        self._stopping = False
        self._put = 0
        self._being_saved = 0
        self.saved = 0  # pauses and halts up to this number of `put` are in the database

    @property
    def ready(self) -> bool:
        """Whether results can be saved and few enough are waiting."""
        return not self._failing and self.waiting < _WAITING_LIMIT

    @property
    def waiting(self) -> int:
        """How many results are not saved yet."""
        return len(self._ledger.closings) + self._being_saved

    def put(
        self,
        closing: Closing | None = None,
        *,
        pause: Pause | None = None,
        halt: Halt | None = None,
        batch_halt: tuple[int, str] | None = None,
        confirmation: Confirmation | None = None,
    ) -> int:
        """Hand over what is to be written, findings without delay; return its number, to compare with `saved`."""
        self._put += 1
        if closing is not None:
            self._ledger.closings.append(closing)
        if pause is not None:
            self._ledger.pauses.append(pause)
        if halt is not None:
            self._ledger.halts.append(halt)
        if batch_halt is not None:
            self._ledger.batch_halts.setdefault(*batch_halt)
        if confirmation is not None:
            self._ledger.confirmations.append(confirmation)
        self._saved.clear()
        self._some.set()
        if pause or halt or batch_halt or confirmation or len(self._ledger.closings) >= _ENOUGH:
            self._enough.set()
        return self._put

    async def flushed(self) -> None:
        """Wait until all that was put is saved."""
        self._enough.set()
        await self._saved.wait()

    async def run(self) -> None:
        """Write until `stop`, then what is left."""
        while not (self._stopping and not self._ledger):
            await self.step()

    def stop(self) -> None:
        """Let `run` end when everything is saved."""
        self._stopping = True
        self._some.set()
        self._enough.set()

    async def step(self) -> None:
        """Wait for results, gather for a moment, and write them."""
        await self._some.wait()
        if not self._enough.is_set() and not self._stopping:
            await until_set(self._enough, GATHER_S)
        await self._write()

    async def _write(self) -> None:
        taken, put = self._ledger, self._put
        self._ledger = Ledger()
        if len(taken.closings) > _MOST_AT_ONCE:
            self._ledger.closings = taken.closings[_MOST_AT_ONCE:]
            taken.closings = taken.closings[:_MOST_AT_ONCE]
        if not self._ledger:
            self._some.clear()
            self._enough.clear()
        if taken:
            self._being_saved = len(taken.closings)
            await self._save(taken)
            self._being_saved = 0
        self.saved = put
        if not self._ledger:
            self._saved.set()

    async def _save(self, ledger: Ledger) -> None:
        wait = 0.1
        while True:
            try:
                await results.record(self._store, ledger, worker=self._worker)
            except DatabaseReplaced:
                raise  # there is no place any more where these belong
            except StoreError as error:
                if not self._failing:
                    logger().error("results_waiting", reason=str(error), waiting=len(ledger.closings))
                self._failing = True
                # Spread out, so that a database that comes back is not met by all workers at once.
                await self._sleep(wait * random.uniform(0.5, 1.0))  # noqa: S311
                wait = min(wait * 2, _RETRY_CEILING_S)
            else:
                if self._failing:
                    logger().info("results_saved")
                self._failing = False
                return

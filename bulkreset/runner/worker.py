"""The running process: one lane for each quota with work, one recorder, and the chores in between."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from time import monotonic
from typing import Final

from bulkreset import __version__
from bulkreset.config import Settings
from bulkreset.errors import DatabaseReplaced, StoreError
from bulkreset.logs import logger
from bulkreset.passwords.vault import MasterKey
from bulkreset.providers import kind_of
from bulkreset.providers.http import WriteTransport
from bulkreset.runner.accord import Accord
from bulkreset.runner.aside import Aside
from bulkreset.runner.context import Context
from bulkreset.runner.handling import Guard
from bulkreset.runner.inspection import Inspection
from bulkreset.runner.keyring import Keyring
from bulkreset.runner.lane import Lane
from bulkreset.runner.lanes import Lanes
from bulkreset.runner.progress import Progress
from bulkreset.runner.recorder import Recorder
from bulkreset.runner.steering import Steering
from bulkreset.store import batches, claims, control, due, lifecycle, results, workers
from bulkreset.store.engine import Store

SOON: Final = timedelta(minutes=1)
"""What falls due within this time is waited for by `run --once`; what is later is left to the next run."""

_ONCE_POLL_S: Final = 0.2
# How long results may take to be saved when the run ends.
_FLUSH_BOUND_S: Final = 30.0
# After an outage of the database, results that wait in some worker's memory are saved first: a rescue would call
# them unknown. A worker that has just started cannot know of an outage.
_STEADY_S: Final = 5.0

Chore = Callable[[], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class Summary:
    """What one run did."""

    sent: int
    elapsed_s: float
    touched: frozenset[int]


class Worker:
    """Run until `stop`, or with `once` until nothing is due within the next minute.

    `chores` are called at every poll, beside rescue and finish. A crash leaves open attempts, which the next
    start rescues; nothing else is kept in memory only.
    """

    def __init__(
        self,
        store: Store,
        settings: Settings,
        transport: WriteTransport,
        master: MasterKey,
        *,
        name: str,
        guard: Guard,
        once: bool = False,
        accounts: Sequence[str] = (),
        chores: Sequence[Chore] = (),
    ) -> None:
        self._store = store
        self._settings = settings
        self._once = once
        self._accounts = frozenset(accounts)
        self._chores = chores
        self._recorder = Recorder(store, name)
        self._steering = Steering(store, self._recorder, lambda: self.lanes)
        self._keyring = Keyring(master, {one.provider for one in settings.accounts.values()})
        self._inspection = Inspection(
            store, {name: kind_of(one).labels for name, one in settings.accounts.items()}
        )
        self._accord = Accord(store, name, settings, guard, self._accounts, self._give_up)
        self._context = Context(
            store=store,
            transport=transport,
            recorder=self._recorder,
            sealer=self._keyring,
            guard=guard,
            worker=name,
            http_timeout=settings.http_timeout,
            poll_interval=settings.runner.poll_interval,
            concurrency=settings.runner.concurrency,
            wishes=settings.passwords.wishes,
            allows=self._accord.allows,
            workers=self._accord.workers,
            suspect=self._inspection.suspect,
        )
        self._lanes = Lanes(settings, self._context)
        self._errands = Aside(self._do_chores, "chores")
        self._inspecting = Aside(self._inspection.step, "inspection")
        self._recording: asyncio.Task[None] | None = None
        self._steered: asyncio.Task[None] | None = None
        self._agreeing: asyncio.Task[None] | None = None
        self._rescue_from = 0.0
        self._stopping = asyncio.Event()
        self._finished: set[int] = set()
        self._started_at = monotonic()
        self._progress = Progress(store, accounts)
        self._start_told = False

    def stop(self, **why: str) -> None:
        """Claim nothing more, release what was not sent, wait for what was, record, and end.

        `why` is for the log.
        """
        if not self.stopping:
            logger().info("run_stopping", in_flight=self.on_their_way, **why)
        self._stop_lanes()

    def _stop_lanes(self) -> None:
        self._stopping.set()
        self._lanes.stop()

    @property
    def on_their_way(self) -> int:
        """How many calls have left and have no answer yet."""
        return self._lanes.on_their_way

    @property
    def sent(self) -> int:
        """How many calls left so far."""
        return self._lanes.sent

    @property
    def stopping(self) -> bool:
        """Whether it was told to stop."""
        return self._stopping.is_set()

    @property
    def unsaved(self) -> int:
        """How many results wait to be saved."""
        return self._recorder.waiting

    @property
    def lanes(self) -> list[Lane]:
        """The lanes at work, for a live view."""
        return self._lanes.all

    async def run(self) -> Summary:
        """Do the work.

        What one batch or one account lacks stops that batch or account, and is told in the log and by `status`.
        Raises StoreError where the database is gone at the start.
        """
        await self._store.prove_writable()
        if self._store.exclusive:
            # We hold the file's lock: whoever claimed these tasks is dead, so no lease need be waited for.
            while await results.rescue(self._store, all_running=True):
                pass
        else:
            self._rescue_from = monotonic() + _STEADY_S
        await workers.arrive(self._store, self._context.worker)
        await self._accord.arrive()
        self._agreeing = asyncio.create_task(self._accord.run(), name="accord")
        self._recording = asyncio.create_task(self._recorder.run(), name="recorder")
        self._steered = asyncio.create_task(self._steering.run(), name="steering")
        if not self._once:  # a run that finds nothing to do is silent
            self._tell_start()
        try:
            await self._poll(first=True)
            polled_at = monotonic()
            while not self._stopping.is_set():
                ending = self._once and await self._nothing_soon()
                # The end of `--once` is looked for often, since that costs nothing while a lane is busy; a poll
                # costs as much as ten calls.
                if ending or monotonic() - polled_at >= self._settings.runner.poll_interval:
                    await self._poll()
                    polled_at = monotonic()
                if ending and await self._nothing_soon():
                    break
                await self._nap()
        finally:
            await self._wind_up(self._recording)
        return Summary(
            sent=self.sent,
            elapsed_s=monotonic() - self._started_at,
            touched=frozenset(self._finished | self._lanes.touched),
        )

    async def _poll(self, *, first: bool = False) -> None:
        """Do the chores and give every account with an open batch its lane."""
        try:
            self._store.prove_in_place()
            await self._inspecting.step(self._stopping)
            if self._recorder.ready and not self._recorder.waiting and monotonic() > self._rescue_from:
                await results.rescue(self._store)
            await self._errands.step(self._stopping)
            await control.advance(self._store)
            self._finished.update(await lifecycle.finish(self._store))
            async with self._store.read() as conn:
                work = await batches.open_work(conn)
            if any(map(self._wanted, work)):
                self._tell_start()
            await self._progress.step()
        except StoreError as error:
            if first or isinstance(error, DatabaseReplaced):
                raise
            logger().error("database_away", reason=str(error))
            self._rescue_from = monotonic() + _STEADY_S
            return
        ours = {account: actions for account, actions in work.items() if self._wanted(account)}
        await self._lanes.match(ours, still_open=work)

    def _tell_start(self) -> None:
        if not self._start_told:
            self._start_told = True
            logger().info(
                "run_started",
                version=__version__,
                worker=self._context.worker,
                database="sqlite" if self._store.sqlite else "postgresql",
                accounts=sorted(self._accounts or self._settings.accounts),
            )

    @property
    def _essential(self) -> "list[asyncio.Task[None]]":
        """The tasks without which the run cannot go on."""
        return [
            *self._lanes.loops,
            *(task for task in (self._recording, self._steered, self._agreeing) if task),
        ]

    async def _do_chores(self) -> None:
        for chore in self._chores:
            try:
                await chore()
            except Exception as error:  # noqa: BLE001  (the top of a task)
                # A chore that fails, for whatever reason, is no reason to stop resetting passwords.
                logger().error("chore_failed", reason=str(error), kind=type(error).__name__)

    def may_work_on(self, account: str) -> bool:
        """Whether no other worker's configuration of the account differs from this one's."""
        return self._accord.allows(account)

    def _give_up(self, account: str) -> None:
        self._lanes.drop(account, "another worker's configuration of the account differs")

    def _wanted(self, account: str) -> bool:
        return not self._accounts or account in self._accounts

    async def _nothing_soon(self) -> bool:
        """Whether no task can be sent, and no result saved, within the next minute."""
        seen = self._activity()
        if seen is None:
            return False
        async with self._store.read() as conn:
            soon = await self._store.now(conn) + SOON
            for lane in self._lanes.all:
                if (
                    lane.halted is not None
                    or self._accord.gave_up(lane.quota.account)
                    or (lane.paused_until is not None and lane.paused_until > soon)
                ):
                    continue
                due_at = await due.next_due(conn, lane.quota)
                if due_at is not None and due_at <= soon:
                    return False
            if not self._store.exclusive:
                # What another worker has claimed is due again when it is lost.
                ends_at = await claims.next_lease_end(conn, self._lanes.accounts)
                if ends_at is not None and ends_at <= soon:
                    return False
        # A claim that began meanwhile has taken its tasks out of what was just read.
        return self._activity() == seen

    def _activity(self) -> int | None:
        """Return how many claims were handed out so far, or None while anything is under way."""
        if self._errands.busy or self._inspecting.busy or self._recorder.waiting:
            return None
        return self._lanes.claimed

    async def _nap(self) -> None:
        seconds = _ONCE_POLL_S if self._once else self._settings.runner.poll_interval
        watched = [asyncio.ensure_future(self._stopping.wait()), *self._essential]
        await asyncio.wait(watched, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        watched[0].cancel()
        for loop in self._essential:
            if loop.done():
                loop.result()  # it ends by itself only with an error, and that ends the run

    async def _wind_up(self, recording: "asyncio.Task[None]") -> None:
        self._stop_lanes()
        await self._errands.cancel()
        await self._inspecting.cancel()
        await self._lanes.ended()
        # Until the last answer is here, stops of batches are confirmed, and others know that we are.
        for task in (self._steered, self._agreeing):
            if task is not None:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
        self._recorder.stop()
        done, _ = await asyncio.wait([recording], timeout=_FLUSH_BOUND_S)
        if not done:
            recording.cancel()
            logger().error("results_given_up", waiting=self._recorder.waiting)
            raise StoreError(
                f"{self._recorder.waiting} results could not be saved; their attempts are open in the table, "
                "and the next run sends them again with the same password"
            )
        recording.result()
        self._finished.update(await lifecycle.finish(self._store))
        with contextlib.suppress(StoreError):
            await self._progress.step()
        with contextlib.suppress(StoreError):  # all is saved; that we said goodbye changes nothing
            await workers.tell(self._store, self._context.worker, ends=True)
            await self._accord.leave()

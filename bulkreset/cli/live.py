"""The live view of a run: per batch its progress, rate, remaining time and outcomes."""

import asyncio
import contextlib
from collections import deque
from collections.abc import Sequence
from datetime import UTC, datetime
from time import monotonic
from typing import Final, Self

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from bulkreset.cli.words import duration
from bulkreset.errors import StoreError
from bulkreset.model import BatchState, Outcome, TaskState
from bulkreset.runner.worker import Worker
from bulkreset.store import batches
from bulkreset.store.batches import Batch
from bulkreset.store.engine import Store

_EVERY_S: Final = 0.5
# Counting a large batch takes time; the view may use one part in twenty of it.
_COUNTING_SHARE: Final = 20
_RATE_OVER_S: Final = 10.0
_GOOD: Final = {"ok", "confirmed"}
_BAD: Final = {"forbidden", "unauthorized", "unexpected", "provider_error", "policy_rejected", "unreachable"}


class LiveView:
    """Redraw the table on standard error until the run ends; `async with` it."""

    def __init__(
        self, store: Store, worker: Worker, accounts: Sequence[str], console: Console | None = None
    ) -> None:
        self._store = store
        self._worker = worker
        self._accounts = accounts
        self._console = console or Console(stderr=True)
        self._live = Live(console=self._console, auto_refresh=False, transient=False)
        self._loop: asyncio.Task[None] | None = None
        self._known: set[int] = set()
        self._done: dict[int, deque[tuple[float, int]]] = {}

    async def __aenter__(self) -> Self:
        self._live.start()
        self._loop = asyncio.create_task(self._run(), name="live view")
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._loop is not None
        self._loop.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._loop
        with contextlib.suppress(StoreError):
            await self._draw()
        self._live.stop()

    async def _run(self) -> None:
        while True:
            began = monotonic()
            with contextlib.suppress(StoreError):  # a database that is away is the worker's to report
                await self._draw()
            await asyncio.sleep(max(_EVERY_S, (monotonic() - began) * _COUNTING_SHARE))

    async def _draw(self) -> None:
        shown = await batches.find(self._store, ids=self._known, accounts=self._accounts, unfinished=True)
        self._known.update(batch.id for batch in shown)
        self._live.update(self.picture(shown), refresh=True)

    def picture(self, shown: Sequence[Batch]) -> Group | Text:
        """Compose the view from batches as they stand."""
        if not shown:
            return Text("waiting for a batch; order one with `bulkreset batch create`", style="dim")
        table = Table(box=None, header_style="dim", padding=(0, 2, 0, 0))
        for name in ("batch", "account", "progress", "", "done", "rate", "left", "outcomes"):
            table.add_column(name, no_wrap=name != "outcomes")
        for batch in shown:
            final = batch.tasks - batch.left
            rate = self._rate(batch.id, final)
            table.add_row(
                str(batch.id),
                batch.account,
                ProgressBar(total=max(batch.tasks, 1), completed=final, width=20),
                f"{100 * final // max(batch.tasks, 1)} %",
                f"{final:,}/{batch.tasks:,}",
                f"{rate:.1f}/s" if rate else "",
                self._remaining(batch, rate),
                _outcomes(batch),
            )
        return Group(table, *self._notes())

    def _rate(self, batch_id: int, final: int) -> float:
        points = self._done.setdefault(batch_id, deque())
        points.append((monotonic(), final))
        while points[-1][0] - points[0][0] > _RATE_OVER_S:
            points.popleft()
        took = points[-1][0] - points[0][0]
        return (points[-1][1] - points[0][1]) / took if took > 0 else 0.0

    def _remaining(self, batch: Batch, rate: float) -> str:
        if batch.state is not BatchState.OPEN:
            return str(batch.state)
        if batch.left == 0:
            return "done"
        if batch.not_before is not None and batch.not_before > datetime.now(UTC):
            return f"from {batch.not_before:%m-%d %H:%M} UTC"
        # Users at their daily number of changes come due tomorrow; the rate says nothing about them.
        soon = batch.left - batch.outcomes.get(Outcome.TOO_MANY_CHANGES, 0)
        if soon <= 0:
            return "due later"
        return duration(soon / rate) if rate else "…"

    def _notes(self) -> list[Text]:
        notes = []
        for lane in self._worker.lanes:
            if lane.halted:
                notes.append(Text(f"{lane.quota.account} is halted: {lane.halted}", style="bold red"))
            elif lane.paused_until is not None:
                notes.append(
                    Text(f"{lane.quota.account} is paused until {lane.paused_until:%H:%M:%S} UTC", style="yellow")
                )
        return notes


def _outcomes(batch: Batch) -> Text:
    text = Text()
    if ended := batch.sessions[TaskState.SUCCEEDED]:
        text.append(f"{ended:,} sessions ended", style="green")
    for name, n in batch.outcomes.items():
        if name == Outcome.RELEASED:  # given back unused, and on its way again
            continue
        if text:
            text.append(" · ", style="dim")
        style = "green" if name in _GOOD else "red" if name in _BAD else "yellow"
        text.append(f"{n:,} {name}", style=style)
    return text

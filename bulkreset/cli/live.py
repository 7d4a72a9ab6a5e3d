"""The live view of a run, redrawn until it ends; the log's lines stand beneath."""

import asyncio
import contextlib
import signal
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from time import monotonic
from typing import Final, Self

from rich.console import Console
from rich.control import Control
from rich.live import Live
from rich.segment import ControlType, Segment

from bulkreset.cli.frame import Scene, frame
from bulkreset.cli.signals import describe
from bulkreset.config import Settings
from bulkreset.errors import StoreError
from bulkreset.report.failures import failures
from bulkreset.report.status import Status, status
from bulkreset.runner.worker import Worker
from bulkreset.store.engine import Store

_EVERY_S: Final = 0.5
# Counting a large batch takes time; the view may use one part in twenty of it.
_COUNTING_SHARE: Final = 20


class LiveView:
    """Redraw the view on standard error until the run ends; `async with` it."""

    def __init__(
        self,
        store: Store,
        worker: Worker,
        settings: Settings,
        accounts: Sequence[str],
        notices: Iterable[str] = (),
        console: Console | None = None,
    ) -> None:
        self._store = store
        self._worker = worker
        self._settings = settings
        self._accounts = accounts
        self._notices = notices
        self._console = console or Console(stderr=True, highlight=False)
        self._live = Live(console=self._console, auto_refresh=False, transient=False)
        self._loop: asyncio.Task[None] | None = None
        self._known: set[int] = set()
        self._began = monotonic()
        self._away_since: datetime | None = None
        self._last: Scene | None = None
        self._line_widths: list[int] = []  # of the frame on the screen

    async def __aenter__(self) -> Self:
        self._live.start()
        asyncio.get_running_loop().add_signal_handler(signal.SIGWINCH, self._show)
        self._loop = asyncio.create_task(self._run(), name="live view")
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._loop is not None
        self._loop.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._loop
        asyncio.get_running_loop().remove_signal_handler(signal.SIGWINCH)
        await self._draw(final=True)
        self._live.stop()

    async def _run(self) -> None:
        look_at = monotonic()
        while True:
            began = monotonic()
            if began < look_at:
                self._show()  # what a stop waits for, and the log, change meanwhile
            else:
                await self._draw()
                look_at = began + (monotonic() - began) * _COUNTING_SHARE
            await asyncio.sleep(_EVERY_S)

    async def _draw(self, *, final: bool = False) -> None:
        try:
            self._last = await self._look()
            self._away_since = None
        except StoreError:
            self._away_since = self._away_since or datetime.now(UTC)
        self._show(final=final)

    def _show(self, *, final: bool = False) -> None:
        if self._last is None:
            return
        size = self._console.size
        shown = frame(self._scene(self._last), size.width, size.height, final=final)
        # A terminal that has become narrower has folded the frame before; Live would leave what that added.
        if added := folded_lines(self._line_widths, size.width):
            one_up = [(ControlType.ERASE_IN_LINE, 2), (ControlType.CURSOR_UP, 1)]
            self._console.control(Control(*one_up * min(added, size.height)))
        lines = self._console.render_lines(shown, pad=False)
        self._line_widths = [Segment.get_line_length(line) for line in lines]
        self._live.update(shown, refresh=True)

    async def _look(self) -> Scene:
        found = await status(self._store, self._settings.accounts, also=sorted(self._known))
        shown = tuple(one for one in found.batches if not self._accounts or one.batch.account in self._accounts)
        self._known.update(one.batch.id for one in shown)
        async with self._store.read() as conn:
            wrong = {one.batch.id: await failures(conn, one.batch) for one in shown}
        found = Status(found.now, found.accounts, shown, found.workers)
        return Scene(found, monotonic() - self._began, wrong, {})

    def _scene(self, last: Scene) -> Scene:
        """Add to what the database said what only this process knows."""
        lately: dict[int, tuple[int, int]] = {}
        for one in last.status.batches:
            counts = [lane.failed_lately(one.batch.id) for lane in self._worker.lanes]
            lately[one.batch.id] = max(counts, default=(0, 0))
        return Scene(
            last.status,
            last.elapsed_s,
            last.failures,
            lately,
            list(self._notices),
            self._away_since,
            self._worker.unsaved,
            describe(self._worker, self._settings) if self._worker.stopping else "",
        )


def folded_lines(line_widths: Iterable[int], width: int) -> int:
    """Return how many lines more a terminal of this width shows, which folds what is wider."""
    return sum(max(0, line_width - 1) // max(1, width) for line_width in line_widths)

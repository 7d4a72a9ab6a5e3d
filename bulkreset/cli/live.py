"""The live view of a run: per batch its users, pace, end, failures, and what to do; the log's lines beneath."""

import asyncio
import contextlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from time import monotonic
from typing import Final, Self

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from bulkreset.cli.words import clock, duration
from bulkreset.config import Settings
from bulkreset.errors import StoreError
from bulkreset.model import BatchState, Outcome, TaskState
from bulkreset.report.failures import Failure, failures
from bulkreset.report.grid import folded
from bulkreset.report.needs import account_wait, need, next_steps
from bulkreset.report.render import doubts
from bulkreset.report.status import AccountStatus, BatchStatus, Status, status, users_done
from bulkreset.runner.worker import Worker
from bulkreset.store.batches import Batch
from bulkreset.store.engine import Store
from bulkreset.unsafe import escaped

_EVERY_S: Final = 0.5
# Counting a large batch takes time; the view may use one part in twenty of it.
_COUNTING_SHARE: Final = 20
_GOOD: Final = {"ok", "confirmed"}
_BAD: Final = {"forbidden", "unauthorized", "unexpected", "provider_error", "policy_rejected", "unreachable"}
_LAST: Final = 100  # a halt counts the failures among so many users
_BAR: Final = 30
_SHORTEST: Final = 8  # a bar that still shows something
_AROUND: Final = 8  # the blanks between the parts of a line, and its per cent


@dataclass(frozen=True, slots=True)
class Scene:
    """What a frame shows; all that it takes, so that it can be drawn without a run."""

    status: Status
    elapsed_s: float
    failures: Mapping[int, Sequence[Failure]]
    failed_lately: Mapping[int, tuple[int, int]]
    notices: Sequence[str] = ()
    away_since: datetime | None = None
    unsaved: int = 0
    stopping: bool = False
    in_flight: int = 0


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

    async def __aenter__(self) -> Self:
        self._live.start()
        self._loop = asyncio.create_task(self._run(), name="live view")
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._loop is not None
        self._loop.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._loop
        await self._draw(final=True)
        self._live.stop()

    async def _run(self) -> None:
        while True:
            began = monotonic()
            await self._draw()
            await asyncio.sleep(max(_EVERY_S, (monotonic() - began) * _COUNTING_SHARE))

    async def _draw(self, *, final: bool = False) -> None:
        try:
            self._last = await self._look()
            self._away_since = None
        except StoreError:
            self._away_since = self._away_since or datetime.now(UTC)
        if self._last is not None:
            size = self._console.size
            self._live.update(frame(self._scene(self._last), size.width, size.height, final=final), refresh=True)

    async def _look(self) -> Scene:
        found = await status(self._store, self._settings.accounts, also=sorted(self._known))
        shown = tuple(one for one in found.batches if not self._accounts or one.batch.account in self._accounts)
        self._known.update(one.batch.id for one in shown)
        async with self._store.read() as conn:
            wrong = {one.batch.id: await failures(conn, one.batch) for one in shown}
        found = Status(found.now, found.accounts, shown, found.workers)
        return Scene(found, 0.0, wrong, {})

    def _scene(self, last: Scene) -> Scene:
        """Add to what the database said what only this process knows."""
        lately: dict[int, tuple[int, int]] = {}
        for one in last.status.batches:
            counts = [lane.failed_lately(one.batch.id) for lane in self._worker.lanes]
            lately[one.batch.id] = max(counts, default=(0, 0))
        return Scene(
            last.status,
            monotonic() - self._began,
            last.failures,
            lately,
            list(self._notices),
            self._away_since,
            self._worker.unsaved,
            self._worker.stopping,
            self._worker.on_their_way,
        )


def frame(scene: Scene, width: int, height: int, *, final: bool = False) -> Group:
    """Compose the view: no line wider and, but for the last frame, no more lines than the terminal has."""
    head = _head(scene, final=final)
    accounts = [line for one in _at_work(scene) for line in _account(one, width)]
    foot = [Text(line, style="yellow") for line in scene.notices] + ([] if final else [_hint(scene)])
    parts = [_batch(one, scene, width, final=final) for one in _in_order(scene)]
    if not parts:
        parts = [[Text("waiting for a batch; order one with `bulkreset batch create`", style="dim")]]
    room = height - 1 - len(head) - len(accounts) - len(foot)
    shown: list[Text | Table] = []
    for number, part in enumerate(parts):
        left = len(parts) - number
        if not final and number and len(shown) + len(part) + (left > 1) > room:
            shown.append(Text(f"… and {left} more: `bulkreset status`", style="dim"))
            break
        shown += part
    return Group(*(_fitted(line, width) for line in [*head, *accounts, *shown, *foot]))


def _head(scene: Scene, *, final: bool) -> list[Text]:
    now = scene.status.now
    text = Text(f"{'ran' if final else 'running'} {duration(scene.elapsed_s)}", style="bold")
    text.append(f" · {now:%H:%M:%S} UTC", style="dim")
    lines = [text]
    if scene.away_since is not None:
        kept = f"{scene.unsaved:,} result{'s' * (scene.unsaved != 1)} kept"
        lines.append(
            Text(f"database away since {scene.away_since:%H:%M:%S} UTC, {kept}, retrying", style="bold yellow")
        )
    return lines


def _at_work(scene: Scene) -> list[AccountStatus]:
    named = {one.batch.account for one in scene.status.batches}
    return [one for one in scene.status.accounts if one.account in named and one.limit is not None]


def _account(one: AccountStatus, width: int) -> list[Text]:
    assert one.limit is not None
    rate, over = one.limit.measured(one.last_minute_per_s), " in the last minute"
    if not one.last_minute_calls:
        rate = "no calls"
    elif one.seen_s < 60:
        over = f" over {one.seen_s:.0f} s"
    forms = (
        (f"{one.account} {one.label}  ", f"{over} · our limit {one.limit.as_share(one.share)}"),
        (f"{one.account} {one.label}  ", f" · our limit {one.limit.as_share(one.share)}"),
        (f"{one.account} {one.label}  ", f" · our limit {one.limit}"),
    )
    before, behind = next((form for form in forms if len("".join(form)) + len(rate) <= width), forms[-1])
    text = Text(before)
    text.append(rate, style="bold")
    text.append(behind, style="dim")
    wait = account_wait(one)
    if wait is None:
        return [text]
    style = "bold red" if one.halted_reason else "yellow"
    return [text, *(Text(said, style=style) for said in folded(escaped(wait), width, "  "))]


def _in_order(scene: Scene) -> list[BatchStatus]:
    """Put what is worked on first."""
    return sorted(scene.status.batches, key=lambda one: (not one.batch.left, one.batch.id))


def _batch(one: BatchStatus, scene: Scene, width: int, *, final: bool) -> list[Text | Table]:
    batch, done = one.batch, users_done(one.batch)
    title = Text(f"batch {batch.id} {batch.account}", style="bold")
    said = Text(f"{done:,} of {batch.total:,} users · {_end(one, scene.status.now)}")
    lines: list[Text | Table]
    if (room := width - title.cell_len - said.cell_len - _AROUND) >= _SHORTEST:
        lines = [_row(title, *_bar(done, batch.total, min(room, _BAR)), said)]
    else:
        lines = [title, _row(Text(" "), *_bar(done, batch.total, _SHORTEST), said)]
        if width - said.cell_len - _AROUND < _SHORTEST + 2:
            lines[1] = Text("  ").append_text(said)
    lines += [Text("  ").append_text(text) for text in [_outcomes(batch)] if text]
    for failure in scene.failures.get(batch.id, ()):
        if failure.message and failure.outcome not in _GOOD:
            lines.append(
                Text(f"  {failure.users:,} {failure.outcome}, such as: {escaped(failure.message)}", style="dim")
            )
    failed, of = scene.failed_lately.get(batch.id, (0, 0))
    if failed and batch.left and not final:
        most = int(batch.options.halt_at * _LAST)
        lines.append(
            Text(f"  {failed} of the last {of} users failed; more than {most} of {_LAST} halt it", style="yellow")
        )
    for doubt in doubts(batch):
        lines += [Text(text, style="yellow") for text in folded(escaped(doubt), width, "  ", "    ")]
    if (waits_for := need(one, scene.status, working=True)) is not None:
        lines += [Text(text, style="yellow") for text in folded(f"→ {escaped(waits_for)}", width, "  ", "    ")]
    return lines


def _bar(done: int, total: int, width: int) -> tuple[ProgressBar, Text]:
    total = max(total, 1)
    bar = ProgressBar(
        total=total,
        completed=done,
        width=width,
        style="bright_black",
        complete_style="cyan",
        finished_style="green",
    )
    return bar, Text(f"{100 * done // total:>3} %")


def _row(*cells: Text | ProgressBar) -> Table:
    line = Table.grid(padding=(0, 1, 0, 0))
    for _ in cells:
        line.add_column(no_wrap=True)
    line.add_row(*cells)
    return line


def _end(one: BatchStatus, now: datetime) -> str:
    batch = one.batch
    if batch.state is not BatchState.OPEN:
        return str(batch.state)
    if batch.left == 0:
        return "done"
    if one.next_due_at is not None:
        return f"next due {clock(one.next_due_at, now)} UTC"
    if one.eta_s is None:
        return "waiting"
    return f"done {clock(now + timedelta(seconds=one.eta_s), now)} UTC"


def _outcomes(batch: Batch) -> Text:
    text = Text()

    def add(words: str, style: str) -> None:
        if text:
            text.append(" · ", style="dim")
        text.append(words, style=style)

    for name, n in batch.outcomes.items():
        if name != Outcome.RELEASED:  # not sent, and queued again
            add(f"{n:,} {name}", "green" if name in _GOOD else "red" if name in _BAD else "yellow")
    # Of those whom no call was made for no outcome tells.
    if skipped := batch.counts[TaskState.SKIPPED] - batch.outcomes.get(Outcome.NOT_RESETTABLE, 0):
        add(f"{skipped:,} skipped", "dim")
    if ended := batch.sessions[TaskState.SUCCEEDED]:
        add(f"{ended:,} signed out", "green")
    return text


def _hint(scene: Scene) -> Text:
    if scene.stopping:
        calls = f"{scene.in_flight:,} call{'s' * (scene.in_flight != 1)}"
        return Text(f"stopping: {calls} on their way; Ctrl-C again ends at once", style="bold")
    return Text("Ctrl-C stops cleanly, and the next run goes on", style="dim")


def _fitted(line: Text | Table, width: int) -> Text | Table:
    if isinstance(line, Text):
        line.no_wrap, line.overflow = True, "ellipsis"
        line.truncate(width, overflow="ellipsis")
    return line


def after(batches: Sequence[Batch]) -> list[str]:
    """Return the lines that are printed when a run has ended: what comes next, a command a line."""
    steps = [step for batch in batches for step in next_steps(batch)]
    return ["next:", *(f"  {step}" for step in steps)] if steps else []

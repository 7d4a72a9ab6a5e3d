"""One frame of the live view: per batch its users, pace, end, failures, and what to do."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from rich.console import Group
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from bulkreset.model import BatchState, Outcome, TaskState
from bulkreset.report.failures import Failure
from bulkreset.report.grid import folded
from bulkreset.report.needs import account_wait, is_halted, need, next_steps
from bulkreset.report.render import come_to, doubts
from bulkreset.report.status import AccountStatus, BatchStatus, Status, users_done
from bulkreset.report.words import clock, duration
from bulkreset.store.batches import Batch
from bulkreset.unsafe import escaped

_GOOD: Final = {"ok", "confirmed"}
_BAD: Final = {"forbidden", "unauthorized", "unexpected", "provider_error", "policy_rejected", "unreachable"}
_RETRIED: Final = {"unauthorized", "provider_error", "unreachable"}  # no failure before the last attempt
_STATE_STYLES: Final = {BatchState.HALTED: "bold red", BatchState.PAUSED: "yellow", BatchState.DRAFT: "yellow"}
_LAST: Final = 100  # a halt counts the failures among so many users
_BAR: Final = 30
_SHORTEST: Final = 8  # a bar that still shows something
_PERCENT: Final = len("100 %")
_BLANKS: Final = 3  # between the parts of a line, and behind it
_BETWEEN: Final = " · "

# Where a terminal is low, what has the highest of these is left out first.
_ALWAYS, _NEED, _REASON, _COUNTS, _LATELY, _NOTICE, _EXAMPLE = range(7)


@dataclass(frozen=True, slots=True)
class _Section:
    """Lines that are shown or left out together."""

    rank: int
    lines: Sequence[Text | Table]


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
    stopping: str = ""  # what a run that stops waits for


def frame(scene: Scene, width: int, height: int, *, final: bool = False) -> Group:
    """Compose the view: no line wider and, but for the last frame, no more lines than the terminal has."""
    above = [_Section(_ALWAYS, _head(scene, final=final))]
    below = [_Section(_NOTICE, [Text(line, style="yellow")]) for line in scene.notices]
    if not final:
        below.append(_Section(_ALWAYS, [_hint(scene)]))
    accounts = [_account(one, scene.status.now, width) for one in _at_work(scene)]
    batches = [_batch(one, scene, width, final=final) for one in _in_order(scene)]
    if not batches:
        nothing: list[Text | Table] = [
            Text("waiting for a batch; order one with `bulkreset batch create`", style="dim")
        ]
        batches = [[_Section(_ALWAYS, nothing)]]
    room = height - 1
    if not final:
        spare = room - sum(len(one.lines) for one in [*above, *below] if one.rank == _ALWAYS)
        accounts = _counted(accounts, spare // 2, "more accounts")
        batches = _counted(batches, spare - sum(len(one[0].lines) for one in accounts), "more")
    sections = [*above, *(one for part in [*accounts, *batches] for one in part), *below]
    shown = sections if final else _fitting(sections, room)
    return Group(*(_fitted(line, width) for one in shown for line in one.lines))


def _counted(parts: list[list[_Section]], room: int, more: str) -> list[list[_Section]]:
    """Return as many parts as there is room for with their first lines alone, and the number of the others."""
    taken = 0
    for number, (first, *_) in enumerate(parts):
        after = 0 if number + 1 == len(parts) else 1
        if number and taken + len(first.lines) + after > room:
            others = Text(f"… and {len(parts) - number} {more}: `bulkreset status`", style="dim")
            return [*parts[:number], [_Section(_ALWAYS, [others])]]
        taken += len(first.lines)
    return parts


def _fitting(sections: Sequence[_Section], room: int) -> list[_Section]:
    """Leave out what matters least, and of the log its oldest lines, until the others fit."""
    by_worth = sorted(
        range(len(sections)), key=lambda n: (sections[n].rank, -n if sections[n].rank == _NOTICE else n)
    )
    kept: dict[int, _Section] = {}
    for number in by_worth:
        section = sections[number]
        if section.rank == _REASON and len(section.lines) > room > 0:
            section = _Section(_REASON, section.lines[:room])  # its beginning is better than none of it
        if len(section.lines) <= room or section.rank == _ALWAYS:
            kept[number] = section
            room -= len(section.lines)
    return [kept[number] for number in sorted(kept)]


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
    left = {one.batch.account for one in scene.status.batches if one.batch.left}
    named = {one.batch.account for one in scene.status.batches}
    return [
        one
        for one in scene.status.accounts
        if one.limit is not None and one.account in (named if one.last_minute_calls else left)
    ]


def _account(one: AccountStatus, now: datetime, width: int) -> list[_Section]:
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
    sections = [_Section(_ALWAYS, [text])]
    if (wait := account_wait(one, now)) is not None:
        style = "bold red" if one.halted_reason else "yellow"
        sections.append(_said(wait, width, style, "  ", rank=_REASON))
    return sections


def _in_order(scene: Scene) -> list[BatchStatus]:
    """Put what is worked on first."""
    return sorted(scene.status.batches, key=lambda one: (not one.batch.left, one.batch.id))


def _batch(one: BatchStatus, scene: Scene, width: int, *, final: bool) -> list[_Section]:
    batch = one.batch
    sections = [_Section(_ALWAYS, _progress(one, scene.status.now, width, final=final))]
    sections.append(_Section(_COUNTS, _flowing(_outcomes(batch), width)))
    for failure in scene.failures.get(batch.id, ()):
        if failure.message and failure.outcome not in _GOOD:
            example = f"  {failure.users:,} {failure.outcome}, such as: {escaped(failure.message)}"
            sections.append(_Section(_EXAMPLE, [Text(example, style="dim")]))
    failed, of = scene.failed_lately.get(batch.id, (0, 0))
    if failed and batch.left and not final:
        most = int(batch.options.halt_at * _LAST)
        near = f"{failed} of the last {of} users failed; above {most} in {_LAST} it halts"
        sections.append(_Section(_LATELY, [Text(f"  {near}", style="yellow")]))
    sections += [_said(doubt, width, "yellow", rank=_LATELY) for doubt in doubts(batch)]
    if (waits_for := need(one, scene.status, working=True)) is not None:
        alarm = batch.state is BatchState.HALTED or is_halted(batch.account, scene.status)
        sections.append(_said(f"→ {waits_for}", width, "bold red" if alarm else "yellow"))
    return sections


def _said(text: str, width: int, style: str, rest: str = "    ", *, rank: int = _NEED) -> _Section:
    return _Section(rank, [Text(line, style=style) for line in folded(escaped(text), width, "  ", rest)])


def _progress(one: BatchStatus, now: datetime, width: int, *, final: bool) -> list[Text | Table]:
    """Show how far a batch is, in one line, or in two where its account and its end need the room."""
    batch, done = one.batch, users_done(one.batch)
    title = Text(f"batch {batch.id} {batch.account}", style="bold")
    percent = f"{100 * done // max(batch.total, 1)} %"
    said = Text(f"  {done:,} of {batch.total:,} users · ")
    said.append(_end(one, now, final=final), style=_STATE_STYLES.get(batch.state, ""))
    lines: list[Text | Table] = []
    room = width - title.cell_len - _PERCENT - said.cell_len - _BLANKS
    if room < _SHORTEST:
        lines, title = [title], Text(" ")
        room = width - title.cell_len - _PERCENT - said.cell_len - _BLANKS
    if room < _SHORTEST:
        return [*lines, Text(f"  {percent}").append_text(said)]
    bar = _bar(done, batch.total, min(room, _BAR))
    return [*lines, _row(title, bar, Text(percent.rjust(_PERCENT)).append_text(said))]


def _bar(done: int, total: int, width: int) -> ProgressBar:
    return ProgressBar(
        total=max(total, 1),
        completed=done,
        width=width,
        style="bright_black",
        complete_style="cyan",
        finished_style="green",
    )


def _row(*cells: Text | ProgressBar) -> Table:
    line = Table.grid(padding=(0, 1, 0, 0))
    for _ in cells:
        line.add_column(no_wrap=True)
    line.add_row(*cells)
    return line


def _end(one: BatchStatus, now: datetime, *, final: bool) -> str:
    batch = one.batch
    if batch.state is not BatchState.OPEN:
        return str(batch.state)
    if batch.left == 0:
        return "done"
    if one.next_due_at is not None:
        return f"next due {clock(one.next_due_at, now)} UTC"
    if final:
        return f"{batch.total - users_done(batch):,} left"
    if one.eta_s is None:
        return "waiting"
    return f"ends about {clock(now + timedelta(seconds=one.eta_s), now)} UTC"


def _outcomes(batch: Batch) -> list[tuple[str, str]]:
    """Say how many users came to what, each with its style: what is well, then what is not, then the rest."""
    outcomes = come_to(batch)
    bad = _BAD if batch.counts[TaskState.FAILED] else _BAD - _RETRIED
    styles = {name: "green" if name in _GOOD else "red" if name in bad else "yellow" for name in outcomes}
    order = ["green", "red", "yellow"]
    facts = [
        (f"{n:,} {name}", styles[name])
        for name, n in sorted(outcomes.items(), key=lambda one: (order.index(styles[one[0]]), -one[1]))
    ]
    # Of those whom no call was made for no outcome tells.
    if skipped := batch.counts[TaskState.SKIPPED] - batch.outcomes.get(Outcome.NOT_RESETTABLE, 0):
        facts.append((f"{skipped:,} skipped", "dim"))
    if ended := batch.sessions[TaskState.SUCCEEDED]:
        facts.append((f"{ended:,} signed out", "green"))
    return facts


def _flowing(facts: Iterable[tuple[str, str]], width: int) -> list[Text | Table]:
    """Return facts side by side, in as many lines as they need."""
    lines: list[Text | Table] = []
    line = Text("  ")
    for words, style in facts:
        if line.cell_len > 2 and line.cell_len + len(_BETWEEN) + len(words) > width:
            lines.append(line)
            line = Text("  ")
        if line.cell_len > 2:
            line.append(_BETWEEN, style="dim")
        line.append(words, style=style)
    return [*lines, line] if line.cell_len > 2 else lines


def _hint(scene: Scene) -> Text:
    if scene.stopping:
        return Text(scene.stopping, style="bold")
    return Text("Ctrl-C stops cleanly, and the next run goes on", style="dim")


def _fitted(line: Text | Table, width: int) -> Text | Table:
    if isinstance(line, Text):
        line.no_wrap, line.overflow = True, "ellipsis"
        line.truncate(width, overflow="ellipsis")
    return line


def after(batches: Sequence[Batch]) -> list[str]:
    """Return the lines that are printed when a run has ended: what comes next, a command a line."""
    steps = [step for batch in batches for step in next_steps(batch)]
    if any(batch.state is BatchState.OPEN and batch.left for batch in batches):
        steps.append("bulkreset run")
    return ["next:", *(f"  {step}" for step in steps)] if steps else []

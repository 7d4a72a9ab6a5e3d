"""`bulkreset status`: how things stand, from any machine that reaches the database."""

import json
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from bulkreset.cli.context import Invocation, opened, start
from bulkreset.cli.output import console, show_table
from bulkreset.cli.words import duration

if TYPE_CHECKING:
    from bulkreset.config import Settings
    from bulkreset.report.status import AccountStatus, BatchStatus, Status, WorkerStatus


def status(
    context: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Show accounts, unfinished batches and the workers of the last ten minutes, from the database alone."""
    from bulkreset.report.status import as_dict

    invocation: Invocation = context.obj
    found = start(_look(invocation.settings()))
    if as_json:
        print(json.dumps(as_dict(found), indent=2, ensure_ascii=False))
    else:
        _show(found)


async def _look(settings: "Settings") -> "Status":
    from bulkreset.report.status import status as look

    async with opened(settings) as store:
        return await look(store)


def _show(found: "Status") -> None:
    print(f"{found.now:%Y-%m-%d %H:%M:%S} UTC")
    _table(
        "accounts",
        ("account", "label", "limit", "last minute", ""),
        [
            (one.account, one.label, _rate(one.limit_per_s), _rate(one.last_minute_per_s), _standing(one))
            for one in found.accounts
        ],
        none="no account has been called yet",
    )
    _table(
        "batches",
        ("batch", "account", "state", "final", "left", "remaining", ""),
        [_batch(one) for one in found.batches],
        none="no unfinished batch",
    )
    _table(
        "workers",
        ("worker", "version", "last seen", "last minute", ""),
        [_worker(one, found.now) for one in found.workers],
        none="no worker in the last ten minutes; start one with `bulkreset run`",
    )


def _table(title: str, heads: tuple[str, ...], rows: list[tuple[str, ...]], *, none: str) -> None:
    from rich.table import Table

    print()
    if not rows:
        print(f"{title}: {none}")
        return
    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    for number, head in enumerate(heads):
        table.add_column(head, no_wrap=number < len(heads) - 1, overflow="fold")
    for row in rows:
        table.add_row(*row)
    show_table(console(), table)


def _standing(one: "AccountStatus") -> str:
    if one.halted_reason:
        return f"halted: {one.halted_reason}; put it right, then `bulkreset batch resume ID`"
    if one.paused_until:
        return f"paused until {one.paused_until:%H:%M:%S} UTC: {one.pause_reason or 'no reason given'}"
    return ""


def _batch(one: "BatchStatus") -> tuple[str, ...]:
    batch = one.batch
    return (
        str(batch.id),
        batch.account,
        str(batch.state),
        f"{batch.tasks - batch.left:,}/{batch.tasks:,}",
        f"{batch.left:,}",
        "" if one.eta_s is None else duration(one.eta_s),
        batch.state_reason or "",
    )


def _worker(one: "WorkerStatus", now: datetime) -> tuple[str, ...]:
    seen = one.seen
    ago = max(0.0, (now - seen.seen_at).total_seconds())
    ended = "ended" if seen.ended_at is not None else "silent: stopped, or cut off" if ago > 60 else ""
    return seen.name, seen.version, f"{duration(ago)} ago", f"{one.last_minute:,} calls", ended


def _rate(per_s: float | None) -> str:
    return "" if per_s is None else f"{per_s:,.1f}/s"

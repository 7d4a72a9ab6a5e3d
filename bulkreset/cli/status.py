"""`bulkreset status`: how things stand, from any machine that reaches the database."""

import json
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated, Final

import typer
from rich.cells import cell_len

from bulkreset.cli.context import Invocation, columns_of, opened, start
from bulkreset.report.grid import Column, Row, folded, lines
from bulkreset.report.words import broken_account, clock, duration

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
    from datetime import datetime

    from bulkreset.config import Settings
    from bulkreset.report.status import AccountStatus, BatchStatus, Status, WorkerStatus

    Sleep = Callable[[float], Awaitable[object]]

_WATCH_EVERY_S: Final = 2.0
_NAMED: Final = 3

_ACCOUNTS: Final = (
    Column("account", gives=True),
    Column("label"),  # tells the rows of one account apart
    Column("our limit"),
    Column("last minute"),
    Column("calls today", right=True, rank=1),
)
_BATCHES: Final = (
    Column("batch", right=True),
    Column("account", gives=True),
    Column("incident", rank=2, gives=True),
    Column("state"),
    Column("users done", right=True),
    Column("calls left", right=True, rank=4),
    Column("time left", rank=3),
    Column("finish (UTC)", rank=1),
)
_REQUESTS: Final = (
    Column("request", right=True),
    Column("account", gives=True),
    Column("incident"),
    Column("state"),
)
_WORKERS: Final = (
    Column("worker", gives=True),
    Column("version", rank=1),
    Column("last seen"),
    Column("last minute", rank=2),
)


def status(
    context: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    incident: Annotated[
        str | None, typer.Option(metavar="I", help="Only batches and requests of this incident.")
    ] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Show it again every two seconds until Ctrl-C.")] = False,
) -> None:
    """Show accounts, unfinished batches, orders by SQL and workers, from the database alone."""
    from bulkreset.errors import UsageError
    from bulkreset.report.status import as_dict

    invocation: Invocation = context.obj
    settings = invocation.settings(told=False)
    if watch and as_json:
        raise UsageError("--watch is for people; without it --json prints one object each time it is called")
    if watch:
        with suppress(KeyboardInterrupt):
            start(_watch(settings, incident))
        return
    found = start(_look(settings, incident))
    if as_json:
        print(json.dumps({**as_dict(found), "broken_accounts": settings.broken}, indent=2, ensure_ascii=False))
    else:
        print("\n".join(shown(found, columns_of(sys.stdout), settings.broken)))


async def _look(settings: "Settings", incident: str | None) -> "Status":
    from bulkreset.report.status import status as look

    async with opened(settings) as store:
        return await look(store, settings.accounts, incident=incident)


async def _watch(settings: "Settings", incident: str | None, *, sleep: "Sleep | None" = None) -> None:
    import asyncio

    from bulkreset.errors import StoreError
    from bulkreset.report.status import status as look

    async with opened(settings) as store:
        while True:
            width = columns_of(sys.stdout)
            try:
                picture = shown(await look(store, settings.accounts, incident=incident), width, settings.broken)
            except StoreError as error:
                picture = folded(f"the database cannot be reached, trying again: {error}", width)
            if width is not None:
                print("\x1b[H\x1b[2J", end="")
            print("\n".join(picture), flush=True)
            await (sleep or asyncio.sleep)(_WATCH_EVERY_S)


def shown(found: "Status", width: int | None, broken: "Mapping[str, str]") -> "list[str]":
    """Return the lines that a person sees; `broken` says what is wrong with accounts as configured here."""
    from bulkreset.report.needs import request_need

    alive, gone = _by_presence(found)
    return [
        f"{found.now:%Y-%m-%d %H:%M:%S} UTC",
        *_part(
            "accounts",
            _ACCOUNTS,
            _accounts(found, width),
            width,
            none="no account has been called yet",
        ),
        *(line for one in broken.items() for line in folded(f"→ {broken_account(*one)}", width, rest="  ")),
        *_part(
            "batches", _BATCHES, [_batch(one, found) for one in found.batches], width, none="no unfinished batch"
        ),
        *(
            _part(
                "orders by SQL",
                _REQUESTS,
                [
                    Row((str(one.id), one.account, one.incident, one.state), (f"→ {request_need(one)}",))
                    for one in found.requests
                ],
                width,
                none="",
            )
            if found.requests
            else []
        ),
        *(
            folded(f"and {found.refused_before:,} that were refused before these", width)
            if found.refused_before
            else []
        ),
        *_part(
            "workers",
            _WORKERS,
            [_worker(one, found.now) for one in alive],
            width,
            none="no worker is running; start one with `bulkreset run`",
        ),
        *(folded(_ended(gone), width) if gone else []),
    ]


def _part(
    title: str, columns: "Sequence[Column]", rows: "list[Row]", width: int | None, *, none: str
) -> "Iterator[str]":
    yield ""
    if rows:
        yield from lines(columns, rows, width)
    else:
        yield from folded(f"{title}: {none}", width)


def _accounts(found: "Status", width: int | None) -> list[Row]:
    """Return the rows of accounts; where there is no room without what share of the provider's limit ours is."""
    rows = [_account(one, found.now) for one in found.accounts]
    if width is None or all(cell_len(line) <= width for line in lines(_ACCOUNTS, _bare(rows), width)):
        return rows
    return [_account(one, found.now, is_short=True) for one in found.accounts]


def _bare(rows: "Sequence[Row]") -> list[Row]:
    return [Row(row.cells) for row in rows]


def _account(one: "AccountStatus", now: "datetime", *, is_short: bool = False) -> Row:
    from bulkreset.report.needs import account_wait

    wait = account_wait(one, now)
    if one.halted_reason:
        wait = f"{wait}; fix the cause, then `bulkreset batch resume ID`"
    limit, sent = "", f"{one.last_minute_per_s:,.1f}/s"
    if one.limit is not None:
        limit = str(one.limit) if is_short else one.limit.as_share(one.share)
        sent = one.limit.measured(one.last_minute_per_s)
    if one.last_minute_calls and one.seen_s < 60:
        sent += f" over {one.seen_s:.0f} s"
    return Row(
        (one.account, one.label, limit, sent if one.last_minute_calls else "no calls", f"{one.used_today:,}"),
        (f"→ {wait}",) if wait else (),
    )


def _batch(one: "BatchStatus", found: "Status") -> Row:
    from datetime import timedelta

    from bulkreset.model import BatchState
    from bulkreset.report.needs import harm, is_alive, is_halted, need
    from bulkreset.report.render import doubts
    from bulkreset.report.status import users_done

    batch, waits_for = one.batch, need(one, found)
    halted = is_halted(batch.account, found)
    finish = ""
    if one.eta_s is not None and any(is_alive(worker, found) for worker in found.workers):
        finish = clock(found.now + timedelta(seconds=one.eta_s), found.now)
    return Row(
        (
            str(batch.id),
            batch.account,
            batch.incident,
            "account halted" if halted and batch.state is BatchState.OPEN and batch.left else str(batch.state),
            f"{users_done(batch):,}/{batch.total:,}",
            f"{batch.left:,}",
            "" if one.eta_s is None else duration(one.eta_s),
            finish,
        ),
        (*doubts(batch), *(f"→ {said}" for said in (waits_for, harm(one)) if said)),
    )


def _by_presence(found: "Status") -> "tuple[list[WorkerStatus], list[WorkerStatus]]":
    """Part the workers that may still be there from those that said goodbye."""
    return (
        [one for one in found.workers if one.seen.ended_at is None],
        [one for one in found.workers if one.seen.ended_at is not None],
    )


def _worker(one: "WorkerStatus", now: "datetime") -> Row:
    from bulkreset.report.needs import SILENT_AFTER

    ago = now - one.seen.seen_at
    silent = ("→ seems to be gone: killed, stopped or cut off",) if ago > SILENT_AFTER else ()
    return Row(
        (
            one.seen.name,
            one.seen.version,
            f"{duration(max(0.0, ago.total_seconds()))} ago",
            f"{one.last_minute:,} calls",
        ),
        (*silent, *(f"→ waits at {found.account}: {found}" for found in one.waits)),
    )


def _ended(gone: "list[WorkerStatus]") -> str:
    names = ", ".join(one.seen.name for one in gone[:_NAMED])
    more = f" and {len(gone) - _NAMED:,} more" if len(gone) > _NAMED else ""
    return f"ended in the last ten minutes: {names}{more}"

"""`bulkreset batch …`: order a reset, look at it, steer it."""

import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bulkreset.cli.context import Invocation, master_key, opened, person, possible_id, start, transport

if TYPE_CHECKING:
    from bulkreset.config import Settings
    from bulkreset.intake.users_file import UserLine
    from bulkreset.store.batches import Batch
    from bulkreset.store.engine import Store

app = typer.Typer(help="Order a reset, look at it, pause, resume, cancel or retry it.", no_args_is_help=True)

BatchId = Annotated[int, typer.Argument(metavar="ID", help="The batch's number.", callback=possible_id)]
Json = Annotated[bool, typer.Option("--json", help="Write JSON.")]


@app.command()
def create(
    context: typer.Context,
    account: Annotated[str, typer.Option(metavar="A", help="The account, as named in the configuration.")],
    users: Annotated[
        str,
        typer.Option(
            metavar="FILE",
            help="CSV with a header naming email and/or user_id, or one user per line; - is standard input.",
        ),
    ],
    incident: Annotated[str, typer.Option(metavar="ID", help="The incident that this reset belongs to.")],
    reason: Annotated[str, typer.Option(metavar="TEXT", help="Why it is done; it stays in the audit trail.")],
    exclude: Annotated[
        list[str] | None,
        typer.Option(metavar="FILE", help="Users to leave out, in the same form; may be repeated."),
    ] = None,
    not_before: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="Do not start before: ISO 8601, UTC where it names no offset."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Freeze a roster of users as a batch; runners start on it at once, or at --not-before."""
    import json
    from dataclasses import asdict

    from bulkreset.cli.context import log_level
    from bulkreset.errors import UsageError
    from bulkreset.intake.order import Order, chunks, place
    from bulkreset.intake.users_file import read_users
    from bulkreset.logs import configure
    from bulkreset.providers.http import ReadTransport

    invocation: Invocation = context.obj
    settings = invocation.settings()
    configure(log_level())
    order = Order(account, incident, reason, person(), None if not_before is None else _time(not_before))
    if "-" in (exclude or []) and (users == "-" or (exclude or []).count("-") > 1):
        raise UsageError("standard input (-) can be read once only; put the other list into a file")

    async def work() -> Any:
        with ExitStack() as files:

            def lines(name: str) -> Iterator["UserLine"]:
                if name == "-":
                    return read_users(sys.stdin.buffer, "standard input")
                try:
                    return read_users(files.enter_context(Path(name).open("rb")), name)
                except OSError as error:
                    raise UsageError(f"cannot read {name}: {error.strerror}") from None

            async def excluded() -> AsyncIterator[list["UserLine"]]:
                for name in exclude or []:
                    async for chunk in chunks(lines(name)):
                        yield chunk

            async with opened(settings) as store, transport(ReadTransport, settings) as way:
                return await place(
                    store,
                    settings,
                    way,
                    master_key(settings),
                    order,
                    users=chunks(lines(users)),
                    excluded=excluded(),
                )

    placed = start(work())
    if as_json:
        print(json.dumps(asdict(placed)))
        return
    print(f"batch {placed.id}: {placed.total:,} users at {placed.account}", end="")
    print(f" ({placed.excluded:,} excluded, {placed.duplicates:,} duplicates)")
    print(f"roster sha256 {placed.roster_sha256}")
    start_at = "" if order.not_before is None else f", not before {order.not_before:%Y-%m-%d %H:%M:%S} UTC"
    print(f"about {duration(placed.estimate_s)} at this account's limit; `bulkreset run` starts on it{start_at}")


@app.command("list")
def list_(context: typer.Context, as_json: Json = False) -> None:
    """Show every batch, the oldest first."""
    import json

    from bulkreset.report.render import batch_full
    from bulkreset.store import batches

    async def work(store: "Store") -> list["Batch"]:
        return await batches.find(store)

    found = _with_store(context, work)
    if as_json:
        print(json.dumps([batch_full(batch) for batch in found], indent=2, ensure_ascii=False))
        return
    if not found:
        print("there are no batches; order one with `bulkreset batch create`")
        return
    _table(found)


@app.command()
def show(context: typer.Context, batch_id: BatchId, as_json: Json = False) -> None:
    """Show one batch: its state and why, its order, its counts."""
    from bulkreset.store import batches

    async def work(store: "Store") -> "Batch":
        return await batches.get(store, batch_id)

    _show(_with_store(context, work), as_json=as_json)


@app.command()
def pause(context: typer.Context, batch_id: BatchId, as_json: Json = False) -> None:
    """Claim nothing more of a batch; a running worker obeys within one claim, about a second."""
    _steer(context, "pause", batch_id, as_json=as_json)


@app.command()
def resume(context: typer.Context, batch_id: BatchId, as_json: Json = False) -> None:
    """Go on with a paused or halted batch, and lift the halt of its account."""
    _steer(context, "resume", batch_id, as_json=as_json)


@app.command()
def cancel(context: typer.Context, batch_id: BatchId, as_json: Json = False) -> None:
    """End a batch: what was not sent is cancelled. Passwords already set stay as they are."""
    _steer(context, "cancel", batch_id, as_json=as_json)


@app.command()
def retry(
    context: typer.Context,
    batch_id: BatchId,
    outcome: Annotated[
        list[str] | None, typer.Option(metavar="O", help="Only tasks that ended so; may be repeated.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Make a batch's failed tasks due again, each with a new password.

    With --outcome, skipped tasks that ended so are taken too.
    """
    from bulkreset.errors import UsageError
    from bulkreset.model import Outcome
    from bulkreset.store import batches

    try:
        outcomes = [Outcome(word) for word in outcome or []]
    except ValueError as error:
        raise UsageError(f"{error}; outcomes are: {', '.join(Outcome)}") from None

    async def work(store: "Store", settings: "Settings") -> "Batch":
        def fresh_key() -> str:
            master = master_key(settings)
            return master.wrap(master.new_batch_key())

        await batches.retry(store, batch_id, person(), outcomes=outcomes, fresh_key=fresh_key)
        return await batches.get(store, batch_id)

    invocation: Invocation = context.obj
    settings = invocation.settings()
    _show(_with_store(context, lambda store: work(store, settings)), as_json=as_json)


def duration(seconds: float) -> str:
    """Say a length of time in the two units that matter."""
    whole = round(seconds)
    if whole < 1:
        return "a second"
    parts = [(whole // 86400, "d"), (whole // 3600 % 24, "h"), (whole // 60 % 60, "min"), (whole % 60, "s")]
    said = [f"{n} {unit}" for n, unit in parts if n]
    return " ".join(said[:2])


def _steer(context: typer.Context, verb: str, batch_id: int, *, as_json: bool) -> None:
    from bulkreset.store import batches

    act = {"pause": batches.pause, "resume": batches.resume, "cancel": batches.cancel}[verb]

    async def work(store: "Store") -> "Batch":
        await act(store, batch_id, person())
        return await batches.get(store, batch_id)

    _show(_with_store(context, work), as_json=as_json)


def _with_store(context: typer.Context, work: Any) -> Any:
    invocation: Invocation = context.obj
    settings = invocation.settings()

    async def inside() -> Any:
        async with opened(settings) as store:
            return await work(store)

    return start(inside())


def _time(text: str) -> datetime:
    from bulkreset.errors import UsageError

    try:
        at = datetime.fromisoformat(text)
        return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    except (ValueError, OverflowError):  # an offset can lead out of the years that there are
        raise UsageError(f"--not-before {text!r} is not a time; write 2026-01-31T22:00:00Z") from None


def _show(batch: "Batch", *, as_json: bool) -> None:
    import json

    from bulkreset.report.render import batch_full

    if as_json:
        print(json.dumps(batch_full(batch), indent=2, ensure_ascii=False))
        return
    because = f" ({batch.state_reason})" if batch.state_reason else ""
    print(f"batch {batch.id} at {batch.account}: {batch.state}{because}")
    print(f"  incident   {batch.incident}")
    print(f"  reason     {batch.reason}")
    print(f"  ordered by {batch.requested_by}, {batch.created_at:%Y-%m-%d %H:%M:%S} UTC")
    for name, at in (
        ("not before", batch.not_before),
        ("started", batch.started_at),
        ("finished", batch.finished_at),
    ):
        if at is not None:
            print(f"  {name:<10} {at:%Y-%m-%d %H:%M:%S} UTC")
    print(f"  roster     {batch.total:,} users, sha256 {batch.roster_sha256}")
    print("  tasks      " + ", ".join(f"{n:,} {state}" for state, n in batch.counts.items() if n))
    if batch.outcomes:
        print("  outcomes   " + ", ".join(f"{n:,} {name}" for name, n in batch.outcomes.items()))


def _table(found: list["Batch"]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, header_style="bold")
    for name in ("id", "account", "state", "incident", "created (UTC)"):
        table.add_column(name, no_wrap=name != "incident", min_width=12 if name == "incident" else None)
    for name in ("users", "done", "failed", "left"):
        table.add_column(name, justify="right", no_wrap=True)
    for batch in found:
        counts = batch.counts
        table.add_row(
            str(batch.id),
            batch.account,
            str(batch.state),
            batch.incident,
            f"{batch.created_at:%Y-%m-%d %H:%M}",
            f"{batch.total:,}",
            f"{counts['succeeded']:,}",
            f"{counts['failed'] + counts['skipped']:,}",
            f"{batch.left:,}",
        )
    Console(markup=False, highlight=False).print(table)

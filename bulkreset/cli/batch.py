"""`bulkreset batch …`: order a reset, look at it, steer it."""

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bulkreset.cli.completion import accounts as known_accounts
from bulkreset.cli.completion import batches as known_batches
from bulkreset.cli.context import (
    Invocation,
    acting,
    can_ask,
    columns_of,
    confirm,
    known_words,
    master_key,
    opened,
    person,
    possible_id,
    start,
)
from bulkreset.cli.order import create
from bulkreset.cli.output import say
from bulkreset.unsafe import escaped

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from bulkreset.cli.batch_view import Seen
    from bulkreset.config import Settings
    from bulkreset.store.batches import Batch
    from bulkreset.store.engine import Store
    from bulkreset.store.stops import Outcome

app = typer.Typer(help="Order a reset, look at it, pause, resume, cancel or retry it.", no_args_is_help=True)

app.command("create")(create)

BatchId = Annotated[
    int,
    typer.Argument(metavar="ID", help="The batch's number.", callback=possible_id, autocompletion=known_batches),
]
Json = Annotated[bool, typer.Option("--json", help="Write JSON.")]


@app.command("list")
def list_(
    context: typer.Context,
    account: Annotated[
        list[str] | None,
        typer.Option(
            metavar="A", help="Only batches of this account; may be repeated.", autocompletion=known_accounts
        ),
    ] = None,
    incident: Annotated[
        list[str] | None, typer.Option(metavar="ID", help="Only batches of this incident; may be repeated.")
    ] = None,
    state: Annotated[
        list[str] | None, typer.Option(metavar="S", help="Only batches in this state; may be repeated.")
    ] = None,
    newest_first: Annotated[bool, typer.Option("--newest-first", help="Show the newest batch first.")] = False,
    as_json: Json = False,
) -> None:
    """Show batches, the oldest first: all, or those that match every filter."""
    from bulkreset.cli.batch_view import listed
    from bulkreset.model import BatchState
    from bulkreset.report.render import batch_full, json_text
    from bulkreset.store import batches

    states = known_words("state", state, BatchState)

    async def work(store: "Store") -> list["Batch"]:
        return await batches.find(store, accounts=account or (), incidents=incident or (), states=states)

    found = _with_store(context, work)
    if newest_first:
        found.reverse()
    if as_json:
        print(json_text([batch_full(batch) for batch in found], indent=2))
    elif found:
        print("\n".join(listed(found, columns_of(sys.stdout))))
    elif account or incident or state:
        say("no batch matches; `bulkreset batch list` shows all")
    else:
        say("there are no batches; order one with `bulkreset batch create`")


@app.command()
def show(context: typer.Context, batch_id: BatchId, as_json: Json = False) -> None:
    """Show one batch: its state and why, its order, its counts."""

    async def work(store: "Store") -> "Seen":
        return await _look(store, batch_id)

    _show(_with_store(context, work), as_json=as_json)


@app.command()
def pause(context: typer.Context, batch_id: BatchId, as_json: Json = False) -> None:
    """Stop sending for a batch; returns when nothing more will be sent, and says how many calls left meanwhile.

    Exits with 4 where a worker that has claims of the batch does not confirm within 5 s.
    """
    _stop(context, "pause", batch_id, as_json=as_json)


@app.command()
def resume(context: typer.Context, batch_id: BatchId, as_json: Json = False) -> None:
    """Go on with a paused or halted batch, and lift the halt of its account."""
    from bulkreset.store import lifecycle

    async def work(store: "Store") -> "Seen":
        await lifecycle.resume(store, batch_id, person(context.obj.settings()))
        return await _look(store, batch_id)

    _show(_with_store(context, work), as_json=as_json)


@app.command()
def cancel(
    context: typer.Context,
    batch_id: BatchId,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask, where a terminal could be asked.")] = False,
    as_json: Json = False,
) -> None:
    """End a batch: what was not sent is cancelled. Passwords already set stay as they are.

    Asks on a terminal, for it is final; elsewhere it stops at once, as a stop must. Returns when nothing more
    will be sent, and says how many calls left meanwhile. Exits with 4 where a worker that has claims of the batch
    does not confirm within 5 s.
    """
    confirm(f"Cancel batch {batch_id} for good?", yes=yes or not can_ask())
    _stop(context, "cancel", batch_id, as_json=as_json)


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
    from bulkreset.model import Outcome
    from bulkreset.store import lifecycle

    outcomes = [Outcome(word) for word in known_words("outcome", outcome, Outcome)]

    async def work(store: "Store", settings: "Settings") -> "Seen":
        def fresh_key() -> str:
            master = master_key(settings)
            return master.wrap(master.new_batch_key())

        await lifecycle.retry(store, batch_id, person(settings), outcomes=outcomes, fresh_key=fresh_key)
        return await _look(store, batch_id)

    invocation: Invocation = context.obj
    settings = invocation.settings()
    _show(_with_store(context, lambda store: work(store, settings)), as_json=as_json)


@app.command()
def approve(
    context: typer.Context,
    batch_id: BatchId,
    roster: Annotated[
        str | None,
        typer.Option(metavar="SHA256", help="The hash of the user list you looked at, or its beginning."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Approve another person's draft; bound to its user list and options as they are."""
    from bulkreset.store import control

    invocation: Invocation = context.obj
    who = acting(invocation.settings())

    async def work(store: "Store") -> "Seen":
        missing = await control.approve(store, batch_id, who.name, roster=roster, login=who.login)
        if missing and not as_json:
            say(f"approved; {missing} more approval{'s are' if missing > 1 else ' is'} needed")
        return await _look(store, batch_id)

    _show(_with_store(context, work), as_json=as_json)


@app.command()
def trail(context: typer.Context, batch_id: BatchId, as_json: Json = False) -> None:
    """Show the audit log of a batch: who did what and when, each event hashed over the one before.

    Exits with 1 where an event was changed or taken out, as far as the hashes can tell.
    """
    import json

    from bulkreset.errors import StoreError
    from bulkreset.report import queries
    from bulkreset.report.render import json_text, moment
    from bulkreset.store import audit, batches, control

    async def work(store: "Store") -> Any:
        await batches.get(store, batch_id)
        async with store.read() as conn:
            torn = await audit.verify(conn, batch_id)
        return await control.trail(store, batch_id), await queries.audit_head(store, batch_id), torn

    found, head, torn = _with_store(context, work)
    if as_json:
        told = [
            {"at": moment(at), "actor": actor, "kind": kind, "detail": json.loads(detail)}
            for at, actor, kind, detail in found
        ]
        print(json_text(told, indent=2))
    for at, actor, kind, detail in [] if as_json else found:
        print(f"{at:%Y-%m-%d %H:%M:%S} UTC  {kind:<15}  {escaped(actor)}")
        for name, value in _told(json.loads(detail)):
            say(escaped(f"  {name:<25}  {value}"), rest=" " * 29)
    if torn is not None:
        raise StoreError(
            f"batch {batch_id}: the trail is broken at event {torn.seq}: {torn.reason}; find out who changed it"
        )
    if not as_json:
        events = f"{len(found):,} event{'s' * (len(found) != 1)}"
        say(f"the chain of {events} is whole; its head is {head}")


@app.command()
def close(
    context: typer.Context,
    batch_id: BatchId,
    top_up: Annotated[
        bool, typer.Option("--top-up", help="Order a follow-up batch for those who were added since.")
    ] = False,
    accept_listing: Annotated[
        bool, typer.Option("--accept-listing", help="Go on although the provider counts more users than it lists.")
    ] = False,
    as_json: Json = False,
) -> None:
    """List the account once more and say who was added, who was removed, and who is still open.

    A batch that has ended counts as reconciled then. Exits with 4 where it has not, or where somebody was added
    and not topped up, and with 3 where somebody has no new password.
    """
    import json

    from bulkreset.cli import closing

    invocation: Invocation = context.obj
    found = start(
        closing.close(invocation.settings(told=False), batch_id, top_up=top_up, accept_listing=accept_listing)
    )
    if as_json:
        print(json.dumps(closing.as_dict(found), indent=2, ensure_ascii=False))
    else:
        closing.show(found)
    raise typer.Exit(closing.exit_code(found))


def _stop(context: typer.Context, verb: str, batch_id: int, *, as_json: bool) -> None:
    import json

    from bulkreset.cli import stopping
    from bulkreset.report.render import batch_full
    from bulkreset.store import lifecycle

    act = {"pause": lifecycle.pause, "cancel": lifecycle.cancel}[verb]

    async def work(store: "Store") -> tuple["Seen", "Outcome", "datetime"]:
        who = person(context.obj.settings())
        stop = await stopping.begun(store, batch_id, lambda: act(store, batch_id, who))
        outcome, now = await stopping.settled(store, stop)
        return await _look(store, batch_id), outcome, now

    seen, outcome, now = _with_store(context, work, busy_s=stopping.LOOK_AFTER_S)
    batch = seen.batch
    if as_json:
        shown = {**batch_full(batch), "stop": stopping.as_dict(outcome)}
        print(json.dumps(shown, indent=2, ensure_ascii=False))
    else:
        _show(seen, as_json=False)
        say(f"  {stopping.describe(outcome)}", rest=" " * 13)
    if outcome.silent:
        say(f"bulkreset: {stopping.warning(batch.id, outcome, now)}", rest="  ", out=sys.stderr)
        raise typer.Exit(4)


def _with_store(context: typer.Context, work: Any, *, busy_s: float | None = None) -> Any:
    invocation: Invocation = context.obj
    settings = invocation.settings()

    async def inside() -> Any:
        async with opened(settings, busy_s=busy_s) as store:
            return await work(store)

    return start(inside())


async def _look(store: "Store", batch_id: int) -> "Seen":
    from bulkreset.cli.batch_view import Seen
    from bulkreset.store import batches, control, quotas

    batch = await batches.get(store, batch_id)
    async with store.read() as conn:
        halts = await quotas.halts(conn)
    return Seen(batch, await control.approvals(store, batch_id), halts.get(batch.account) if batch.left else None)


def _show(seen: "Seen", *, as_json: bool) -> None:
    from bulkreset.cli.batch_view import described
    from bulkreset.report.render import batch_full, json_text

    if as_json:
        print(json_text(batch_full(seen.batch), indent=2))
        return
    print("\n".join(described(seen, columns_of(sys.stdout))))


def _told(detail: dict[str, Any], before: str = "") -> "Iterator[tuple[str, str]]":
    """Yield what an event tells, one thing at a time; what was not ordered tells nothing."""
    for name, value in detail.items():
        if isinstance(value, dict):
            yield from _told(value, f"{before}{name}.")
        elif value is not None and value is not False and value != []:
            yield f"{before}{name}", ", ".join(map(str, value)) if isinstance(value, list) else str(value)

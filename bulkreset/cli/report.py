"""`bulkreset report`: what happened, user by user."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TextIO

import typer

from bulkreset.cli.completion import batches as known_batches
from bulkreset.cli.context import Invocation, columns_of, known_words, opened, possible_id, start
from bulkreset.cli.output import text_output

if TYPE_CHECKING:
    from bulkreset.config import Settings
    from bulkreset.model import TaskState


class Format(StrEnum):
    """The forms a report is written in."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"


@dataclass(frozen=True, slots=True)
class Choice:
    """Which tasks a report shows; an empty list narrows nothing."""

    states: "list[TaskState]"
    outcomes: list[str]
    users: list[str]


def report(
    context: typer.Context,
    batch_id: Annotated[
        int,
        typer.Argument(
            metavar="ID", help="The batch's number.", callback=possible_id, autocompletion=known_batches
        ),
    ],
    form: Annotated[Format, typer.Option("--format", help="How to write it.")] = Format.TABLE,
    state: Annotated[
        list[str] | None, typer.Option(metavar="S", help="Only tasks in this state; may be repeated.")
    ] = None,
    outcome: Annotated[
        list[str] | None,
        typer.Option(metavar="O", help="Only this outcome, or reason of a skip; may be repeated."),
    ] = None,
    user: Annotated[
        list[str] | None, typer.Option(metavar="U", help="Only this address or id; may be repeated.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The same as --format json.")] = False,
    output: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write to a file, readable by you only.", dir_okay=False)
    ] = None,
) -> None:
    """Show what happened to every user of a batch; no password is in it, or anywhere."""
    from bulkreset.errors import UsageError
    from bulkreset.model import Outcome, Skip, TaskState

    if as_json and form is Format.CSV:
        raise UsageError("--json and --format csv contradict each other; give one of them")
    chosen = Choice(
        [TaskState(word) for word in known_words("state", state, TaskState)],
        known_words("outcome", outcome, (*Outcome, *Skip)),
        user or [],
    )
    invocation: Invocation = context.obj
    settings = invocation.settings()
    with text_output(output) as out:
        start(write(settings, batch_id, Format.JSON if as_json else form, chosen, out))


async def write(settings: "Settings", batch_id: int, form: Format, chosen: Choice, out: TextIO) -> None:
    """Write one batch's report. Raises UsageError where there is no such batch."""
    from bulkreset.report import queries, render
    from bulkreset.store import batches

    async with opened(settings) as store:
        batch = await batches.get(store, batch_id)
        head = await queries.audit_head(store, batch_id)
        alive = queries.sessions_alive(store, batch_id) if batch.options.revoke_sessions else None
        lines = queries.tasks(store, batch_id, chosen.states, outcomes=chosen.outcomes, users=chosen.users)
        if form is Format.JSON:
            await render.as_json(out, batch, head, lines, alive)
        elif form is Format.CSV:
            await render.as_csv(out, lines)
        else:
            await render.as_table(out, batch, head, lines, alive, width=columns_of(out))

"""`bulkreset db …`: the tables."""

import typer

from bulkreset.cli.context import Invocation, start
from bulkreset.cli.output import say

app = typer.Typer(help="Bring the tables up to date, or check that they are.", no_args_is_help=True)


@app.command()
def upgrade(context: typer.Context) -> None:
    """Make the tables, or bring them to this version's revision."""
    from bulkreset.store.migrate import upgrade as migrate
    from bulkreset.store.place import place_of

    invocation: Invocation = context.obj
    settings = invocation.settings()
    before, after = start(migrate(place_of(settings.database, settings.base)))
    say(f"the tables are at revision {after}" + ("" if before == after else f" (before: {before or 'none'})"))


@app.command()
def check(context: typer.Context) -> None:
    """Say how the tables differ from what this version needs; exit 1 where they do."""
    from bulkreset.store.migrate import differences
    from bulkreset.store.place import place_of

    invocation: Invocation = context.obj
    settings = invocation.settings()
    found = start(differences(place_of(settings.database, settings.base)))
    for line in found:
        say(line)
    if found:
        say("run `bulkreset db upgrade`; differences that stay were made by hand and must be undone by hand")
        raise typer.Exit(1)
    say("the tables are up to date")

"""`bulkreset db …`: the tables."""

from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from bulkreset.cli.context import Invocation

app = typer.Typer(help="Bring the tables up to date, or check that they are.", no_args_is_help=True)


@app.command()
def upgrade(context: typer.Context) -> None:
    """Make the tables, or bring them to this version's revision."""
    from bulkreset.store.engine import sync_url
    from bulkreset.store.migrate import upgrade as migrate

    invocation: Invocation = context.obj
    settings = invocation.settings()
    before, after = migrate(sync_url(settings.database.url, settings.base))
    print(f"the tables are at revision {after}" + ("" if before == after else f" (before: {before or 'none'})"))


@app.command()
def check(context: typer.Context) -> None:
    """Say how the tables differ from what this version needs; exit 1 where they do."""
    from bulkreset.store.engine import sync_url
    from bulkreset.store.migrate import differences

    invocation: Invocation = context.obj
    settings = invocation.settings()
    found = differences(sync_url(settings.database.url, settings.base))
    for line in found:
        print(line)
    if found:
        print("run `bulkreset db upgrade`; differences that stay were made by hand and must be undone by hand")
        raise typer.Exit(1)
    print("the tables are up to date")

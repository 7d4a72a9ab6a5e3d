"""The command line: what it is called with, and how it ends.

Modules are imported inside the commands that need them, so that `--help` answers at once.
"""

import sys
from pathlib import Path
from typing import Annotated

import typer

from bulkreset import __version__
from bulkreset.cli import account, batch, database, demo, report, run, sandbox, setup
from bulkreset.cli.context import Invocation
from bulkreset.errors import BulkresetError

app = typer.Typer(
    name="bulkreset",
    help="Reset the passwords of a whole organisation, at the provider's own pace, and prove what happened.",
    epilog="Exit codes: 0 done, nothing failed · 1 error while running · 2 wrong usage or configuration · "
    "3 finished, some tasks failed or were skipped · 4 work is left · 75 another runner holds this database.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

app.command("init")(setup.init)
app.add_typer(database.app, name="db")
app.command("check")(account.check)
app.command("own-password")(account.own_password)
app.add_typer(batch.app, name="batch")
app.command("run")(run.run)
app.command("report")(report.report)
app.command("sandbox")(sandbox.sandbox)
app.command("demo")(demo.demo)


@app.callback()
def root(
    context: typer.Context,
    config: Annotated[
        Path, typer.Option(envvar="BULKRESET_CONFIG", help="The configuration file.", show_default="./config.toml")
    ] = Path("config.toml"),
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[bool, typer.Option("--version", help="Show the version and exit.", is_eager=True)] = False,
) -> None:
    """Take the options that stand before the command."""
    if version:
        print(f"bulkreset {__version__}")
        raise typer.Exit
    context.obj = Invocation(config=config, debug=debug)


def main() -> None:
    """Run the command line; every error is one line on standard error."""
    debug = "--debug" in sys.argv[1:]
    try:
        app()
    except BulkresetError as error:
        _end(error, str(error), error.exit_code, debug=debug)
    except KeyboardInterrupt as error:
        _end(error, "interrupted", 130, debug=debug)
    except BrokenPipeError as error:
        # The reader of our output has gone, as `head` does; the interpreter must not flush into it again.
        sys.stdout = None
        _end(error, "the reader of the output has gone", 1, debug=debug)
    except Exception as error:  # noqa: BLE001  (the top of the program: whatever it is, it becomes one line)
        said = str(error).splitlines()
        what = f"{type(error).__name__}: {said[0][:300]}" if said else type(error).__name__
        _end(error, f"unexpected error: {what}; run again with --debug and report it", 1, debug=debug)


def _end(error: BaseException, line: str, code: int, *, debug: bool) -> None:
    if debug:
        import traceback

        traceback.print_exception(error)
    print(f"bulkreset: {' '.join(line.split())}", file=sys.stderr)
    sys.exit(code)

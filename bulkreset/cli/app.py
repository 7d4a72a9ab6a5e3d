"""The command line: what it is called with, and how it ends.

Modules are imported inside the commands that need them, so that `--help` answers at once.
"""

import errno
import json
import re
import shutil
import sys
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Final, NoReturn

import typer
from typer.core import TyperCommand, TyperGroup

from bulkreset import __version__
from bulkreset.cli import account, batch, database, demo, escrow, key, manual, report, run, sandbox, setup, status
from bulkreset.cli.arguments import hoisted
from bulkreset.cli.context import Invocation
from bulkreset.cli.output import say
from bulkreset.cli.process import give_up_output, harden, repair_streams
from bulkreset.errors import BulkresetError

# What typer raises for every fault in the arguments; it exports only this one of the family.
_WrongArguments: Any = typer.BadParameter.__bases__[0]

# What a write to standard output may end with: a full disk, a quota, a file that may not grow, a broken device.
_OUTPUT_FAULTS: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)

_FRAMED: Final = 80  # columns that a framed help needs


class _PlainFlags:
    """Show a flag without the name of a Python type beside it, which reads as if it took a value."""

    def get_params(self, context: Any) -> list[Any]:
        """Return the parameters as typer has them."""
        params: list[Any] = super().get_params(context)  # type: ignore[misc]
        for param in params:
            if getattr(param, "is_flag", False):
                param.metavar = ""
        return params


class _Command(_PlainFlags, TyperCommand):
    """One command."""

    def format_help(self, context: Any, formatter: Any) -> None:
        """Write the help: on a narrow terminal without frames, in which the names of options would be cut."""
        if shutil.get_terminal_size().columns < _FRAMED:
            self.rich_markup_mode = None
        super().format_help(context, formatter)


class _Group(_PlainFlags, TyperGroup):
    """Commands under one name."""


def _show_version(asked: bool) -> None:
    if asked:
        print(f"bulkreset {__version__}")
        raise typer.Exit


app = typer.Typer(
    name="bulkreset",
    help="Reset the passwords of a whole organisation, at the provider's own pace, and prove what happened.",
    epilog="Exit codes: 0 done, nothing failed; 1 error while running; 2 wrong usage or configuration; "
    "3 finished, but some users failed or could not be reset (not those skipped as ordered); 4 work is left; "
    "75 another runner holds this database; "
    "129, 130, 143 ended at once by a hang-up, Ctrl-C or SIGTERM.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

app.command("init")(setup.init)
app.add_typer(database.app, name="db")
app.add_typer(key.app, name="key")
app.command("check")(account.check)
app.command("own-password")(account.own_password)
app.add_typer(batch.app, name="batch")
app.command("run")(run.run)
app.command("status")(status.status)
app.command("report")(report.report)
app.add_typer(escrow.app, name="escrow")
app.command("sandbox")(sandbox.sandbox)
app.command("demo")(demo.demo)
app.command("man")(manual.man)
for group in (app, batch.app, database.app, escrow.app, key.app):
    group.info.cls = _Group
    for command in group.registered_commands:
        command.cls = _Command


@app.callback()
def root(
    context: typer.Context,
    config: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            envvar="BULKRESET_CONFIG",
            help="The configuration file; otherwise config.toml in this folder, ~/.config/bulkreset or "
            "/etc/bulkreset. May stand after the command too.",
        ),
    ] = None,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[  # noqa: ARG001  (its callback answers)
        bool,
        typer.Option("--version", help="Show the version and exit.", is_eager=True, callback=_show_version),
    ] = False,
) -> None:
    """Take the options of every command."""
    context.obj = Invocation(config=config, debug=debug)


def main() -> None:
    """Run the command line; every error is one line on standard error, folded where that is a terminal."""
    repair_streams()
    harden()
    words = hoisted(sys.argv[1:])
    debug = "--debug" in words
    try:
        code = app(words, standalone_mode=False)
        sys.stdout.flush()
    except _WrongArguments as error:
        if not error.format_message():  # no command was named, and typer has shown the help
            sys.exit(2)
        _end(error, _advice(error), 2, debug=debug)
    except typer.Abort as error:
        _end(error, "stopped at a question; nothing was changed", 1, debug=debug)
    except BulkresetError as error:
        _end(error, str(error), error.exit_code, debug=debug)
    except KeyboardInterrupt as error:
        _end(error, "interrupted", 130, debug=debug)
    except BrokenPipeError as error:
        # The reader of our output has gone, as `head` does; the interpreter must not flush into it again.
        give_up_output()
        _end(error, "the reader of the output has gone", 1, debug=debug)
    except Exception as error:  # noqa: BLE001  (the top of the program: whatever it is, it becomes one line)
        if isinstance(error, OSError) and error.errno in _OUTPUT_FAULTS and error.filename is None:
            give_up_output()
            _end(error, f"the output cannot be written whole: {error.strerror}", 1, debug=debug)
        said = str(error).splitlines()
        what = f"{type(error).__name__}: {said[0][:300]}" if said else type(error).__name__
        _end(error, f"unexpected error: {what}; run again with --debug and report it", 1, debug=debug)
    sys.exit(code)


def _plain(message: str) -> str:
    """Say a fault of an argument without the words of the library that found it."""
    message = message.removesuffix(".").replace("Value error, ", "")
    message = re.sub(
        r"(?i)(?:Input should be a valid integer, )?unable to parse string as an integer",
        "must be a whole number",
        message,
    )
    message = re.sub(
        r"(?i)(?:Input should be a valid number, )?unable to parse string as a number", "must be a number", message
    )
    return message.replace("Input should be", "must be").replace(
        "is not a valid integer", "must be a whole number"
    )


def _advice(error: Any) -> str:
    message = _plain(error.format_message())
    manual = f"`{error.ctx.command_path if error.ctx else app.info.name} --help`"
    return f"{message} See {manual}" if message.endswith("?") else f"{message}; see {manual}"


def _end(error: BaseException, line: str, code: int, *, debug: bool) -> NoReturn:
    if debug:
        import traceback

        traceback.print_exception(error)
    line = " ".join(line.split())
    with suppress(OSError):  # nobody is left to be told
        say(f"bulkreset: {line}", rest="  ", out=sys.stderr)
        if "--json" in sys.argv:
            print(json.dumps({"error": line, "exit_code": code}, ensure_ascii=False), flush=True)
    sys.exit(code)

"""`bulkreset escrow …`: passwords that only the recipients of a batch can read."""

import io
import json
import os
import stat
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TextIO

import typer

from bulkreset.cli.completion import batches as known_batches
from bulkreset.cli.context import Invocation, confirm, opened, person, possible_id, start
from bulkreset.cli.output import say, whole_file
from bulkreset.report.words import passwords_in_words

if TYPE_CHECKING:
    from bulkreset.config import Settings
    from bulkreset.passwords.escrow import Identities
    from bulkreset.report.escrow import Opening
    from bulkreset.store.escrows import Holding

app = typer.Typer(
    help="Hand out, open or delete passwords that only a batch's recipients can read.", no_args_is_help=True
)

BatchId = Annotated[
    int,
    typer.Argument(metavar="ID", help="The batch's number.", callback=possible_id, autocompletion=known_batches),
]
Json = Annotated[bool, typer.Option("--json", help="Write JSON.")]

# Names and sealed passwords, not passwords; more than this goes through a nameless file.
_IN_MEMORY = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Exported:
    """What an export wrote, as its batch's trail has it."""

    batch: int
    rows: int
    sha256: str
    recipients: tuple[str, ...]


@app.command("list")
def list_(context: typer.Context, as_json: Json = False) -> None:
    """Show of which batches passwords are held, how many, until when, and for whom."""
    from bulkreset.report.render import moment
    from bulkreset.store import escrows

    invocation: Invocation = context.obj
    settings = invocation.settings()

    async def work() -> "list[Holding]":
        async with opened(settings) as store:
            return await escrows.holdings(store)

    found = start(work())
    if as_json:
        times = ("since", "expires_first", "expires_last")
        print(json.dumps([asdict(one) | {t: moment(getattr(one, t)) for t in times} for one in found], indent=2))
        return
    if not found:
        say("no passwords are in escrow; a batch keeps some where it was ordered with --escrow-to")
    for one in found:
        held = f"{passwords_in_words(one.rows)}, since {one.since:%Y-%m-%d %H:%M} UTC"
        say(f"batch {one.batch_id} at {one.account}: {held}", rest="  ")
        until = "" if one.expires_first == one.expires_last else f" to {one.expires_last:%Y-%m-%d %H:%M}"
        say(f"  to be deleted {one.expires_first:%Y-%m-%d %H:%M}{until} UTC")
        for recipient in one.recipients:
            say(f"  to {recipient}")


@app.command()
def export(
    context: typer.Context,
    batch_id: BatchId,
    output: Annotated[
        Path, typer.Option(metavar="FILE", help="The age file to write, readable by you only.", dir_okay=False)
    ],
    force: Annotated[bool, typer.Option("--force", help="Replace a file that exists already.")] = False,
    as_json: Json = False,
) -> None:
    """Write a batch's passwords to an age file that only its recipients can open; the trail says so first.

    The file opens with `bulkreset escrow open`, or with the age tool alone.
    """
    invocation: Invocation = context.obj
    made = start(_export(invocation.settings(), batch_id, output, force=force))
    if as_json:
        print(json.dumps(asdict(made)))
        return
    wrote = f"{passwords_in_words(made.rows)} of batch {batch_id}, sha256 {made.sha256}"
    say(f"wrote {output}: {wrote}", rest="  ")
    for recipient in made.recipients:
        say(f"  to {recipient}")


@app.command("open")
def open_(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="What `escrow export` wrote.", exists=True, dir_okay=False)
    ],
    identity: Annotated[
        Path,
        typer.Option(
            metavar="KEYFILE", help="Your age identity, readable by you only.", exists=True, dir_okay=False
        ),
    ],
    output: Annotated[
        str, typer.Option(metavar="FILE", help="A new file for the passwords; - is standard output, for a pipe.")
    ] = "-",
) -> None:
    """Open an export with your identity: a CSV with the passwords in clear. Needs nothing else, no network.

    Exits with 3 where some passwords do not open: somebody has changed them since they were sealed.
    """
    from bulkreset.errors import InputError
    from bulkreset.passwords.escrow import Identities
    from bulkreset.passwords.keyfile import read_secret_file

    keys = Identities.parse(read_secret_file(identity), str(identity))
    with _clear(output) as out:
        try:
            found = _open(file, keys, out)
        except InputError as error:
            raise InputError(f"{file}: {error}") from None
    if output != "-":
        clear = f"{passwords_in_words(found.opened)} in clear"
        say(f"wrote {output}: {clear}, readable by you only; delete it when done", rest="  ")
    if found.shut:
        lines = ", ".join(str(line) for line in found.shut[:5]) + (", …" if len(found.shut) > 5 else "")
        say(
            f"bulkreset: {file}: {len(found.shut):,} passwords do not open and are left empty (lines {lines}): "
            "they were changed in the database or sealed to others; reset these users again",
            rest="  ",
            out=sys.stderr,
        )
        raise typer.Exit(3)


@app.command()
def purge(
    context: typer.Context,
    batch_id: BatchId,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask, as scripts must.")] = False,
    as_json: Json = False,
) -> None:
    """Delete a batch's passwords from the database; exports that were handed out stay what they are."""
    from bulkreset.store import escrows

    invocation: Invocation = context.obj
    settings = invocation.settings()
    confirm(f"Delete the escrowed passwords of batch {batch_id} for good?", yes=yes)

    async def work() -> int:
        async with opened(settings) as store:
            return await escrows.purge(store, batch_id, person(settings))

    gone = start(work())
    if as_json:
        print(json.dumps({"batch": batch_id, "purged": gone}))
    else:
        say(f"{passwords_in_words(gone)} deleted")


async def _export(settings: "Settings", batch_id: int, output: Path, *, force: bool) -> Exported:
    """Write the file, then the trail, then give the file its name. Raises UsageError where nothing is held."""
    import asyncio
    import hashlib

    from bulkreset.errors import UsageError
    from bulkreset.passwords.escrow import recipients
    from bulkreset.report.escrow import sealed_lines
    from bulkreset.store import escrows

    async with opened(settings) as store:
        to = recipients(await escrows.recipients(store, batch_id))
        digest, rows = hashlib.sha256(), 0

        async def blocks() -> AsyncIterator[bytes]:
            nonlocal rows
            yield sealed_lines()
            async for page in escrows.pages(store, batch_id):
                rows += len(page)
                yield sealed_lines(page)

        with whole_file(output, replace=force) as file:

            def write(data: bytes) -> None:
                digest.update(data)
                file.write(data)

            with _pulled(blocks()) as pulled:
                await asyncio.to_thread(to.encrypt, pulled, write)
            if not rows:
                raise UsageError(
                    f"no passwords of batch {batch_id} are in escrow: none is set yet, or they were purged or are "
                    "expired; `bulkreset escrow list` shows what is held"
                )
            made = Exported(batch_id, rows, digest.hexdigest(), to.texts)
            await escrows.exported(
                store, batch_id, person(settings), rows=rows, sha256=made.sha256, recipients=made.recipients
            )
        return made


@contextmanager
def _pulled(blocks: AsyncIterator[bytes]) -> Iterator[Iterator[bytes]]:
    """Give a thread the blocks that this loop makes, one at a time; it is cut off when the block has ended."""
    import asyncio
    import threading

    loop, over = asyncio.get_running_loop(), threading.Event()

    async def following() -> bytes | None:
        return await anext(blocks, None)

    def pull() -> Iterator[bytes]:
        while not over.is_set():
            block = asyncio.run_coroutine_threadsafe(following(), loop).result()
            if block is None:
                return
            yield block
        raise InterruptedError("the export was given up")

    try:
        yield pull()
    finally:
        over.set()


def _open(file: Path, keys: "Identities", out: TextIO) -> "Opening":
    """Open both layers; nothing is read from the list before the whole of it is known to be true."""
    import tempfile

    from bulkreset.errors import InputError
    from bulkreset.report.escrow import open_lines

    with tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY) as listed:
        try:
            source = file.open("rb")
        except OSError as error:
            raise InputError(f"cannot be read: {error.strerror}") from None
        with source:
            keys.decrypt(source, listed.write)
        listed.seek(0)
        lines = io.TextIOWrapper(listed, encoding="utf-8", newline="")
        found = open_lines(lines, keys.open, out)
    if found.shut and not found.opened:
        raise InputError("no password in it opens with this identity; use another, or get the file once more")
    return found


@contextmanager
def _clear(output: str) -> Iterator[TextIO]:
    """Open where passwords may go: a new file for the owner alone, or a pipe. Raises UsageError for a terminal."""
    if output != "-":
        with whole_file(Path(output), replace=False) as file:
            text = io.TextIOWrapper(file, encoding="utf-8", newline="")
            try:
                yield text
            finally:
                text.detach()
        return
    from bulkreset.errors import UsageError

    status = os.fstat(sys.stdout.fileno())
    if sys.stdout.isatty():
        raise UsageError("passwords are not shown on a terminal; name a new file with --output, or use a pipe")
    if stat.S_ISREG(status.st_mode) and status.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise UsageError("standard output is a file that others can read; name a new file with --output instead")
    yield sys.stdout
    sys.stdout.flush()

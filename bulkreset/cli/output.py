"""Where commands write: standard output, or a file for its owner alone that appears only when it is whole."""

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, TextIO

import typer

from bulkreset.cli.context import columns_of
from bulkreset.report.grid import folded


def say(text: str, *, rest: str = "", out: TextIO | None = None) -> None:
    """Print a text: on a terminal in lines that it has room for, else in one, so that a program can read it.

    `rest` stands before all lines but the first; `out` is standard output unless it is given.
    """
    out = out or sys.stdout
    print("\n".join(folded(text, columns_of(out), rest=rest)), file=out, flush=True)


def ask(question: str) -> bool:
    """Ask for a yes or a no on standard error, in lines that the terminal has room for."""
    width = columns_of(sys.stderr)
    *before, last = folded(question, None if width is None else width - len(" [y/N]: "))
    for line in before:
        print(line, file=sys.stderr)
    return typer.confirm(last, err=True)


@contextmanager
def text_output(output: Path | None) -> Iterator[TextIO]:
    """Open standard output, or a file that replaces an older one. Raises StoreError where it cannot be written."""
    if output is None:
        yield sys.stdout
        sys.stdout.flush()
        return
    if output.exists() and not output.is_file():  # a pipe or a device is written to, not replaced
        with output.open("w", encoding="utf-8", newline="") as out:
            yield out
        return
    with whole_file(output, replace=True) as file:
        text = io.TextIOWrapper(file, encoding="utf-8", newline="")
        try:
            yield text
        finally:
            text.detach()  # flushes; the file is closed by who opened it


@contextmanager
def whole_file(path: Path, *, replace: bool) -> Iterator[BinaryIO]:
    """Open a file of mode 0600 that gets its name when the block has ended, and no name where that raised.

    With its name it is on the disk. Without `replace` a file that exists already is never touched: UsageError,
    before the block where it stands by then. Raises StoreError where it cannot be written.
    """
    import tempfile

    from bulkreset.errors import StoreError, UsageError

    if not replace:
        _refuse_standing(path)
    else:
        path = path.resolve()  # or a link such as /dev/stdout would itself be replaced
        if path.exists() and not path.is_file():
            raise UsageError(f"{path}: is not a regular file, and only such a one is replaced; name another file")
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    except OSError as error:
        raise StoreError(f"cannot write to {path.parent}: {error.strerror}") from None
    try:
        with os.fdopen(handle, "wb") as out:
            yield out
            out.flush()
            os.fsync(handle)
        _give_name(Path(name), path, replace=replace)
    except OSError as error:
        raise StoreError(f"cannot write {path}: {error.strerror}") from None
    finally:
        Path(name).unlink(missing_ok=True)


def _give_name(made: Path, path: Path, *, replace: bool) -> None:
    if replace:
        made.replace(path)
    else:
        try:
            path.hardlink_to(made)  # unlike a rename it fails where the name is taken
        except FileExistsError:
            _refuse_standing(path)
        except OSError:  # a file system without links, as on many a USB stick
            _refuse_standing(path)
            made.replace(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _refuse_standing(path: Path) -> None:
    from bulkreset.errors import UsageError

    if os.path.lexists(path):
        raise UsageError(f"{path}: exists already and is not overwritten; name another file")

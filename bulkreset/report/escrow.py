"""The lists that an escrow is handed over as: with each password sealed, and opened by a recipient."""

import csv
import io
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, TextIO

from bulkreset.errors import InputError
from bulkreset.report.render import harmless, moment
from bulkreset.secret import Secret
from bulkreset.store.escrows import Escrowed

SEALED: Final = ("user", "user_ref", "set_at", "password_age")
"""The columns of an export; the last one is the password's own age file in base64."""

OPENED: Final = ("user", "user_ref", "set_at", "password")
"""The columns of what a recipient makes of it."""


@dataclass(frozen=True, slots=True)
class Opening:
    """How many passwords were opened, and the lines of those that could not be."""

    opened: int
    shut: tuple[int, ...]


def sealed_lines(entries: Iterable[Escrowed] | None = None) -> bytes:
    """Return the CSV lines of these entries, or the heading; no spreadsheet runs a cell of it."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    if entries is None:
        writer.writerow(SEALED)
    else:
        for one in entries:
            writer.writerow([harmless(one.user), harmless(one.user_ref), moment(one.set_at), one.sealed])
    return out.getvalue().encode()


def open_lines(lines: Iterable[str], opener: Callable[[str], Secret], out: TextIO) -> Opening:
    """Write an export's lines with the passwords in clear; where one does not open, its cell is empty.

    A password that was made here has no character that is special to a CSV or to a spreadsheet; whoever could
    write to the database could have sealed something else, so its cells are made harmless too. Raises InputError
    where these are not the lines of an export.
    """
    reader, writer = csv.reader(lines, strict=True), csv.writer(out, lineterminator="\n")
    opened, shut = 0, []
    try:
        if tuple(next(reader, ())) != SEALED:
            raise InputError("is no escrow export: its first line is not " + ",".join(SEALED))
        writer.writerow(OPENED)
        for row in reader:
            password = _opened(row, opener, reader.line_num)
            if password is None:
                shut.append(reader.line_num)
            else:
                opened += 1
            writer.writerow([harmless(cell) for cell in (*row[:-1], password)])
    except (csv.Error, UnicodeDecodeError):
        raise InputError(f"line {reader.line_num + 1} is no CSV in UTF-8; get the file once more") from None
    return Opening(opened, tuple(shut))


def _opened(row: Sequence[str], opener: Callable[[str], Secret], line: int) -> str | None:
    if len(row) != len(SEALED):
        raise InputError(f"line {line} has {len(row)} cells instead of {len(SEALED)}")
    try:
        return opener(row[-1]).reveal()
    except InputError:
        return None

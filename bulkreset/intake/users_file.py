"""Users files: tables with a header, plain lists with one user a line, address lists of mail programs, and JSON.

A table may have a column `priority`: a whole number from 0 to 1000, and who has more goes first.

A file decides whose password is changed, so nothing in it is guessed: whatever cannot be read with certainty is
refused with its line.
"""

import csv
import re
from collections.abc import Iterator, Sequence
from itertools import chain, islice
from typing import BinaryIO, Final, NamedTuple

from bulkreset.errors import InputError
from bulkreset.intake.address_list import is_address_list, read_address_list
from bulkreset.intake.columns import Layout, is_repeated, is_title, layout, nobody, read_row, shown, unknown
from bulkreset.intake.naming import Naming
from bulkreset.intake.source_text import LINE_LIMIT, SourceText
from bulkreset.intake.user_line import UserLine, user_line
from bulkreset.intake.users_json import is_json, read_json_users

__all__ = ["UserLine", "read_users", "user_line"]


def read_users(source: BinaryIO, name: str, naming: Naming) -> Iterator[UserLine]:
    """Yield the users of a file as it is read, a block at a time; `name` is what errors call the file.

    Raises InputError with file and line at the first thing that is not right, also after some users were yielded.
    """
    text = SourceText(source, name)
    users = read_json_users(text, naming) if is_json(text) else _from_lines(text, naming)
    user = next(users, None)
    if user is None:
        raise InputError(f"{name}: has a header and no users; put one user a line below it")
    yield user
    yield from users


class _Table(NamedTuple):
    """A header that was read: what its columns mean, how many there are, and what stands between them."""

    layout: Layout
    width: int
    delimiter: str


_Lines = Iterator[tuple[int, str]]

_ROW_LINES: Final = 1_000  # lines that one row may span; a quote that is never closed would take in the whole file
_LOOK_AHEAD: Final = 1_000
_SAMPLE: Final = 20
_DELIMITERS: Final = (",", ";", "\t")
# What spreadsheets and PowerShell put above the header.
_SEPARATOR: Final = re.compile(r'"?sep=(?:([,;|\t])"?[,;|\t ]*)?', re.IGNORECASE)
_TYPE_LINE: Final = re.compile(r'"?#TYPE\b', re.IGNORECASE)
_WORDS: Final = re.compile(r"[^\W\d_](?:[^\W\d]|[ .()\[\]/-])*+").fullmatch
_QUOTED: Final = re.compile(r'"([^"]*+)"').fullmatch
_PLAIN_ID: Final = re.compile(r"[0-9]+|[A-Za-z0-9_+/-]{22}(?:==)?").fullmatch

csv.field_size_limit(LINE_LIMIT)


def _from_lines(text: SourceText, naming: Naming) -> Iterator[UserLine]:
    name = text.name
    lines = ((number, line) for number, line in text.lines() if line.strip())
    first, separator = _first(lines, name)
    if first is None:
        raise InputError(f"{name}: is empty; put one user a line, or a CSV with the column email or user_id")
    number, line = first
    place = f"{name}:{number}"
    delimiters = [separator] if separator else [mark for mark in _DELIMITERS if mark in line.strip()]
    if "@" in line:
        return _headless(line, bool(delimiters), chain([first], lines), name, naming)
    for mark in delimiters or [","]:
        columns = _fields(place, iter([line]), mark)
        if (of := layout(columns, place)) is not None:
            return _tabled(_Table(of, len(columns), mark), lines, name, naming)
    following = list(islice(lines, _LOOK_AHEAD))
    if delimiters:
        mark = max(delimiters, key=line.count)
        rows = [below.split(mark) for _, below in following[:_SAMPLE]]
        raise unknown(_fields(place, iter([line]), mark), rows, place)
    if is_title(line):
        raise unknown([line], [[below] for _, below in following[:_SAMPLE]], place)
    if _is_header(line, [below for _, below in following]):
        told = "is of another kind than all below it, as a header is" if following else "reads like a header"
        raise InputError(
            f"{place}: the first line ({shown(_unquoted(line), 1)}) {told}; call it email or user_id, or put it "
            "further down if it is a user"
        )
    return _listed(chain([first], following, lines), name, naming)


def _first(lines: _Lines, name: str) -> tuple[tuple[int, str] | None, str | None]:
    """Return the first line that is a header or a user, and the delimiter that a line above it names.

    Raises InputError where that is none of those that are read.
    """
    separator: str | None = None
    for number, line in lines:
        if "@" not in line and (found := _SEPARATOR.match(line)):
            if found[1] is None or found.end() < len(line):
                raise InputError(
                    f"{name}:{number}: names a separator that is none of comma, semicolon, tab and |; export the "
                    "file again with one of those"
                )
            separator = found[1]
        elif not _TYPE_LINE.match(line):
            return (number, line), separator
    return None, separator


def _headless(line: str, divided: bool, lines: _Lines, name: str, naming: Naming) -> Iterator[UserLine]:
    """Read a file that begins with an address: one user a line, or what a mail program shows as recipients."""
    if not divided and "<" not in line:
        return _listed(lines, name, naming)
    start = list(islice(lines, 2))
    if not is_address_list(line, alone=len(start) == 1):
        raise InputError(
            f"{name}:{start[0][0]}: the first line has an address among other things, and no header says which is "
            f"which; put a header with email above it, or write one user a line"
        )
    return read_address_list(chain(start, lines), name)


def _is_header(line: str, following: Sequence[str]) -> bool:
    """Tell a title that nobody knows from a user: all below it have another form, or there is nothing below it."""
    title = _unquoted(line).strip()
    if _PLAIN_ID(title) and (_has_digit(title) or any(_PLAIN_ID(below.strip()) for below in following)):
        return False
    if following and all("@" in below for below in following):
        return True
    return _WORDS(title) is not None and all("@" in below or _has_digit(below) for below in following)


def _has_digit(text: str) -> bool:
    """Tell what may be an id by its looks: few ids have no digit, and titles seldom have one."""
    return any(letter.isdecimal() for letter in text)


def _listed(lines: _Lines, name: str, naming: Naming) -> Iterator[UserLine]:
    return (user_line(_unquoted(line), number, name, naming) for number, line in lines)


def _unquoted(line: str) -> str:
    """Return the only field of a row of CSV, quoted or not: no address and no id has quotes at both ends."""
    found = _QUOTED(line.strip())
    return line if found is None else found[1]


def _tabled(table: _Table, lines: _Lines, name: str, naming: Naming) -> Iterator[UserLine]:
    """Read the rows below a header."""
    of, width, delimiter = table
    last: UserLine | None = None
    for number, line in lines:
        place = f"{name}:{number}"
        if '"' in line:
            following = (f"{text}\n" for _, text in islice(lines, _ROW_LINES))
            row = _fields(place, chain([f"{line}\n"], following), delimiter)
        else:
            row = line.split(delimiter) if width > 1 else [line]
        if len(row) != width:
            row = _fitted(place, row, width)
        user = read_row(of, row, number, place, naming)
        if user is None:
            raise nobody(place)
        if not is_repeated(of, user, last):
            yield user
        last = user


def _fields(place: str, lines: Iterator[str], delimiter: str) -> list[str]:
    """Split one row as CSV; it takes further lines only where a quoted field goes on."""
    try:
        return next(csv.reader(lines, delimiter=delimiter, skipinitialspace=True, strict=True))
    except csv.Error:
        raise InputError(
            f"{place}: a quoted field does not end where it should; close it, and double a quote inside"
        ) from None


def _fitted(place: str, row: list[str], width: int) -> list[str]:
    """Fill up a short row. A long one has shifted columns, and with them other people's ids."""
    if any(field.strip() for field in row[width:]):
        raise InputError(f"{place}: the row has more fields than the header; quote the field with a delimiter")
    return row[:width] + [""] * (width - len(row))

"""Users files: CSV with a header that names `email` or `user_id`, or plain lists with one user a line.

A CSV may have a column `priority`: a whole number from 0 to 1000, and who has more goes first.

A file decides whose password is changed, so nothing in it is guessed: whatever cannot be read with certainty is
refused with its line. Messages never repeat what a line holds, because people paste all kinds of things.
"""

import codecs
import csv
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from typing import BinaryIO, Final, NamedTuple

from bulkreset.errors import InputError

LINE_LIMIT: Final = 10_000
"""Bytes in one line; what is longer is not a list of users."""

EMAIL_LIMIT: Final = 254

PRIORITY_LIMIT: Final = 1_000


class UserLine(NamedTuple):
    """One user as the file names it: by e-mail address, by user id, or by both; who has more priority goes first.

    A tuple, not a dataclass: it is made a million times a file and handed to the database as it is.
    """

    line: int
    email: str | None
    user_id: str | None
    priority: int = 0


def read_users(source: BinaryIO, name: str) -> Iterator[UserLine]:
    """Yield the users of a file as it is read, a block at a time; `name` is what errors call the file.

    Raises InputError with file and line at the first thing that is not right, also after some users were yielded.
    """
    lines = chain.from_iterable(_blocks(source, name))
    first = next(((number, line) for number, line in lines if line.strip()), None)
    if first is None:
        raise InputError(f"{name}: is empty; put one user a line, or a CSV with the column email or user_id")
    number, line = first
    layout = _header(name, number, line)
    if layout is None:
        yield from (user_line(line, number, name) for number, line in chain([first], lines) if line.strip())
        return
    users = _tabled(name, layout, lines)
    user = next(users, None)
    if user is None:
        raise InputError(f"{name}: has a header and no users; put one user a line below it")
    yield user
    yield from users


def user_line(text: str, number: int, name: str) -> UserLine:
    """Read one user: what has an '@' is an address, all else is an id. Raises InputError with name and number."""
    user = text.strip()
    if "@" in user:
        if not _is_email(user):
            raise _bad_email(name, number)
        return UserLine(number, user, None)
    if not _USER_ID(user):
        raise _bad_user_id(name, number)
    return UserLine(number, None, user)


class _Layout(NamedTuple):
    """What the header says: which column is which, how many there are, and what stands between them."""

    email: int | None
    user_id: int | None
    priority: int | None
    width: int
    delimiter: str


_BLOCK: Final = 256 * 1024
_ROW_LINES: Final = 100  # lines that one row may span; a quote that is never closed would take in the whole file
_DELIMITERS: Final = (",", ";", "\t")
_CONTROLS: Final = bytes(set(range(32)) - set(b"\t\r\n")) + b"\x7f"
_CONTROLS_BEYOND_ASCII: Final = re.compile("[\x80-\x9f\u2028\u2029]")

# Possessive throughout: a hostile line of 10,000 bytes must not take longer than a friendly one.
_WITHIN_LIMIT: Final = rf"(?!.{{{EMAIL_LIMIT + 1}}})"
_ATOM: Final = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]++"
_LABEL: Final = r"[A-Za-z0-9][A-Za-z0-9-]{0,62}+(?<!-)"
_EMAIL: Final = re.compile(rf"{_WITHIN_LIMIT}{_ATOM}(?:\.{_ATOM})*+@{_LABEL}(?:\.{_LABEL})++").fullmatch
_WIDE_ATOM: Final = r"[\w!#$%&'*+/=?^`{|}~-]++"
_WIDE_LABEL: Final = r"[^\W_](?:[^\W_]|-){0,62}+(?<!-)"
_EMAIL_BEYOND_ASCII: Final = re.compile(
    rf"{_WITHIN_LIMIT}{_WIDE_ATOM}(?:\.{_WIDE_ATOM})*+@{_WIDE_LABEL}(?:\.{_WIDE_LABEL})++"
).fullmatch
# An id can be nothing else in a path: no '/', '?', '#', '%', and not '..'.
_USER_ID: Final = re.compile(r"(?!\.\.?\Z)[A-Za-z0-9._~+=-]{1,128}").fullmatch

# Single words on the first line that are no user: a header, which would be sent to the provider as an id.
_NOT_A_USER: Final = frozenset(
    {"mail", "e-mail", "email_address", "emailaddress", "id", "userid", "user", "users", "username", "user_name"}
    | {"login", "name", "upn", "userprincipalname"}
)


def _blocks(source: BinaryIO, name: str) -> Iterator[Iterable[tuple[int, str]]]:
    """Yield the numbered lines of one block after the other; a line is never held beyond its limit."""
    data = _read(source, name, 4)  # the longest byte order mark
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_BE)):
        raise _foreign(name)
    data = data.removeprefix(codecs.BOM_UTF8)
    number = 1
    while block := _read(source, name, _BLOCK):
        data += block
        if number == 1 and _every_other_is_nul(data[:64]):
            raise _foreign(name)
        while data.endswith(b"\r") and (after := _read(source, name, 1)):  # it may be half of a CRLF
            data += after
        end = max(data.rfind(b"\n"), data.rfind(b"\r")) + 1
        lines = _decoded(name, number, data[:end])
        yield enumerate(lines, number)
        number += len(lines)
        data = data[end:]
        if len(data) > LINE_LIMIT:
            raise _too_long(name, number)
    if _every_other_is_nul(data[:64]):
        raise _foreign(name)
    yield enumerate(_decoded(name, number, data), number)


def _read(source: BinaryIO, name: str, size: int) -> bytes:
    """Read that many bytes, fewer only at the end of the file."""
    data = b""
    try:
        while len(data) < size and (block := source.read(size - len(data))):
            data += block
    except OSError as error:
        raise InputError(f"{name}: cannot be read: {error.strerror or 'unknown reason'}") from None
    return data


def _decoded(name: str, number: int, block: bytes) -> list[str]:
    """Return the lines of whole-line bytes that begin at line `number`, or refuse them by the line at fault."""
    if len(block.translate(None, _CONTROLS)) != len(block):
        raise _control(name, number, block)
    try:
        text = block.decode("utf-8")
    except UnicodeDecodeError as error:
        at = number + len((block[: error.start] + b".").splitlines()) - 1
        raise InputError(f"{name}:{at}: is not UTF-8; save the file as UTF-8") from None
    if not block.isascii() and (found := _CONTROLS_BEYOND_ASCII.search(text)):
        raise _control(name, number, text[: found.end()].encode("utf-8"))
    lines = text.splitlines()
    measured: Sequence[str | bytes] = lines if block.isascii() else block.splitlines()
    if max(map(len, measured), default=0) > LINE_LIMIT:
        raise _too_long(name, next(at for at, line in enumerate(measured, number) if len(line) > LINE_LIMIT))
    return lines


def _header(name: str, number: int, line: str) -> _Layout | None:
    """Read the first line as a header; None where it is a user already. Refuse what could be either."""
    delimiters = [delimiter for delimiter in _DELIMITERS if delimiter in line.strip()]
    for delimiter in delimiters or [","]:
        columns = [column.strip().casefold() for column in _fields(name, number, iter([line]), delimiter)]
        if "email" in columns or "user_id" in columns:
            return _layout(name, number, columns, delimiter)
    if delimiters:
        raise InputError(f"{name}:{number}: the header names neither email nor user_id; name a column so")
    if line.strip().casefold() in _NOT_A_USER:
        raise InputError(
            f"{name}:{number}: looks like a header; call the column email or user_id, or remove the line"
        )
    return None


def _layout(name: str, number: int, columns: list[str], delimiter: str) -> _Layout:
    named = [column for column in columns if column]
    for column in named:
        if named.count(column) > 1:
            raise InputError(
                f"{name}:{number}: the header names {column[:40]!r} twice; rename or remove one of them"
            )
    return _Layout(
        email=columns.index("email") if "email" in columns else None,
        user_id=columns.index("user_id") if "user_id" in columns else None,
        priority=columns.index("priority") if "priority" in columns else None,
        width=len(columns),
        delimiter=delimiter,
    )


def _tabled(name: str, layout: _Layout, lines: Iterator[tuple[int, str]]) -> Iterator[UserLine]:
    """Read the rows below a header."""
    email_at, user_id_at, priority_at, width, delimiter = layout
    for number, line in lines:
        if '"' in line:
            following = (f"{text}\n" for _, text in islice(lines, _ROW_LINES))
            row = _fields(name, number, chain([f"{line}\n"], following), delimiter)
        else:
            row = line.split(delimiter) if width > 1 else [line]
        if len(row) != width:
            row = _fitted(name, number, row, width)
        email = row[email_at].strip() if email_at is not None else ""
        user_id = row[user_id_at].strip() if user_id_at is not None else ""
        if email and not _is_email(email):
            raise _bad_email(name, number)
        if user_id and not _USER_ID(user_id):
            raise _bad_user_id(name, number)
        if email or user_id:
            priority = 0 if priority_at is None else _priority(name, number, row[priority_at].strip())
            yield UserLine(number, email or None, user_id or None, priority)
        elif line.strip():
            raise InputError(
                f"{name}:{number}: the row has neither email nor user_id; fill one in or remove the row"
            )


def _fields(name: str, number: int, lines: Iterator[str], delimiter: str) -> list[str]:
    """Split one row as CSV; it takes further lines only where a quoted field goes on."""
    try:
        return next(csv.reader(lines, delimiter=delimiter, skipinitialspace=True, strict=True))
    except csv.Error:
        raise InputError(
            f"{name}:{number}: a quoted field does not end where it should; close it, and double a quote inside"
        ) from None


def _fitted(name: str, number: int, row: list[str], width: int) -> list[str]:
    """Fill up a short row. A long one has shifted columns, and with them other people's ids."""
    if any(field.strip() for field in row[width:]):
        raise InputError(
            f"{name}:{number}: the row has more fields than the header; quote the field with a delimiter"
        )
    return row[:width] + [""] * (width - len(row))


def _priority(name: str, number: int, text: str) -> int:
    if not text:
        return 0
    if text.isascii() and text.isdecimal() and len(text) <= 10 and int(text) <= PRIORITY_LIMIT:
        return int(text)
    raise InputError(
        f"{name}:{number}: the priority is not a whole number from 0 to {PRIORITY_LIMIT}; correct or empty it"
    )


def _is_email(text: str) -> bool:
    """Tell whether this is an address as RFC 5322 writes it without quotes, in ASCII or with letters beyond."""
    return bool(_EMAIL(text) or (not text.isascii() and _EMAIL_BEYOND_ASCII(text)))


def _every_other_is_nul(sample: bytes) -> bool:
    return b"\0" in sample and len(sample) // 2 - 1 <= max(sample[::2].count(0), sample[1::2].count(0))


def _foreign(name: str) -> InputError:
    return InputError(f"{name}: is UTF-16 or UTF-32 text; save the file as UTF-8")


def _control(name: str, number: int, block: bytes) -> InputError:
    """Find the first line with a control character, or take the last where they are beyond ASCII."""
    lines = block.splitlines()
    clean = (len(line.translate(None, _CONTROLS)) == len(line) for line in lines)
    at = next((at for at, good in enumerate(clean) if not good), len(lines) - 1)
    what = "a NUL byte" if b"\0" in lines[at] else "a control character"
    return InputError(f"{name}:{number + at}: holds {what}; save the file as plain UTF-8 text")


def _too_long(name: str, number: int) -> InputError:
    return InputError(f"{name}:{number}: is longer than {LINE_LIMIT:,} bytes; write one user a line")


def _bad_email(name: str, number: int) -> InputError:
    return InputError(f"{name}:{number}: is not an e-mail address; correct or remove it")


def _bad_user_id(name: str, number: int) -> InputError:
    return InputError(
        f"{name}:{number}: is neither an e-mail address nor a user id"
        " (at most 128 letters, digits and . _ ~ + = -); correct or remove it"
    )

"""The recipients of a mail as mail programs show and copy them: `Ada <a@x.org>; Bob <b@x.org>`, on one line."""

import re
from collections.abc import Iterator
from typing import Final

from bulkreset.address import folded
from bulkreset.errors import InputError
from bulkreset.intake.user_line import UserLine, read_email


def is_address_list(line: str, *, alone: bool) -> bool:
    """Tell whether every entry of a line is an address, with or without a name.

    Where several bare addresses stand in each of many lines it may as well be a table that lost its header, whose
    second column is people's managers: such a line is no list unless it is `alone`.
    """
    entries = _entries(line)
    addresses = [_address(entry) for entry in entries]
    if not entries or None in addresses:
        return False
    return alone or len(entries) == 1 or all("<" in entry for entry in entries)


def read_address_list(lines: Iterator[tuple[int, str]], name: str) -> Iterator[UserLine]:
    """Yield the users of such lines. Raises InputError with the line and the entry that is no address."""
    for number, line in lines:
        for at, entry in enumerate(_entries(line), 1):
            place = f"{name}:{number}: entry {at} of the line"
            address = _address(entry)
            if address is None:
                raise InputError(f"{place} is not an e-mail address; correct or remove it")
            try:
                yield UserLine(number, read_email(address, ""), None)
            except InputError as error:
                raise InputError(f"{place}{str(error).removeprefix(':')}") from None


_QUOTED: Final = r'"[^"]*+"|<[^<>]*+>'
# People's names have commas where entries are divided by semicolons.
_BY_SEMICOLON: Final = re.compile(rf'(?:{_QUOTED}|[^;"<])++')
_BY_COMMA: Final = re.compile(rf'(?:{_QUOTED}|[^,"<])++')
_NAMED: Final = re.compile(r'("[^"]*"|[^"<>]*)\s*<\s*([^<>\s]+@[^<>\s]+)\s*>').fullmatch
_BARE: Final = re.compile(r"[^\s<>\",;]+@[^\s<>\",;]+").fullmatch


def _entries(line: str) -> list[str]:
    split = _BY_SEMICOLON if ";" in line else _BY_COMMA
    return [entry for found in split.findall(line) if (entry := found.strip())]


def _address(entry: str) -> str | None:
    if found := _NAMED(entry):
        name, address = found[1].strip(" \"'"), found[2]
        # Who has no name is shown by the address once more; by another one, nobody can tell which is meant.
        return address if "@" not in name or folded(name) == folded(address) else None
    return entry if _BARE(entry) else None

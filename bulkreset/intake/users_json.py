"""Users as JSON: an array of texts or of objects, an object with one such array, or one object a line.

So come the answers of directories and providers, PowerShell's ConvertTo-Json, GAM, and bulkreset's own reports.
"""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Final

from bulkreset.errors import InputError
from bulkreset.intake.columns import Layout, check_account, is_repeated, layout, nobody, read_row, unknown
from bulkreset.intake.naming import Naming
from bulkreset.intake.source_text import SourceText
from bulkreset.intake.user_line import UserLine, read_email, read_name

SIZE_LIMIT: Final = 64 * 1024 * 1024
"""Bytes of a document that is read as a whole; one object a line may be of any size."""


def is_json(text: SourceText) -> bool:
    """Tell by its first characters whether this is JSON; an address may begin with a brace as well."""
    head = text.peek(_HEAD).lstrip()
    if not head.startswith((b"{", b"[")):
        return False
    line = head.splitlines()[0]
    if b'"' in line or b"@" not in line:
        return True
    try:
        read_email(line.decode().strip(), "")
    except (InputError, UnicodeDecodeError):
        return True
    return False


def read_json_users(text: SourceText, naming: Naming) -> Iterator[UserLine]:
    """Yield the users. Raises InputError with the entry, or the line where each has its own."""
    if _one_a_line(text):
        return _read_lines(text, naming)
    return _read_document(text, naming)


_HEAD: Final = 64 * 1024
# What an answer has that is not the last: in the forms that are known, by token, link or number.
_MORE: Final = ("next_page_token", "nextPageToken", "@odata.nextLink", "next_page", "nextLink")
# How many there are in all, in the answers of these and of SCIM.
_TOTALS: Final = ("total_records", "totalrecords", "count", "total", "totalresults", "total_count", "@odata.count")
_LISTS: Final = ("users", "tasks", "value", "resources", "data", "items", "members")


class _Layouts:
    """What the keys of objects mean; most objects of a file have the same."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, ...], Layout] = {}

    def of(self, keys: tuple[str, ...], place: str) -> Layout:
        """Return what these keys mean. Raises InputError where none of them names anybody."""
        found = self._known.get(keys) or layout(keys, place, escaped=False)
        if found is None:
            raise unknown(keys, [], place)
        self._known[keys] = found
        return found


def _one_a_line(text: SourceText) -> bool:
    lines = text.peek(_HEAD).splitlines()
    complete = [line for line in lines[:-1] if line.strip()]
    rest = [line for line in lines if line.strip()]
    if not complete or len(rest) < 2 or not rest[1].lstrip().startswith(b"{"):
        return False
    try:
        return isinstance(json.loads(complete[0]), dict)
    except (ValueError, RecursionError):
        return False


def _read_lines(text: SourceText, naming: Naming) -> Iterator[UserLine]:
    layouts = _Layouts()
    for number, line in text.lines():
        if line.strip():
            place = f"{text.name}:{number}"
            user, _ = _user(_parsed(line, number, text.name), number, place, naming, layouts)
            yield user


def _read_document(text: SourceText, naming: Naming) -> Iterator[UserLine]:
    data = text.read(SIZE_LIMIT + 1)
    if len(data) > SIZE_LIMIT:
        raise InputError(
            f"{text.name}: is JSON of more than {SIZE_LIMIT >> 20} MiB; write one object a line, or CSV"
        )
    try:
        document = _parsed(data.decode(), 1, text.name)
    except UnicodeDecodeError:
        raise InputError(f"{text.name}: is not UTF-8; save the file as UTF-8") from None
    entries = _list(document, text.name)
    _check_account(document, text.name, naming)
    if not entries:
        raise InputError(f"{text.name}: names no users; fill its list, or name another file")
    layouts = _Layouts()
    last: UserLine | None = None
    for number, entry in enumerate(entries, 1):
        user, of = _user(entry, number, f"{text.name}: entry {number}", naming, layouts)
        if not is_repeated(of, user, last):
            yield user
        last = user


def _list(document: object, name: str) -> list[object]:
    if isinstance(document, dict):
        lists = {key: value for key, value in document.items() if isinstance(value, list)}
        known = [value for key, value in lists.items() if key.casefold() in _LISTS]
        if lists and _goes_on(document):
            raise _not_all(f"{name}: is one page of several")
        if len(known) == 1 and (total := _total(document)) > len(known[0]):
            raise _not_all(f"{name}: has {len(known[0]):,} of {total:,} users, as it says itself")
        if len(known) == 1:
            return known[0]
        if not known and layout(tuple(dict(_cells(document))), name, escaped=False) is not None:
            return [document]
    if isinstance(document, list):
        return document
    raise InputError(f"{name}: is JSON without a list of users; write a list of texts, or of objects with email")


def _not_all(what: str) -> InputError:
    return InputError(f"{what}, so that people are missing; fetch all and write one list")


def _goes_on(answer: Mapping[str, object]) -> bool:
    meta, links = answer.get("meta"), answer.get("links")  # of a listing by cursor
    return (
        any(map(answer.get, _MORE))
        or (isinstance(meta, dict) and meta.get("has_more") is True)
        or (isinstance(links, dict) and bool(links.get("next")))
    )


def _total(answer: Mapping[str, object]) -> int:
    """Return how many users there are in all, by the answer's own word; 0 where it says nothing of it."""
    totals = [value for key, value in answer.items() if key.casefold() in _TOTALS]
    return max((int(one) for one in totals if isinstance(one, str) and _WHOLE(one)), default=0)


_WHOLE: Final = re.compile(r"[0-9]{1,12}").fullmatch


def _check_account(document: object, name: str, naming: Naming) -> None:
    batch = document.get("batch") if isinstance(document, dict) else None
    account = batch.get("account") if isinstance(batch, dict) else None
    if isinstance(account, str):
        check_account(account, name, naming)


def _user(
    entry: object, number: int, place: str, naming: Naming, layouts: _Layouts
) -> tuple[UserLine, Layout | None]:
    if isinstance(entry, str):
        return UserLine(number, *read_name(entry, place, naming)), None
    if not isinstance(entry, dict):
        raise InputError(
            f"{place}: is neither a text nor an object; write an address, an id, or an object with email"
        )
    cells = dict(_cells(entry))
    of = layouts.of(tuple(cells), place)
    user = read_row(of, list(cells.values()), number, place, naming)
    if user is None:
        raise nobody(place)
    return user, of


def _cells(entry: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield what is a text or a number, that of an object inside by both keys: `profile.email`."""
    for key, value in entry.items():
        if value is None:
            yield prefix + key, ""
        elif isinstance(value, bool):
            yield prefix + key, str(value)
        elif isinstance(value, str):
            yield prefix + key, value
        elif isinstance(value, dict) and not prefix:
            yield from _cells(value, f"{key}.")


def _parsed(text: str, number: int, name: str) -> object:
    """Parse JSON that begins at line `number`; numbers stay as they are written, so that no id is rounded."""
    try:
        value: object = json.loads(
            text, parse_int=str, parse_float=str, parse_constant=str, object_pairs_hook=_once
        )
    except _Repeated as error:
        raise InputError(f"{name}: an object has the key {str(error)!r} twice; remove one of them") from None
    except json.JSONDecodeError as error:
        line = number + error.lineno - 1
        raise InputError(f"{name}:{line}: is not valid JSON; export it again, or write CSV") from None
    except RecursionError:
        raise InputError(f"{name}: is JSON too deep to be a list of users; write a list of texts") from None
    return value


class _Repeated(ValueError):  # noqa: N818  (never leaves this module)
    """A key of ours stands twice in an object."""


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    entry = dict(pairs)
    if len(entry) != len(pairs):
        keys = [key for key, _ in pairs]
        for ours in ("email", "user_id", "user_ref", "user"):
            if keys.count(ours) > 1:
                raise _Repeated(ours)
    return entry

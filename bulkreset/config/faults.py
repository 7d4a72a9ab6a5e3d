"""What is wrong with a configuration: all of it in one message, unknown keys first, with those that were meant."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from bulkreset.config.settings import NO_PROVIDER, UNKNOWN_PROVIDER, Settings
from bulkreset.providers import KINDS, names
from bulkreset.settings import AccountSettings

Place = tuple[str | int, ...]

_LONG_ENOUGH: Final = 400
_UNKNOWN: Final = "extra_forbidden"
_MISSING: Final = "missing"
_SECRETS: Final = frozenset({"key", "client_secret", "api_token", "oauth_token", "password"})
_IN_WORDS: Final[Mapping[str, str]] = {
    # Not the word "none", which would lead people to what protects nobody.
    "protected": 'must be a list of texts, ["ceo@example.com"], or { file = "PATH" }',
    "client_id": 'must be a text, { env = "NAME" } or { file = "PATH" }',
    "url": 'must be a text, { env = "NAME" } or { file = "PATH" }',
}
_PLAIN: Final[Mapping[str, str]] = {
    _MISSING: "is missing; add it",
    "string_type": "must be a text, in quotes",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "finite_number": "must be a number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "path_type": 'must be a path, in quotes: "FILE"',
    "list_type": "must be a list, [ … ]",
    "dict_type": "must be a table",
    "model_type": "must be a table",
    "model_attributes_type": "must be a table",
}


@dataclass(frozen=True, slots=True)
class _Fault:
    place: Place
    kind: str
    advice: str


def faults_of(path: Path, text: str, error: ValidationError) -> str:
    """Put every fault into one message: file, line, key and what to do, then the next line of the file."""
    return _in_words(path, text, _errors(error))


def faults_by_account(path: Path, text: str, error: ValidationError) -> dict[str, str] | None:
    """Return such a message for each account that has faults; None where anything else has one too."""
    by_account: dict[str, list[ErrorDetails]] = {}
    for one in _errors(error):
        if len(one["loc"]) < 2 or one["loc"][0] != "accounts":
            return None
        by_account.setdefault(str(one["loc"][1]), []).append(one)
    return {account: _in_words(path, text, errors) for account, errors in by_account.items()}


def _errors(error: ValidationError) -> list[ErrorDetails]:
    return error.errors(include_input=False, include_url=False)


def _in_words(path: Path, text: str, errors: Iterable[ErrorDetails]) -> str:
    found: dict[Place, _Fault] = {}
    for one in errors:
        fault = _fault(one)
        found.setdefault(fault.place, fault)
    unknown = [fault for fault in found.values() if fault.kind == _UNKNOWN]
    missing = {fault.place for fault in found.values() if fault.kind == _MISSING}
    lines: list[tuple[Place, str]] = []
    for fault in unknown:
        meant = _meant(fault.place, missing)
        if meant is not None:
            missing.discard((*fault.place[:-1], meant))
        lines.append((fault.place, _unknown(fault.place, meant)))
    lines += [
        (fault.place, fault.advice)
        for fault in found.values()
        if fault.kind != _UNKNOWN and (fault.kind != _MISSING or fault.place in missing)
    ]
    told = f"{path}:{line_of(text, lines[0][0])}: {lines[0][1]}"
    for number, (place, advice) in enumerate(lines[1:], start=1):
        if len(told) > _LONG_ENOUGH:
            return f"{told} (and {len(lines) - number} more)"
        told += f"; line {line_of(text, place)}: {advice}"
    return told


def line_of(text: str, place: Place) -> int:
    """Find the line of a key by its path, or of the nearest table around it; 1 where nothing matches."""
    found = 1
    header: list[str] = []
    best = -1
    wanted = [str(part) for part in place]
    for number, line in enumerate(text.splitlines(), start=1):
        path = header
        if table := re.match(r"\s*\[+\s*([^\]]+?)\s*\]+\s*(?:#.*)?$", line):
            header = path = _parts(table[1])
        elif key := re.match(
            r"\s*((?:[\w-]+|\"[^\"]*\"|'[^']*')(?:\s*\.\s*(?:[\w-]+|\"[^\"]*\"|'[^']*'))*)\s*=", line
        ):
            path = header + _parts(key[1])
        shared = 0
        while shared < min(len(path), len(wanted)) and path[shared] == wanted[shared]:
            shared += 1
        if shared == len(path) and shared > best and shared > 0:
            best, found = shared, number
    return found


def _parts(dotted: str) -> list[str]:
    return [part.strip("\"'") for part in re.findall(r"\"[^\"]*\"|'[^']*'|[^.\s]+", dotted)]


# pydantic puts the chosen alternative of a union into the path; the file has no such key.
_ALTERNATIVES: Final = frozenset({"str", "SecretSource", "literal['none']", "list[str]", "ProtectedFile"})


def _place(given: tuple[str | int, ...]) -> Place:
    head = 2 if given[:1] == ("accounts",) else 0  # an account's own name may be any of these words
    return (*given[:head], *(part for part in given[head:] if part not in _ALTERNATIVES))


def _name(place: Place) -> str:
    return ".".join(str(part) for part in place) or "the file"


def _unknown(place: Place, meant: str | None) -> str:
    if meant is None:
        return f"unknown key {_name(place)!r}; remove it or correct its spelling"
    return f"unknown key {_name(place)!r}; did you mean {meant!r}?"


def _meant(place: Place, missing: set[Place]) -> str | None:
    """Find the key that was meant: one that is missing beside it, before any other of the table."""
    word = str(place[-1])
    absent = [str(other[-1]) for other in missing if other[:-1] == place[:-1]]
    for keys in (absent, sorted(_keys(place[:-1]))):
        if close := get_close_matches(word, keys, 1):
            return close[0]
    return None


def _keys(table: Place) -> set[str]:
    """Return the keys that a table may have."""
    models: list[Any] = [Settings]
    for part in table:
        inner = [model.model_fields[part].annotation for model in models if part in model.model_fields]
        if not inner:  # an account's own name, or the number of a list's member
            continue
        models = [model for kind in inner for model in _models(kind)]
    return {name for model in models for name in model.model_fields} - {"base", "broken"}


def _models(kind: Any) -> Iterator[type[BaseModel]]:
    if kind is AccountSettings:
        yield from (known.settings for known in KINDS.values())
    elif isinstance(kind, type) and issubclass(kind, BaseModel):
        yield kind
    for part in get_args(kind):
        yield from _models(part)


def _fault(error: ErrorDetails) -> _Fault:
    """Place one of pydantic's errors; what is inside a key with several forms is told of the key."""
    place = _place(error["loc"])
    account = 2 if place[:1] == ("accounts",) else 0
    for number in range(account, len(place)):
        key = place[number]
        if key in _IN_WORDS:
            place = place[: number + 1]
            own = error["type"] == "value_error"
            advice = _message(error) if own else _IN_WORDS[str(key)]
            return _Fault(place, "form", f"{_name(place)!r} {advice}")
    return _Fault(place, error["type"], f"{_name(place)!r}{_advice(place, error)}")


def _advice(place: Place, error: ErrorDetails) -> str:
    kind = error["type"]
    if kind in ("model_type", "model_attributes_type") and place and place[-1] in _SECRETS:
        return ' must be { env = "NAME" } or { file = "PATH" }, never the secret itself'
    if kind == NO_PROVIDER:
        known = " or ".join(f'"{name}"' for name in names())
        return f" has no provider; add provider = {known}"
    if kind == UNKNOWN_PROVIDER:
        return f": there is no provider {error['ctx']['provider']!r}; there is: {', '.join(names())}"
    return f" {_PLAIN[kind]}" if kind in _PLAIN else f": {_message(error)}"


def _message(error: ErrorDetails) -> str:
    return error["msg"].removeprefix("Value error, ").replace("Input should be", "must be")

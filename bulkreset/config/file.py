"""The configuration file: whose it may be, its encoding, its TOML."""

import codecs
import os
import re
import stat
import tomllib
from collections.abc import Collection
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from bulkreset.config.faults import faults_by_account, faults_of, line_of
from bulkreset.config.settings import Settings
from bulkreset.errors import ConfigError
from bulkreset.ownership import read_checked, refuse_foreign, refuse_open_folder

SIZE_LIMIT: Final = 4 * 1024 * 1024
"""Bytes; a list of 100,000 protected people is shorter."""

# What is no key of the file, but found out by reading it.
_OURS: Final = frozenset({"base", "broken"})
# tomllib takes a bracket for a call of its own, and Python takes numbers up to 4,300 digits.
_NESTED: Final = re.compile(r"^(?:[^\[\]{}\n]*[\[{]){100}", re.MULTILINE)
_LONG_NUMBER: Final = re.compile(r"[0-9_]{4300,}")


def load(path: Path, *, spare_others: bool = False) -> Settings:
    """Read and check a configuration file. Raises ConfigError: one line with every key to mend.

    With `spare_others` an account with faults stops only itself, where another one is left: it is `broken`.
    """
    text = _text(path)
    tables = _tables(path, text)
    for name in _OURS & tables.keys():
        raise ConfigError(f"{path}:{line_of(text, (name,))}: unknown key {name!r}; remove it")
    # Not resolved: where a link on the way is moved, what is read later is read behind it.
    tables["base"] = path.absolute().parent
    try:
        try:
            return Settings(**tables)
        except ValidationError as error:
            broken = faults_by_account(path, text, error) if spare_others else None
            if broken is None or not (whole := _without(tables["accounts"], broken)):
                raise
            return Settings(**{**tables, "accounts": whole, "broken": broken})
    except ValidationError as error:
        raise ConfigError(faults_of(path, text, error)) from None
    except RecursionError:
        raise ConfigError(f"{path}:{_bomb(text)}: is nested too deeply; write it as in the example") from None


def _without(accounts: dict[str, Any], broken: Collection[str]) -> dict[str, Any]:
    return {name: account for name, account in accounts.items() if name not in broken}


def _text(path: Path) -> str:
    try:
        content = read_checked(path, SIZE_LIMIT, lambda status: _refuse_unsafe(path, status))
    except FileNotFoundError:
        raise ConfigError(
            f"{path}: no such file; make one with `bulkreset init`, or name one with --config or BULKRESET_CONFIG"
        ) from None
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from None
    if len(content) > SIZE_LIMIT:
        raise ConfigError(f"{path}: is larger than {SIZE_LIMIT // 1024**2} MiB, which no configuration is")
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise ConfigError(f"{path}: is UTF-16 text, by its byte order mark; save it as UTF-8")
    try:
        return content.decode("utf-8-sig")  # editors of Windows put a byte order mark before UTF-8 too
    except UnicodeDecodeError as error:
        number = content.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{path}: cannot be read: line {number} is not UTF-8 text; save it as UTF-8") from None


def _refuse_unsafe(path: Path, status: os.stat_result) -> None:
    if stat.S_ISREG(status.st_mode):  # nobody else writes into the pipe of `--config <(…)`
        refuse_foreign(path, status)
        refuse_open_folder(path)


def _tables(path: Path, text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: {_safe_syntax_error(error)}") from None
    except RecursionError:
        raise ConfigError(f"{path}:{_bomb(text)}: is nested too deeply; write it as in the example") from None
    except (ValueError, OverflowError):  # Python's own, of a number with thousands of digits
        raise ConfigError(f"{path}:{_bomb(text)}: holds a number with too many digits; correct it") from None


def _bomb(text: str) -> int:
    """Find the line that is too deep or too long for the parser; 1 where it is spread over many."""
    hit = _LONG_NUMBER.search(text) or _NESTED.search(text)
    return text.count("\n", 0, hit.start()) + 1 if hit else 1


def _safe_syntax_error(error: tomllib.TOMLDecodeError) -> str:
    """Keep the place and the kind of a syntax error, and nothing of the line, which may hold a secret."""
    text = str(error)
    place = re.search(r"line (\d+)", text)
    where = f"line {place[1]}" if place else "the end of the file"
    return f"{where} is not TOML: {re.sub(r'[:(].*', '', text).strip()}"

"""The people of an account who are never reset, whoever orders it: read from the configuration, held in memory.

Asked when a roster is made and once more when a call is about to leave.
"""

import os
import unicodedata
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from bulkreset.config import ProtectedFile, ZendeskSettings, ZoomSettings
from bulkreset.errors import ConfigError, InputError
from bulkreset.intake.users_file import read_users, user_line

Stamp = tuple[int, int, int]
"""What changes when a file does: when it was written, its size, and which file it is."""


@dataclass(frozen=True, slots=True)
class Protected:
    """Names of people, by address or id, case-folded, and each letter in one spelling.

    `path` is the file that they came from, if they did.
    """

    names: frozenset[str]
    path: Path | None = None
    stamp: Stamp | None = None

    @classmethod
    def of(cls, *names: str) -> Self:
        """Protect these."""
        return cls(frozenset(map(_folded, names)))

    def covers(self, *names: str | None) -> bool:
        """Tell whether somebody who is known by all these names is protected by any of them. Pure."""
        return any(name is not None and _folded(name) in self.names for name in names)

    def refreshed(self) -> "Protected":
        """Return the list as its file stands now; the same object where that did not change.

        Raises ConfigError and InputError where the file cannot be read any more: nobody is known to be
        unprotected then, so nothing may be sent.
        """
        if self.path is None or _stamp(self.path) == self.stamp:
            return self
        return _read(self.path)


def load(account: ZoomSettings | ZendeskSettings, base: Path) -> Protected | None:
    """Return an account's protected people; None where the configuration says nothing about them.

    Raises ConfigError where the list names nobody (that is to be said by "none"), a name in it can be nobody's
    or its file cannot be read, and InputError where a line of the file is no user.
    """
    told = account.protected
    if told is None:
        return None
    if told == "none":
        return Protected.of()
    if isinstance(told, ProtectedFile):
        return _read(base / told.file)
    assert isinstance(told, list)
    if not told or not all(name.strip() for name in told):
        raise ConfigError('protected names nobody, or has an empty name; name the users, or write "none"')
    for number, name in enumerate(told, 1):
        try:
            user_line(name, number, "protected")
        except InputError:  # it would protect nobody, unseen
            raise ConfigError(
                f"protected: name {number} is neither an e-mail address nor a user id; write each by itself"
            ) from None
    return Protected.of(*told)


def _folded(name: str) -> str:
    # An accent may be a letter of its own or a part of one, as whoever typed it had it.
    return unicodedata.normalize("NFKC", name.strip().casefold())


def _read(path: Path) -> Protected:
    stamp = _stamp(path)  # before: what is written while it is read is read again
    try:
        with path.open("rb") as source:
            names = [name for line in read_users(source, str(path)) for name in (line.email, line.user_id) if name]
    except OSError as error:
        raise _unreadable(path, error) from None
    return Protected(frozenset(map(_folded, names)), path, stamp)


def _stamp(path: Path) -> Stamp:
    try:
        found = os.stat(path)  # noqa: PTH116  (as cheap as it gets: it is asked at every claim)
    except OSError as error:
        raise _unreadable(path, error) from None
    return found.st_mtime_ns, found.st_size, found.st_ino


def _unreadable(path: Path, error: OSError) -> ConfigError:
    reason = error.strerror or "unknown reason"
    return ConfigError(f"{path}: the list of protected users cannot be read: {reason}; nothing is sent without it")

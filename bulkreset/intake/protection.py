"""The people of an account who are never reset, whoever orders it: read from the configuration, held in memory.

Asked when a roster is made and once more when a call is about to leave.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from bulkreset.address import folded
from bulkreset.errors import ConfigError, InputError
from bulkreset.intake.naming import Naming
from bulkreset.intake.user_line import read_name
from bulkreset.intake.users_file import read_users
from bulkreset.ownership import refuse_foreign, refuse_open_folder
from bulkreset.settings import AccountSettings, ProtectedFile

Stamp = tuple[int, ...]
"""What changes when a file does: when it and its entry were written, its size, and which file it is."""


@dataclass(frozen=True, slots=True)
class Protected:
    """Names of people, by address or id, folded so far that whoever could be meant is.

    `path` is the file that they came from, if they did, as it is configured: links in it are followed at each use.
    """

    names: frozenset[str]
    path: Path | None = None
    stamp: Stamp | None = None
    naming: Naming | None = None

    @classmethod
    def of(cls, *names: str) -> Self:
        """Protect these."""
        return cls(frozenset(map(folded, names)))

    def covers(self, *names: str | None) -> bool:
        """Tell whether somebody who is known by all these names is protected by any of them. Pure."""
        return any(name is not None and folded(name) in self.names for name in names)

    def refreshed(self) -> "Protected":
        """Return the list as its file stands now; the same object where that did not change.

        Raises ConfigError and InputError where the file cannot be read any more: nobody is known to be
        unprotected then, so nothing may be sent.
        """
        if self.path is None or self.naming is None or _stamp(self.path) == self.stamp:
            return self
        return _read(self.path, self.naming)


def load(account: AccountSettings, base: Path) -> Protected | None:
    """Return an account's protected people; None where the configuration says nothing about them.

    Raises ConfigError where the list names nobody (that is to be said by "none"), a name in it can be nobody's
    or its file cannot be read, and InputError where a line of the file is no user.
    """
    told = account.protected
    if told is None:
        return None
    if told == "none":
        return Protected.of()
    naming = Naming.of(account)
    if isinstance(told, ProtectedFile):
        return _read(base / told.file, naming)
    assert isinstance(told, list)
    if not told or not all(name.strip() for name in told):
        raise ConfigError('protected names nobody, or has an empty name; name the users, or write "none"')
    for number, name in enumerate(told, 1):  # one that is nobody's would protect nobody, unseen
        _check(name, f"protected: name {number}", naming)
    return Protected.of(*told)


def owner_of(account: AccountSettings, place: str) -> Protected | None:
    """Return the configured owner; None where there is none. Raises ConfigError for what names nobody."""
    if account.owner is None:
        return None
    _check(account.owner, f"{place}.owner", Naming.of(account))
    return Protected.of(account.owner)


def _check(name: str, place: str, naming: Naming) -> None:
    try:
        read_name(name, place, naming)
    except InputError as error:
        raise ConfigError(str(error)) from None


def _read(path: Path, naming: Naming) -> Protected:
    stamp = _stamp(path)  # before: what is written while it is read is read again
    try:
        with path.open("rb") as source:
            refuse_foreign(path, os.fstat(source.fileno()))
            refuse_open_folder(path)
            lines = read_users(source, str(path), naming)
            names = frozenset(folded(name) for line in lines for name in (line.email, line.user_id) if name)
    except OSError as error:
        raise _unreadable(path, error) from None
    return Protected(names, path, stamp, naming)


def _stamp(path: Path) -> Stamp:
    try:
        found = os.stat(path)  # noqa: PTH116  (as cheap as it gets: it is asked at every claim)
    except OSError as error:
        raise _unreadable(path, error) from None
    return found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino, found.st_dev


def _unreadable(path: Path, error: OSError) -> ConfigError:
    reason = error.strerror or "unknown reason"
    return ConfigError(f"{path}: the list of protected users cannot be read: {reason}; nothing is sent without it")

"""Whose a file is, and who else may write it: asked of the opened file, so that it cannot be exchanged later.

Whoever can write a configuration, a secret, a list of protected people or a database decides where credentials go
and who is reset. So such a file must belong to this user or to root, and nobody else may write it. Links are
followed, as a Kubernetes secret is one; it is the file behind them that counts.
"""

import os
import pwd
import shlex
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Final

from bulkreset.errors import ConfigError

_OTHERS_WRITE: Final = stat.S_IWGRP | stat.S_IWOTH


def read_checked(path: Path, limit: int, check: Callable[[os.stat_result], None]) -> bytes:
    """Return what a file holds, and one byte more than the limit where it is larger; `check` may refuse it first.

    It is the opened file that is checked, so it cannot be exchanged after the look, and nothing but a file that
    was not refused is waited for. Raises OSError, and ValueError for a name that no file can have.
    """
    # O_NONBLOCK: opening a pipe that nobody writes to would wait for ever
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        check(os.fstat(descriptor))
        os.set_blocking(descriptor, True)
        content = b""
        while len(content) <= limit and (block := os.read(descriptor, limit + 1 - len(content))):
            content += block
        return content
    finally:
        os.close(descriptor)


def refuse_foreign(path: Path, status: os.stat_result) -> None:
    """Refuse a file that somebody else owns or may write. Raises ConfigError that says how to mend it."""
    me = os.geteuid()
    quoted = shlex.quote(str(path))
    if status.st_uid not in (0, me):
        owner = _name(status.st_uid)
        raise ConfigError(
            f"{path}: belongs to {owner}, who could change it; run bulkreset as {owner}, "
            f"or run: chown {_name(me)} {quoted}"
        )
    if stat.S_ISREG(status.st_mode) and status.st_mode & _OTHERS_WRITE:
        raise ConfigError(
            f"{path}: may be written by other users (mode {stat.S_IMODE(status.st_mode):04o}); "
            f"run: chmod go-w {quoted}"
        )


def refuse_open_folder(path: Path) -> None:
    """Refuse a file in whose folder anybody may put another one in its place. Raises ConfigError."""
    for folder in dict.fromkeys((path.absolute().parent, path.resolve().parent)):
        try:
            mode = folder.stat().st_mode
        except OSError:
            continue  # what opens the file tells why it cannot
        if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
            raise ConfigError(
                f"{path}: anybody may replace it, its folder has mode {stat.S_IMODE(mode):04o}; "
                f"run: chmod o-w {shlex.quote(str(folder))}"
            )


def check_file(path: Path) -> None:
    """Refuse a file that somebody else owns or may write, where it is there. Raises ConfigError."""
    try:
        status = path.stat()
    except (OSError, ValueError):
        return  # what opens the file tells why it cannot
    refuse_foreign(path, status)
    refuse_open_folder(path)


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"

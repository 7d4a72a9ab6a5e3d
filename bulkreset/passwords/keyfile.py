"""Files that hold one secret: made for the owner alone, and refused where others can read them."""

import os
import shlex
import stat
from pathlib import Path
from typing import Final

from bulkreset.errors import ConfigError
from bulkreset.ownership import read_checked, refuse_foreign, refuse_open_folder
from bulkreset.passwords.vault import MasterKey, new_master_key_text
from bulkreset.secret import Secret

SIZE_LIMIT: Final = 64 * 1024


def write_key_file(path: Path) -> MasterKey:
    """Write a fresh master key to a new file with mode 0600 and return it; it is on disk when this returns.

    Never overwrites: without its key nothing that is sealed can be opened. Raises ConfigError where the file
    stands already or cannot be written; a crash in between may leave a file that is refused as unusable.
    """
    text = new_master_key_text()
    try:
        write_private_file(path, text + "\n")
    except FileExistsError:
        raise ConfigError(f"{path}: exists already and is not overwritten; use it, or name another file") from None
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: the key file cannot be made: {_reason(error)}") from None
    return MasterKey.parse(Secret(text))


def write_private_file(path: Path, text: str) -> None:
    """Write a new file of mode 0600, whatever the umask; it is on disk when this returns.

    Raises OSError, FileExistsError where the name is taken, and ValueError for a name that no file can have.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            os.fchmod(descriptor, 0o600)  # the umask may have taken the owner's own rights
            file.write(text)
            file.flush()
            os.fsync(descriptor)
        _sync_folder(path.parent)
    except OSError:
        path.unlink(missing_ok=True)
        raise


def read_secret_file(path: Path) -> Secret:
    """Return the text of a secret file without its last newline.

    Raises ConfigError where it is missing, not a regular file, open to group or others, empty, larger than
    64 KiB or not text.
    """
    try:
        content = read_checked(path, SIZE_LIMIT, lambda status: _refuse_unsafe(path, status))
    except FileNotFoundError:
        raise ConfigError(
            f"{path}: no such secret file; make it, or correct its path in the configuration"
        ) from None
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: the secret file cannot be read: {_reason(error)}") from None
    if len(content) > SIZE_LIMIT:
        raise ConfigError(
            f"{path}: is larger than {SIZE_LIMIT // 1024} KiB, which no secret is; name another file"
        )
    return Secret(_text(path, content))


def _refuse_unsafe(path: Path, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise ConfigError(f"{path}: is not a regular file; name the file that holds the secret")
    # What root keeps may be read by a group of ours, as Kubernetes hands one to a user, or by root's, which is
    # how systemd's credentials look: the list of access rights that names the user shows as the group's.
    handed = status.st_uid == 0 != os.geteuid() and status.st_gid in {0, os.getegid(), *os.getgroups()}
    if status.st_mode & ((stat.S_IRWXG | stat.S_IRWXO) & ~(stat.S_IRGRP if handed else 0)):
        raise ConfigError(
            f"{path}: is open to other users (mode {stat.S_IMODE(status.st_mode):04o}); "
            f"run: chmod 600 {shlex.quote(str(path))}"
        )
    refuse_foreign(path, status)
    refuse_open_folder(path)


def _text(path: Path, content: bytes) -> str:
    try:
        text = content.decode("utf-8-sig")  # editors of Windows put a byte order mark before it
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: is not UTF-8 text; save the secret as plain text") from None
    if "\0" in text:
        raise ConfigError(f"{path}: holds a NUL byte; save the secret as plain text")
    text = text.removesuffix("\n").removesuffix("\r")
    if not text.strip():
        raise ConfigError(f"{path}: is empty; put the secret into it")
    return text


def _sync_folder(folder: Path) -> None:
    """Make the file's name last as well as its content."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _reason(error: OSError | ValueError) -> str:
    return (error.strerror if isinstance(error, OSError) else str(error)) or "unknown reason"

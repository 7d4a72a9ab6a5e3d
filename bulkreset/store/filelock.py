"""One runner a SQLite file: a lock on the file itself, and one on a lock file beside it.

The lock file alone is not enough: whoever removes it would let a second runner in. The database file alone is not
enough either: a restore may put another file in its place while a runner still writes to the one before.
"""

import errno
import fcntl
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from bulkreset.errors import DatabaseReplaced, RunnerActive, StoreError

Inode = tuple[int, int]

# Locks of an open file, far behind the bytes that SQLite locks: neither meets the other. Linux has them; elsewhere
# the lock file is all there is.
_ON_THE_FILE: Final = hasattr(fcntl, "F_OFD_SETLK")
_LOCKED_BYTE: Final = 2**62
# Descriptors of database files are kept for the next lock, never closed: closing one would drop the locks that
# SQLite itself holds on the file in this process.
_spare: dict[Inode, list[int]] = {}


@contextmanager
def file_lock(path: Path) -> Iterator[None]:
    """Hold the file's runner lock; the system gives it back however the process ends.

    Raises RunnerActive where another process holds it.
    """
    lock_path = path.with_name(path.name + ".lock")
    try:
        # O_NOFOLLOW: behind a link another's file would be made or locked
        lock = os.open(lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        fault = "is a link; remove it" if error.errno == errno.ELOOP else f"cannot be opened: {error.strerror}"
        raise StoreError(f"the lock file {lock_path} {fault}") from None
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise _active(path) from None
        with _inode_lock(path):
            yield
    finally:
        os.close(lock)


def is_locked(path: Path) -> bool:
    """Tell whether a runner may be at work on the file; where the system cannot tell, one may."""
    if not _ON_THE_FILE:
        return True
    inode, descriptor = _borrowed(path)
    try:
        found = fcntl.fcntl(descriptor, fcntl.F_OFD_GETLK, _flock(fcntl.F_WRLCK))
    finally:
        _spare[inode].append(descriptor)
    return bool(struct.unpack_from("h", found)[0] != fcntl.F_UNLCK)


def inode_of(path: Path) -> Inode | None:
    """Return which file is at a path; None where there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def prove_same(path: Path, inode: Inode | None) -> None:
    """Raise DatabaseReplaced where another file than this is at the path now, or none."""
    if inode is not None and inode_of(path) != inode:
        raise DatabaseReplaced(
            f"the database {path} was replaced or removed while it was in use; nothing more is sent. "
            "Start `bulkreset run` again once the file is the right one"
        )


@contextmanager
def _inode_lock(path: Path) -> Iterator[None]:
    if not _ON_THE_FILE:
        yield
        return
    inode, descriptor = _borrowed(path)
    try:
        try:
            fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, _flock(fcntl.F_WRLCK))
        except (BlockingIOError, PermissionError):
            raise _active(path) from None
        try:
            yield
        finally:
            fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, _flock(fcntl.F_UNLCK))
    finally:
        _spare[inode].append(descriptor)


def _borrowed(path: Path) -> tuple[Inode, int]:
    """Return a descriptor of the file at the path; whoever is done with it puts it back among the spare ones."""
    inode = inode_of(path)
    if inode is not None and _spare.get(inode):
        return inode, _spare[inode].pop()
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        fault = f"cannot be locked: {error.strerror}"
        if error.errno in (errno.EACCES, errno.EROFS):
            fault = "is read-only; give this user write permission to the file and its folder"
        raise StoreError(f"the database {path} {fault}") from None
    found = os.fstat(descriptor)
    inode = found.st_dev, found.st_ino
    _spare.setdefault(inode, [])
    return inode, descriptor


def _flock(kind: int) -> bytes:
    """Return the system's `struct flock` for the one byte that stands for the right to run."""
    return struct.pack("hhqqi", kind, os.SEEK_SET, _LOCKED_BYTE, 1, 0)


def _active(path: Path) -> RunnerActive:
    return RunnerActive(f"another runner is at work on {path}; it takes up new batches by itself: nothing to do")

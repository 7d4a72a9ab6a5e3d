"""SQLite: how the file is opened, and what its errors mean."""

import contextlib
import shutil
import sqlite3
from pathlib import Path
from typing import Any, Final

from sqlalchemy import event
from sqlalchemy.engine import URL, Connection
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from bulkreset.errors import DatabaseLocked, DatabaseReplaced, NoTables, SchemaBehind, StoreError
from bulkreset.ownership import refuse_foreign
from bulkreset.store.filelock import inode_of, prove_same

# UPDATE … FROM and the JSON functions, which one-statement claims and records are made of.
_OLDEST: Final = (3, 38, 0)
# Longer than a roster of 1,000,000 users takes to be written, which is one transaction.
_BUSY_TIMEOUT_S: Final = 60


def sqlite_engine(path: Path, *, busy_s: float | None = None) -> AsyncEngine:
    """Return an engine for the file, which waits so long for another writer.

    Raises StoreError where this Python's SQLite is too old.
    """
    if sqlite3.sqlite_version_info < _OLDEST:
        raise StoreError(
            f"this Python brings SQLite {sqlite3.sqlite_version}, and 3.38 or newer is needed; use a newer Python"
        )
    engine = create_async_engine(
        URL.create("sqlite+aiosqlite", database=str(path)),
        connect_args={"timeout": _BUSY_TIMEOUT_S if busy_s is None else busy_s},
        # A statement's parameters may be sealed passwords or people's addresses: never in an error or a log.
        hide_parameters=True,
    )

    inode = inode_of(path)

    @event.listens_for(engine.sync_engine, "connect")
    def connect(dbapi_connection: Any, _: Any) -> None:
        try:  # connections that lead to two files would claim in one and record in the other
            prove_same(path, inode)
        except DatabaseReplaced:
            dbapi_connection.close()
            raise
        # SQLAlchemy alone decides when a transaction begins; the driver must not open one of its own.
        dbapi_connection.isolation_level = None
        # A bit that has flipped must not keep all other rows from being read.
        dbapi_connection.driver_connection.text_factory = _readable
        cursor = dbapi_connection.cursor()
        # FULL: a commit is on the disk before a call may leave.
        for pragma in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON", "temp_store = FILE"):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(engine.sync_engine, "begin")
    def begin(conn: Connection) -> None:
        options = conn.get_execution_options()
        if options.get("bulkreset_migrates", False):  # a table is altered by copying it; see the migrations
            conn.exec_driver_sql("PRAGMA foreign_keys = OFF")
        writes = options.get("bulkreset_write", False)
        conn.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    @event.listens_for(engine.sync_engine, "invalidate")
    def invalidate(dbapi_connection: Any, _: Any, __: Any) -> None:
        # A task was cancelled within a statement, and the connection is about to be closed. SQLite keeps a closed
        # connection, and the lock of its transaction, for as long as a traceback holds one of its cursors; every
        # other writer would wait for that.
        with contextlib.suppress(Exception):  # what cannot be rolled back is closed all the same
            dbapi_connection.rollback()

    return engine


def _readable(text: bytes) -> str:
    return text.decode("utf-8", "replace")


def try_open(path: Path) -> None:
    """Open the file once, here: a path that is no file must not be met first in the driver's own thread.

    Raises SchemaBehind where there is none, ConfigError where others may write it, and sqlite3.Error.
    """
    if not path.exists():
        raise SchemaBehind(f"there is no database at {path}; make it with `bulkreset db upgrade`")
    refuse_foreign(path, path.stat())  # who writes it can order a reset
    sqlite3.connect(f"{path.as_uri()}?mode=rw", uri=True).close()


def make_private(path: Path) -> None:
    """Make the file where there is none, readable by its owner only. Raises StoreError."""
    try:
        path.touch(mode=0o600, exist_ok=False)
        path.chmod(0o600)  # the umask may have taken the owner's own rights
    except FileExistsError:
        return
    except OSError as error:
        raise StoreError(f"cannot make the database {path}: {error.strerror}; check the folder") from None


def fault(said: str, path: Path) -> StoreError:
    """Return the error that stands for the driver's words; its one line says what they mean and what to do."""
    where = f"the database {path}"
    if "disk i/o" in said.lower() and _is_full(path):  # how SQLite tells it where it must only read
        said = "disk is full"
    for sign, (kind, text) in _MEANINGS.items():
        if sign in said.lower():
            return kind(f"{where} {text}")
    return StoreError(f"{where} refused a statement: {said.splitlines()[0][:200]}")


def _is_full(path: Path) -> bool:
    """Whether the file's disk has no room for the files that SQLite keeps beside it."""
    try:
        return shutil.disk_usage(path.parent).free < 128 * 1024
    except OSError:
        return False


# The driver has no codes for these: its words are all there is.
_MEANINGS: Final[dict[str, tuple[type[StoreError], str]]] = {
    "readonly": (StoreError, "is read-only; give this user write permission to the file and its folder"),
    "unable to open": (StoreError, "cannot be opened; check the path and its permissions"),
    "disk is full": (StoreError, "cannot grow: the disk is full; free some space and try again"),
    "database is locked": (
        DatabaseLocked,
        "stayed locked by another process; try again when that has finished",
    ),
    "malformed": (StoreError, "is damaged; restore it from a backup"),
    "not a database": (StoreError, "is not a SQLite database; check database.url"),
    "no such table": (NoTables, "has no such tables; run `bulkreset db upgrade`"),
    "disk i/o": (StoreError, "cannot be read or written: the disk reports an error"),
}

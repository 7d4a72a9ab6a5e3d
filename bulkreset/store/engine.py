"""The database behind one door: `Store` gives read and write transactions, the clock, and clear errors."""

import asyncio
import fcntl
import os
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from sqlalchemy import event, select, text
from sqlalchemy.engine import URL, Connection, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.sql import func

from bulkreset.errors import ConfigError, RunnerActive, SchemaBehind, StoreError
from bulkreset.store.tables import SCHEMA_REVISION

# UPDATE … FROM and the JSON functions, which one-statement claims and records are made of.
_OLDEST_SQLITE: Final = (3, 38, 0)
# Longer than a roster of 1,000,000 users takes to be written, which is one transaction.
_BUSY_TIMEOUT_S: Final = 60


def system_clock() -> datetime:
    """Return the machine's wall clock, in UTC."""
    return datetime.now(UTC)


class Store:
    """A database that is open. Use `read()` and `write()`; every statement runs inside one of them.

    On SQLite a write takes the file's write lock when it begins (BEGIN IMMEDIATE), so that it cannot fail
    half-way for another writer. `exclusive` tells that one runner at most can be at work here.
    """

    def __init__(
        self, engine: AsyncEngine, *, path: Path | None, clock: Callable[[], datetime] = system_clock
    ) -> None:
        self.engine = engine
        self.path = path
        self.exclusive = path is not None
        self._clock = clock
        # SQLite has one writer at a time. Waiting here costs nothing; waiting inside SQLite is a sleep of up
        # to 100 ms, tried again and again.
        self._writer = asyncio.Lock()

    @property
    def sqlite(self) -> bool:
        """Whether this is SQLite."""
        return self.engine.dialect.name == "sqlite"

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        """Open a transaction that only reads, on one snapshot."""
        with explained(self.path):
            async with self.engine.connect() as conn, conn.begin():
                yield conn

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncConnection]:
        """Open a transaction that writes; it is committed at the end and rolled back on any error."""
        with explained(self.path):
            async with self._writer, self.engine.connect() as conn:
                await conn.execution_options(bulkreset_write=True)
                async with conn.begin():
                    yield conn

    async def prove_writable(self) -> None:
        """Write something that changes nothing. Raises StoreError where a runner could not record its claims."""
        async with self.write() as conn:
            await conn.execute(text("UPDATE alembic_version SET version_num = version_num"))

    async def now(self, conn: AsyncConnection) -> datetime:
        """Return the database's clock, which every fact is dated by.

        On SQLite it is this machine's clock, read here. On PostgreSQL it is a statement of its own: inside a
        statement that waits for a lock, the time can be older than the wait.
        """
        if self.sqlite:
            return self._clock()
        now = (await conn.execute(select(func.clock_timestamp()))).scalar_one()
        assert isinstance(now, datetime)
        return now

    async def close(self) -> None:
        """Close every connection."""
        await self.engine.dispose()


def sync_url(url: str, base: Path) -> URL:
    """Return the URL with its driver and, for SQLite, an absolute path. Raises ConfigError."""
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise ConfigError("database.url is not a database URL; write sqlite:///PATH") from None
    if parsed.drivername == "sqlite":
        if not parsed.database or parsed.database == ":memory:" or parsed.query:
            raise ConfigError("database.url must name a file, as in sqlite:///bulkreset.db")
        # Resolved, so that a link to the file leads to the same runner lock.
        return parsed.set(database=str((base / parsed.database).resolve()))
    raise ConfigError(f"database.url: {parsed.drivername} is not supported; write sqlite:///PATH")


async def open_store(
    url: str, base: Path, *, clock: Callable[[], datetime] = system_clock, check_schema: bool = True
) -> Store:
    """Open the database and make sure that its tables fit this program.

    Raises ConfigError for a URL that cannot be used, SchemaBehind where `db upgrade` must run first, and
    StoreError where the database cannot be reached.
    """
    parsed = sync_url(url, base)
    assert parsed.database is not None
    path = Path(parsed.database)
    if sqlite3.sqlite_version_info < _OLDEST_SQLITE:
        raise StoreError(
            f"this Python brings SQLite {sqlite3.sqlite_version}, and 3.38 or newer is needed; use a newer Python"
        )
    if check_schema and not path.exists():
        raise SchemaBehind(f"there is no database at {path}; make it with `bulkreset db upgrade`")
    if check_schema:
        _try_open(path)
    engine = create_async_engine(
        parsed.set(drivername="sqlite+aiosqlite"),
        connect_args={"timeout": _BUSY_TIMEOUT_S},
        # A statement's parameters may be sealed passwords or people's addresses: never in an error or a log.
        hide_parameters=True,
    )
    _tune_sqlite(engine)
    store = Store(engine, path=path, clock=clock)
    if check_schema:
        try:
            await _check_schema(store)
        except BaseException:
            await store.close()
            raise
    return store


@contextmanager
def runner_lock(store: Store) -> Iterator[None]:
    """Hold the file's runner lock; the system gives it back however the process ends.

    Raises RunnerActive where another process holds it.
    """
    if store.path is None:
        yield
        return
    lock_path = store.path.with_name(store.path.name + ".lock")
    try:
        lock = os.open(lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StoreError(f"cannot open the lock file {lock_path}: {error.strerror}") from None
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RunnerActive(
                f"another runner is at work on {store.path}; it takes up new batches by itself: nothing to do"
            ) from None
        yield
    finally:
        os.close(lock)


@contextmanager
def explained(path: Path | None) -> Iterator[None]:
    """Turn the driver's errors into one line that says what to do."""
    try:
        yield
    except DBAPIError as error:
        raise StoreError(_explain(str(error.orig), path)) from None
    except sqlite3.Error as error:  # raised while a connection is being made
        raise StoreError(_explain(str(error), path)) from None


def _explain(said: str, path: Path | None) -> str:
    where = f"the database {path}" if path else "the database"
    advice = {
        "readonly": "is read-only; give this user write permission to the file and its folder",
        "unable to open": "cannot be opened; check the path and its permissions",
        "disk is full": "cannot grow: the disk is full; free some space and try again",
        "database is locked": "stayed locked by another process; try again when that has finished",
        "malformed": "is damaged; restore it from a backup",
        "not a database": "is not a SQLite database; check database.url",
        "no such table": "has no such tables; run `bulkreset db upgrade`",
        "disk i/o": "cannot be read or written: the disk reports an error",
    }
    for sign, text_ in advice.items():
        if sign in said.lower():
            return f"{where} {text_}"
    return f"{where} refused a statement: {said.splitlines()[0][:200]}"


def _try_open(path: Path) -> None:
    """Open the file once, here: a path that is no file must not be met first in the driver's own thread."""
    with explained(path):
        sqlite3.connect(f"{path.as_uri()}?mode=rw", uri=True).close()


def _tune_sqlite(engine: AsyncEngine) -> None:
    @event.listens_for(engine.sync_engine, "connect")
    def connect(dbapi_connection: Any, _: Any) -> None:
        # SQLAlchemy alone decides when a transaction begins; the driver must not open one of its own.
        dbapi_connection.isolation_level = None
        cursor = dbapi_connection.cursor()
        # FULL: a commit is on the disk before a call may leave.
        for pragma in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON", "temp_store = FILE"):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(engine.sync_engine, "begin")
    def begin(conn: Connection) -> None:
        writes = conn.get_execution_options().get("bulkreset_write", False)
        conn.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


async def _check_schema(store: Store) -> None:
    try:
        async with store.read() as conn:
            found = (await conn.execute(text("SELECT version_num FROM alembic_version"))).scalar_one_or_none()
    except StoreError as error:
        if "no such table" not in str(error) and "db upgrade" not in str(error):
            raise
        found = None
    if found != SCHEMA_REVISION:
        raise SchemaBehind(
            f"the tables are at revision {found or 'none'} and this program needs {SCHEMA_REVISION}; "
            "run `bulkreset db upgrade`"
        )

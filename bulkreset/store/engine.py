"""The database behind one door: `Store` gives read and write transactions, the clock, and clear errors."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from sqlalchemy import select, text
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from sqlalchemy.sql import func

from bulkreset.errors import BulkresetError, NoTables, SchemaBehind
from bulkreset.settings import DatabaseSettings
from bulkreset.store import filelock, postgres, sqlite
from bulkreset.store.place import Place, PostgresPlace, SqlitePlace, place_of
from bulkreset.store.tables import SCHEMA_REVISION

Clock = Callable[[], datetime]


@dataclass(frozen=True, slots=True)
class Bounds:
    """How long a PostgreSQL transaction may take, one statement of it, and its wait for one lock."""

    whole: timedelta
    statement: timedelta
    lock: timedelta


SHORT: Final = Bounds(timedelta(seconds=20), timedelta(seconds=15), timedelta(seconds=5))
"""For what happens all the time: a claim, a record, a look."""

LONG: Final = Bounds(timedelta(hours=1), timedelta(minutes=20), timedelta(minutes=2))
"""For what touches a whole roster."""


def system_clock() -> datetime:
    """Return the machine's wall clock, in UTC."""
    return datetime.now(UTC)


class Store:
    """A database that is open. Use `read()` and `write()`; every statement runs inside one of them.

    On SQLite a write takes the file's write lock when it begins (BEGIN IMMEDIATE), so that it cannot fail
    half-way for another writer. On PostgreSQL rows are locked in one order everywhere: quota rows by name, batch
    rows by id, task rows by id. `exclusive` tells that one runner at most can be at work here.
    """

    def __init__(self, engine: AsyncEngine, place: Place, *, clock: Clock | None = None) -> None:
        self.engine = engine
        self.place = place
        self.sqlite = isinstance(place, SqlitePlace)
        self.exclusive = self.sqlite
        self._inode = filelock.inode_of(place.path) if isinstance(place, SqlitePlace) else None
        self._clock = clock or (system_clock if self.sqlite else None)
        # SQLite has one writer at a time. Waiting here costs nothing; waiting inside SQLite is a sleep of up
        # to 100 ms, tried again and again.
        self._writer = asyncio.Lock() if self.sqlite else None

    @asynccontextmanager
    async def read(self, bounds: Bounds = SHORT) -> AsyncIterator[AsyncConnection]:
        """Open a transaction that only reads, on one snapshot."""
        async with self._bounded(bounds), self.engine.connect() as conn:
            if not self.sqlite:
                await conn.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
            async with conn.begin():
                yield conn

    @asynccontextmanager
    async def write(self, bounds: Bounds = SHORT) -> AsyncIterator[AsyncConnection]:
        """Open a transaction that writes; it is committed at the end and rolled back on any error.

        Where the connection is lost at the commit itself, StoreError is raised and it may have been committed.
        """
        async with AsyncExitStack() as held:
            await held.enter_async_context(self._bounded(bounds))
            if self._writer is not None:
                await held.enter_async_context(self._writer)
            conn = await held.enter_async_context(self.engine.connect())
            if self.sqlite:
                await conn.execution_options(bulkreset_write=True)
            else:
                limits = postgres.bounds(bounds.statement, bounds.lock)
                await conn.execution_options(bulkreset_bounds=limits)
            async with conn.begin():
                yield conn

    async def prove_writable(self) -> None:
        """Write something that changes nothing. Raises StoreError where a runner could not record its claims."""
        async with self.write() as conn:
            await conn.execute(text("UPDATE alembic_version SET version_num = version_num"))

    def prove_in_place(self) -> None:
        """Raise DatabaseReplaced where another file has taken the place of the one that was opened."""
        if isinstance(self.place, SqlitePlace):
            filelock.prove_same(self.place.path, self._inode)

    @property
    def may_be_run(self) -> bool:
        """Whether a runner may be at work here; at PostgreSQL one always may."""
        return not isinstance(self.place, SqlitePlace) or filelock.is_locked(self.place.path)

    async def now(self, conn: AsyncConnection) -> datetime:
        """Return the database's clock, which every fact is dated by.

        On SQLite it is this machine's clock, read here. On PostgreSQL it is a statement of its own: inside a
        statement that waits for a lock, the time can be older than the wait.
        """
        if self._clock is not None:
            return self._clock()
        now = (await conn.execute(_NOW)).scalar_one()
        assert isinstance(now, datetime)
        return now

    async def close(self) -> None:
        """Close every connection."""
        await self.engine.dispose()

    @asynccontextmanager
    async def _bounded(self, bounds: Bounds) -> AsyncIterator[None]:
        """Explain errors; and at PostgreSQL end what takes too long, for the server may be beyond answering."""
        with explained(self.place):
            if self.sqlite:
                yield
                return
            async with asyncio.timeout(bounds.whole.total_seconds()):
                yield


async def open_store(
    settings: DatabaseSettings,
    base: Path,
    *,
    clock: Clock | None = None,
    check_schema: bool = True,
    busy_s: float | None = None,
) -> Store:
    """Open the database and make sure that its tables fit this program.

    `busy_s` is how long another writer of a SQLite file is waited for; `clock` stands in for the database's own
    in tests. Raises ConfigError for a URL that cannot be used, SchemaBehind where `db upgrade` must run first, and
    StoreError where the database cannot be reached.
    """
    place = place_of(settings, base)
    if isinstance(place, SqlitePlace) and check_schema:
        with explained(place):
            sqlite.try_open(place.path)
    store = Store(engine_of(place, busy_s=busy_s), place, clock=clock)
    if check_schema:
        try:
            await _check_schema(store)
        except BaseException:
            await store.close()
            raise
    return store


def engine_of(place: Place, *, busy_s: float | None = None) -> AsyncEngine:
    """Make the engine for a place. Raises StoreError."""
    if isinstance(place, SqlitePlace):
        return sqlite.sqlite_engine(place.path, busy_s=busy_s)
    return postgres.postgres_engine(place)


@contextmanager
def runner_lock(store: Store) -> Iterator[None]:
    """Hold the right to run: one runner a SQLite file, any number at PostgreSQL. Raises RunnerActive."""
    if isinstance(store.place, SqlitePlace):
        with filelock.file_lock(store.place.path):
            yield
    else:
        yield


@contextmanager
def explained(place: Place) -> Iterator[None]:
    """Turn the driver's errors into one line that says what to do."""
    try:
        yield
    except BulkresetError:
        raise
    except Exception as error:
        if isinstance(place, PostgresPlace):
            if not _is_the_databases(error):
                raise
            raise postgres.fault(error, place) from None
        if isinstance(error, DBAPIError):
            raise sqlite.fault(str(error.orig), place.path) from None
        if isinstance(error, sqlite3.Error):  # raised while a connection is being made
            raise sqlite.fault(str(error), place.path) from None
        raise


def _is_the_databases(error: Exception) -> bool:
    """Whether an error comes from the server or the way to it; the driver raises its own and the system's too."""
    import asyncpg

    kinds = (SQLAlchemyError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError)
    return isinstance(error, kinds)  # TimeoutError is an OSError


def is_newer(revision: str | None) -> bool:
    """Whether tables were made by a later version; revisions are numbers of four digits."""
    return revision is not None and revision > SCHEMA_REVISION


def newer(revision: str | None) -> str:
    """Say what to do about tables that are newer than this program."""
    return (
        f"the database is newer than this program: its tables are at revision {revision}, and this program knows "
        f"{SCHEMA_REVISION}; upgrade bulkreset here"
    )


_NOW: Final = select(func.clock_timestamp())


async def _check_schema(store: Store) -> None:
    try:
        async with store.read() as conn:
            found = (await conn.execute(text("SELECT version_num FROM alembic_version"))).scalar_one_or_none()
    except NoTables:
        found = None
    if is_newer(found):
        raise SchemaBehind(newer(found))
    if found != SCHEMA_REVISION:
        raise SchemaBehind(
            f"the tables are at revision {found or 'none'} and this program needs {SCHEMA_REVISION}; "
            "run `bulkreset db upgrade`"
        )

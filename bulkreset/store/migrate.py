"""Bring the tables to this program's revision, from a checkout or from the installed package alike."""

from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Final

from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import Connection, func, inspect, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from bulkreset.errors import RunnerActive, SchemaBehind, StoreError
from bulkreset.store import sqlite
from bulkreset.store.engine import engine_of, explained, is_newer, newer
from bulkreset.store.filelock import file_lock
from bulkreset.store.place import Place, SqlitePlace
from bulkreset.store.tables import SCHEMA_REVISION, metadata, worker

# Any number will do that nobody else locks: two upgrades at once must come one after the other.
_UPGRADE_LOCK = 6_184_202_611
# Three times as long as a worker is silent.
_SEEN_LATELY: Final = timedelta(seconds=30)


async def upgrade(place: Place) -> tuple[str | None, str]:
    """Run the migrations that are missing, in one transaction; return the revisions before and after.

    A SQLite file is made where there is none, readable by its owner only; at PostgreSQL the database must exist.
    Raises StoreError where a worker of the version before is at work: it looks at the tables once only, when it
    starts, and would go on without knowing of drafts, waves and the ends of sessions.
    """
    with ExitStack() as held:
        alone = True
        if isinstance(place, SqlitePlace):
            with explained(place):
                sqlite.make_private(place.path)
            if place.path.stat().st_size:
                try:
                    held.enter_context(file_lock(place.path))
                except RunnerActive:
                    alone = False
        async with _connected(place, write=True) as conn:
            if not isinstance(place, SqlitePlace):
                await conn.execute(text("SELECT pg_advisory_xact_lock(:number)"), {"number": _UPGRADE_LOCK})
            return await conn.run_sync(_upgrade, alone)


async def differences(place: Place) -> list[str]:
    """Say how the tables differ from what this program needs; nothing where they fit."""
    if isinstance(place, SqlitePlace) and not place.path.exists():
        return [f"there is no database at {place}"]
    async with _connected(place, write=False) as conn:
        return await conn.run_sync(_differences)


def scripts() -> Path:
    """Find the migration scripts: beside the package in a checkout, inside it when installed."""
    package = Path(__file__).resolve().parent.parent
    for place in (package / "migrations", package.parent / "migrations"):
        if (place / "env.py").is_file():
            return place
    raise StoreError("the migration scripts are missing from this installation; install bulkreset again")


@asynccontextmanager
async def _connected(place: Place, *, write: bool) -> AsyncIterator[AsyncConnection]:
    with explained(place):
        if isinstance(place, SqlitePlace):
            sqlite.try_open(place.path)
        engine = engine_of(place)
        try:
            async with engine.connect() as conn:
                await conn.execution_options(bulkreset_write=write, bulkreset_migrates=write)
                async with conn.begin():
                    yield conn
        finally:
            await engine.dispose()


def _upgrade(connection: Connection, alone: bool) -> tuple[str | None, str]:
    before = _revision(connection)
    if is_newer(before):
        raise SchemaBehind(newer(before))
    if before not in (None, SCHEMA_REVISION):
        at_work = _at_work(connection)
        if at_work or not alone:
            raise StoreError(
                f"a worker is at work on these tables{': ' if at_work else ''}{', '.join(at_work[:5])}; stop all "
                f"workers (one that was killed counts for {_SEEN_LATELY.total_seconds():.0f} s), then run "
                "`bulkreset db upgrade` again"
            )
    config = Config()
    config.set_main_option("script_location", str(scripts()).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
    after = _revision(connection)
    assert after is not None
    return before, after


def _at_work(connection: Connection) -> list[str]:
    """Return the workers that told of themselves lately; at SQLite the lock on the file tells."""
    if connection.dialect.name == "sqlite" or not inspect(connection).has_table("worker"):
        return []
    lately = func.clock_timestamp() - _SEEN_LATELY
    rows = select(worker.c.name).where(worker.c.ended_at.is_(None), worker.c.seen_at > lately)
    return list(connection.execute(rows.order_by(worker.c.name)).scalars())


def _differences(connection: Connection) -> list[str]:
    found = _revision(connection)
    if is_newer(found):
        return [newer(found)]
    if found != SCHEMA_REVISION:
        return [f"the tables are at revision {found or 'none'}, not {SCHEMA_REVISION}"]
    context = MigrationContext.configure(connection, opts={"compare_type": True})
    return [_describe(change) for change in compare_metadata(context, metadata)]


def _revision(connection: Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()


def _describe(change: object) -> str:
    """Put one difference into words; alembic gives nested tuples of objects."""
    if isinstance(change, list):
        return "; ".join(_describe(part) for part in change)
    if isinstance(change, tuple):
        words = [
            str(getattr(part, "name", part)) for part in change if part is not None and not isinstance(part, dict)
        ]
        return " ".join(words)
    return str(change)

"""Bring the tables to this program's revision, from a checkout or from the installed package alike."""

from pathlib import Path
from typing import Any

from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import Connection, create_engine, event
from sqlalchemy.engine import URL

from bulkreset.errors import StoreError
from bulkreset.store.engine import explained
from bulkreset.store.tables import SCHEMA_REVISION, metadata


def upgrade(url: URL) -> tuple[str | None, str]:
    """Run the migrations that are missing, in one transaction; return the revisions before and after.

    The database file is made where there is none, readable by its owner only.
    """
    path = Path(url.database or "")
    with explained(path):
        if not path.exists():
            _make_private(path)
        engine = create_engine(url, hide_parameters=True)

        @event.listens_for(engine, "connect")
        def connect(dbapi_connection: Any, _: object) -> None:
            dbapi_connection.execute("PRAGMA journal_mode = WAL")
            # The driver would commit before each CREATE; a migration is whole or not at all.
            dbapi_connection.isolation_level = None

        @event.listens_for(engine, "begin")
        def begin(connection: Connection) -> None:
            connection.exec_driver_sql("BEGIN IMMEDIATE")

        try:
            with engine.begin() as connection:
                before = _revision(connection)
                config = Config()
                config.set_main_option("script_location", str(scripts()).replace("%", "%%"))
                config.attributes["connection"] = connection
                command.upgrade(config, "head")
                after = _revision(connection)
        finally:
            engine.dispose()
    assert after is not None
    return before, after


def differences(url: URL) -> list[str]:
    """Say how the tables differ from what this program needs; nothing where they fit."""
    path = Path(url.database or "")
    if not path.exists():
        return [f"there is no database at {path}"]
    with explained(path):
        engine = create_engine(url, hide_parameters=True)
        try:
            with engine.connect() as connection:
                found = _revision(connection)
                if found != SCHEMA_REVISION:
                    return [f"the tables are at revision {found or 'none'}, not {SCHEMA_REVISION}"]
                context = MigrationContext.configure(connection, opts={"compare_type": True})
                return [_describe(change) for change in compare_metadata(context, metadata)]
        finally:
            engine.dispose()


def scripts() -> Path:
    """Find the migration scripts: beside the package in a checkout, inside it when installed."""
    package = Path(__file__).resolve().parent.parent
    for place in (package / "migrations", package.parent / "migrations"):
        if (place / "env.py").is_file():
            return place
    raise StoreError("the migration scripts are missing from this installation; install bulkreset again")


def _revision(connection: Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()


def _make_private(path: Path) -> None:
    try:
        path.touch(mode=0o600, exist_ok=True)
    except OSError as error:
        raise StoreError(f"cannot make the database {path}: {error.strerror}; check the folder") from None


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

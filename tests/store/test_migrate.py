"""The tables: made from the package, checked for drift, refused when behind."""

import sqlite3
from stat import S_IMODE

import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory

from bulkreset.errors import ConfigError, SchemaBehind, StoreError
from bulkreset.store.engine import open_store, runner_lock, sync_url
from bulkreset.store.migrate import differences, scripts, upgrade
from bulkreset.store.tables import SCHEMA_REVISION


@pytest.fixture
def url(tmp_path):
    return sync_url("sqlite:///t.db", tmp_path)


def test_the_newest_migration_is_the_one_that_the_program_needs():
    """The revision in the code is the head of the migrations, and there is one head."""
    config = Config()
    config.set_main_option("script_location", str(scripts()))
    assert ScriptDirectory.from_config(config).get_heads() == [SCHEMA_REVISION]


def test_an_upgrade_makes_exactly_the_tables_of_the_code(url):
    """After an upgrade nothing differs; a second one changes nothing."""
    assert upgrade(url) == (None, SCHEMA_REVISION)
    assert differences(url) == []
    assert upgrade(url) == (SCHEMA_REVISION, SCHEMA_REVISION)


def test_the_database_is_readable_by_its_owner_only(url):
    """A new file has mode 0600."""
    upgrade(url)
    from pathlib import Path

    assert S_IMODE(Path(url.database).stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ("ALTER TABLE task ADD COLUMN extra TEXT", "extra"),
        ("DROP INDEX ix_task_due", "ix_task_due"),
        ("DROP TABLE batch_request_user", "batch_request_user"),
    ],
)
def test_drift_is_found_and_named(url, change, named):
    """A column more, an index less, a table gone: each is named."""
    upgrade(url)
    with sqlite3.connect(url.database) as connection:
        connection.execute(change)
    connection.close()
    assert any(named in line for line in differences(url))


async def test_a_database_that_is_behind_is_refused_with_what_to_run(tmp_path):
    """No file, an empty file and an older revision each say `bulkreset db upgrade`."""
    with pytest.raises(SchemaBehind, match="bulkreset db upgrade"):
        await open_store("sqlite:///t.db", tmp_path)
    (tmp_path / "t.db").touch()
    with pytest.raises(SchemaBehind, match="bulkreset db upgrade"):
        await open_store("sqlite:///t.db", tmp_path)
    upgrade(sync_url("sqlite:///t.db", tmp_path))
    with sqlite3.connect(tmp_path / "t.db") as connection:
        connection.execute("UPDATE alembic_version SET version_num = '0000'")
    connection.close()
    with pytest.raises(SchemaBehind, match="revision 0000"):
        await open_store("sqlite:///t.db", tmp_path)


async def test_a_file_that_is_no_database_is_refused(tmp_path):
    """Something else under that name is named, not a traceback."""
    (tmp_path / "t.db").write_text("this is a text file, and a long enough one to be read as a header" * 20)
    with pytest.raises(StoreError, match="not a SQLite database"):
        await open_store("sqlite:///t.db", tmp_path)


@pytest.mark.parametrize(
    "url", ["sqlite://", "sqlite:///:memory:", "mysql://x/y", "nonsense", "sqlite:///a.db?mode=ro"]
)
def test_a_url_that_cannot_be_used_is_refused(tmp_path, url):
    """Only a file is a database here."""
    with pytest.raises(ConfigError, match=r"database\.url"):
        sync_url(url, tmp_path)


async def test_one_runner_at_a_time_holds_a_file(tmp_path):
    """The second lock is refused while the first is held, and given after."""
    from bulkreset.errors import RunnerActive

    upgrade(sync_url("sqlite:///t.db", tmp_path))
    store = await open_store("sqlite:///t.db", tmp_path)
    try:
        with runner_lock(store), pytest.raises(RunnerActive), runner_lock(store):
            pass
        with runner_lock(store):
            pass
    finally:
        await store.close()

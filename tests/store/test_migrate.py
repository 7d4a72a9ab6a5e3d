"""The tables: made from the package, checked for drift, refused when behind."""

import asyncio
import sqlite3
from stat import S_IMODE

import pytest
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from bulkreset.errors import ConfigError, SchemaBehind, StoreError
from bulkreset.settings import DatabaseSettings
from bulkreset.store.engine import engine_of, open_store, runner_lock
from bulkreset.store.filelock import file_lock
from bulkreset.store.migrate import differences, scripts, upgrade
from bulkreset.store.place import place_of
from bulkreset.store.tables import SCHEMA_REVISION

SQLITE = DatabaseSettings(url="sqlite:///t.db")


@pytest.fixture
def place(tmp_path):
    return place_of(SQLITE, tmp_path)


def test_the_newest_migration_is_the_one_that_the_program_needs():
    """The revision in the code is the head of the migrations, and there is one head."""
    config = Config()
    config.set_main_option("script_location", str(scripts()))
    assert ScriptDirectory.from_config(config).get_heads() == [SCHEMA_REVISION]


@pytest.fixture(params=["sqlite", "postgresql"])
def anywhere(request, place):
    """An empty place at either database."""
    if request.param == "sqlite":
        return place
    url = request.getfixturevalue("postgres_server").fresh(tables=False)
    return place_of(DatabaseSettings(url=url), place.path.parent)


async def test_an_upgrade_makes_exactly_the_tables_of_the_code(anywhere):
    """After an upgrade nothing differs; a second one changes nothing."""
    assert await upgrade(anywhere) == (None, SCHEMA_REVISION)
    assert await differences(anywhere) == []
    assert await upgrade(anywhere) == (SCHEMA_REVISION, SCHEMA_REVISION)


async def test_two_upgrades_at_once_make_the_tables_once(postgres_server, tmp_path):
    """Several hosts may be set up at the same moment."""
    anywhere = place_of(DatabaseSettings(url=postgres_server.fresh(tables=False)), tmp_path)
    found = await asyncio.gather(upgrade(anywhere), upgrade(anywhere), upgrade(anywhere))
    assert sorted(found, key=str) == [(SCHEMA_REVISION, SCHEMA_REVISION)] * 2 + [(None, SCHEMA_REVISION)]


async def test_user_references_are_compared_by_bytes_whatever_the_servers_language(postgres_server, tmp_path):
    """The order of a roster, which its hash stands for, must not hang on a locale."""
    place = place_of(DatabaseSettings(url=postgres_server.fresh()), tmp_path)
    engine = engine_of(place)
    async with engine.connect() as conn:
        found = await conn.execute(
            text(
                "SELECT collation_name FROM information_schema.columns "
                "WHERE table_name = 'task' AND column_name = 'user_ref'"
            )
        )
        assert found.scalar_one() == "C"
    await engine.dispose()


async def test_every_migration_can_be_undone(anywhere):
    """Down to nothing and up again leaves exactly the tables of the code."""
    await upgrade(anywhere)
    async with engine_of(anywhere).connect() as conn:
        await conn.execution_options(bulkreset_write=True)
        async with conn.begin():
            await conn.run_sync(_downgrade)
    await conn.engine.dispose()
    assert await upgrade(anywhere) == (None, SCHEMA_REVISION)
    assert await differences(anywhere) == []


def _downgrade(connection, to="base"):
    config = Config()
    config.set_main_option("script_location", str(scripts()))
    config.attributes["connection"] = connection
    command.downgrade(config, to)


_BEFORE_DOUBTS = "0003"

_A_BATCH = (
    "INSERT INTO batch (account, incident, reason, requested_by, created_at, state, roster_sha256, total, "
    "excluded, duplicates, policy) "
    "VALUES ('zoom', 'I', 'r', 'ada', '2026-01-01 00:00:00.000000+00:00', '{}', 'x', 1, 0, 0, '{{}}')"
)
_A_TASK = (
    "INSERT INTO task (batch_id, account, label, user_ref, display, action, state, due_at) "
    "SELECT id, 'zoom', 'medium', 'a', 'a', 'set_password', 'pending', created_at FROM batch"
)


async def test_a_batch_that_was_under_way_goes_on_after_the_upgrade(anywhere):
    """Rows of the release before are kept as they are, may be claimed, and only known states are taken."""
    await upgrade(anywhere)
    engine = engine_of(anywhere)

    async def do(work, migrates=False):
        async with engine.connect() as conn:
            await conn.execution_options(bulkreset_write=True, bulkreset_migrates=migrates)
            async with conn.begin():
                return await work(conn)

    await do(lambda conn: conn.run_sync(_downgrade, "0002"), migrates=True)
    cast = "+00:00" if engine.dialect.name == "postgresql" else ""
    await do(lambda conn: conn.exec_driver_sql(_A_BATCH.format("open").replace("+00:00", cast)))
    await do(lambda conn: conn.exec_driver_sql(_A_TASK))
    await upgrade(anywhere)
    rows = await do(
        lambda conn: conn.execute(text("SELECT batch.id, batch.state, batch.wave, task.wave FROM batch, task"))
    )
    assert rows.all() == [(1, "open", 1, 1)]
    await do(lambda conn: conn.exec_driver_sql(_A_BATCH.format("draft").replace("+00:00", cast)))
    with pytest.raises(IntegrityError, match="state_word"):
        await do(lambda conn: conn.exec_driver_sql(_A_BATCH.format("odd").replace("+00:00", cast)))
    await engine.dispose()


async def test_doubts_of_before_are_found_by_their_calls(anywhere):
    """Who did not succeed and had a call without a clear end is in doubt after the upgrade; nobody else is."""
    await upgrade(anywhere)
    engine = engine_of(anywhere)
    cast = "+00:00" if engine.dialect.name == "postgresql" else ""
    async with engine.connect() as conn:
        await conn.execution_options(bulkreset_write=True, bulkreset_migrates=True)
        async with conn.begin():
            await conn.run_sync(_downgrade, _BEFORE_DOUBTS)
            await conn.exec_driver_sql(_A_BATCH.format("done").replace("+00:00", cast))
            for ref, state, outcome in (
                ("a", "failed", "unknown"),
                ("b", "failed", "unexpected"),
                ("c", "succeeded", "provider_error"),
                ("d", "cancelled", "provider_error"),
                ("e", "skipped", "released"),
            ):
                one = _A_TASK.replace("'a', 'a'", f"'{ref}', '{ref}'").replace("'pending'", f"'{state}'")
                await conn.exec_driver_sql(one)
                await conn.execute(
                    text(
                        "INSERT INTO attempt (task_id, n, worker, password_no, slot_at, opened_at, outcome) "
                        "SELECT id, 1, 'w', 1, due_at, due_at, :outcome FROM task WHERE user_ref = :ref"
                    ),
                    {"outcome": outcome, "ref": ref},
                )
    await upgrade(anywhere)
    async with engine.connect() as conn:
        found = await conn.execute(text("SELECT user_ref FROM task WHERE maybe_changed ORDER BY user_ref"))
        assert found.scalars().all() == ["a", "d"]
    await engine.dispose()


async def test_the_database_is_readable_by_its_owner_only(place):
    """A new file has mode 0600."""
    await upgrade(place)
    assert S_IMODE(place.path.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ("ALTER TABLE task ADD COLUMN extra TEXT", "extra"),
        ("DROP INDEX ix_task_due", "ix_task_due"),
        ("DROP TABLE batch_request_user", "batch_request_user"),
    ],
)
async def test_drift_is_found_and_named(anywhere, change, named):
    """A column more, an index less, a table gone: each is named."""
    await upgrade(anywhere)
    engine = engine_of(anywhere)
    async with engine.begin() as conn:
        await conn.execute(text(change))
    await engine.dispose()
    assert any(named in line for line in await differences(anywhere))


async def test_a_database_that_is_behind_is_refused_with_what_to_run(tmp_path):
    """No file, an empty file and an older revision each say `bulkreset db upgrade`."""
    with pytest.raises(SchemaBehind, match="bulkreset db upgrade"):
        await open_store(SQLITE, tmp_path)
    (tmp_path / "t.db").touch()
    with pytest.raises(SchemaBehind, match="bulkreset db upgrade"):
        await open_store(SQLITE, tmp_path)
    await upgrade(place_of(SQLITE, tmp_path))
    with sqlite3.connect(tmp_path / "t.db") as connection:
        connection.execute("UPDATE alembic_version SET version_num = '0000'")
    connection.close()
    with pytest.raises(SchemaBehind, match="revision 0000"):
        await open_store(SQLITE, tmp_path)


async def test_a_file_that_is_no_database_is_refused(tmp_path):
    """Something else under that name is named, not a traceback."""
    (tmp_path / "t.db").write_text("this is a text file, and a long enough one to be read as a header" * 20)
    with pytest.raises(StoreError, match="not a SQLite database"):
        await open_store(SQLITE, tmp_path)


@pytest.mark.parametrize(
    "url", ["sqlite://", "sqlite:///:memory:", "mysql://x/y", "nonsense", "sqlite:///a.db?mode=ro"]
)
def test_a_url_that_cannot_be_used_is_refused(tmp_path, url):
    """Only a file is a database here."""
    with pytest.raises(ConfigError, match=r"database\.url"):
        place_of(DatabaseSettings(url=url), tmp_path)


async def test_one_runner_at_a_time_holds_a_file(tmp_path):
    """The second lock is refused while the first is held, and given after."""
    from bulkreset.errors import RunnerActive

    await upgrade(place_of(SQLITE, tmp_path))
    store = await open_store(SQLITE, tmp_path)
    try:
        with runner_lock(store), pytest.raises(RunnerActive), runner_lock(store):
            pass
        with runner_lock(store):
            pass
    finally:
        await store.close()


async def _behind(place):
    """Bring the tables one revision down, as the version before has them."""
    await upgrade(place)
    engine = engine_of(place)
    async with engine.connect() as conn:
        await conn.execution_options(bulkreset_write=True, bulkreset_migrates=True)
        async with conn.begin():
            await conn.run_sync(_downgrade, "0002")
    return engine


async def test_tables_are_not_changed_under_a_runner(tmp_path, place):
    """A runner of the version before would send passwords where sessions are to end; it must be stopped first."""
    engine = await _behind(place)
    await engine.dispose()
    with file_lock(place.path), pytest.raises(StoreError, match="stop all workers"):
        await upgrade(place)
    assert await upgrade(place) == ("0002", SCHEMA_REVISION)
    with file_lock(place.path):
        assert await upgrade(place) == (SCHEMA_REVISION, SCHEMA_REVISION)


async def test_tables_are_not_changed_under_workers_at_postgresql(postgres_server, tmp_path):
    """Whoever told lately that it is there is named; one that ended or fell silent is not."""
    place = place_of(DatabaseSettings(url=postgres_server.fresh()), tmp_path)
    engine = await _behind(place)
    told = "INSERT INTO worker VALUES ('{}', '1', now(), now() - interval '{} s', {})"
    async with engine.begin() as conn:
        await conn.execute(text(told.format("here:1", 5, "NULL")))
        await conn.execute(text(told.format("gone:2", 5, "now()")))
        await conn.execute(text(told.format("silent:3", 90, "NULL")))
    with pytest.raises(StoreError, match="at work on these tables: here:1; stop all workers"):
        await upgrade(place)
    async with engine.begin() as conn:
        await conn.execute(text("UPDATE worker SET ended_at = now() WHERE name = 'here:1'"))
    await engine.dispose()
    assert await upgrade(place) == ("0002", SCHEMA_REVISION)


async def test_a_draft_cannot_be_started_by_the_version_before(anywhere):
    """Going back a version cancels what nobody has approved: `resume` would start it."""
    await upgrade(anywhere)
    engine = engine_of(anywhere)
    cast = "+00:00" if engine.dialect.name == "postgresql" else ""
    async with engine.connect() as conn:
        await conn.execution_options(bulkreset_write=True, bulkreset_migrates=True)
        async with conn.begin():
            await conn.exec_driver_sql(_A_BATCH.format("draft").replace("+00:00", cast))
            await conn.run_sync(_downgrade, "0002")
            assert (await conn.execute(text("SELECT state FROM batch"))).scalar_one() == "cancelled"
    await engine.dispose()

"""Orders by SQL as each database's own types and several takers make them."""

import asyncio
from datetime import UTC, datetime

import pytest
from databases import run_apart
from installation import Installation
from sqlalchemy import text

from bulkreset.cli.context import master_key, transport
from bulkreset.config import load
from bulkreset.intake.orders_by_sql import OrdersBySql
from bulkreset.providers.http import WriteTransport
from bulkreset.sandbox import generated_user
from bulkreset.store.engine import open_store

USERS = [generated_user("zoom", n).email for n in range(1, 7)]
REQUEST = "INSERT INTO batch_request (account, incident, reason, requested_by, state, not_before) VALUES "


@pytest.fixture
def installation(tmp_path, sandbox, database_url):
    sandbox.add({"name": "zoom", "provider": "zoom", "generate": {"count": 20}})
    installation = Installation(tmp_path, sandbox.url, database_url)
    installation.zoom("zoom", requests_per_second=1000)
    return installation


def insert(installation, *statements):
    """Do what another system does: plain statements of its own."""

    async def act(store):
        async with store.engine.begin() as conn:
            for statement in statements:
                await conn.execute(text(statement))

    run_apart(installation.with_store(act))


def users_of(request, users):
    rows = ", ".join(f"({request}, '{user}')" for user in users)
    return f"INSERT INTO batch_request_user (request_id, user_ref) VALUES {rows}"


async def take_up(installation, takers=1):
    """Let so many workers take up what is ready, at once; return how many orders became batches."""
    settings = load(installation.config)
    stores = [await open_store(settings.database, settings.base) for _ in range(takers)]
    try:
        async with transport(WriteTransport, settings) as way:
            master = master_key(settings)
            return sum(await asyncio.gather(*(OrdersBySql(s, settings, way, master)() for s in stores)))
    finally:
        for store in stores:
            await store.close()


async def test_a_ready_request_becomes_a_batch_and_says_which(installation):
    """The users are its roster; the batch's id is beside the request."""
    insert(
        installation, REQUEST + "('zoom', 'INC-7', 'leak', 'soar', 'ready', NULL)", users_of(1, [*USERS, USERS[0]])
    )
    assert await take_up(installation) == 1
    [(state, batch_id, message)] = installation.query("SELECT state, batch_id, message FROM batch_request")
    assert (state, message) == ("accepted", None)
    batch = await installation.batch(batch_id)
    assert (batch.incident, batch.reason, batch.requested_by) == ("INC-7", "leak", "soar (by SQL, request 1)")
    assert (batch.total, batch.duplicates, batch.not_before) == (6, 1, None)
    assert await take_up(installation) == 0


@pytest.mark.parametrize(
    "written", ["2030-06-01 08:30:00+02:00", "2030-06-01T06:30:00+00:00", "2030-06-01 06:30:00.000000+00:00"]
)
async def test_a_time_with_any_offset_is_the_same_moment(installation, written):
    """At PostgreSQL a timestamptz, at SQLite text as people write it: the batch waits until that moment in UTC."""
    insert(installation, REQUEST + f"('zoom', 'I', 'r', 'soar', 'ready', '{written}')", users_of(1, USERS))
    assert await take_up(installation) == 1
    assert (await installation.batch(1)).not_before == datetime(2030, 6, 1, 6, 30, tzinfo=UTC)


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
@pytest.mark.parametrize("zone", ["Asia/Kolkata", "America/St_Johns", "UTC"])
async def test_the_zone_of_a_database_changes_no_time(installation, zone):
    """A server set to show its times in another zone shows them with that offset, half an hour and all."""
    name = installation.database_url.rpartition("/")[2]
    insert(installation, f"""ALTER DATABASE "{name}" SET timezone = '{zone}'""")
    moment = "'2030-06-01 06:30:00+00'"
    insert(installation, REQUEST + f"('zoom', 'I', 'r', 'soar', 'ready', {moment})", users_of(1, USERS))
    assert await take_up(installation) == 1
    assert (await installation.batch(1)).not_before == datetime(2030, 6, 1, 6, 30, tzinfo=UTC)


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
@pytest.mark.parametrize("word", ["infinity", "-infinity", "10000-01-01 00:00:00+00", "0044-03-15 00:00:00+00 BC"])
async def test_a_time_that_this_program_cannot_hold_is_refused(installation, word):
    """What PostgreSQL takes for a time and nobody can wait for: one line, and the next request is met."""
    insert(
        installation,
        REQUEST + f"('zoom', 'I', 'r', 'soar', 'ready', '{word}'), ('zoom', 'I', 'r', 'soar', 'ready', NULL)",
        users_of(1, USERS),
        users_of(2, USERS),
    )
    assert await take_up(installation) == 1
    rows = installation.query("SELECT state, message FROM batch_request ORDER BY id")
    assert [state for state, _ in rows] == ["refused", "accepted"]
    assert "not_before is not a time" in rows[0][1]


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_text_that_is_none_is_refused_in_one_line_where_the_database_takes_it(installation):
    """SQLite holds any bytes in a text column: refused, and the request after it is met."""
    insert(
        installation,
        REQUEST
        + "(CAST(x'ff7a' AS TEXT), 'I', 'r', 'soar', 'ready', NULL), ('zoom', 'I', 'r', 's', 'ready', x'fe'), "
        "('zoom', 'I', 'r', 'soar', 'ready', NULL), ('zoom', 'I', 'r', 'soar', 'ready', NULL)",
        users_of(1, USERS),
        users_of(2, USERS),
        "INSERT INTO batch_request_user (request_id, user_ref) VALUES (3, CAST(x'61ff' AS TEXT))",
        users_of(4, USERS),
    )
    assert await take_up(installation) == 1
    rows = installation.query("SELECT state, message FROM batch_request ORDER BY id")
    assert [state for state, _ in rows] == ["refused", "refused", "refused", "accepted"]
    for (_, message), name in zip(rows, ("account", "not_before", "user 1"), strict=False):
        assert f"{name} is not UTF-8 text" in message
        assert "\n" not in message


async def test_many_takers_take_up_each_request_once(installation):
    """Every ready request becomes one batch, however many workers see it at the same time."""
    takers = 1 if installation.database_url.startswith("sqlite") else 4
    insert(
        installation,
        *(REQUEST + f"('zoom', 'I{n}', 'r', 'soar', 'ready', NULL)" for n in range(5)),
        *(users_of(n + 1, USERS[n:]) for n in range(5)),
    )
    assert await take_up(installation, takers) == 5
    rows = installation.query("SELECT state, batch_id FROM batch_request")
    assert {state for state, _ in rows} == {"accepted"}
    assert sorted(batch_id for _, batch_id in rows) == [
        batch_id for (batch_id,) in installation.query("SELECT id FROM batch ORDER BY id")
    ]
    active = installation.query("SELECT count(*), count(DISTINCT user_ref) FROM task WHERE state = 'pending'")
    assert active == [(6, 6)]

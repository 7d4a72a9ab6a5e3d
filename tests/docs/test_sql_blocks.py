"""The SQL that the guide shows other systems for an order is accepted as it stands by our own tables."""

import re

import asyncpg
import pytest
from console_block import blocks
from databases import ask, run_apart
from story import ROOT

from bulkreset.settings import DatabaseSettings
from bulkreset.store.migrate import upgrade
from bulkreset.store.place import place_of

SQLITE = "sqlite:///bulkreset.db"
ORDERED = (
    "SELECT r.state, u.user_ref FROM batch_request r JOIN batch_request_user u ON u.request_id = r.id ORDER BY 2"
)


@pytest.fixture
def statements():
    """The guide's blocks: one for SQLite, one for PostgreSQL, each as its statements."""
    shown = [block.text for block in blocks(ROOT / "docs" / "operators-guide.md") if block.language == "sql"]
    return [[one.strip() for one in re.sub(r"--.*", "", text).split(";") if one.strip()] for text in shown]


def test_the_order_for_sqlite_is_ready_with_its_users(statements, tmp_path):
    """Each statement runs, and a worker then finds one request with two users."""
    run_apart(upgrade(place_of(DatabaseSettings(url=SQLITE), tmp_path)))
    for statement in statements[0]:
        ask(SQLITE, tmp_path, statement)
    assert ask(SQLITE, tmp_path, ORDERED) == [("ready", "ada@example.com"), ("ready", "bob@example.com")]


def test_the_order_for_postgresql_is_ready_with_its_users(statements, postgres_server, tmp_path):
    """The id that the first statement returns is the one that the second takes."""
    url = postgres_server.fresh()
    insert, ready = statements[1]

    async def order():
        connection = await asyncpg.connect(url)
        try:
            [first, *_] = await connection.fetch(insert)
            await connection.execute(ready.replace(":request_id", str(first["request_id"])))
        finally:
            await connection.close()

    run_apart(order())
    assert ask(url, tmp_path, ORDERED) == [("ready", "ada@example.com"), ("ready", "bob@example.com")]

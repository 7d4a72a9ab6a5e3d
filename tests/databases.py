"""The databases that tests run on: a SQLite file, and a PostgreSQL that is started for them.

With BULKRESET_TEST_POSTGRES_URL set, that server is used in place of one of our own; it needs the right to make
databases.
"""

import asyncio
import os
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import asyncpg

from benchmarks.cluster import Cluster, execute
from bulkreset.settings import DatabaseSettings
from bulkreset.store.migrate import upgrade
from bulkreset.store.place import place_of

_names = count(1)


class Server:
    """A PostgreSQL that hands out fresh databases, with our tables in them."""

    def __init__(self):
        given = os.environ.get("BULKRESET_TEST_POSTGRES_URL")
        self._cluster = None if given else Cluster()
        if self._cluster is not None:
            self._cluster.start()
        self._url = given or self._cluster.url("postgres")
        self._made = []
        self._template = self._make("template1")
        run_apart(upgrade(place_of(DatabaseSettings(url=self._template), Path())))

    def fresh(self, *, tables=True):
        """Make a database and return its URL."""
        return self._make(urlsplit(self._template).path[1:] if tables else "template1")

    def close(self):
        """Delete all that was made."""
        if self._cluster is not None:
            self._cluster.remove()
            return
        names = [urlsplit(url).path[1:] for url in self._made]
        run_apart(execute(self._url, *(f'DROP DATABASE "{name}" WITH (FORCE)' for name in names)))

    def _make(self, template):
        name = f"bulkreset_test_{os.getpid()}_{next(_names)}"
        run_apart(execute(self._url, f'CREATE DATABASE "{name}" TEMPLATE "{template}"'))
        url = urlunsplit(urlsplit(self._url)._replace(path=f"/{name}"))
        self._made.append(url)
        return url


async def drop_checks(conn):
    """Let anything be written, as a damaged disk or a hand in the tables does: our checks keep such words out."""
    if conn.dialect.name == "sqlite":
        await conn.exec_driver_sql("PRAGMA ignore_check_constraints = ON")
        return
    checks = "SELECT conrelid::regclass::text, conname FROM pg_constraint WHERE contype = 'c' AND conrelid <> 0"
    for table, name in (await conn.exec_driver_sql(checks)).all():
        await conn.exec_driver_sql(f'ALTER TABLE {table} DROP CONSTRAINT "{name}"')


def run_apart(work):
    """Run a coroutine to its end in a thread of its own, whether or not a loop runs in this one."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, work).result()


def ask(url, folder, sql, *parameters):
    """Ask a database directly, as an auditor would; parameters are written `?`."""
    if url.startswith("sqlite"):
        connection = sqlite3.connect(folder / url.removeprefix("sqlite:///"))
        try:
            with connection:
                return connection.execute(sql, parameters).fetchall()
        finally:
            connection.close()
    for number in range(1, len(parameters) + 1):
        sql = sql.replace("?", f"${number}", 1)

    async def fetch():
        connection = await asyncpg.connect(url)
        try:
            return [tuple(row) for row in await connection.fetch(sql, *parameters)]
        finally:
            await connection.close()

    return run_apart(fetch())

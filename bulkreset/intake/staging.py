"""The private database in which a roster is put together, planned and, at the end, checked against the account.

It is a file on disk that the system deletes: a million users never stand in memory, and no file with their
addresses is left behind. Its tables, all of which are here, and who writes them:

| table | holds | written by |
|---|---|---|
| `line` | the users, as they were named | `Roster` |
| `excluded` | whom the order leaves out | `Roster` |
| `account_user`, `unreadable` | the account's own listing | `Roster` |
| `known`, `spelt`, `person` | who is one person, once the roster is frozen | `Roster` |
| `mark`, `turn`, `canary`, `matched`, `named` | who is skipped, ahead, a canary; matched by name | `Plan` |
| `held`, `done`, `difference` | a batch's roster beside the account, and how they differ | `closeout` |
"""

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

from bulkreset.errors import StoreError

Values = Sequence[object] | Mapping[str, object]


class Staging:
    """One open private database; calls may come from several threads, one at a time.

    Every call raises StoreError where the disk does not do its part.
    """

    def __init__(self) -> None:
        # "" is a temporary file that SQLite unlinks as soon as it is open.
        self._db = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self.make(_ROSTER)

    def make(self, tables: str) -> None:
        """Make tables, indexes or views: PLAN or CLOSE_OUT."""
        with _disk_errors():
            self._db.executescript(tables)

    def run(self, statement: str, values: Values = ()) -> int:
        """Change something; return how many rows."""
        with _disk_errors():
            return self._db.execute(statement, values).rowcount

    def run_many(self, statement: str, rows: Iterable[Sequence[object]]) -> int:
        """Change something for each of these rows, which may be more than fit into memory; return how many."""
        with _disk_errors():
            return self._db.executemany(statement, rows).rowcount

    def rows(self, question: str, values: Values = ()) -> list[tuple[Any, ...]]:
        """Return all rows of an answer that is known to be short."""
        with _disk_errors():
            return self._db.execute(question, values).fetchall()

    def count(self, question: str) -> int:
        """Return the one number that a question has for an answer."""
        [(number,)] = self.rows(question)
        return int(number)

    def chunks(self, question: str, size: int) -> Iterator[list[tuple[Any, ...]]]:
        """Yield the rows of an answer, so many at a time; nothing they depend on may be changed meanwhile."""
        with _disk_errors():
            found = self._db.execute(question)
            while chunk := found.fetchmany(size):
                yield chunk

    def function(self, name: str, call: Callable[[str], Any], *, pure: bool = True) -> None:
        """Let statements call a function of one text."""
        with _disk_errors():
            self._db.create_function(name, 1, call, deterministic=pure)

    def close(self) -> None:
        """Give the disk space back."""
        self._db.close()


@contextmanager
def _disk_errors() -> Iterator[None]:
    """Tell what the private database says in one line with the remedy."""
    try:
        yield
    except sqlite3.Error as error:
        raise StoreError(
            f"the roster's temporary file failed: {error}; make room there, or set TMPDIR to another folder"
        ) from None


# One transaction that never ends: there is nothing to roll back to, and nobody else to see it.
_ROSTER: Final = """
    PRAGMA journal_mode = OFF;
    PRAGMA synchronous = OFF;
    PRAGMA cache_size = -4000;
    PRAGMA temp_store = FILE;
    CREATE TABLE line (email TEXT, shown TEXT, user_id TEXT, priority INTEGER, spelling TEXT, wide TEXT);
    CREATE TABLE excluded (email TEXT, user_id TEXT);
    CREATE TABLE account_user (
        user_id TEXT, email TEXT, shown TEXT, role TEXT, status TEXT, bot INTEGER, created REAL, meant INTEGER,
        undecided INTEGER, spelling TEXT, wide TEXT, PRIMARY KEY (user_id, email)
    ) WITHOUT ROWID;
    CREATE TABLE unreadable (user_id TEXT PRIMARY KEY) WITHOUT ROWID;
    CREATE VIEW listed AS
        SELECT email, user_id, coalesce(spelling, email) AS spelling, coalesce(wide, email) AS wide
        FROM account_user WHERE email <> '';
    CREATE VIEW shared AS
        SELECT email, count(DISTINCT user_id) AS users FROM listed
        WHERE email IN (SELECT email FROM listed WHERE spelling <> email)
        GROUP BY email HAVING count(DISTINCT user_id) > 1 AND count(DISTINCT spelling) > 1;
    CREATE TABLE known (email TEXT PRIMARY KEY, user_id TEXT) WITHOUT ROWID;
    CREATE TABLE spelt (email TEXT PRIMARY KEY, spelling TEXT) WITHOUT ROWID;
    CREATE TABLE person (user_ref TEXT, name TEXT, display TEXT, resolved INTEGER, user_id TEXT);
    CREATE VIEW nameless AS
        SELECT user_id FROM line WHERE user_id NOT IN (SELECT user_id FROM excluded WHERE user_id IS NOT NULL)
        GROUP BY user_id HAVING max(email) IS NULL;
    CREATE VIEW undecided_email AS
        SELECT email FROM excluded WHERE user_id IS NULL AND EXISTS (SELECT 1 FROM nameless)
        EXCEPT SELECT coalesce(wide, email) FROM line WHERE user_id IS NOT NULL;
    BEGIN;
"""

PLAN: Final = """
    CREATE INDEX person_by_ref ON person (user_ref);
    CREATE INDEX person_by_name ON person (name);
    CREATE TABLE mark (user_ref TEXT PRIMARY KEY, skipped TEXT, message TEXT) WITHOUT ROWID;
    CREATE TABLE turn (user_ref TEXT PRIMARY KEY, ahead INTEGER) WITHOUT ROWID;
    CREATE TABLE canary (user_ref TEXT PRIMARY KEY) WITHOUT ROWID;
    CREATE TABLE matched (user_ref TEXT PRIMARY KEY) WITHOUT ROWID;
    CREATE TABLE named (name TEXT PRIMARY KEY) WITHOUT ROWID;
    CREATE VIEW to_call AS
        SELECT rowid AS place, user_ref FROM person
        WHERE resolved AND NOT EXISTS (SELECT 1 FROM mark WHERE mark.user_ref = person.user_ref);
"""
"""What a plan adds to a frozen roster."""

CLOSE_OUT: Final = """
    CREATE TABLE held (
        user_ref TEXT PRIMARY KEY, name TEXT, display TEXT, state TEXT, outcome TEXT, called INTEGER, left_to TEXT,
        maybe_changed INTEGER, by_surprise INTEGER
    ) WITHOUT ROWID;
    CREATE TABLE done (user_ref TEXT PRIMARY KEY) WITHOUT ROWID;
    CREATE INDEX account_user_by_email ON account_user (email);
    CREATE TABLE difference (
        part TEXT, user_ref TEXT, display TEXT, detail TEXT, PRIMARY KEY (part, user_ref)
    ) WITHOUT ROWID;
"""
"""What the end of a batch adds to the account's listing."""

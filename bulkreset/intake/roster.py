"""The roster: everybody named, each person once, without the excluded, in the one order that its hash proves.

It is put together in a private database on disk, which the system deletes: a million users never stand in
memory, and no file with their addresses is left behind.
"""

import hashlib
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from types import TracebackType
from typing import Final, Self

from bulkreset.errors import InputError, StoreError
from bulkreset.intake.users_file import UserLine
from bulkreset.store.rosters import RosterEntry

CHUNK: Final = 5_000
"""Rows that `rows` hands over at a time."""


class Roster:
    """Collect users and exclusions in any order, `freeze` once, then read.

    Every line that was added is counted once: lines = total + excluded + duplicates. The four results stand
    after `freeze`.

    Two lines are one person where they have the same id, or the same address and not two different ids.
    Addresses are compared in lower case, ids exactly. Calls may come from several threads, one at a time.
    """

    def __init__(self, name: str = "the users file") -> None:
        self._name = name
        self._asked = False
        self._wanted: int | None = None  # None: not counted since the last line came
        self.total = 0
        self.excluded = 0
        self.duplicates = 0
        self.sha256 = ""
        # "" is a temporary file that SQLite unlinks as soon as it is open.
        self._db = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        with _disk_errors():
            self._db.executescript(_TABLES)

    def add(self, lines: Iterable[UserLine]) -> None:
        """Take up users."""
        self._wanted = None
        with _disk_errors():
            self._db.executemany("INSERT INTO line VALUES (?, ?, ?)", map(_keyed, lines))

    def exclude(self, lines: Iterable[UserLine]) -> None:
        """Take up people who must not be reset; a line with both names excludes whoever has either."""
        self._wanted = None
        with _disk_errors():
            self._db.executemany(
                "INSERT INTO excluded VALUES (?, ?)",
                ((email, user_id) for email, _, user_id in map(_keyed, lines)),
            )

    def unresolved(self) -> int:
        """Return how many addresses have still to be looked up at the provider. Cheap between two `resolve`.

        These are the users without an id, and where users are named by id only also the excluded ones, who
        could be any of them.
        """
        if self._wanted is None:
            with _disk_errors():
                self._db.execute("DELETE FROM wanted")
                self._wanted = self._db.execute(_FILL_WANTED).rowcount
        return self._wanted

    def resolve(self, pairs: Iterable[tuple[str, str]]) -> None:
        """Take up (user id, address) pairs as the provider lists them; of several ids the lowest is taken."""
        self._asked = True
        source = iter(pairs)
        while page := [(email.lower(), user_id) for user_id, email in islice(source, CHUNK)]:
            with _disk_errors():
                self._db.executemany("INSERT INTO listed VALUES (?, ?)", page)
                if self._wanted:
                    found = self._db.executemany(
                        "DELETE FROM wanted WHERE email = ?", ((email,) for email, _ in page)
                    )
                    self._wanted -= found.rowcount

    def freeze(self, *, ids_required: bool) -> None:
        """Merge, exclude, sort and hash; call it once, and nothing but `rows` after it.

        Raises InputError where nobody is left, and where it cannot be told whether an excluded person is among
        the users, one being named by id and the other by address.
        """
        assert not self.sha256, "a roster is frozen once"
        with _disk_errors():
            lines = self._count("SELECT count(*) FROM line")
            if not lines:
                raise InputError(f"{self._name}: names no users")
            for statement in _MERGE:
                self._db.execute(statement)
            people = self._count("SELECT count(*) FROM person")
            self.excluded = self._db.execute(_EXCLUDE).rowcount
            self._refuse_undecided(ids_required=ids_required)
            if not ids_required:
                self._db.execute("UPDATE person SET resolved = 1 WHERE NOT resolved")
        self.duplicates = lines - people
        self.total = people - self.excluded
        if not self.total:
            raise InputError(f"all {people} users of {self._name} are excluded; nothing is left to reset")
        self.sha256 = self._hash()

    def rows(self) -> Iterator[list[RosterEntry]]:
        """Yield the people of a frozen roster in chunks, by `user_ref` in byte order; it can be read again.

        `sha256` is over every `user_ref` in this order, each with a line feed: `LC_ALL=C sort | sha256sum`.
        """
        with _disk_errors():
            found = self._db.execute("SELECT user_ref, display, resolved FROM person ORDER BY rowid")
            while chunk := found.fetchmany(CHUNK):
                yield [RosterEntry(user_ref, display, bool(resolved)) for user_ref, display, resolved in chunk]

    def close(self) -> None:
        """Give the disk space back."""
        self._db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _hash(self) -> str:
        digest = hashlib.sha256()
        with _disk_errors():
            found = self._db.execute("SELECT user_ref FROM person ORDER BY rowid")
            while chunk := found.fetchmany(CHUNK):
                digest.update("".join(f"{user_ref}\n" for (user_ref,) in chunk).encode("utf-8"))
        return digest.hexdigest()

    def _refuse_undecided(self, *, ids_required: bool) -> None:
        """Refuse where an exclusion may miss its person; the provider's listing, if it was read, has decided."""
        if not self._asked and (count := self._count("SELECT count(*) FROM undecided_email")):
            raise InputError(
                f"{count} excluded users are named by email only and users of {self._name} by user_id only, so "
                "they could be missed; give the user_id of the excluded users too"
            )
        if not ids_required and (count := self._count(_UNDECIDED_IDS)):
            raise InputError(
                f"{count} excluded users are named by user_id only and users of {self._name} by email only, so "
                "they could be missed; give the email of the excluded users too"
            )

    def _count(self, question: str) -> int:
        return int(self._db.execute(question).fetchone()[0])


def _keyed(user: UserLine) -> tuple[str | None, str | None, str | None]:
    """Return the address to compare by, the one to show where it differs, and the id.

    Lower case, not case folding: that would write 'straße' as 'strasse', which is somebody else's address.
    """
    _, email, user_id = user
    if email is None:
        return None, None, user_id
    key = email.lower()
    return key, None if key == email else email, user_id


@contextmanager
def _disk_errors() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise StoreError(
            f"the roster's temporary file failed: {error}; make room there, or set TMPDIR to another folder"
        ) from None


# One transaction that never ends: there is nothing to roll back to, and nobody else to see it.
_TABLES: Final = """
    PRAGMA journal_mode = OFF;
    PRAGMA synchronous = OFF;
    PRAGMA cache_size = -4000;
    PRAGMA temp_store = FILE;
    CREATE TABLE line (email TEXT, shown TEXT, user_id TEXT);
    CREATE TABLE excluded (email TEXT, user_id TEXT);
    CREATE TABLE listed (email TEXT, user_id TEXT);
    CREATE TABLE wanted (email TEXT PRIMARY KEY) WITHOUT ROWID;
    CREATE TABLE known (email TEXT PRIMARY KEY, user_id TEXT) WITHOUT ROWID;
    CREATE TABLE person (user_ref TEXT, display TEXT, resolved INTEGER);
    CREATE VIEW nameless AS
        SELECT user_id FROM line WHERE user_id NOT IN (SELECT user_id FROM excluded WHERE user_id IS NOT NULL)
        GROUP BY user_id HAVING max(email) IS NULL;
    CREATE VIEW undecided_email AS
        SELECT email FROM excluded WHERE user_id IS NULL AND EXISTS (SELECT 1 FROM nameless)
        EXCEPT SELECT email FROM line WHERE user_id IS NOT NULL;
    BEGIN;
"""

_FILL_WANTED: Final = """
    INSERT INTO wanted
    SELECT email FROM line WHERE user_id IS NULL
    EXCEPT SELECT email FROM line WHERE user_id IS NOT NULL
    EXCEPT SELECT email FROM excluded
    UNION SELECT email FROM undecided_email
    EXCEPT SELECT email FROM listed
    ORDER BY email
"""

# What a line itself says about an address goes before what the provider lists. Within a person, bare columns
# beside min() are those of the first line that has an address.
_MERGE: Final = (
    """
    INSERT INTO known
    SELECT email, min(user_id) FROM line
    WHERE email IS NOT NULL AND user_id IS NOT NULL AND EXISTS (SELECT 1 FROM line WHERE user_id IS NULL)
    GROUP BY email
    """,
    "INSERT OR IGNORE INTO known SELECT email, min(user_id) FROM listed GROUP BY email",
    """
    INSERT INTO person
    SELECT user_ref, coalesce(shown, email, user_ref), has_id
    FROM (
        SELECT
            coalesce(line.user_id, known.user_id, line.email) AS user_ref,
            min(iif(line.email IS NULL, NULL, line.rowid)),
            line.shown AS shown,
            line.email AS email,
            coalesce(line.user_id, known.user_id) IS NOT NULL AS has_id
        FROM line LEFT JOIN known ON line.user_id IS NULL AND known.email = line.email
        GROUP BY 1
    )
    ORDER BY user_ref
    """,
)

_EXCLUDE: Final = """
    DELETE FROM person WHERE user_ref IN (
        SELECT user_id FROM excluded WHERE user_id IS NOT NULL
        UNION SELECT email FROM excluded WHERE email IS NOT NULL
        UNION SELECT user_id FROM line WHERE user_id IS NOT NULL AND email IN (SELECT email FROM excluded)
        UNION SELECT user_id FROM listed WHERE email IN (SELECT email FROM excluded)
    )
"""

_UNDECIDED_IDS: Final = """
    SELECT count(*) FROM (
        SELECT user_id FROM excluded WHERE email IS NULL AND EXISTS (SELECT 1 FROM person WHERE NOT resolved)
        EXCEPT SELECT user_id FROM line WHERE email IS NOT NULL
        EXCEPT SELECT user_id FROM listed
    )
"""

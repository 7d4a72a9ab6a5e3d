"""The roster: everybody named, each person once, without the excluded, in the one order that its hash proves.

It is put together in a private database on disk, `staging`.
"""

import hashlib
from collections.abc import Iterable, Iterator
from itertools import starmap
from types import TracebackType
from typing import Final, NamedTuple, Self

from bulkreset.address import canonical, folded
from bulkreset.errors import InputError
from bulkreset.intake.staging import Staging
from bulkreset.intake.users_file import UserLine
from bulkreset.providers.base import DirectoryUser
from bulkreset.store.rosters import RosterEntry

CHUNK: Final = 5_000
"""Rows that `rows` hands over at a time."""


class Counted(NamedTuple):
    """How many users an account has, how many of them an order means, and how many only for want of knowledge.

    `missing` are those that the provider itself counts and its listing does not show.
    """

    users: int
    meant: int
    undecided: int
    missing: int = 0


class Roster:
    """Collect users and exclusions in any order, `freeze` once, then read.

    Every line that was added is counted once: lines = total + excluded + duplicates. The four results stand
    after `freeze`.

    Two lines are one person where they have the same id, or the same address and not two different ids. Ids are
    compared exactly, addresses in their canonical form; an exclusion reaches whoever it could mean, in the widest.
    Calls may come from several threads, one at a time.
    """

    def __init__(self, name: str = "the users file") -> None:
        self._name = name
        self.listed = False
        self._listings = 0
        self.total = 0
        self.excluded = 0
        self.duplicates = 0
        self.sha256 = ""
        self.staging = Staging()

    def add(self, lines: Iterable[UserLine]) -> None:
        """Take up users."""
        self.staging.run_many("INSERT INTO line VALUES (?, ?, ?, ?, ?, ?)", map(_keyed, lines))

    def exclude(self, lines: Iterable[UserLine]) -> None:
        """Take up people who must not be reset; a line with both names excludes whoever has either."""
        self.staging.run_many(
            "INSERT INTO excluded VALUES (?, ?)",
            ((None if email is None else folded(email), user_id) for _, email, user_id, _ in lines),
        )

    def take_listing(self, users: Iterable[tuple[DirectoryUser, bool, bool]]) -> int:
        """Take up users as the provider lists them, before `freeze`; return how many there are by now.

        With each comes whether an order for all users means them, and whether only for want of knowledge. Who
        comes twice is there once; of two addresses of one id both are known, and the id may count twice.
        """
        self._listings += self.staging.run_many(_TAKE_LISTED, starmap(_listed, users))
        return self._listings

    def note_unreadable(self, user_ids: Iterable[str]) -> None:
        """Note listed users whose names cannot be trusted; `user_ids` are as they were taken up."""
        self.staging.run_many("INSERT OR IGNORE INTO unreadable VALUES (?)", ((each,) for each in user_ids))

    def end_listing(self) -> Counted:
        """Trust in the listing, which has come to its end; count its users, each id once, and who is meant."""
        self.listed = True
        [(users, meant, undecided)] = self.staging.rows(_COUNT_LISTED)
        return Counted(users, meant or 0, undecided or 0)

    def add_listed(self) -> None:
        """Make everybody who was listed and is meant a user of this roster."""
        self.staging.run(_ADD_LISTED)

    def lines(self) -> int:
        """Count the lines that were added."""
        return self.staging.count("SELECT count(*) FROM line")

    def freeze(self, *, ids_required: bool) -> None:
        """Merge, exclude, sort and hash; call it once, and nothing but `rows` after it.

        Raises InputError where nobody is left, where an address is that of several people, and where it cannot be
        told whether an excluded person is among the users, one being named by id and the other by address.
        """
        assert not self.sha256, "a roster is frozen once"
        lines = self.lines()
        if not lines:
            raise InputError(f"{self._name}: names no users")
        if self.listed:
            self._tell_apart()
        self.staging.run(_KNOWN_BY_LINES)
        if self.listed:
            self.staging.run(_KNOWN_BY_LISTING if ids_required else _KNOWN_TWICE)
            self.staging.run(_SPELT_BY_LISTING)
        self.staging.run(_PEOPLE)
        if self.listed:
            self.staging.run(_SHOW_LISTED)
            self.staging.run(_IDENTIFY_LISTED)
        people = self.staging.count("SELECT count(*) FROM person")
        self.excluded = self.staging.run(_EXCLUDE)
        self._refuse_undecided(ids_required=ids_required)
        if not ids_required:
            self.staging.run("UPDATE person SET resolved = 1 WHERE NOT resolved")
        self.duplicates = lines - people
        self.total = people - self.excluded
        if not self.total:
            raise InputError(f"all {people} users of {self._name} are excluded; nothing is left to reset")
        self.sha256 = self._hash()

    def rows(self) -> Iterator[list[RosterEntry]]:
        """Yield the people of a frozen roster in chunks, by `user_ref` in byte order; it can be read again.

        `sha256` is over every `user_ref` in this order, each with a line feed: `LC_ALL=C sort | sha256sum`.
        """
        for chunk in self.staging.chunks(
            "SELECT user_ref, display, resolved, user_id FROM person ORDER BY rowid", CHUNK
        ):
            yield [
                RosterEntry(user_ref, display, bool(resolved), user_id)
                for user_ref, display, resolved, user_id in chunk
            ]

    def close(self) -> None:
        """Give the disk space back."""
        self.staging.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _hash(self) -> str:
        digest = hashlib.sha256()
        for chunk in self.staging.chunks("SELECT user_ref FROM person ORDER BY rowid", CHUNK):
            digest.update("".join(f"{user_ref}\n" for (user_ref,) in chunk).encode("utf-8"))
        return digest.hexdigest()

    def _tell_apart(self) -> None:
        """Give their ids to lines whose address several listed users have, each in a spelling of their own."""
        if not self.staging.count("SELECT EXISTS (SELECT 1 FROM shared)"):
            return
        self.staging.run(_TELL_APART)
        if left := self.staging.rows(_STILL_SHARED):
            [(address, users)] = left
            raise InputError(
                f"{self._name}: {address!r} is the address of {users} users of the account, who differ only in "
                "how it is written; name them by user_id"
            )

    def _refuse_undecided(self, *, ids_required: bool) -> None:
        """Refuse where an exclusion may miss its person; the provider's listing, if it was read, has decided."""
        if not self.listed and (count := self.staging.count("SELECT count(*) FROM undecided_email")):
            raise InputError(
                f"{count} excluded users are named by email only and users of {self._name} by user_id only, so "
                "they could be missed; give the user_id of the excluded users too"
            )
        if not ids_required and (count := self.staging.count(_UNDECIDED_IDS)):
            raise InputError(
                f"{count} excluded users are named by user_id only and users of {self._name} by email only, so "
                "they could be missed; give the email of the excluded users too"
            )


_Row = tuple[str | float | None, ...]


def _keyed(user: UserLine) -> _Row:
    _, email, user_id, priority = user
    if email is None:
        return None, None, user_id, priority, None, None
    key, shown, spelling, wide = _forms(email, email.lower())
    return key, shown, user_id, priority, spelling, wide


def _listed(user: DirectoryUser, meant: bool, undecided: bool) -> _Row:
    email = user.email or ""
    key, _, spelling, wide = _forms(email, email.lower() if email.isascii() else email)
    created = None if user.created_at is None else user.created_at.timestamp()
    return (
        *(user.user_id, key, email, user.role, user.status, user.bot, created, meant, undecided),
        *(spelling, wide),
    )


def _forms(email: str, spelling: str) -> tuple[str, str | None, str | None, str | None]:
    """Return the address to compare by and, where it differs, what to show, to send, and to be spared by."""
    key = canonical(email)
    wide = None if key.isascii() and "xn--" not in key else folded(email)
    return (
        key,
        None if key == email else email,
        None if key == spelling else spelling,
        None if key == wide else wide,
    )


_TAKE_LISTED: Final = "INSERT OR IGNORE INTO account_user VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"

_COUNT_LISTED: Final = """
    SELECT count(*), sum(meant), sum(undecided) FROM (
        SELECT max(meant) AS meant, max(undecided) AS undecided FROM account_user GROUP BY user_id
    )
"""

_ADD_LISTED: Final = """
    INSERT INTO line
    SELECT nullif(email, ''), iif(shown = email, NULL, shown), user_id, 0, spelling, wide
    FROM account_user WHERE meant GROUP BY user_id
"""

# What a line itself says about an address goes before what the provider lists.
_KNOWN_BY_LINES: Final = """
    INSERT INTO known
    SELECT email, min(user_id) FROM line
    WHERE email IS NOT NULL AND user_id IS NOT NULL AND EXISTS (SELECT 1 FROM line WHERE user_id IS NULL)
    GROUP BY email
"""

_KNOWN_BY_LISTING: Final = """
    INSERT OR IGNORE INTO known SELECT email, min(user_id) FROM listed
    WHERE email IN (SELECT email FROM line WHERE user_id IS NULL) GROUP BY email
"""

# Where addresses are as good as ids, only who is named by both in different lines needs to be found out.
_KNOWN_TWICE: Final = """
    INSERT OR IGNORE INTO known SELECT email, min(user_id) FROM listed
    WHERE email IN (SELECT email FROM line WHERE user_id IS NULL) AND user_id IN (SELECT user_id FROM line)
    GROUP BY email
"""

_TELL_APART: Final = """
    UPDATE line SET user_id = mine.user_id
    FROM (SELECT email, spelling, min(user_id) AS user_id FROM listed GROUP BY email, spelling) AS mine
    WHERE line.user_id IS NULL AND line.email IN (SELECT email FROM shared)
        AND mine.email = line.email AND mine.spelling = coalesce(line.spelling, line.email)
"""

_STILL_SHARED: Final = """
    SELECT coalesce(line.shown, line.email), shared.users
    FROM line JOIN shared ON shared.email = line.email
    WHERE line.user_id IS NULL LIMIT 1
"""

# The provider's own spelling of an address that is written in another way, on whichever side.
_SPELT_BY_LISTING: Final = """
    INSERT INTO spelt SELECT email, min(spelling) FROM listed
    WHERE email IN (SELECT email FROM line WHERE user_id IS NULL AND spelling IS NOT NULL)
        OR spelling <> email
    GROUP BY email
"""

# Bare columns beside min() are those of the person's first line that has an address. `name` is what people are
# compared by, `user_ref` what the provider is called with: an id, or an address as the provider writes it.
_PEOPLE: Final = """
    INSERT INTO person
    SELECT
        iif(has_id, name, coalesce(spelt.spelling, people.spelling, name)) AS user_ref,
        name, coalesce(shown, people.email, name), has_id, NULL
    FROM (
        SELECT
            coalesce(line.user_id, known.user_id, line.email) AS name,
            min(iif(line.email IS NULL, NULL, line.rowid)),
            line.shown AS shown,
            line.email AS email,
            line.spelling AS spelling,
            coalesce(line.user_id, known.user_id) IS NOT NULL AS has_id
        FROM line LEFT JOIN known ON line.user_id IS NULL AND known.email = line.email
        GROUP BY 1
    ) AS people
    LEFT JOIN spelt ON spelt.email = name
    ORDER BY user_ref
"""

# What a task has is what protection is asked about at send time: both names, where both are known.
_SHOW_LISTED: Final = """
    UPDATE person SET display = account_user.shown
    FROM account_user
    WHERE person.display = person.user_ref AND account_user.user_id = person.user_ref AND account_user.email <> ''
"""

_IDENTIFY_LISTED: Final = """
    UPDATE person SET user_id = mine.user_id
    FROM (SELECT email, min(user_id) AS user_id FROM listed WHERE user_id <> email GROUP BY email) AS mine
    WHERE NOT person.resolved AND mine.email = person.name
"""

_EXCLUDE: Final = """
    DELETE FROM person WHERE name IN (
        SELECT user_id FROM excluded WHERE user_id IS NOT NULL
        UNION SELECT email FROM line WHERE coalesce(wide, email) IN (SELECT email FROM excluded)
        UNION SELECT user_id FROM line
            WHERE user_id IS NOT NULL AND coalesce(wide, email) IN (SELECT email FROM excluded)
        UNION SELECT user_id FROM listed WHERE wide IN (SELECT email FROM excluded)
        UNION SELECT email FROM listed WHERE user_id IN (SELECT user_id FROM excluded)
    )
"""

_UNDECIDED_IDS: Final = """
    SELECT count(*) FROM (
        SELECT user_id FROM excluded WHERE email IS NULL AND EXISTS (SELECT 1 FROM person WHERE NOT resolved)
        EXCEPT SELECT user_id FROM line WHERE email IS NOT NULL
        EXCEPT SELECT user_id FROM listed
    )
"""

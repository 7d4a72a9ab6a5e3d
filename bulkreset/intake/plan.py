"""What is planned for each person of a frozen roster: skipped and why, ahead of others, among the canaries.

It stands in the roster's own database, beside the people, and costs nothing where nobody is special.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from bulkreset.address import canonical
from bulkreset.errors import InputError
from bulkreset.intake.protection import Protected
from bulkreset.intake.roster import CHUNK, Roster
from bulkreset.intake.staging import PLAN
from bulkreset.intake.users_file import UserLine
from bulkreset.model import Skip
from bulkreset.providers.base import Role, Status
from bulkreset.store.rosters import PlannedEntry, RosterEntry

FIRST: Final = 10_000
"""Seconds that the people to do first are ahead of all others; a priority is worth 1,000 at most."""


class Plan:
    """Look at everybody on a frozen roster; whoever is skipped for one reason is not looked at for the next.

    Calls may come from several threads, one at a time.
    """

    def __init__(self, roster: Roster) -> None:
        assert roster.sha256, "a plan is made for a frozen roster"
        self._roster = roster
        self._staging = roster.staging
        self._staging.make(PLAN)

    def skip_protected(self, protected: Protected) -> None:
        """Skip whoever is protected by any name that the users file or the listing knows them by.

        Raises InputError where there is no listing and people are named in another way than the protected ones.
        """
        if not protected.names:
            return
        self.skip_covered(protected, Skip.PROTECTED, "protected by the configuration: never reset")
        if not self._roster.listed:
            self._refuse_undecided(protected)

    def skip_covered(self, people: Protected, why: Skip, message: str) -> None:
        """Skip whoever is one of these people by any name that the users file or the listing knows them by."""
        self._covering(people)
        self._staging.run(_COVERED)
        self.skip_noted(why, message)

    def note(self, names: Iterable[str | None]) -> None:
        """Note ids and addresses, for `skip_noted`."""
        self._staging.run_many("INSERT OR IGNORE INTO named VALUES (?)", _both(names))

    def skip_noted(self, why: Skip, message: str) -> None:
        """Skip whoever is known by a noted name; nothing is noted after it."""
        self._spread_names()
        self._staging.run(_SKIP_NAMED, (why, message))
        self._staging.run("DELETE FROM named")

    def match_noted(self) -> int:
        """Match the noted names with whom is to be called; return how many had not been matched before."""
        self._spread_names()
        found = self._staging.run(_MATCH_NAMED)
        self._staging.run("DELETE FROM named")
        return found

    def matched(self) -> int:
        """Count who was matched and is to be called."""
        return self._staging.count("SELECT count(*) FROM matched")

    def skip_refs(self, refs: Iterable[tuple[str, Skip, str]]) -> None:
        """Skip people by the very references that the roster has, each for a reason of their own."""
        self._staging.run_many("INSERT OR IGNORE INTO mark VALUES (?, ?, ?)", refs)

    def is_listed(self, people: Protected) -> bool:
        """Tell whether the listing has any of these people."""
        self._covering(people)
        return bool(self._staging.count(_LISTED))

    def skip_role(self, role: Role | None, why: Skip, message: str) -> None:
        """Skip whom the listing shows in this role, or in none that is known."""
        self._skip_listed("role IS ?", role, why, message)

    def skip_not_listed(self, message: str) -> None:
        """Skip who is called by an id or address that the listing does not have."""
        self._staging.run(_SKIP_NOT_LISTED, (Skip.NOT_LISTED, message))

    def skip_unreadable(self, message: str) -> None:
        """Skip whose names in the listing hold what nobody could see, or are none that can be called."""
        self._staging.run(_SKIP_UNREADABLE, (Skip.UNREADABLE, message))

    def skip_status(self, status: Status, why: Skip, message: str) -> None:
        """Skip whom the listing shows in this status."""
        self._skip_listed("status = ?", status, why, message)

    def skip_bots(self, message: str) -> None:
        """Skip whom the listing shows as no person."""
        self._skip_listed("bot = ?", True, Skip.BOT, message)

    def put_first(self, lines: Iterable[UserLine]) -> int:
        """Put these people before all others; return how many of them are on the roster."""
        self.note(name for line in lines for name in (line.email, line.user_id))
        self._spread_names()
        found = self._staging.run(_PUT_FIRST, (FIRST, FIRST))
        self._staging.run("DELETE FROM named")
        return found

    def by_priority(self) -> None:
        """Put people ahead by the highest priority that a line of theirs gives them; before `put_first`."""
        if self._staging.count("SELECT EXISTS (SELECT 1 FROM line WHERE priority)"):
            self._staging.run(_BY_PRIORITY)

    def choose_canaries(self, most: int) -> None:
        """Choose who is called before the rest: those to do first, then a cross-section of all who are called.

        The same roster always has the same canaries.
        """
        if most:
            seed = self._roster.sha256

            def spread(user_ref: str) -> bytes:
                return hashlib.sha256(f"{seed}\n{user_ref}".encode()).digest()

            self._staging.function("spread", spread)
            self._staging.run(_CHOOSE_CANARIES, (FIRST, most))

    @property
    def has_listing(self) -> bool:
        """Whether the account was listed, so that who is not there is known."""
        return self._roster.listed

    @property
    def special(self) -> bool:
        """Whether anybody is skipped, ahead or a canary: else the roster's own rows say it all."""
        return bool(self._staging.count(_SPECIAL))

    def sends(self) -> int:
        """Count the people whose password will be set."""
        return self._staging.count("SELECT count(*) FROM to_call")

    def skipped(self) -> dict[str, int]:
        """Count the people who are skipped, by reason."""
        return dict(self._staging.rows("SELECT skipped, count(*) FROM mark GROUP BY 1 ORDER BY 1"))

    def sends_sha256(self) -> str:
        """Return the hash over the references that will be called, made as the roster's own."""
        if self.sends() == self._roster.total:
            return self._roster.sha256
        digest = hashlib.sha256()
        for refs in self.to_call():
            digest.update("".join(f"{user_ref}\n" for user_ref in refs).encode())
        return digest.hexdigest()

    def to_call(self) -> Iterator[list[str]]:
        """Yield the references that will be called, in chunks, by `user_ref` in byte order."""
        last = 0
        while True:
            # not one cursor: what is skipped meanwhile must not disturb the reading
            rows = self._staging.rows(_TO_CALL_AFTER, (last, CHUNK))
            if not rows:
                return
            yield [user_ref for _, user_ref in rows]
            last = rows[-1][0]

    def rows(self) -> Iterator[Sequence[RosterEntry] | Sequence[PlannedEntry]]:
        """Yield the people in chunks and in the roster's order; plain rows where nobody is special."""
        if not self.special:
            yield from self._roster.rows()
            return
        for chunk in self._staging.chunks(_ROWS, CHUNK):
            yield [
                PlannedEntry(
                    user_ref,
                    display,
                    bool(resolved),
                    user_id,
                    Skip(skipped) if skipped else None,
                    message,
                    ahead,
                    wave,
                )
                for user_ref, display, resolved, user_id, skipped, message, ahead, wave in chunk
            ]

    def _refuse_undecided(self, protected: Protected) -> None:
        """Refuse where a protected person may be among those to call, one being named by id, one by address."""
        addresses = sum("@" in name for name in protected.names)
        ids = len(protected.names) - addresses
        [(by_id, by_address)] = self._staging.rows(_NAMED_BY)
        for people, kind, known, other in (
            (by_id, "user_id", ids, addresses),
            (by_address, "email", addresses, ids),
        ):
            if people and known < other:
                raise InputError(
                    f"{people:,} users are named by {kind} only and protected users by other names, so that they "
                    "could be missed, for the account may not be listed; name the protected users by both, or let "
                    "the app list users"
                )

    def _covering(self, people: Protected) -> None:
        self._staging.function("covers", people.covers)

    def _skip_listed(self, condition: str, value: object, why: Skip, message: str) -> None:
        self._staging.run(_SKIP_LISTED.format(condition), (why, message, value))

    def _spread_names(self) -> None:
        """Add to what is noted all other names that the same people are known by."""
        for statement in _KNOWN_ALSO_BY:
            self._staging.run(statement)


def _both(names: Iterable[str | None]) -> Iterator[tuple[str]]:
    """Yield each name as it is, for an id, and in canonical form where it is an address, as rosters hold them."""
    for name in names:
        if name:
            yield (name,)
            if "@" in name:
                yield (canonical(name),)


_COVERED: Final = """
    INSERT OR IGNORE INTO named
    SELECT name FROM person WHERE covers(user_ref) OR covers(display)
    UNION SELECT user_id FROM line WHERE user_id IS NOT NULL AND (covers(user_id) OR covers(email))
    UNION SELECT user_id FROM account_user WHERE covers(user_id) OR covers(email)
"""

_LISTED: Final = "SELECT EXISTS (SELECT 1 FROM account_user WHERE covers(user_id) OR covers(email))"

_KNOWN_ALSO_BY: Final = (
    "INSERT OR IGNORE INTO named SELECT user_id FROM listed WHERE email IN (SELECT name FROM named)",
    "INSERT OR IGNORE INTO named SELECT user_id FROM line WHERE user_id > '' AND email IN (SELECT * FROM named)",
    "INSERT OR IGNORE INTO named SELECT email FROM listed WHERE user_id IN (SELECT name FROM named)",
)

_SKIP_NAMED: Final = """
    INSERT OR IGNORE INTO mark
    SELECT user_ref, ?, ? FROM person JOIN named ON named.name = person.name WHERE resolved
"""

_SKIP_LISTED: Final = """
    INSERT OR IGNORE INTO mark
    SELECT person.user_ref, ?, ?
    FROM account_user JOIN person ON person.name IN (account_user.user_id, account_user.email)
    WHERE account_user.{} AND person.resolved
"""

_SKIP_NOT_LISTED: Final = """
    INSERT OR IGNORE INTO mark
    SELECT user_ref, ?, ? FROM person
    WHERE resolved AND user_ref NOT IN (SELECT user_id FROM account_user)
        AND name NOT IN (SELECT email FROM account_user)
"""

_MATCH_NAMED: Final = """
    INSERT OR IGNORE INTO matched
    SELECT person.user_ref FROM person JOIN named ON named.name = person.name
    JOIN to_call ON to_call.user_ref = person.user_ref
"""

_SKIP_UNREADABLE: Final = """
    INSERT OR IGNORE INTO mark
    SELECT user_ref, ?, ? FROM person JOIN unreadable ON unreadable.user_id = person.user_ref WHERE resolved
"""

# Who is still to be called: by an id for which no line has an address, and by an address for which none has an id.
_NAMED_BY: Final = """
    SELECT
        count(*) FILTER (WHERE instr(user_ref, '@') = 0 AND user_ref NOT IN (
            SELECT user_id FROM line WHERE user_id IS NOT NULL AND email IS NOT NULL
        )),
        count(*) FILTER (WHERE instr(user_ref, '@') > 0)
    FROM to_call
"""

_BY_PRIORITY: Final = """
    INSERT INTO turn
    SELECT person.user_ref, max(line.priority)
    FROM line LEFT JOIN known ON line.user_id IS NULL AND known.email = line.email
    JOIN person ON person.name = coalesce(line.user_id, known.user_id, line.email)
    WHERE line.priority GROUP BY 1
"""

_PUT_FIRST: Final = """
    INSERT INTO turn SELECT user_ref, ? FROM person JOIN named ON named.name = person.name WHERE true
    ON CONFLICT DO UPDATE SET ahead = ahead + ?
"""

_CHOOSE_CANARIES: Final = """
    INSERT INTO canary
    SELECT user_ref FROM (
        SELECT to_call.user_ref, coalesce(turn.ahead, 0) >= ? AS first
        FROM to_call LEFT JOIN turn ON turn.user_ref = to_call.user_ref
    )
    ORDER BY first DESC, spread(user_ref) LIMIT ?
"""

_TO_CALL_AFTER: Final = "SELECT place, user_ref FROM to_call WHERE place > ? ORDER BY place LIMIT ?"

_SPECIAL: Final = """
    SELECT EXISTS (SELECT 1 FROM mark) OR EXISTS (SELECT 1 FROM turn) OR EXISTS (SELECT 1 FROM canary)
"""

_ROWS: Final = """
    SELECT
        person.user_ref, display, resolved, person.user_id, skipped, message, coalesce(ahead, 0),
        canary.user_ref IS NULL
    FROM person
    LEFT JOIN mark ON mark.user_ref = person.user_ref
    LEFT JOIN turn ON turn.user_ref = person.user_ref
    LEFT JOIN canary ON canary.user_ref = person.user_ref
    ORDER BY person.rowid
"""

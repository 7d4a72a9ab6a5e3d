"""What an order is asked about before it is placed: names that are nobody's, strangers, people just reset."""

from collections.abc import Iterable, Iterator
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from bulkreset.address import folded
from bulkreset.intake.beside import beside
from bulkreset.intake.concerns import Concern, Doubt
from bulkreset.intake.plan import Plan
from bulkreset.intake.protection import Protected
from bulkreset.intake.roster import Roster
from bulkreset.intake.users_file import UserLine
from bulkreset.store import members
from bulkreset.store.engine import LONG, Store

SHOWN: Final = 10
"""Names that are shown of each list."""

LATELY: Final = timedelta(hours=24)
"""So long ago a reset is still in everybody's mind: another one is asked about."""

PROTECTED: Final = "protected"
"""What the standing list is called, as in the configuration."""

STRANGERS: Final = 0.05
"""The share of named users that may be nobody's without a question."""


@dataclass(frozen=True, slots=True)
class Nobody:
    """How many people a list names, and how many of those nobody at the account is; `names` are the first."""

    list: str
    named: int
    nobody: int
    names: tuple[str, ...] = ()

    def __str__(self) -> str:
        names = some(self.names, self.nobody)
        return f"{self.nobody:,} of {self.named:,} names in {self.list} are nobody's here: {names}"


@dataclass(frozen=True, slots=True)
class Strangers:
    """How many of the named users the account does not list, and the first of them."""

    count: int = 0
    names: tuple[str, ...] = ()


def nobodies(roster: Roster, first: Iterable[UserLine], protected: Protected | None) -> tuple[Nobody, ...]:
    """Check each list of exceptions against the account's listing and the users file; () where there is none."""
    if not roster.listed:
        return ()
    excluded = [tuple(filter(None, row)) for row in roster.staging.rows("SELECT email, user_id FROM excluded")]
    people = {
        "--exclude": excluded,
        PROTECTED: [] if protected is None else [(name,) for name in sorted(protected.names)],
        "--first": [tuple(filter(None, (line.email, line.user_id))) for line in first],
    }
    known = _known(roster, {folded(name) for lines in people.values() for line in lines for name in line})
    return tuple(_nobody(name, lines, known) for name, lines in people.items() if lines)


def doubts_about(found: Iterable[Nobody]) -> Iterator[Doubt]:
    """Doubt a list most of whose names are nobody's: it is another account's, or is written wrongly.

    The standing list may be of one person who has left: a single name there is told of, and no more.
    """
    for each in found:
        if each.nobody * 2 > each.named and (each.named > 1 or each.list != PROTECTED):
            yield Doubt(Concern.UNKNOWN_NAMES, each.nobody, str(each))


def strangers(roster: Roster) -> Strangers:
    """Count the users on a frozen roster whom the account does not list."""
    if not roster.listed:
        return Strangers()
    count = roster.staging.count(f"SELECT count(*) {_STRANGERS}")
    rows = roster.staging.rows(f"SELECT display {_STRANGERS} LIMIT {SHOWN}")
    return Strangers(count, tuple(name for (name,) in rows))


def doubt_strangers(found: Strangers, total: int, account: str) -> Doubt | None:
    """Doubt a users file of which too many are not at this account: it may be another account's."""
    if found.count <= total * STRANGERS:
        return None
    verb = "is" if found.count == 1 else "are"
    text = f"{found.count:,} of the {total:,} users {verb} not listed by account {account!r}"
    return Doubt(Concern.NOT_LISTED, found.count, f"{text}: {some(found.names, found.count)}")


async def doubt_again(plan: Plan, store: Store, account: str) -> Doubt | None:
    """Doubt a second reset of people within a day; by whatever name the first one knew them."""
    batches: list[int] = []
    latest: datetime | None = None
    async with store.read(LONG) as conn:
        now = await store.now(conn)
        for batch_id, ended in await members.lately(conn, account, now - LATELY):
            async with aclosing(members.reset_in(conn, batch_id, now - LATELY)) as pages:
                async for names in pages:
                    await beside(plan.note, names)
            if await beside(plan.match_noted):
                batches.append(batch_id)
                latest = ended if latest is None else max(latest, ended)
    if latest is None:
        return None
    count = await beside(plan.matched)
    *others, last = map(str, sorted(batches))
    which = f"batches {', '.join(others)} and {last}" if others else f"batch {last}"
    ago = _ago(now - latest)
    verb = "was" if count == 1 else "were"
    text = f"{count:,} of the {plan.sends():,} who would be called {verb} reset by {which}, {ago} ago"
    return Doubt(Concern.AGAIN, count, text)


def some(names: Iterable[str], count: int) -> str:
    """Write the first names of many in a line."""
    shown = list(names)
    more = f" and {count - len(shown):,} more" if count > len(shown) else ""
    return f"{', '.join(shown)}{more}"


def _nobody(name: str, lines: list[tuple[str, ...]], known: set[str]) -> Nobody:
    missing = [line for line in lines if not any(folded(each) in known for each in line)]
    return Nobody(name, len(lines), len(missing), tuple(line[0] for line in missing[:SHOWN]))


def _known(roster: Roster, asked: set[str]) -> set[str]:
    """Return those of the names that somebody has whom the account lists or the users file names."""
    known: set[str] = set()

    def look(name: str | None) -> None:
        if name and (wide := folded(name)) in asked:
            known.add(wide)

    roster.staging.function("look", look, pure=False)
    for table in ("account_user", "line"):
        roster.staging.rows(f"SELECT count(look(user_id)), count(look(email)) FROM {table}")  # noqa: S608
    return known


def _ago(passed: timedelta) -> str:
    minutes = max(0, round(passed.total_seconds() / 60))
    if minutes < 1:
        return "less than a minute"
    if minutes < 90:
        return "a minute" if minutes == 1 else f"{minutes} minutes"
    return f"{round(minutes / 60)} hours"


# One who is named by an address that the provider could not resolve is not listed either.
_STRANGERS: Final = """
    FROM person
    WHERE NOT resolved OR (
        user_ref NOT IN (SELECT user_id FROM account_user)
        AND name NOT IN (SELECT email FROM account_user)
    )
"""

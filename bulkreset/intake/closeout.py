"""The end of a batch: its roster held against the account once more, and an order for whoever came since."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final, NamedTuple

from bulkreset.address import canonical
from bulkreset.config import Settings
from bulkreset.errors import InputError
from bulkreset.intake import preflight, protection, terms
from bulkreset.intake.beside import beside
from bulkreset.intake.concerns import Concern
from bulkreset.intake.filters import Filters
from bulkreset.intake.listing import Progress, Sleep, list_account
from bulkreset.intake.order import Accept, Ordered, Users, chunks, place
from bulkreset.intake.plan import Plan
from bulkreset.intake.roster import CHUNK, Roster
from bulkreset.intake.staging import CLOSE_OUT
from bulkreset.intake.terms import Order
from bulkreset.intake.users_file import UserLine
from bulkreset.limits.quota import Spacing
from bulkreset.model import Action, Outcome, Quota, TaskState
from bulkreset.passwords.vault import MasterKey
from bulkreset.providers import open_provider
from bulkreset.providers.http import ReadTransport
from bulkreset.store import batches
from bulkreset.store.batches import Batch
from bulkreset.store.engine import LONG, Store
from bulkreset.store.members import Member, members, reset_since
from bulkreset.store.pace import Pacer
from bulkreset.store.skips import BY_SURPRISE

SAMPLE: Final = 20
"""People of each part that a close-out holds in memory; the others are read from its private database."""


class Part(StrEnum):
    """How a roster and its account can differ."""

    CREATED = "created"  # came since the freeze, and would have been called
    LEFT_OUT = "left_out"  # would have been called, was there before, and is not on the roster: excluded by name?
    VANISHED = "vanished"  # was called, and is not listed any more
    # the password is not set: still waiting, under way, failed, cancelled, or left to a batch that did not set it
    OPEN = "open"
    MAYBE_CHANGED = "maybe_changed"  # the same, but an earlier call may have set it all the same


class Person(NamedTuple):
    """Somebody who differs; `detail` says how far their task came, where they have one."""

    user_ref: str
    display: str
    detail: str | None


@dataclass(frozen=True, slots=True)
class Found:
    """How many people there are of a part, and the first of them."""

    count: int
    sample: tuple[Person, ...]


@dataclass(frozen=True, slots=True)
class CloseOut:
    """What a close-out found; it can be read while its private database is open.

    Nobody is created or left out for a batch that was not ordered for all users: nothing says who else should be
    on its roster. `whole` tells which of the two it is.
    """

    batch: Batch
    whole: bool
    listed: int
    missing: int  # users whom the provider counts and its listing does not show, as was accepted
    parts: Mapping[Part, Found]
    _roster: Roster = field(repr=False)

    def people(self, part: Part) -> Iterator[list[Person]]:
        """Yield everybody of a part in chunks, by `user_ref`; it can be read again."""
        yield from _people(self._roster, part)


@asynccontextmanager
async def close_out(
    store: Store,
    settings: Settings,
    transport: ReadTransport,
    batch_id: int,
    *,
    accept_listing: bool = False,
    progress: Progress | None = None,
    sleep: Sleep = asyncio.sleep,
) -> AsyncIterator[CloseOut]:
    """List the account once more and hold a batch's roster against it; nothing is written.

    Raises UsageError where there is no such batch, ProviderRefused and ProviderUnavailable where the account
    cannot be listed in full.
    """
    batch = await batches.get(store, batch_id)
    account = settings.account(batch.account)
    protected = protection.load(account, settings.base)
    provider = open_provider(batch.account, account, settings.base, transport)
    label = provider.label(Action.SET_PASSWORD)
    pace = Pacer(store, Quota(batch.account, label), Spacing.of(account.rate(label)))
    filters = None if batch.options.listing is None else Filters.from_dict(batch.options.listing)
    with Roster("the account's listing") as roster:
        me = await provider.me(pace)
        listed = await list_account(
            roster,
            provider,
            pace,
            sleep=sleep,
            filters=filters,
            progress=progress,
            stale_above=preflight.stale_above(account),
            accept_short=accept_listing,
        )
        await beside(_prepare, roster)
        async for page in members(store, batch_id):
            await beside(_hold, roster, page)
        async with store.read(LONG) as conn, aclosing(reset_since(conn, batch.account, batch.created_at)) as pages:
            async for done in pages:
                await beside(_done, roster, done)
        await beside(_compare, roster, whole=filters is not None)
        new = 0 if filters is None else await beside(_add_new, roster)
        if new:
            await beside(roster.freeze, ids_required=True)
            plan = Plan(roster)
            order = Order(
                batch.account,
                batch.incident,
                batch.reason,
                batch.requested_by,
                options=batch.options,
                skip_if_reset_since=batch.created_at,  # who was topped up before is not new any more
            )
            await preflight.mark(
                plan, store, provider, order, account, protected=protected, me=me, login_pace=pace
            )
            await beside(_find_new, roster, batch)
        yield CloseOut(
            batch, filters is not None, listed.users, listed.missing, await beside(_parts, roster), roster
        )


async def top_up(
    store: Store,
    settings: Settings,
    transport: ReadTransport,
    master: MasterKey | None,
    found: CloseOut,
    requester: str,
    *,
    login: str | None = None,
    excluded: Users | None = None,
    emergency: bool = False,
    accept: Accept | None = None,
    dry_run: bool = False,
    sleep: Sleep = asyncio.sleep,
) -> Ordered:
    """Order a batch for those who came since the freeze, under the same incident and options.

    It has no canaries: those of the batch itself have shown that it works. Approval is asked for anew. Raises
    InputError where nobody came, and what `place` raises.
    """
    batch = found.batch
    if not found.parts[Part.CREATED].count:
        raise InputError(f"nobody came to account {batch.account!r} since batch {batch.id}; no top-up is needed")
    options = replace(
        batch.options,
        listing=None,
        accepted={},
        canary=0,
        hold_after_canary=False,
        emergency=False,
        sends_sha256="",
    )
    order = Order(
        batch.account,
        batch.incident,
        f"top-up of batch {batch.id}: {batch.reason}"[: terms.LONGEST_REASON],
        requester,
        options=options,
        emergency=emergency,
        login=login,
        accepts=frozenset({Concern.LISTING} if found.missing else ()),
    )
    account = settings.account(batch.account)
    terms.check(replace(order, all_users=Filters()), account, protection.load(account, settings.base))
    return await place(
        store,
        settings,
        transport,
        master,
        order,
        users=chunks(_line(person) for people in found.people(Part.CREATED) for person in people),
        excluded=excluded,
        accept=accept,
        dry_run=dry_run,
        sleep=sleep,
    )


def _line(person: Person) -> UserLine:
    return UserLine(0, person.display if "@" in person.display else None, person.user_ref)


def _prepare(roster: Roster) -> None:
    roster.staging.make(CLOSE_OUT)


def _hold(roster: Roster, page: Sequence[Member]) -> None:
    """Take in a page of the batch's roster; `name` is what an address is compared by."""
    rows = (
        (
            member.user_ref,
            canonical(member.user_ref),
            member.display,
            member.state,
            member.outcome,
            member.called,
            member.left_to,
            member.maybe_changed,
            member.state == TaskState.SKIPPED and member.code in BY_SURPRISE,
        )
        for member in page
    )
    # two damaged references may read the same; `status` names each of them
    roster.staging.run_many("INSERT OR IGNORE INTO held VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)


def _done(roster: Roster, refs: Sequence[str]) -> None:
    roster.staging.run_many("INSERT OR IGNORE INTO done VALUES (?)", ((ref,) for ref in refs))


def _compare(roster: Roster, *, whole: bool) -> None:
    roster.staging.run(_VANISHED, {"part": Part.VANISHED, "whole": whole, "never": Outcome.USER_NOT_FOUND})
    unset = (TaskState.PENDING, TaskState.RUNNING, TaskState.FAILED, TaskState.CANCELLED)
    roster.staging.run(_MAYBE_CHANGED, {"part": Part.MAYBE_CHANGED})
    roster.staging.run(_OPEN, {"part": Part.OPEN, **{str(state): state for state in unset}})


def _add_new(roster: Roster) -> int:
    """Make a roster of everybody who is meant and not held; return how many they are."""
    roster.add_listed()
    roster.staging.run(_DROP_HELD)
    return roster.lines()


def _find_new(roster: Roster, batch: Batch) -> None:
    """Find who is new; who was excluded by name is not on the roster either, so that some are not surely so."""
    parts = {"created": Part.CREATED, "left_out": Part.LEFT_OUT}
    since = {"surely": not batch.excluded, "frozen_at": batch.created_at.timestamp()}
    roster.staging.run(_NEW, {**parts, **since})


def _parts(roster: Roster) -> dict[Part, Found]:
    counts = dict(roster.staging.rows("SELECT part, count(*) FROM difference GROUP BY part"))
    return {part: Found(counts.get(part, 0), tuple(next(_people(roster, part, SAMPLE), ()))) for part in Part}


def _people(roster: Roster, part: Part, size: int = CHUNK) -> Iterator[list[Person]]:
    last = ""
    while True:
        rows = roster.staging.rows(_PEOPLE, (part, last, size))
        if not rows:
            return
        yield [Person(*row) for row in rows]
        last = rows[-1][0]


# Somebody in a users file whom the provider never knew has not vanished.
_VANISHED: Final = """
    INSERT INTO difference
    SELECT :part, user_ref, display, state || coalesce(', ' || outcome, '')
    FROM held
    WHERE called AND (:whole OR outcome IS NOT :never)
        AND NOT EXISTS (SELECT 1 FROM account_user WHERE account_user.user_id = held.user_ref)
        AND NOT EXISTS (SELECT 1 FROM account_user WHERE account_user.email = held.name)
"""

_OPEN: Final = """
    INSERT INTO difference
    SELECT :part, user_ref, display, state || coalesce(', ' || outcome, ', ' || left_to, '')
    FROM held
    WHERE (state IN (:pending, :running, :failed, :cancelled) OR left_to IS NOT NULL OR by_surprise)
        AND NOT maybe_changed
        AND user_ref NOT IN (SELECT user_ref FROM done)
"""

_MAYBE_CHANGED: Final = """
    INSERT INTO difference
    SELECT :part, user_ref, display, state || coalesce(', ' || outcome, '')
    FROM held
    WHERE maybe_changed AND user_ref NOT IN (SELECT user_ref FROM done)
"""

_DROP_HELD: Final = """
    DELETE FROM line
    WHERE user_id IN (SELECT user_ref FROM held) OR email IN (SELECT name FROM held)
"""

_NEW: Final = """
    INSERT INTO difference
    SELECT iif(:surely OR came.created >= :frozen_at, :created, :left_out), person.user_ref, person.display, NULL
    FROM to_call
    JOIN person ON person.rowid = to_call.place
    LEFT JOIN (SELECT user_id, max(created) AS created FROM account_user GROUP BY user_id) AS came
        ON came.user_id = person.user_ref
"""

_PEOPLE: Final = """
    SELECT user_ref, display, detail FROM difference
    WHERE part = ? AND user_ref > ? ORDER BY user_ref LIMIT ?
"""

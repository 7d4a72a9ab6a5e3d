"""From an order to a frozen batch: read or list the users, look at each, freeze, hash, write."""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import islice
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from bulkreset.config import Settings
from bulkreset.errors import InputError, ProviderRefused, ProviderUnavailable
from bulkreset.intake import doubts, preflight, protection, terms
from bulkreset.intake.beside import beside
from bulkreset.intake.concerns import QUESTIONS, Ask, Concern, Doubt, settle
from bulkreset.intake.doubts import Nobody
from bulkreset.intake.listing import Progress, Sleep
from bulkreset.intake.plan import Plan
from bulkreset.intake.preflight import Survey
from bulkreset.intake.roster import Roster
from bulkreset.intake.terms import Order
from bulkreset.intake.users_file import UserLine
from bulkreset.intake.ways import Ways, ends_before, estimate, lower_limit
from bulkreset.limits.quota import US
from bulkreset.logs import logger
from bulkreset.model import Action, Skip
from bulkreset.options import Options
from bulkreset.passwords.policy import STRONGEST, Wishes
from bulkreset.passwords.vault import MasterKey
from bulkreset.providers import open_provider
from bulkreset.providers.base import Pace, Provider
from bulkreset.providers.http import ReadTransport
from bulkreset.settings import AccountSettings
from bulkreset.store import batches
from bulkreset.store.batches import NewBatch
from bulkreset.store.engine import LONG, Store
from bulkreset.store.rosters import PlannedEntry, RosterEntry

__all__ = ["Order", "Ordered", "chunks", "estimate", "place"]

_CHUNK: Final = 5_000

Accept = Callable[[AsyncConnection, int], Awaitable[None]]
"""Called with the new batch's id inside the transaction that makes it."""

Users = AsyncIterator[list[UserLine]]


@dataclass(frozen=True, slots=True)
class Ordered:
    """The batch that an order became, or would become: a dry run has no `id`.

    `sends` are the users whose password will be set, `calls` all calls with the ends of sessions among them,
    `estimate_s` how long they take at the account's limits. `daily_limit` is set where it will be reached, which
    is `daily_limit_in_s` after the start. `missing` are users whom the provider counts and does not list.
    `undecided` counts who is on the roster only because the listing does not say what a filter asks, `first` who
    was put before all others. `nobody` tells of each list of exceptions how many of its names are nobody's,
    `not_listed` how many of the named users the account does not list, `doubts` what was or would be asked.
    """

    id: int | None
    account: str
    total: int
    excluded: int
    duplicates: int
    roster_sha256: str
    estimate_s: float
    sends: int = 0
    calls: int = 0
    skipped: dict[str, int] = field(default_factory=dict)
    would_halt: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    daily_limit: int | None = None
    daily_limit_in_s: float | None = None
    listed: int | None = None
    missing: int = 0
    undecided: int = 0
    first: int = 0
    canaries: int = 0
    approvals_needed: int = 0
    options_sha256: str = ""
    nobody: tuple[Nobody, ...] = ()
    not_listed: int = 0
    not_listed_first: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()


async def place(
    store: Store,
    settings: Settings,
    transport: ReadTransport,
    master: MasterKey | None,
    order: Order,
    *,
    users: Users | None = None,
    excluded: Users | None = None,
    accept: Accept | None = None,
    ask: Ask | None = None,
    dry_run: bool = False,
    progress: Progress | None = None,
    sleep: Sleep = asyncio.sleep,
) -> Ordered:
    """Freeze the roster and write the batch, whole or not at all; `users` is for an order that names them.

    The account is asked for what would stop a reset, for its users, and for its password policy, all paid from
    its quota. A dry run does the same, makes no key and writes no batch, and needs no `master`. Raises InputError
    and ConfigError for what the orderer must change, ProviderRefused and ProviderUnavailable where the account
    cannot be asked; nothing is written then.
    """
    account = settings.account(order.account)
    protected = protection.load(account, settings.base)
    terms.check(order, account, protected)
    provider = open_provider(order.account, account, settings.base, transport)
    ways = Ways.of(store, order.account, account, provider)
    listed = order.all_users is not None
    with Roster("the account's listing" if listed else "the users file") as roster:
        async for lines in _none() if listed or users is None else users:
            await beside(roster.add, lines)
        async for lines in excluded or _none():
            await beside(roster.exclude, lines)
        found = await preflight.survey(roster, provider, ways.pace, order, account, sleep=sleep, progress=progress)
        ways = Ways.of(store, order.account, account, provider)  # by now the account may have told its own limit
        if listed:
            await _take_listed(roster, order)
        await beside(roster.freeze, ids_required=provider.ids_required)
        terms.check_canary(order.options, roster.total)
        plan = Plan(roster)
        await preflight.mark(
            plan, store, provider, order, account, protected=protected, me=found.me, login_pace=ways.light_pace
        )
        first = await beside(_put_in_order, plan, order)
        policy = await _policy(provider, ways.pace, settings.passwords.wishes)
        nobody = await beside(doubts.nobodies, roster, order.first, protected)
        strangers = doubts.Strangers() if listed else await beside(doubts.strangers, roster)
        raised = [*doubts.doubts_about(nobody)]
        raised += filter(None, [doubts.doubt_strangers(strangers, roster.total, order.account)])
        raised += filter(None, [await doubts.doubt_again(plan, store, order.account)])
        _settle(raised, order, ask, dry_run=dry_run)
        options = await beside(_options, plan, order, found, raised)
        new = NewBatch(
            account=order.account,
            label=ways.label,
            incident=order.incident.strip(),
            reason=order.reason.strip(),
            requested_by=order.requester,
            login=order.login,
            not_before=order.not_before,
            roster_sha256=roster.sha256,
            total=roster.total,
            excluded=roster.excluded,
            duplicates=roster.duplicates,
            policy=policy,
            wrapped_key="",
            options=options.as_json(),
            approvals_needed=0 if options.emergency else account.require_approval,
            revoke_label=ways.light_label if options.revoke_sessions else None,
            planned=await beside(_is_special, plan),
        )
        batch_id: int | None = None
        if dry_run:
            async with aclosing(_entries(plan, provider)) as entries:
                async for _ in entries:
                    pass
        else:
            assert master is not None, "only a dry run needs no key"
            new = replace(new, wrapped_key=master.wrap(master.new_batch_key()))
            async with aclosing(_entries(plan, provider)) as entries, store.write(LONG) as conn:
                batch_id = await batches.create(conn, new, entries, now=await store.now(conn))
                if accept is not None:
                    await accept(conn, batch_id)
        summary = await beside(_summary, batch_id, new, options, plan, ways, found, first)
        summary = replace(
            summary,
            nobody=nobody,
            not_listed=strangers.count,
            not_listed_first=strangers.names,
            doubts=tuple(doubt.text for doubt in raised),
        )
        summary = replace(summary, warnings=_warnings(summary, order, account, provider, found))
    if batch_id is not None:
        await batches.know_sizes(store)
    return summary


async def chunks(lines: Iterable[UserLine]) -> Users:
    """Hand lines on a few thousand at a time, giving way to the event loop in between."""
    source = iter(lines)
    while chunk := list(islice(source, _CHUNK)):
        yield chunk
        await asyncio.sleep(0)


def _none() -> Users:
    return chunks(())


async def _take_listed(roster: Roster, order: Order) -> None:
    await beside(roster.add_listed)
    if not roster.lines():
        raise InputError(f"no user of account {order.account!r} passes the filters; nothing is left to reset")


def _put_in_order(plan: Plan, order: Order) -> int:
    plan.by_priority()
    first = plan.put_first(order.first) if order.first else 0
    if first < len(order.first):
        logger().warning("first_not_on_roster", named=len(order.first), found=first)
    plan.choose_canaries(order.options.canary)
    return first


def _settle(raised: Iterable[Doubt], order: Order, ask: Ask | None, *, dry_run: bool) -> None:
    """Have each doubt accepted; a dry run only tells what an order would be asked."""
    for doubt in raised:
        if not (dry_run and doubt.concern in QUESTIONS):
            settle(doubt, order.accepts, ask)


def _options(plan: Plan, order: Order, found: Survey, raised: Iterable[Doubt]) -> Options:
    """Complete the options by what the preflight found out: they are what is approved."""
    accepted = Counter({str(doubt.concern): 0 for doubt in raised})
    for doubt in raised:
        accepted[str(doubt.concern)] += doubt.count
    if found.listed is not None and found.listed.missing:
        accepted[str(Concern.LISTING)] = found.listed.missing
    return replace(
        order.options,
        emergency=order.emergency,
        listing=None if order.all_users is None else order.all_users.as_dict(),
        sends_sha256=plan.sends_sha256(),
        accepted=dict(accepted),
    )


def _is_special(plan: Plan) -> bool:
    return plan.special


def _summary(
    batch_id: int | None, new: NewBatch, options: Options, plan: Plan, ways: Ways, found: Survey, first: int
) -> Ordered:
    sends, skipped = plan.sends(), plan.skipped()
    ends = sends + skipped.get(Skip.SSO, 0) if options.revoke_sessions else 0
    heavy = sends + ends if ways.one_pot else sends
    daily = ways.spacing.daily if ways.spacing.daily is not None and heavy > ways.spacing.daily else None
    return Ordered(
        id=batch_id,
        account=new.account,
        total=new.total,
        excluded=new.excluded,
        duplicates=new.duplicates,
        roster_sha256=new.roster_sha256,
        estimate_s=ways.estimate(sends, ends, ramp_s=options.ramp_s),
        sends=sends,
        calls=sends + ends,
        skipped=skipped,
        would_halt=found.would_halt,
        daily_limit=daily,
        daily_limit_in_s=None if daily is None else round(daily * ways.spacing.interval_us / US, 1),
        listed=None if found.listed is None else found.listed.users,
        missing=0 if found.listed is None else found.listed.missing,
        undecided=0 if found.listed is None or options.listing is None else found.listed.undecided,
        first=first,
        canaries=min(options.canary, sends),
        approvals_needed=new.approvals_needed,
        options_sha256=options.sha256,
    )


def _warnings(
    summary: Ordered, order: Order, account: AccountSettings, provider: Provider, found: Survey
) -> tuple[str, ...]:
    """Collect what stops nothing, and the orderer should know."""
    starts_at = max(datetime.now(UTC), order.not_before or datetime.now(UTC))
    label = provider.label(Action.SET_PASSWORD)
    later = (
        lower_limit(account, provider, label),
        ends_before(provider, starts_at, summary.estimate_s),
    )
    return (*found.warnings, *(warning for warning in later if warning is not None))


async def _entries(
    plan: Plan, provider: Provider
) -> AsyncGenerator[Sequence[RosterEntry] | Sequence[PlannedEntry], None]:
    """Hand the roster on, read and checked beside the event loop: the next chunk while this one is written.

    Raises InputError at the first reference that cannot be one of the provider's; the transaction is undone.
    """
    chunks_left = plan.rows()

    def following() -> Sequence[RosterEntry] | Sequence[PlannedEntry]:
        entries = next(chunks_left, ())
        _check_refs(entries, provider)
        return entries

    ahead = asyncio.ensure_future(beside(following))
    try:
        while entries := await ahead:
            ahead = asyncio.ensure_future(beside(following))
            yield entries
    finally:
        await asyncio.wait([ahead])  # the roster must not be closed under it


def _check_refs(entries: Iterable[RosterEntry | PlannedEntry], provider: Provider) -> None:
    for entry in entries:
        called = entry.resolved and not (isinstance(entry, PlannedEntry) and entry.skipped)
        if called and (fault := provider.check_ref(entry.user_ref)) is not None:
            raise InputError(f"user {entry.display!r}: {fault}; correct the users file and try again")


async def _policy(provider: Provider, pace: Pace, wishes: Wishes) -> str:
    try:
        policy = await provider.policy(pace)
    except ProviderUnavailable as error:
        # The strongest form fits nearly every policy, and a refusal later makes the runner read it again.
        logger().warning("policy_not_read_strongest_used", account=provider.account, reason=str(error))
        policy = STRONGEST
    if (fault := policy.impossible()) is not None:
        raise ProviderRefused(
            f"account {provider.account!r}: no password can meet its policy ({policy.source}): {fault}; "
            "change it there"
        )
    return policy.with_wishes(wishes).as_json()

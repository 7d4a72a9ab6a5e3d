"""From an order to a frozen batch: read the users, resolve them where the provider wants ids, hash, write."""

import asyncio
import re
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Final, TypeVar

from sqlalchemy.ext.asyncio import AsyncConnection

from bulkreset.config import Settings
from bulkreset.errors import InputError, ProviderRefused, ProviderUnavailable
from bulkreset.intake.roster import Roster
from bulkreset.intake.users_file import UserLine
from bulkreset.limits.quota import US, Spacing
from bulkreset.logs import logger
from bulkreset.model import Action, Quota
from bulkreset.passwords.policy import STRONGEST
from bulkreset.passwords.vault import MasterKey
from bulkreset.providers import open_provider
from bulkreset.providers.base import Pace, Provider
from bulkreset.providers.http import ReadTransport
from bulkreset.store import batches
from bulkreset.store.batches import NewBatch
from bulkreset.store.engine import LONG, Store
from bulkreset.store.pace import Pacer
from bulkreset.store.rosters import RosterEntry

T = TypeVar("T")

_CHUNK: Final = 5_000
_DAY_S: Final = 86_400
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")

Accept = Callable[[AsyncConnection, int], Awaitable[None]]
"""Called with the new batch's id inside the transaction that makes it."""


@dataclass(frozen=True, slots=True)
class Order:
    """Who orders a reset of which account, and why."""

    account: str
    incident: str
    reason: str
    requester: str
    not_before: datetime | None = None


@dataclass(frozen=True, slots=True)
class Ordered:
    """The batch that an order became; `estimate_s` is how long its calls take at the account's limit."""

    id: int
    account: str
    total: int
    excluded: int
    duplicates: int
    roster_sha256: str
    estimate_s: float


async def place(
    store: Store,
    settings: Settings,
    transport: ReadTransport,
    master: MasterKey,
    order: Order,
    *,
    users: AsyncIterator[list[UserLine]],
    excluded: AsyncIterator[list[UserLine]],
    accept: Accept | None = None,
) -> Ordered:
    """Freeze the roster and write the batch, whole or not at all.

    The account is asked for its password policy and, where its API takes ids only, for its users: both paid
    from its quota. Raises InputError and ConfigError for what the orderer must change, ProviderRefused and
    ProviderUnavailable where the account cannot be asked; nothing is written then.
    """
    _check(order)
    account = settings.account(order.account)
    provider = open_provider(order.account, account, settings.base, transport)
    label = provider.label(Action.SET_PASSWORD)
    spacing = Spacing.of(account.rate(label))
    pace = Pacer(store, Quota(order.account, label), spacing)
    with Roster() as roster:
        async for lines in users:
            await _beside(roster.add, lines)
        async for lines in excluded:
            await _beside(roster.exclude, lines)
        if provider.ids_required:
            await _resolve(roster, provider, pace)
        await _beside(roster.freeze, ids_required=provider.ids_required)
        policy = await _policy(provider, pace)
        new = NewBatch(
            account=order.account,
            label=label,
            incident=order.incident.strip(),
            reason=order.reason.strip(),
            requested_by=order.requester,
            not_before=order.not_before,
            roster_sha256=roster.sha256,
            total=roster.total,
            excluded=roster.excluded,
            duplicates=roster.duplicates,
            policy=policy,
            wrapped_key=master.wrap(master.new_batch_key()),
        )
        async with aclosing(_entries(roster, provider)) as entries, store.write(LONG) as conn:
            batch_id = await batches.create(conn, new, entries, now=await store.now(conn))
            if accept is not None:
                await accept(conn, batch_id)
    await batches.know_sizes(store)
    return Ordered(
        id=batch_id,
        account=new.account,
        total=new.total,
        excluded=new.excluded,
        duplicates=new.duplicates,
        roster_sha256=new.roster_sha256,
        estimate_s=estimate(new.total, spacing),
    )


def estimate(calls: int, spacing: Spacing) -> float:
    """Return how many seconds this many calls take, whole days of waiting for a daily limit included."""
    days = 0
    if spacing.daily is not None and calls > 0:
        days = (calls - 1) // spacing.daily
        calls -= days * spacing.daily
    return round(days * _DAY_S + calls * spacing.interval_us / US, 1)


async def _beside(work: Callable[..., T], *arguments: object, **options: object) -> T:
    """Do work in a thread, so that other accounts' calls leave on time meanwhile.

    A cancellation waits for the thread: what it works on must not be closed under it.
    """
    thread = asyncio.ensure_future(asyncio.to_thread(work, *arguments, **options))
    try:
        return await asyncio.shield(thread)
    except asyncio.CancelledError:
        await asyncio.wait([thread])
        raise


async def chunks(lines: Iterable[UserLine]) -> AsyncIterator[list[UserLine]]:
    """Hand lines on a few thousand at a time, giving way to the event loop in between."""
    source = iter(lines)
    while chunk := list(islice(source, _CHUNK)):
        yield chunk
        await asyncio.sleep(0)


def _check(order: Order) -> None:
    told = (
        ("incident", order.incident, 200),
        ("reason", order.reason, 1_000),
        ("requester", order.requester, 200),
    )
    for name, text, limit in told:
        if not text.strip():
            raise InputError(f"the {name} is empty; those who read the trail later need it")
        if not text.isprintable() and any("\ud800" <= letter <= "\udfff" for letter in text):
            raise InputError(f"the {name} is not UTF-8 text; write it anew")
        if len(text) > limit or _CONTROL.search(text):
            raise InputError(f"the {name} must be one line of at most {limit} characters")


async def _entries(roster: Roster, provider: Provider) -> AsyncGenerator[list[RosterEntry], None]:
    """Hand the roster on, read and checked beside the event loop: the next chunk while this one is written.

    Raises InputError at the first reference that cannot be one of the provider's; the transaction is undone.
    """
    chunks_left = roster.rows()

    def following() -> list[RosterEntry]:
        entries = next(chunks_left, [])
        _check_refs(entries, provider)
        return entries

    ahead = asyncio.ensure_future(_beside(following))
    try:
        while entries := await ahead:
            ahead = asyncio.ensure_future(_beside(following))
            yield entries
    finally:
        await asyncio.wait([ahead])  # the roster must not be closed under it


def _check_refs(entries: Iterable[RosterEntry], provider: Provider) -> None:
    for user_ref, display, resolved in entries:
        if resolved and (fault := provider.check_ref(user_ref)) is not None:
            raise InputError(f"user {display!r}: {fault}; correct the users file and try again")


async def _resolve(roster: Roster, provider: Provider, pace: Pace) -> None:
    """Look addresses up in the account's own listing, until all are found or it ends."""
    if not await _beside(roster.unresolved):
        return
    async for users in provider.directory(pace):
        if not await _beside(roster.unresolved):
            return
        pairs = [(user.user_id, user.email) for user in users if user.email]
        await _beside(roster.resolve, pairs)


async def _policy(provider: Provider, pace: Pace) -> str:
    try:
        policy = await provider.policy(pace)
    except ProviderUnavailable as error:
        # The strongest form fits nearly every policy, and a refusal later makes the runner read it again.
        logger().warning("policy not read; using the strongest", account=provider.account, reason=str(error))
        policy = STRONGEST
    if (fault := policy.impossible()) is not None:
        raise ProviderRefused(
            f"account {provider.account!r}: no password can meet its policy ({policy.source}): {fault}; "
            "change it there"
        )
    return policy.as_json()

"""Before anything is sent: list the account, and find out whom not to call and why.

What a kind of provider tells and refuses by itself is declared by its capabilities; whatever it does not declare
is taken for the careful case.
"""

import asyncio
from collections.abc import Iterator
from contextlib import aclosing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from bulkreset.errors import ConfigError, ProviderRefused
from bulkreset.intake.beside import beside
from bulkreset.intake.concerns import Concern
from bulkreset.intake.listing import Progress, Sleep, list_account
from bulkreset.intake.plan import Plan
from bulkreset.intake.protection import Protected, owner_of
from bulkreset.intake.roster import Counted, Roster
from bulkreset.intake.terms import Order
from bulkreset.logs import logger
from bulkreset.model import Skip
from bulkreset.providers import kind_of
from bulkreset.providers.base import Checkup, DirectoryUser, Login, Pace, Provider, Role, Status
from bulkreset.settings import AccountSettings
from bulkreset.store import members
from bulkreset.store.engine import LONG, Store

LOGINS_AT_ONCE: Final = 20
"""How many users' ways to sign in are asked for at a time; the pace spaces the calls."""


@dataclass(frozen=True, slots=True)
class Survey:
    """What the account says before a roster is made; `listed` is None where it was not or may not be listed."""

    me: DirectoryUser | None
    listed: Counted | None
    would_halt: tuple[str, ...]
    warnings: tuple[str, ...] = ()


async def survey(
    roster: Roster,
    provider: Provider,
    pace: Pace,
    order: Order,
    account: AccountSettings,
    *,
    sleep: Sleep,
    progress: Progress | None = None,
) -> Survey:
    """Ask the account what would stop a reset and who bulkreset is there, and list its users into the roster.

    Where a provider that itself refuses its owner and admins refuses to be listed, an order for named users goes
    on with a warning. Raises ProviderRefused where the listing is what tells who may be called.
    """
    looks = order.preflight or order.all_users is not None
    checked = await provider.check(pace, revokes=order.options.revoke_sessions) if looks else Checkup(())
    # Who is not known to be an admin there is refused there.
    spared = kind_of(account).capabilities.refuses_admins and order.all_users is None
    me: DirectoryUser | None = None
    listed: Counted | None = None
    with _unless(spared, order.account, "own_user_unknown"):
        me = await provider.me(pace)
    if looks:
        with _unless(spared, order.account, "users_not_checked"):
            listed = await list_account(
                roster,
                provider,
                pace,
                sleep=sleep,
                filters=order.all_users,
                progress=progress,
                stale_above=stale_above(account),
                accept_short=Concern.LISTING in order.accepts,
            )
            if spared and not listed.users:  # an account has its owner at least, so this says nothing of anybody
                roster.listed = False
                listed = None
                logger().warning(
                    "nobody_listed",
                    account=order.account,
                )
    return Survey(me, listed, checked.failures, checked.warnings)


def stale_above(account: AccountSettings) -> int | None:
    """Return from how many users on the provider's own count may be up to a day old; None for never."""
    return kind_of(account).capabilities.count_exact_below


async def mark(
    plan: Plan,
    store: Store,
    provider: Provider,
    order: Order,
    account: AccountSettings,
    *,
    protected: Protected | None,
    me: DirectoryUser | None,
    login_pace: Pace,
) -> None:
    """Mark everybody on a frozen roster who is not to be called, each with the first reason of many.

    Raises ConfigError where the configured owner of an account whose admins are to be reset is not there.
    """
    await beside(_mark_known, plan, order, account, protected, me)
    await _mark_open(plan, store, order.account)
    if order.skip_if_reset_since is not None:
        await _mark_recent(plan, store, order.account, order.skip_if_reset_since)
    if order.check_logins:
        await _mark_logins(plan, provider, login_pace)


def _mark_known(
    plan: Plan,
    order: Order,
    account: AccountSettings,
    protected: Protected | None,
    me: DirectoryUser | None,
) -> None:
    can = kind_of(account).capabilities
    plan.skip_unreadable("listed with an id or address that nobody can read safely; look at this user there")
    if protected is not None:
        plan.skip_protected(protected)
    if me is not None:
        plan.note((me.user_id, me.email))
        plan.skip_noted(Skip.SELF, "bulkreset itself works as this user: never reset")
    owner = owner_of(account, f"accounts.{order.account}")
    if owner is not None:
        if order.options.include_admins and not plan.is_listed(owner):
            raise ConfigError(
                f"accounts.{order.account}: the account has no user with the address of its `owner`, so that the "
                "owner could be reset among the admins; correct the address"
            )
        plan.skip_covered(owner, Skip.OWNER, _OWNER)
    plan.skip_role(Role.OWNER, Skip.OWNER, _OWNER)
    if not order.options.include_admins:
        plan.skip_role(Role.ADMIN, Skip.ADMIN, "an admin of the account: not reset unless admins are asked for")
    if not can.refuses_admins and not order.options.include_admins:
        plan.skip_role(None, Skip.ADMIN, "may be an admin: the listing does not tell the role")
    if plan.has_listing:
        plan.skip_not_listed("the account lists no such user, so that nothing is known of them")
    plan.skip_bots("a bot, which does not sign in with a password of its own")
    plan.skip_status(Status.SUSPENDED, Skip.SUSPENDED, "suspended: cannot sign in")
    plan.skip_status(Status.PENDING, Skip.PENDING, "invited and not here yet: there is no password to reset")
    if not can.resets_inactive:
        plan.skip_status(Status.INACTIVE, Skip.INACTIVE, can.inactive)


_OWNER: Final = "the owner of the account: never reset"


async def _mark_open(plan: Plan, store: Store, account: str) -> None:
    """Skip whose password another batch has still to set: who is called is approved, so it must be known now.

    Where the account is not listed, only the name that they were shown by tells who has been named by id.
    """
    shown = not plan.has_listing
    async with store.read(LONG) as conn, aclosing(members.open_in(conn, account, shown=shown)) as pages:
        before: int | None = None
        async for batch_id, refs in pages:
            if before not in (None, batch_id):
                await beside(plan.skip_noted, Skip.OPEN_ELSEWHERE, f"already open in batch {before}")
            before = batch_id
            await beside(plan.note, refs)
    if before is not None:
        await beside(plan.skip_noted, Skip.OPEN_ELSEWHERE, f"already open in batch {before}")


async def _mark_recent(plan: Plan, store: Store, account: str, since: datetime) -> None:
    shown = not plan.has_listing  # as for who is open elsewhere
    async with store.read(LONG) as conn, aclosing(members.reset_since(conn, account, since, shown=shown)) as pages:
        async for refs in pages:
            await beside(plan.note, refs)
    when = f"{since.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
    await beside(plan.skip_noted, Skip.RECENT, f"reset by another batch since {when}")


@contextmanager
def _unless(spared: bool, account: str, event: str) -> Iterator[None]:
    """Let a refusal pass with a warning where the provider spares its owner and admins by itself."""
    try:
        yield
    except ProviderRefused as error:
        if not spared:
            raise
        logger().warning(event, account=account, reason=f"{error}; the provider itself refuses its admins")


async def _mark_logins(plan: Plan, provider: Provider, pace: Pace) -> None:
    chunks = plan.to_call()
    while refs := await beside(_following, chunks):
        await beside(plan.skip_refs, await _logins(provider, refs, pace))


def _following(chunks: Iterator[list[str]]) -> list[str]:
    return next(chunks, [])


async def _logins(provider: Provider, refs: list[str], pace: Pace) -> list[tuple[str, Skip, str]]:
    """Ask how these users sign in, some at a time; return those who have no password to reset."""
    left = iter(refs)
    skips: list[tuple[str, Skip, str]] = []

    async def ask() -> None:
        for ref in left:  # shared: each of those who ask takes the next
            skip = _skip_login(await provider.login(ref, pace))
            skips.extend([] if skip is None else [(ref, *skip)])

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(LOGINS_AT_ONCE):
                group.create_task(ask())
    except ExceptionGroup as failed:  # the first ended the others; all say the same of one account
        raise failed.exceptions[0] from None
    return skips


def _skip_login(login: Login | None) -> tuple[Skip, str] | None:
    if login is None or login.resettable:
        return None
    if login.sso:
        return Skip.SSO, login.reason or "signs in by single sign-on: there is no password here"
    return Skip.LOGIN, login.reason or "signs in elsewhere: there is no password here"

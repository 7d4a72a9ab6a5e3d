"""Take a whole account's users into a roster: all of them or an error, on disk, at the account's own pace."""

import hashlib
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Final

from bulkreset.errors import ListingFault, ProviderUnavailable
from bulkreset.intake.beside import beside
from bulkreset.intake.filters import Filters
from bulkreset.intake.roster import Counted, Roster
from bulkreset.logs import logger
from bulkreset.providers.base import DirectoryUser, Pace, Provider
from bulkreset.unsafe import UNSAFE, escaped

RESTARTS: Final = 5
"""How often a listing that breaks off is begun again, after 5, 10, 20, 40 and 60 s."""

PATIENCE_S: Final = 60.0
"""How long a listing may break off again and again without bringing anybody new."""

EMPTY_PAGES: Final = 20
"""So many empty pages in a row are no listing; one or a few are, where people were deleted."""

LONGEST_NAME: Final = 254
"""Characters of an id or address; what is longer is none, and no index of PostgreSQL would hold it."""

Progress = Callable[[int, int], None]
"""Told after each page how many users are listed and how many the provider counts."""

Sleep = Callable[[float], Awaitable[object]]

_FIRST_PAUSE_S: Final = 5.0
_LONGEST_PAUSE_S: Final = 60.0
_STALE_FACTOR: Final = 20  # a count that is up to a day old may be far too low


async def list_account(
    roster: Roster,
    provider: Provider,
    pace: Pace,
    *,
    sleep: Sleep,
    filters: Filters | None = None,
    progress: Progress | None = None,
    stale_above: int | None = None,
    accept_short: bool = False,
    monotonic: Callable[[], float] = time.monotonic,
) -> Counted:
    """List every user of the account into the roster's own database, each once; `filters` say who is meant.

    A listing that breaks off goes on after a pause, a few times within about a minute, and keeps what it has.
    Raises ProviderUnavailable where it breaks off for good, ListingFault where it does not end or has fewer users
    than the provider itself counts (unless `accept_short`), ProviderRefused where the account may not be listed.
    Counts from `stale_above` on are up to a day old, so that a hundredth may be missing with a warning.
    """
    wanted = filters or Filters()
    watch = _Watch(stale_above)
    alive_at = monotonic()
    for restarts in range(RESTARTS + 1):
        watch.begin()
        try:
            async for users in provider.directory(pace):
                if watch.counted is None:  # after the first page: where listing is refused, that is what says so
                    watch.counted = await provider.headcount(pace)
                listed = await beside(_take, roster, users, wanted, provider)
                alive_at = monotonic() if listed > watch.listed else alive_at
                watch.page(len(users), listed)
                if progress is not None:
                    progress(listed, watch.counted)
                await _give_up_endless(watch, provider, pace)
            break
        except ListingFault:  # it would be the same again
            raise
        except ProviderUnavailable as error:
            pause = min(_FIRST_PAUSE_S * 2**restarts, _LONGEST_PAUSE_S)
            if restarts == RESTARTS or monotonic() - alive_at + pause > PATIENCE_S:
                raise
            logger().warning(
                "listing_restarted",
                account=provider.account,
                listed=watch.listed,
                pause_s=pause,
                reason=str(error),
            )
            await sleep(pause)
    return await _hold_against_count(
        await beside(roster.end_listing), watch, provider, pace, stale_above=stale_above, accept_short=accept_short
    )


async def _give_up_endless(watch: "_Watch", provider: Provider, pace: Pace) -> None:
    if watch.doubt() is None:
        return
    watch.counted = await provider.headcount(pace)  # many may have come meanwhile
    if (doubt := watch.doubt()) is not None:
        raise ListingFault(
            f"account {provider.account!r}: {doubt}; it is given up; try again later, and ask the provider's "
            "support if it stays so"
        )


async def _hold_against_count(
    found: Counted, watch: "_Watch", provider: Provider, pace: Pace, *, stale_above: int | None, accept_short: bool
) -> Counted:
    counted = watch.counted
    if counted is None or found.users < counted:  # people leave while they are listed
        counted = await provider.headcount(pace)
    if (missing := counted - found.users) <= 0:
        return found
    if missing > _tolerated(counted, stale_above) and not accept_short:
        raise ListingFault(
            f"account {provider.account!r}: the listing ended with {found.users:,} users and the provider counts "
            f"{counted:,}, {missing:,} more than its {watch.pages:,} pages show; try again, or accept the "
            "difference with --accept-listing, which goes on record"
        )
    logger().warning("listing_short", account=provider.account, listed=found.users, counted=counted)
    return found._replace(missing=missing)


@dataclass(slots=True)
class _Watch:
    """What a listing has brought so far, to tell one that does not end; `counted` is the provider's own count."""

    stale_above: int | None
    counted: int | None = None
    listed: int = 0
    pages: int = 0
    empty: int = 0  # pages in a row
    known: int = 0  # users in a row who had been listed before

    def begin(self) -> None:
        """Begin to list anew, so that everybody comes a second time."""
        self.empty = self.known = 0

    def page(self, users: int, listed: int) -> None:
        """Take note of a page with this many users, after which this many are listed."""
        self.pages += 1
        self.empty = 0 if users else self.empty + 1
        self.known = 0 if listed > self.listed else self.known + users
        self.listed = listed

    def doubt(self) -> str | None:
        """Return why this listing cannot be true any more; None while it can."""
        counted = self.counted or 0
        stale = self.stale_above is not None and counted >= self.stale_above
        enough = (_STALE_FACTOR if stale else 2) * counted + 1_000
        so_far = f"{self.listed:,} users on {self.pages:,} pages, where the provider counts {counted:,}"
        if self.empty >= EMPTY_PAGES:
            return f"the listing goes on with empty pages, {self.empty} in a row: {so_far}"
        if self.listed > enough:
            return f"the listing does not end: {so_far}"
        if self.known > enough:
            return f"the listing brings the same users over and over: {so_far}"
        return None


def _tolerated(counted: int, stale_above: int | None) -> int:
    return counted // 100 if stale_above is not None and counted >= stale_above else 0


def _take(roster: Roster, users: list[DirectoryUser], wanted: Filters, provider: Provider) -> int:
    """Take in a page; who cannot be told from others by eye, or cannot be called, is there to be counted only."""
    plain = []
    unreadable = []
    for user in users:
        shown = _shown(user)
        if shown is not user or provider.check_ref(user.user_id) is not None:
            unreadable.append(shown.user_id)
        plain.append((shown, wanted.keeps(user), wanted.undecided(user)))
    listed = roster.take_listing(plain)
    roster.note_unreadable(unreadable)
    return listed


def _shown(user: DirectoryUser) -> DirectoryUser:
    """Return the user as it may be stored and shown: the same one, unless a name holds what must not be."""
    if _is_plain(user.user_id) and (user.email is None or _is_plain(user.email)):
        return user
    return replace(user, user_id=_written(user.user_id), email=user.email and _written(user.email))


def _is_plain(name: str) -> bool:
    return len(name) <= LONGEST_NAME and UNSAFE.search(name) is None


def _written(name: str) -> str:
    """Write out what nobody would see; cut what is far too long, and tell it from others by its hash."""
    text = escaped(name)
    if len(text) <= LONGEST_NAME:
        return text
    return f"{text[: LONGEST_NAME // 2]}…{hashlib.sha256(text.encode()).hexdigest()[:16]}"

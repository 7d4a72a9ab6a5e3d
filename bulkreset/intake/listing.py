"""Take a whole account's users into a roster: all of them or an error, on disk, at the account's own pace."""

from collections.abc import Awaitable, Callable
from typing import Final

from bulkreset.errors import ProviderUnavailable
from bulkreset.intake.beside import beside
from bulkreset.intake.filters import Filters
from bulkreset.intake.roster import Counted, Roster
from bulkreset.logs import logger
from bulkreset.providers.base import DirectoryUser, Pace, Provider

RESTARTS: Final = 5
"""How often a listing that breaks off is begun again, after 5, 10, 20, 40 and 60 s."""

Progress = Callable[[int, int], None]
"""Told after each page how many users are listed and how many the provider counts."""

Sleep = Callable[[float], Awaitable[object]]

_FIRST_PAUSE_S: Final = 5.0
_LONGEST_PAUSE_S: Final = 60.0


async def list_account(
    roster: Roster,
    provider: Provider,
    pace: Pace,
    *,
    sleep: Sleep,
    filters: Filters | None = None,
    progress: Progress | None = None,
    stale_above: int | None = None,
) -> Counted:
    """List every user of the account into the roster's own database, each once; `filters` say who is meant.

    A listing that breaks off goes on after a pause, a few times, and keeps what it has. Raises
    ProviderUnavailable where it breaks off for good, and where it ends with fewer users than the provider itself
    counts; ProviderRefused where the account may not be listed. Counts from `stale_above` on are known to be up to
    a day old, so that a hundredth may be missing with a warning.
    """
    wanted = filters or Filters()
    counted: int | None = None
    listed = 0
    for restarts in range(RESTARTS + 1):
        try:
            async for users in provider.directory(pace):
                if counted is None:  # after the first page: where listing is refused, that is what says so
                    counted = await provider.headcount(pace)
                listed = await beside(_take, roster, users, wanted)
                if progress is not None:
                    progress(listed, counted)
            break
        except ProviderUnavailable as error:
            if restarts == RESTARTS:
                raise
            pause = min(_FIRST_PAUSE_S * 2**restarts, _LONGEST_PAUSE_S)
            logger().warning(
                "listing_restarted", account=provider.account, listed=listed, pause_s=pause, reason=str(error)
            )
            await sleep(pause)
    found = await beside(roster.end_listing)
    if counted is None or found.users < counted:  # people leave while they are listed
        counted = await provider.headcount(pace)
    if found.users < counted - _tolerated(counted, stale_above):
        raise ProviderUnavailable(
            f"account {provider.account!r}: the listing ended with {found.users:,} users and the provider counts "
            f"{counted:,}; try again"
        )
    if found.users < counted:
        logger().warning(
            "listing_short",
            account=provider.account,
            listed=found.users,
            counted=counted,
        )
    return found


def _tolerated(counted: int, stale_above: int | None) -> int:
    return counted // 100 if stale_above is not None and counted >= stale_above else 0


def _take(roster: Roster, users: list[DirectoryUser], wanted: Filters) -> int:
    return roster.take_listing((user, wanted.keeps(user), wanted.undecided(user)) for user in users)

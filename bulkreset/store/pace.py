"""Pacing for calls outside of tasks: a listing or a policy is paid from the same quota as the resets."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from time import monotonic
from typing import Final

from bulkreset.errors import ProviderRefused, ProviderUnavailable
from bulkreset.limits.quota import US, Spacing
from bulkreset.model import Quota
from bulkreset.store.engine import Store
from bulkreset.store.quotas import Window, at, take_one

_HORIZON: Final = timedelta(seconds=1)
_LEAD_CEILING: Final = timedelta(seconds=10)
_PATIENCE: Final = timedelta(minutes=5)


class Pacer:
    """Wait for one slot a call; `await pacer()` returns when the call may leave.

    `through_halt` is for reads that try whether a halted account can be called again.
    """

    def __init__(
        self,
        store: Store,
        which: Quota,
        spacing: Spacing,
        *,
        through_halt: bool = False,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        monotonic: Callable[[], float] = monotonic,
    ) -> None:
        self._store = store
        self._which = which
        self._spacing = spacing
        self._through_halt = through_halt
        self._sleep = sleep
        self._monotonic = monotonic

    async def __call__(self) -> None:
        """Take a slot and wait for it.

        Raises ProviderRefused where the account is halted, and ProviderUnavailable where its quota is paused
        for longer than five minutes.
        """
        lead = timedelta(0)
        while True:
            now, read_at, offer = await take_one(
                self._store,
                self._which,
                self._spacing,
                Window(lead, lead + _HORIZON),
                through_halt=self._through_halt,
                monotonic=self._monotonic,
            )
            if offer.halted_reason is not None:
                raise ProviderRefused(
                    f"account {self._which.account!r} is halted: {offer.halted_reason}; "
                    "when that is put right, `bulkreset batch resume ID` lifts the halt"
                )
            if offer.slots:
                ahead = (at(offer.slots.start) - now).total_seconds() - (self._monotonic() - read_at)
                if -ahead * US > self._spacing.grace_us:
                    # The commit took so long that the slot has expired: the next one is taken from further ahead.
                    lead = min(2 * (lead + timedelta(seconds=-ahead)), _LEAD_CEILING)
                    continue
                await self._sleep(max(0.0, ahead))
                return
            assert offer.opens_at is not None
            wait = offer.opens_at - now
            if wait > _PATIENCE:
                raise ProviderUnavailable(
                    f"account {self._which.account!r} may not be called before {offer.opens_at:%F %T} UTC: "
                    f"{(offer.pause_reason or 'its limit is used up').rstrip('.')}; try again then"
                )
            await self._sleep(max(0.01, wait.total_seconds()))

"""Pacing for calls outside of tasks: a listing or a policy is paid from the same quota as the resets."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Final

from bulkreset.errors import ProviderRefused, ProviderUnavailable
from bulkreset.limits.quota import Spacing
from bulkreset.model import Quota
from bulkreset.store.engine import Store
from bulkreset.store.quotas import Window, at, take_one

_WINDOW: Final = Window(lead=timedelta(0), horizon=timedelta(seconds=1))
_PATIENCE: Final = timedelta(minutes=5)


class Pacer:
    """Wait for one slot a call; `await pacer()` returns when the call may leave."""

    def __init__(
        self,
        store: Store,
        which: Quota,
        spacing: Spacing,
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._store = store
        self._which = which
        self._spacing = spacing
        self._sleep = sleep

    async def __call__(self) -> None:
        """Take a slot and wait for it.

        Raises ProviderRefused where the account is halted, and ProviderUnavailable where its quota is paused
        for longer than five minutes.
        """
        while True:
            now, offer = await take_one(self._store, self._which, self._spacing, _WINDOW)
            if offer.halted_reason is not None:
                raise ProviderRefused(
                    f"account {self._which.account!r} is halted: {offer.halted_reason}; "
                    "when that is put right, `bulkreset batch resume ID` lifts the halt"
                )
            if offer.slots:
                await self._sleep(max(0.0, (at(offer.slots.start) - now).total_seconds()))
                return
            assert offer.opens_at is not None
            wait = offer.opens_at - now
            if wait > _PATIENCE:
                raise ProviderUnavailable(
                    f"account {self._which.account!r} may not be called before {offer.opens_at:%F %T} UTC: "
                    f"{offer.pause_reason or 'its limit is used up'}; try again then"
                )
            await self._sleep(max(0.01, wait.total_seconds()))

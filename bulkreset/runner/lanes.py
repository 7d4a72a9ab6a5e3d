"""The lanes of a worker: one for each quota with work, opened and closed as batches come and end."""

import asyncio
import contextlib
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

from bulkreset.config import Settings
from bulkreset.errors import ConfigError, StoreError
from bulkreset.logs import logger
from bulkreset.model import Action, Quota
from bulkreset.providers import open_provider
from bulkreset.runner.context import Context
from bulkreset.runner.lane import Lane
from bulkreset.runner.parts import Parts
from bulkreset.runner.valve import Valve
from bulkreset.store import unusable

if TYPE_CHECKING:
    from bulkreset.providers.base import Provider


class Lanes:
    """All lanes that are at work. One account that cannot be used stops itself alone."""

    def __init__(self, settings: Settings, context: Context) -> None:
        self.touched: set[int] = set()  # the batches of which lanes that have ended claimed something
        self._settings = settings
        self._context = context
        self._lanes: dict[Quota, Lane] = {}
        self._loops: dict[Quota, asyncio.Task[None]] = {}
        self._providers: dict[str, Provider] = {}
        self._valves: dict[str, Valve] = {}
        self._unusable: dict[str, str | None] = {}  # why, for each account that was looked after
        self._sent = 0  # by lanes that have ended

    @property
    def all(self) -> list[Lane]:
        """The lanes that are at work."""
        return list(self._lanes.values())

    @property
    def accounts(self) -> set[str]:
        """The accounts that have lanes."""
        return {which.account for which in self._lanes}

    @property
    def loops(self) -> list[asyncio.Task[None]]:
        """Their tasks; none of them ends by itself but with an error."""
        return list(self._loops.values())

    @property
    def on_their_way(self) -> int:
        """How many calls have left and have no answer yet."""
        return sum(lane.on_their_way for lane in self._lanes.values())

    @property
    def sent(self) -> int:
        """How many calls left so far."""
        return self._sent + sum(lane.sent for lane in self._lanes.values())

    @property
    def claimed(self) -> int | None:
        """How many claims were handed out so far; None while anything is under way."""
        if not all(lane.idle for lane in self._lanes.values()):
            return None
        return sum(lane.claimed for lane in self._lanes.values())

    async def match(self, work: Mapping[str, Collection[Action]], *, still_open: Collection[str]) -> None:
        """Give each account its lanes, by what is to be done there; end those of accounts without open batches."""
        for which, lane in list(self._lanes.items()):
            if which.account not in still_open and lane.idle:  # each costs a claim every poll
                await self._close(which, lane)
        for account, actions in work.items():
            await self._look_after(account, actions)

    def drop(self, account: str, why: str) -> None:
        """Send nothing at an account that has not left."""
        if account in self._valves:
            self._valves[account].drop(why)

    def stop(self) -> None:
        """Claim nothing more, and send nothing that is not on its way."""
        for lane in self._lanes.values():
            lane.stop()

    async def ended(self) -> None:
        """Wait until all that had left has its answer."""
        await asyncio.gather(*self._loops.values(), return_exceptions=True)
        self.touched.update(*(lane.touched for lane in self._lanes.values()))

    async def _close(self, which: Quota, lane: Lane) -> None:
        lane.stop()
        await self._loops.pop(which)
        del self._lanes[which]
        self._valves[which.account].leave(lane)
        self._sent += lane.sent
        self.touched |= lane.touched

    async def _look_after(self, account: str, actions: Collection[Action]) -> None:
        """Open an account's lanes; one that cannot be used is tried again at each poll."""
        try:
            self._open(account, actions)
            reason = None
        except ConfigError as error:
            reason = f"{self._context.worker} cannot use account {account!r}: {error}"
        if reason == self._unusable.get(account, ""):  # at first sight, what an earlier worker said is taken away
            return
        if reason is not None and account not in self._settings.broken:  # which was told at the start
            logger().error("account_unusable", account=account, reason=reason)
        with contextlib.suppress(StoreError):  # said again at the next poll
            await unusable.tell(self._context.store, account, reason)
            self._unusable[account] = reason

    def _open(self, account: str, actions: Collection[Action]) -> None:
        """Give an account a lane for each label that these actions are counted under, where it has none yet.

        Raises ConfigError where it is not configured, or not whole.
        """
        settings = self._settings.account(account)
        provider = self._providers.get(account)
        if provider is None:
            provider = open_provider(account, settings, self._settings.base, self._context.transport)
            self._providers[account] = provider
            if provider.auth.warning is not None:
                logger().warning("login_ends", account=account, reason=provider.auth.warning)
        for which in sorted({Quota(account, provider.label(action)) for action in actions}):
            if which not in self._lanes:
                valve = self._valves.setdefault(account, Valve(account, self._context.recorder))
                rate = settings.rate(which.label)
                logger().info(
                    "account_opened", account=account, label=which.label, limit=rate.as_share(settings.share)
                )
                lane = Lane(Parts.of(self._context, which, provider, rate, valve, share=settings.share))
                self._lanes[which] = lane
                self._loops[which] = asyncio.create_task(lane.run(), name=f"lane {account} {which.label}")

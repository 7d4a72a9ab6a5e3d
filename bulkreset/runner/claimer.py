"""Claims ahead of the slots: about half a second of them is kept in the buffer.

`step` is one look whether to claim. What must be true before is checked in the order of its cost: what was found
here is saved, no halt, room in the buffer, a login, a fresh policy, connections for the first calls.
"""

import math
from datetime import timedelta
from time import monotonic
from typing import Final

from bulkreset.errors import ProviderRefused, StoreError
from bulkreset.limits.clock import ClockWatch
from bulkreset.limits.quota import US
from bulkreset.logs import logger
from bulkreset.runner.parts import Parts
from bulkreset.store import claims, quotas
from bulkreset.store.claims import Claimed
from bulkreset.store.quotas import Window, at

# Half of the horizon is kept in hand, so that a slow commit does not leave slots unused; all of it is what a
# kill or a pause can leave unused.
HORIZON: Final = timedelta(seconds=1)
MOST_CLAIMED: Final = 500
_LEAD: Final = timedelta(milliseconds=40)
_LEASE_MARGIN: Final = timedelta(seconds=10)


class Claimer:
    """The one that claims for a lane; `busy` while a claim is under way."""

    def __init__(self, parts: Parts) -> None:
        self.busy = False
        self._parts = parts
        self._context = parts.context
        self._quota = parts.quota
        self._lead = _LEAD
        self._clock_watch = ClockWatch()
        self._cold_until = -math.inf
        grace = timedelta(microseconds=parts.pace.spacing.grace_us)
        self.lease = HORIZON + grace + self._context.http_timeout + _LEASE_MARGIN

    async def step(self) -> float:  # noqa: PLR0911  (one return for each reason not to claim)
        """Claim once, if there is reason to, and return how many seconds until the next look is worth it."""
        parts, recorder = self._parts, self._context.recorder
        if not parts.valve.settled:
            return 0.02
        if parts.valve.halted is not None and await self._still_halted():
            return self._context.poll_interval
        if (gap := self._cold_until - monotonic()) > 0:
            return gap
        most = self._wanted()
        if not recorder.ready or most <= 0:
            return 0.25
        drops = parts.buffer.drops
        self.busy = True
        try:
            claimed = await self._claim(most) if await self._prepared() else None
        finally:
            self.busy = False
        if claimed is None:
            return self._context.poll_interval
        parts.tally.claimed += len(claimed.claims)
        parts.way_out.take(claimed.read_at + (at(slot) - claimed.now).total_seconds() for slot in claimed.spent)
        parts.handling.know(claimed.batches)
        if drops != parts.buffer.drops:  # a pause, a halt or a stop came while the transaction ran
            parts.completions.release(claimed.claims, "the buffer was emptied while they were claimed")
            return 0.02
        if claimed.clock_doubt > parts.pace.spacing.clock_doubt_s:
            parts.completions.release(claimed.claims, "the database's clock could not be read closely enough")
            return 0.1
        self._take(claimed)
        return self._until_next_claim(claimed, most)

    def _take(self, claimed: Claimed) -> None:
        parts = self._parts
        parts.clock.set(claimed.now, claimed.read_at)
        # A commit that took longer than the lead lets the first slots expire, and of a small claim all of them.
        took = timedelta(seconds=monotonic() - claimed.read_at)
        self._lead = min(max(_LEAD, 0.9 * self._lead, 1.5 * took), HORIZON / 2)
        for claim in claimed.claims:
            parts.buffer.put(claim, parts.clock.instant(claim.slot_at))
            parts.tally.touched.add(claim.batch_id)
        for batch_id, why in claimed.unusable.items():
            parts.valve.halt_batch(batch_id, f"{why}; then `bulkreset batch resume {batch_id}`")

    def _wanted(self) -> int:
        """How many calls to claim: what can leave in time, and one only while an outage is being probed."""
        parts = self._parts
        if not self._context.allows(self._quota.account):
            return 0  # another worker's configuration of it differs
        if parts.watch.probing or (parts.provider.tells_limit and not parts.tally.heard):
            return 1 if parts.idle else 0  # the first answer tells the account's own limit
        in_time = self._context.concurrency - len(parts.in_flight)
        patient = parts.pace.spacing.grace_us // parts.pace.spacing.interval_us
        return min(MOST_CLAIMED, in_time + patient) - len(parts.buffer)

    async def _still_halted(self) -> bool:
        """Look whether somebody has lifted the halt; until then not even a login is tried."""
        try:
            async with self._context.store.read() as conn:
                reason = (await quotas.halts(conn)).get(self._quota.account)
        except StoreError as error:
            logger().error("halt_not_read", account=self._quota.account, reason=str(error))
            return True
        if reason is None:
            self._parts.valve.lift()
        return reason is not None

    async def _prepared(self) -> bool:
        """Have a login, a fresh policy where the last one was refused, and connections for the first calls."""
        parts = self._parts
        try:
            if not await parts.login.have():
                parts.valve.note_pause(self._quota, parts.clock.at(parts.login.again_at))
                return False
        except ProviderRefused as error:
            parts.valve.halt(self._quota, str(error))
            return False
        if not self._heed_limit():
            return False
        if parts.policy.doubted:
            await parts.policy.read(parts.pace.spacing)
        until = parts.valve.paused_until(self._quota)
        paused = until is not None and until > parts.clock.at(monotonic())
        return paused or not parts.idle or parts.way_out.ready()

    def _heed_limit(self) -> bool:
        """Keep to the limit that the provider tells of this account, where it is lower than the configured one.

        Tell whether calls may leave by it now: what left by a higher one must leave the window first.
        """
        parts = self._parts
        pace, sent = parts.pace, parts.tally.sent
        told = parts.provider.told_rate(self._quota.label)
        if (before := pace.heed(told)) is None:
            return True
        logger().warning("limit_told", account=self._quota.account, told=str(told), kept=str(pace.rate))
        parts.way_out.keep_to(pace)
        if pace.rate.calls > before.calls or not sent:
            return True
        self._cold_until = monotonic() + pace.settles_after(sent)
        parts.drop(None, "the account's own limit is lower than the configured one")
        return False

    async def _claim(self, most: int) -> Claimed | None:
        parts = self._parts
        saved = self._context.recorder.saved
        parts.way_out.beside(self._context.workers(self._quota.account))
        try:
            claimed = await claims.claim(
                self._context.store,
                self._quota,
                parts.pace.spacing,
                sealer=self._context.sealer,
                worker=self._context.worker,
                window=Window(self._lead, HORIZON),
                most=most,
                lease=self.lease,
                withheld=parts.way_out.overdue(),
                clock=self._clock_watch,
            )
        except StoreError as error:
            logger().error("claim_failed", account=self._quota.account, reason=str(error))
            self._context.suspect()
            return None
        except ProviderRefused as error:  # no password can be made to the batch's policy, as it was read last
            parts.policy.doubted = True
            if parts.policy.fresh:
                parts.valve.halt(self._quota, str(error))
            return None
        if claimed.damaged:
            self._context.suspect()
        if claimed.offer.halted_reason is not None:
            parts.valve.note_halt(claimed.offer.halted_reason)
        # A used-up day is open again once what was given back is saved.
        known = claimed.offer.pause_reason and parts.completions.all_given_back(saved)
        parts.valve.note_pause(self._quota, claimed.offer.opens_at if known else None)
        return claimed

    def _until_next_claim(self, claimed: Claimed, most: int) -> float:
        poll, offer, buffer = self._context.poll_interval, claimed.offer, self._parts.buffer
        buffer.more = len(claimed.claims) >= most
        if buffer.more:
            return poll  # the dispatcher wakes the claimer when the buffer runs low
        if claimed.spent and len(claimed.spent) == len(offer.slots) and not claimed.held_back:
            # Every slot up to the horizon is taken: come back when half of them are behind us.
            ends_in = (offer.slots.stop / US) - claimed.now.timestamp() - (monotonic() - claimed.read_at)
            return max(0.0, ends_in - HORIZON.total_seconds() / 2)
        if claimed.held_back and not claimed.claims:
            return min(poll, HORIZON.total_seconds() / 2)  # a ramp that is this low may have no call in all of it
        if offer.opens_at is not None and not claimed.claims:
            return min(poll, max(0.01, (offer.opens_at - claimed.now).total_seconds()))
        return poll if not claimed.claims else min(poll, 0.5)

"""One account's label at work: claim ahead, dispatch at each slot, send, judge the answer.

    claimer → buffer → dispatcher → send → judge → recorder

The claimer keeps about half a second of slots in the buffer. The dispatcher is the only waiter on the belt;
it sends each call at its slot, over a connection that was open before, unless what may still be on its way to the
provider forbids it; a call that is later than its grace is released, not sent. A pause or a halt empties the
buffer at once, so that nothing leaves after it but the calls already in flight.
"""

import asyncio
import math
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from time import monotonic
from typing import Final

from bulkreset.errors import BulkresetError, ProviderRefused, StoreError
from bulkreset.limits.clock import ClockWatch
from bulkreset.limits.quota import US
from bulkreset.limits.rates import Rate
from bulkreset.logs import logger
from bulkreset.model import DAMAGED, Claim, Outcome, Quota, Verdict
from bulkreset.providers.base import Call, Provider
from bulkreset.providers.connections import Reserved
from bulkreset.runner.buffer import Buffer
from bulkreset.runner.context import Context
from bulkreset.runner.departures import Departures
from bulkreset.runner.handling import PROTECTED, Handling
from bulkreset.runner.pace import Pace
from bulkreset.runner.recorder import GATHER_S
from bulkreset.runner.standing import KnownPolicy, Login
from bulkreset.runner.waiting import until_set
from bulkreset.runner.watch import Watch
from bulkreset.runner.way_out import WayOut
from bulkreset.store import claims, quotas
from bulkreset.store.claims import Claimed
from bulkreset.store.quotas import Halt, Pause, Window, at
from bulkreset.store.results import Closing

# Half of the horizon is kept in hand, so that a slow commit does not leave slots unused; all of it is what a
# kill or a pause can leave unused.
HORIZON: Final = timedelta(seconds=1)
_LEAD: Final = timedelta(milliseconds=40)
_MOST_CLAIMED: Final = 500
_LEASE_MARGIN: Final = timedelta(seconds=10)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Lane:
    """The loop of one quota. Start `run` as a task; `stop` ends it with nothing in hand."""

    def __init__(
        self,
        context: Context,
        which: Quota,
        provider: Provider,
        rate: Rate,
        peers: "list[Lane] | None" = None,
        *,
        share: float = 1.0,
    ) -> None:
        self.quota = which
        self.provider = provider
        self.sent = 0
        self.claimed = 0
        self.touched: set[int] = set()
        self.halted: str | None = None
        self.paused_until: datetime | None = None
        self._context = context
        self._peers = [] if peers is None else peers  # the account's other lanes: a halt is of all of them
        self._peers.append(self)
        self._pace = Pace(rate, share)
        self._heard = False  # whether any call of this lane has ended
        self._watch = Watch(rate.window)
        self._handling = Handling(provider, context.guard)
        self._login = Login(provider.auth, which.account)
        self._policy = KnownPolicy(context, which, provider)
        self._buffer = Buffer()
        self._in_flight: set[asyncio.Task[None]] = set()
        self._departures = Departures()
        self._room = asyncio.Semaphore(context.concurrency)
        self._stopping = asyncio.Event()
        self._low = asyncio.Event()  # the buffer wants more
        self._way_out = WayOut(context.transport, provider, self._pace, self._low.set)
        self._claiming = False
        self._lead = _LEAD
        self._clock = ClockWatch()
        self._hungry = False  # the last claim was cut short by the buffer, not by slots or tasks
        self._finding = 0  # the recorder's number of our last pause or halt
        self._given_back = 0  # and of our last claim that was not sent
        # Database time minus monotonic time; the machine's clock stands in until the first claim.
        self._offset = datetime.now(UTC) - _EPOCH - timedelta(seconds=monotonic())
        self._cold_until = -math.inf
        grace = timedelta(microseconds=self._pace.spacing.grace_us)
        self.lease = HORIZON + grace + context.http_timeout + _LEASE_MARGIN

    @property
    def idle(self) -> bool:
        """Whether nothing is claimed, waiting or in flight."""
        return not self._claiming and not self._buffer and not self._in_flight

    @property
    def holds(self) -> frozenset[int]:
        """The batches of which something is claimed here or on its way."""
        return self._buffer.batches.union(self._departures.in_flight)

    @property
    def on_their_way(self) -> int:
        """How many calls have left and have no answer yet."""
        return self._departures.in_flight.total()

    def departed(self, batch_id: int, since: datetime) -> int:
        """Count the calls of a batch that left since a time by the database's clock."""
        return self._departures.since(batch_id, (since - _EPOCH - self._offset).total_seconds())

    def in_flight(self, batch_id: int) -> int:
        """Count the calls of a batch that have left and have no answer yet."""
        return self._departures.in_flight[batch_id]

    def holds_unsent(self, batch_id: int) -> bool:
        """Whether a claim of the batch waits for its slot here."""
        return batch_id in self._buffer.batches

    def drop(self, batch_id: int | None = None, why: str = "the runner is stopping") -> None:
        """Send nothing of a batch, or of any, that has not left, what is being claimed just now included."""
        self._release(self._buffer.drop(batch_id), why)

    def failed_lately(self, batch_id: int) -> tuple[int, int]:
        """Return how many of a batch's last users failed here, and of how many."""
        return self._watch.failed_lately(batch_id)

    async def run(self) -> None:
        """Work until `stop`; then release what was not sent and wait for what was."""
        dispatcher = asyncio.create_task(self._dispatch(), name=f"dispatch {self.quota.account}")
        try:
            while not self._stopping.is_set():
                await self._nap(await self.step())
        finally:
            self._stopping.set()  # an error ends the dispatcher too
            self.drop()
            self._buffer.filled.set()
            await dispatcher
            if self._in_flight:
                await asyncio.wait(self._in_flight)
            await self._way_out.close()

    def stop(self) -> None:
        """Claim nothing more, and send nothing that is not on its way."""
        self._stopping.set()
        self._low.set()
        self.drop()

    async def step(self) -> float:  # noqa: PLR0911  (one return for each reason not to claim)
        """Claim once, if there is reason to, and return how many seconds until the next look is worth it."""
        recorder = self._context.recorder
        if self._finding > recorder.saved:
            return 0.02  # a pause or halt of ours is not in the quota row yet, so the row cannot be trusted
        if self.halted is not None and await self._still_halted():
            return self._context.poll_interval
        if (gap := self._cold_until - monotonic()) > 0:
            return gap
        most = self._wanted()
        if not recorder.ready or most <= 0:
            return 0.25
        drops = self._buffer.drops
        self._claiming = True
        try:
            claimed = await self._claim(most) if await self._prepared() else None
        finally:
            self._claiming = False
        if claimed is None:
            return self._context.poll_interval
        self.claimed += len(claimed.claims)
        self._way_out.take(claimed.read_at + (at(slot) - claimed.now).total_seconds() for slot in claimed.spent)
        self._handling.know(claimed.batches)
        if drops != self._buffer.drops:
            self._release(claimed.claims, "the buffer was emptied while they were claimed")
            return 0.02
        if claimed.clock_doubt * US > max(self._pace.spacing.spread_us, 1000):
            self._release(claimed.claims, "the database's clock could not be read closely enough")
            return 0.1
        self._offset = claimed.now - _EPOCH - timedelta(seconds=claimed.read_at)
        # A commit that took longer than the lead lets the first slots expire, and of a small claim all of them.
        took = timedelta(seconds=monotonic() - claimed.read_at)
        self._lead = min(max(_LEAD, 0.9 * self._lead, 1.5 * took), HORIZON / 2)
        for claim in claimed.claims:
            self._buffer.put(claim, claimed.read_at + (claim.slot_at - claimed.now).total_seconds())
            self.touched.add(claim.batch_id)
        for batch_id, why in claimed.unusable.items():  # the account's other batches go on
            self._halt_batch(batch_id, f"{why}; then `bulkreset batch resume {batch_id}`")
        return self._until_next_claim(claimed, most)

    # The rest is in the order in which a call passes through it.

    def _wanted(self) -> int:
        """How many calls to claim: what can leave in time, and one only while an outage is being probed."""
        if not self._context.allows(self.quota.account):
            return 0  # another worker's configuration of it differs
        if self._watch.probing or (self.provider.tells_limit and not self._heard):
            return 0 if not self.idle else 1  # the first answer tells the account's own limit
        in_time = self._context.concurrency - len(self._in_flight)
        patient = self._pace.spacing.grace_us // self._pace.spacing.interval_us
        return min(_MOST_CLAIMED, in_time + patient) - len(self._buffer)

    async def _still_halted(self) -> bool:
        """Look whether somebody has lifted the halt; until then not even a login is tried."""
        try:
            async with self._context.store.read() as conn:
                self.halted = (await quotas.halts(conn)).get(self.quota.account)
        except StoreError as error:
            logger().error("halt_not_read", account=self.quota.account, reason=str(error))
        if self.halted is None:
            self._watch = Watch(self._pace.rate.window)
        return self.halted is not None

    async def _prepared(self) -> bool:
        """Have a login, a fresh policy where the last one was refused, and connections for the first calls."""
        try:
            if not await self._login.have():
                self.paused_until = self._at(self._login.again_at)
                return False
        except ProviderRefused as error:
            self._halt(str(error))
            return False
        if not self._heed_limit():
            return False
        if self._policy.doubted:
            await self._policy.read(self._pace.spacing)
        paused = self.paused_until is not None and self.paused_until > self._at(monotonic())
        return paused or bool(self._buffer or self._in_flight) or self._way_out.ready()

    def _heed_limit(self) -> bool:
        """Keep to the limit that the provider tells of this account, where it is lower than the configured one.

        Tell whether calls may leave by it now: what left by a higher one must leave the window first.
        """
        told = self.provider.told_rate(self.quota.label)
        if (before := self._pace.heed(told)) is None:
            return True
        logger().warning("limit_told", account=self.quota.account, told=str(told), kept=str(self._pace.rate))
        self._way_out.keep_to(self._pace)
        if self._pace.rate.calls > before.calls or not self.sent:
            return True
        self._cold_until = monotonic() + self._pace.settles_after(self.sent)
        self.drop(why="the account's own limit is lower than the configured one")
        return False

    async def _claim(self, most: int) -> Claimed | None:
        saved = self._context.recorder.saved
        self._way_out.beside(self._context.workers(self.quota.account))
        try:
            claimed = await claims.claim(
                self._context.store,
                self.quota,
                self._pace.spacing,
                sealer=self._context.sealer,
                worker=self._context.worker,
                window=Window(self._lead, HORIZON),
                most=most,
                lease=self.lease,
                withheld=self._way_out.overdue(),
                clock=self._clock,
            )
        except StoreError as error:
            logger().error("claim_failed", account=self.quota.account, reason=str(error))
            self._context.suspect()
            return None
        except ProviderRefused as error:  # no password can be made to the batch's policy, as it was read last
            self._policy.doubted = True
            if self._policy.fresh:
                self._halt(str(error))
            return None
        if claimed.damaged:
            self._context.suspect()
        if claimed.offer.halted_reason != self.halted:
            self.halted = claimed.offer.halted_reason
            if self.halted:
                logger().error("account_halted", account=self.quota.account, reason=self.halted)
        # A used-up day is open again once what was given back is saved.
        known = claimed.offer.pause_reason and self._given_back <= saved
        self.paused_until = claimed.offer.opens_at if known else None
        return claimed

    def _until_next_claim(self, claimed: Claimed, most: int) -> float:
        poll, offer = self._context.poll_interval, claimed.offer
        self._hungry = len(claimed.claims) >= most
        if self._hungry:
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

    async def _nap(self, seconds: float) -> None:
        """Wait, but not when the buffer runs low or the lane stops."""
        if seconds <= 0:
            return
        await until_set(self._low, seconds)
        self._low.clear()

    async def _dispatch(self) -> None:
        while not (self._stopping.is_set() and not self._buffer):
            if not self._buffer:
                self._buffer.filled.clear()
                if self._hungry:
                    self._low.set()
                await self._buffer.filled.wait()
                continue
            if (wait := self._buffer.slot - monotonic()) > 0:
                await self._buffer.until_dropped(wait)
                if self._buffer.slot > monotonic():
                    continue
            await self._room.acquire()
            # A stall that lets slots expire may have held up the call before them on its way out, so the belt
            # is passed for it; but once only, since each pass makes a slot of the next window wait and expire.
            self._release_expired()
            if not self._buffer:
                self._room.release()
                continue
            reserved = await self._way_out.reserve(self._buffer.slot)
            self._release_expired()
            # While we waited the buffer may have been emptied, and filled again with later slots.
            if reserved is None or self._buffer.slot > monotonic():
                self._room.release()
                if reserved is not None:
                    reserved.give_back()
                continue
            claim, slot = self._buffer.take()
            self._top_up()
            self._way_out.sent(claim, reserved, slot)
            call = asyncio.create_task(self._send(claim, self._buffer.drops, reserved))
            self._in_flight.add(call)
            call.add_done_callback(self._landed)

    def _release_expired(self) -> None:
        """Give back every claim whose slot is too far behind to be used."""
        if late := self._buffer.expired(monotonic() - self._pace.spacing.grace_us / US):
            self._release(late, "its slot had expired")
            self._top_up()

    def _top_up(self) -> None:
        """Wake the claimer where the buffer runs low and there is more to be had."""
        if self._hungry and len(self._buffer) < _MOST_CLAIMED // 2:
            self._low.set()

    def _landed(self, call: asyncio.Task[None]) -> None:
        self._in_flight.discard(call)
        self._room.release()
        if not call.cancelled() and (error := call.exception()) is not None:
            # Its attempt stays open and is rescued as unknown; nothing is guessed.
            logger().error("result_not_understood", account=self.quota.account, exc_info=error)

    async def _send(self, claim: Claim, drops: int, reserved: Reserved) -> None:
        """Send one call, once, and hand its result on; `drops` is how often the buffer had been emptied."""
        call: Call | None = None
        try:
            if drops != self._buffer.drops:
                # An answer came between the buffer and here, and stopped what had not left.
                self._release([claim], "it was stopped on its way out")
            else:
                call = self._call(claim)
        finally:
            if call is None:  # whatever kept it from leaving
                self._way_out.unsent(claim)
                reserved.give_back()
        if call is not None:
            await self._exchange(claim, call, reserved)

    async def _exchange(self, claim: Claim, call: Call, reserved: Reserved) -> None:
        auth = self.provider.auth
        generation, login = auth.generation, self._login.number
        started = monotonic()
        self.sent += 1
        self._departures.leave(claim.batch_id, started)
        try:
            verdict = await self._answer(claim, call, reserved)
        finally:
            self._departures.land(claim.batch_id)
        sent_at = None
        if verdict.outcome is Outcome.RELEASED:
            self.sent -= 1
        elif verdict.outcome is not Outcome.UNREACHABLE:
            sent_at = self._at(started)
        ended = monotonic()
        latency_ms = round((ended - started) * 1000)
        stale = login != self._login.number  # refused already for an earlier call, and replaced since
        if verdict.outcome is Outcome.UNAUTHORIZED and not stale:
            self._login.refused(generation)
            # Nothing leaves without a login; the claimer gets a fresh one before it claims again.
            self.drop(why="the login was refused")
        if not self._heard:  # more than one call may leave, now that the first has ended
            self._heard = True
            self._low.set()
        closed = self._close(claim, verdict, sent_at, self._at(ended), latency_ms)
        if (reason := self._handling.too_many_failed(self._watch, closed)) is not None:
            self._halt_batch(claim.batch_id, reason)
        if verdict.outcome is Outcome.POLICY_REJECTED and self._outdated(started):
            return  # says nothing about passwords that are built to the policy as it is now
        self._judge(claim, verdict, sent_at, self._at(ended), stale=stale)

    async def _answer(self, claim: Claim, call: Call, reserved: Reserved) -> Verdict:
        """Send a call and say what its answer means, or that there is none."""
        headers = {**self.provider.auth.headers(), "X-Request-Id": f"{claim.batch_id}-{claim.task_id}-{claim.n}"}
        found = await self._way_out.exchange(claim, call, headers, reserved)
        if isinstance(found, Verdict):
            return found
        return self._handling.classify(claim, found, self._at(monotonic()))

    def _call(self, claim: Claim) -> Call | None:
        """Build the call of a claim; where nothing may be sent for it, close it and return None."""
        now = self._at(monotonic())
        try:
            call = self._handling.call(claim)
        except ValueError as error:
            self._close(claim, Verdict(Outcome.UNEXPECTED, code=DAMAGED, message=str(error)), None, now, None)
            logger().error("task_damaged", account=self.quota.account, task=claim.task_id, reason=str(error))
            return None
        except BulkresetError as error:  # who is protected cannot be told
            self._close(claim, Verdict(Outcome.RELEASED, message=str(error)), None, now, None)
            self._halt(str(error))
            return None
        if call is None:
            self._close(claim, PROTECTED, None, now, None)
        return call

    def _outdated(self, started: float) -> bool:
        """Whether a password sent then may be older than the policy; the first such finding has it read again."""
        if not self._policy.doubted and not self._policy.fresh:
            self._policy.doubted = True
            self.drop(why="the password policy is read again")
        return self._policy.older_than(started)

    def _judge(
        self, claim: Claim, verdict: Verdict, sent_at: datetime | None, closed_at: datetime, *, stale: bool
    ) -> None:
        """Do to the account or the batch what a run of such answers asks for."""
        asked = self._watch.see(
            verdict,
            batch_id=claim.batch_id,
            sent_at=sent_at,
            now=closed_at,
            stale=stale,
            asked_for=claim.action,
        )
        if asked.pause_until is not None:
            self._pause(asked.pause_until, asked.reason or "")
        if asked.halt_account is not None:
            refused = verdict.outcome is Outcome.UNAUTHORIZED
            self._halt(f"{asked.halt_account}; {self.provider.auth.advice}" if refused else asked.halt_account)
        if asked.halt_batch is not None:
            self._halt_batch(claim.batch_id, asked.halt_batch)

    def _close(
        self, claim: Claim, verdict: Verdict, sent_at: datetime | None, closed_at: datetime, latency_ms: int | None
    ) -> Closing:
        closing = self._handling.close(claim, verdict, sent_at, closed_at, latency_ms)
        decision = closing.decision
        if decision.due_at is not None:
            # Have another look when this falls due, where that is sooner than the next poll.
            wait = max(0.0, (decision.due_at - closed_at).total_seconds()) + 2 * GATHER_S
            if wait < self._context.poll_interval:
                asyncio.get_running_loop().call_later(wait, self._low.set)
        number = self._context.recorder.put(closing)
        if closing.decision.outcome is Outcome.RELEASED:
            self._given_back, self.paused_until = number, None
        return closing

    def _release(self, unsent: Iterable[Claim], why: str) -> None:
        """Give claims back that were never sent."""
        now = self._at(monotonic())
        for claim in unsent:
            self._close(claim, Verdict(Outcome.RELEASED, message=why), None, now, None)

    def _pause(self, until: datetime, reason: str) -> None:
        logger().warning("account_paused", account=self.quota.account, until=until.isoformat(), reason=reason)
        self._finding = self._context.recorder.put(pause=Pause(self.quota, until, reason))
        self.drop(why="its account was paused")
        self.paused_until = until

    def _halt(self, reason: str) -> None:
        if self.halted is None:
            logger().error("account_halted", account=self.quota.account, reason=reason)
        self._finding = self._context.recorder.put(halt=Halt(self.quota, reason))
        for lane in self._peers:
            lane.halted, lane._finding = reason, self._finding  # noqa: SLF001  (a lane itself)
            lane.drop(why="its account was halted")

    def _halt_batch(self, batch_id: int, reason: str) -> None:
        self._finding = self._context.recorder.put(batch_halt=(batch_id, reason))
        self.drop(batch_id, why="its batch was halted")

    def _at(self, instant: float) -> datetime:
        """Turn a monotonic instant into the database's time."""
        return _EPOCH + self._offset + timedelta(seconds=instant)

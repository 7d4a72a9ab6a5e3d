"""One account's label at work: claim ahead, dispatch at each slot, send, judge the answer.

    claimer → buffer → dispatcher → send → judge → recorder

The claimer keeps about half a second of slots in the buffer. The dispatcher is the only waiter on the belt;
it sends each call at its slot, over a connection that was open before, unless what may still be on its way to the
provider forbids it; a call that is later than its grace is released, not sent. A pause or a halt empties the
buffer at once, so that nothing leaves after it but the calls already in flight.
"""

import asyncio
import math
import random
from collections import deque
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from time import monotonic
from typing import Final

from bulkreset.errors import BulkresetError, ProviderError, ProviderRefused, ProviderUnavailable, StoreError
from bulkreset.limits.clock import ClockWatch
from bulkreset.limits.quota import US, Spacing
from bulkreset.limits.rates import Rate
from bulkreset.logs import logger
from bulkreset.model import DAMAGED, Claim, Outcome, Quota, Verdict
from bulkreset.providers.base import Call, Provider
from bulkreset.providers.connections import Reserved
from bulkreset.providers.no_answer import Garbled, NotSent, Unclear, Unreachable
from bulkreset.runner.context import Context
from bulkreset.runner.decide import backoff
from bulkreset.runner.departures import Departures
from bulkreset.runner.handling import PROTECTED, Handling
from bulkreset.runner.recorder import GATHER_S
from bulkreset.runner.watch import Watch
from bulkreset.runner.way_out import WayOut
from bulkreset.store import batches, claims, quotas
from bulkreset.store.claims import Claimed
from bulkreset.store.pace import Pacer
from bulkreset.store.quotas import Halt, Pause, Window, at
from bulkreset.store.results import Closing

# Half of the horizon is kept in hand, so that a slow commit does not leave slots unused; all of it is what a
# kill or a pause can leave unused.
HORIZON: Final = timedelta(seconds=1)
_LEAD: Final = timedelta(milliseconds=40)
_MOST_CLAIMED: Final = 500
_LEASE_MARGIN: Final = timedelta(seconds=10)
_POLICY_GOOD_FOR_S: Final = 60.0
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
        self._configured = self._rate = rate
        self._share = share  # the part of a limit that the provider itself tells
        self._heard = False  # whether any call of this lane has ended
        self._spacing = Spacing.of(rate)
        self._window = rate.window
        self._watch = Watch(self._window)
        self._handling = Handling(provider, context.guard)
        self._buffer: deque[tuple[Claim, float]] = deque()
        self._in_flight: set[asyncio.Task[None]] = set()
        self._departures = Departures()
        self._room = asyncio.Semaphore(context.concurrency)
        self._stopping = asyncio.Event()
        self._filled = asyncio.Event()  # the buffer holds a claim
        self._low = asyncio.Event()  # the buffer wants more
        self._way_out = WayOut(context.transport, provider.base_url, rate, self._spacing, self._low.set)
        self._dropped = asyncio.Event()  # the buffer was emptied: stop waiting for a slot
        self._claiming = False
        self._lead = _LEAD
        self._clock = ClockWatch()
        self._drops = 0  # how often the buffer was emptied by a pause, a halt, a refused login or a stop
        self._hungry = False  # the last claim was cut short by the buffer, not by slots or tasks
        self._finding = 0  # the recorder's number of our last pause or halt
        # Database time minus monotonic time; the machine's clock stands in until the first claim.
        self._offset = datetime.now(UTC) - _EPOCH - timedelta(seconds=monotonic())
        self._cold_until = -math.inf
        self._policy_doubted = False
        self._policy_read_at = -math.inf
        self._login_failures = 0
        self._login_again_at = -math.inf
        self._login = 0  # which login calls carry: one more after each refusal of the current one
        self.lease = (
            HORIZON + timedelta(microseconds=self._spacing.grace_us) + context.http_timeout + _LEASE_MARGIN
        )

    @property
    def idle(self) -> bool:
        """Whether nothing is claimed, waiting or in flight."""
        return not self._claiming and not self._buffer and not self._in_flight

    @property
    def holds(self) -> frozenset[int]:
        """The batches of which something is claimed here or on its way."""
        return frozenset((*self._departures.in_flight, *(claim.batch_id for claim, _ in self._buffer)))

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
        return any(claim.batch_id == batch_id for claim, _ in self._buffer)

    def drop(self, batch_id: int | None, why: str) -> None:
        """Send nothing of a batch, or of any, that has not left, what is being claimed just now included."""
        self._drop(batch_id, why)

    @property
    def under_way(self) -> int:
        """How many calls are on their way, of all batches."""
        return len(self._in_flight)

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
            self._drop()
            self._filled.set()
            await dispatcher
            if self._in_flight:
                await asyncio.wait(self._in_flight)
            await self._way_out.close()

    def stop(self) -> None:
        """Claim nothing more, and send nothing that is not on its way."""
        self._stopping.set()
        self._low.set()
        self._drop()

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
        drops = self._drops
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
        if drops != self._drops:
            self._release(claimed.claims, "the buffer was emptied while they were claimed")
            return 0.02
        if claimed.clock_doubt * US > max(self._spacing.spread_us, 1000):
            self._release(claimed.claims, "the database's clock could not be read closely enough")
            return 0.1
        self._offset = claimed.now - _EPOCH - timedelta(seconds=claimed.read_at)
        # A commit that took longer than the lead lets the first slots expire, and of a small claim all of them.
        took = timedelta(seconds=monotonic() - claimed.read_at)
        self._lead = min(max(_LEAD, 0.9 * self._lead, 1.5 * took), HORIZON / 2)
        for claim in claimed.claims:
            self._buffer.append((claim, claimed.read_at + (claim.slot_at - claimed.now).total_seconds()))
            self.touched.add(claim.batch_id)
        if claimed.claims:
            self._filled.set()
        self._halt_unusable(claimed)
        return self._until_next_claim(claimed, most)

    # The rest is in the order in which a call passes through it.

    def _wanted(self) -> int:
        """How many calls to claim: what can leave in time, and one only while an outage is being probed."""
        if not self._context.allows(self.quota.account):
            return 0  # another worker's configuration of it differs
        if self._watch.probing or (self.provider.tells_limit and not self._heard):
            return 0 if not self.idle else 1  # the first answer tells the account's own limit
        in_time = self._context.concurrency - len(self._in_flight)
        patient = self._spacing.grace_us // self._spacing.interval_us
        return min(_MOST_CLAIMED, in_time + patient) - len(self._buffer)

    async def _still_halted(self) -> bool:
        """Look whether somebody has lifted the halt; until then not even a login is tried."""
        try:
            async with self._context.store.read() as conn:
                self.halted = (await quotas.halts(conn)).get(self.quota.account)
        except StoreError as error:
            logger().error("halt_not_read", account=self.quota.account, reason=str(error))
        if self.halted is None:
            self._watch = Watch(self._window)
        return self.halted is not None

    async def _prepared(self) -> bool:
        """Have a login, a fresh policy where the last one was refused, and connections for the first calls."""
        if monotonic() < self._login_again_at:
            return False
        try:
            await self.provider.auth.prepare()
        except ProviderUnavailable as error:
            wait = backoff(self._login_failures, random.random())  # noqa: S311  (spreads waits, guards nothing)
            self._login_failures += 1
            self._login_again_at = monotonic() + wait.total_seconds()
            self.paused_until = self._at(self._login_again_at)
            logger().warning("login_delayed", account=self.quota.account, reason=str(error))
            return False
        except ProviderRefused as error:
            self._halt(str(error))
            return False
        self._login_failures = 0
        if not self._heed_limit():
            return False
        if self._policy_doubted:
            await self._read_policy()
        paused = self.paused_until is not None and self.paused_until > self._at(monotonic())
        return paused or bool(self._buffer) or bool(self._in_flight) or self._way_out.ready()

    def _heed_limit(self) -> bool:
        """Keep to the limit that the provider tells of this account, where it is lower than the configured one.

        Tell whether calls may leave by it now: what left by a higher one must leave the window first.
        """
        told = self.provider.told_rate(self.quota.label)
        rate = self._configured.at_most(None if told is None else told.shared(self._share))
        before, self._rate = self._rate, rate
        if rate == before:
            return True
        logger().warning("limit_told", account=self.quota.account, told=str(told), kept=str(rate))
        self._spacing = Spacing.of(rate)
        self._way_out.keep_to(rate, self._spacing)
        if rate.calls > before.calls or not self.sent:
            return True
        # The first call alone has an interval of the new limit behind it; of more, a whole window must pass.
        behind = self._spacing.interval_us / US if self.sent == 1 else self._window.total_seconds()
        self._cold_until = monotonic() + behind
        self._drop(why="the account's own limit is lower than the configured one")
        return False

    async def _read_policy(self) -> None:
        """Read the policy anew after a refusal, so that the next passwords are built to it."""
        try:
            policy = await self.provider.policy(Pacer(self._context.store, self.quota, self._spacing))
            wanted = policy.with_wishes(self._context.wishes)
            await batches.set_policy(self._context.store, self.quota.account, wanted.as_json())
        except (ProviderError, StoreError) as error:
            logger().warning("policy_not_read", account=self.quota.account, reason=str(error))
        self._policy_doubted, self._policy_read_at = False, monotonic()

    async def _claim(self, most: int) -> Claimed | None:
        try:
            claimed = await claims.claim(
                self._context.store,
                self.quota,
                self._spacing,
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
            self._policy_doubted = True
            if monotonic() - self._policy_read_at < _POLICY_GOOD_FOR_S:
                self._halt(str(error))
            return None
        if claimed.damaged:
            self._context.suspect()
        if claimed.offer.halted_reason != self.halted:
            self.halted = claimed.offer.halted_reason
            if self.halted:
                logger().error("account_halted", account=self.quota.account, reason=self.halted)
        self.paused_until = claimed.offer.opens_at if claimed.offer.pause_reason else None
        return claimed

    def _until_next_claim(self, claimed: Claimed, most: int) -> float:
        poll = self._context.poll_interval
        offer = claimed.offer
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
        waker = asyncio.ensure_future(self._low.wait())
        await asyncio.wait([waker], timeout=seconds)
        waker.cancel()
        self._low.clear()

    async def _dispatch(self) -> None:
        while not (self._stopping.is_set() and not self._buffer):
            if not self._buffer:
                self._filled.clear()
                if self._hungry:
                    self._low.set()
                await self._filled.wait()
                continue
            if (wait := self._buffer[0][1] - monotonic()) > 0:
                await self._sleep_to_slot(wait)
                if not self._buffer or self._buffer[0][1] > monotonic():
                    continue
            await self._room.acquire()
            # A stall that lets slots expire may have held up the call before them on its way out, so the belt
            # is passed for it; but once only, since each pass makes a slot of the next window wait and expire.
            self._release_expired()
            if not self._buffer:
                self._room.release()
                continue
            reserved = await self._way_out.reserve(self._buffer[0][1])
            self._release_expired()
            # While we waited the buffer may have been emptied, and filled again with later slots.
            if reserved is None or not self._buffer or self._buffer[0][1] > monotonic():
                self._room.release()
                if reserved is not None:
                    reserved.give_back()
                continue
            claim, slot = self._buffer.popleft()
            self._top_up()
            self._way_out.sent(claim, reserved, slot)
            call = asyncio.create_task(self._send(claim, self._drops, reserved))
            self._in_flight.add(call)
            call.add_done_callback(self._landed)

    def _release_expired(self) -> None:
        """Give back every claim whose slot is too far behind to be used."""
        oldest = monotonic() - self._spacing.grace_us / US
        late = []
        while self._buffer and self._buffer[0][1] < oldest:
            late.append(self._buffer.popleft()[0])
        if late:
            self._release(late, "its slot had expired")
            self._top_up()

    def _top_up(self) -> None:
        """Wake the claimer where the buffer runs low and there is more to be had."""
        if self._hungry and len(self._buffer) < _MOST_CLAIMED // 2:
            self._low.set()

    async def _sleep_to_slot(self, seconds: float) -> None:
        self._dropped.clear()
        waker = asyncio.ensure_future(self._dropped.wait())
        await asyncio.wait([waker], timeout=seconds)
        waker.cancel()

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
            if drops != self._drops:  # an answer came between the buffer and here, and stopped what had not left
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
        generation, login = auth.generation, self._login
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
        stale = login != self._login  # refused already for an earlier call, and replaced since
        if verdict.outcome is Outcome.UNAUTHORIZED and not stale:
            self._login += 1
            auth.invalidate(generation)
            # Nothing leaves without a login; the claimer gets a fresh one before it claims again.
            self._drop(why="the login was refused")
        self._hear()
        closed = self._close(claim, verdict, sent_at, self._at(ended), latency_ms)
        if (reason := self._handling.too_many_failed(self._watch, closed)) is not None:
            self._halt_batch(claim.batch_id, reason)
        if verdict.outcome is Outcome.POLICY_REJECTED and self._outdated(started):
            return  # says nothing about passwords that are built to the policy as it is now
        self._judge(claim, verdict, sent_at, self._at(ended), stale=stale)

    async def _answer(self, claim: Claim, call: Call, reserved: Reserved) -> Verdict:
        """Send a call and say what its answer means, or that there is none."""
        headers = {**self.provider.auth.headers(), "X-Request-Id": f"{claim.batch_id}-{claim.task_id}-{claim.n}"}
        try:
            with reserved.use():
                answer = await self._context.transport.send(call, headers)
        except Unreachable as error:
            self._way_out.unsent(claim)
            outcome = Outcome.RELEASED if isinstance(error, NotSent) else Outcome.UNREACHABLE
            return Verdict(outcome, message=str(error))
        except Unclear as error:
            self._way_out.lost(claim)
            return Verdict(Outcome.UNKNOWN, message=str(error), unreadable=isinstance(error, Garbled))
        except Exception as error:  # noqa: BLE001  (the top of a task)
            # Ours to mend, and no reason to lose the call: it may have left.
            logger().exception("call_broke_off", account=self.quota.account)
            self._way_out.lost(claim)
            return Verdict(Outcome.UNKNOWN, message=f"internal error: {type(error).__name__}")
        self._way_out.answered(claim)
        return self._handling.classify(claim, answer, self._at(monotonic()))

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

    def _hear(self) -> None:
        """Let more than one call leave, now that the first has ended."""
        if not self._heard:
            self._heard = True
            self._low.set()

    def _outdated(self, started: float) -> bool:
        """Whether a password sent then may be older than the policy; the first such finding has it read again."""
        if not self._policy_doubted and monotonic() - self._policy_read_at > _POLICY_GOOD_FOR_S:
            self._policy_doubted = True
            self._drop(why="the password policy is read again")
        return self._policy_doubted or started < self._policy_read_at

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
        self._context.recorder.put(closing)
        return closing

    def _release(self, unsent: Iterable[Claim], why: str) -> None:
        """Give claims back that were never sent."""
        now = self._at(monotonic())
        for claim in unsent:
            self._close(claim, Verdict(Outcome.RELEASED, message=why), None, now, None)

    def _drop(self, batch_id: int | None = None, why: str = "the runner is stopping") -> None:
        """Empty the buffer (of one batch, where given) without sending, and spoil a claim that is under way."""
        self._drops += 1
        held, self._buffer = self._buffer, deque()
        dropped: list[tuple[Claim, float]] = []
        for item in held:
            (dropped if batch_id is None or item[0].batch_id == batch_id else self._buffer).append(item)
        self._dropped.set()
        self._release((claim for claim, _ in dropped), why)

    def _pause(self, until: datetime, reason: str) -> None:
        self.paused_until = until
        logger().warning("account_paused", account=self.quota.account, until=until.isoformat(), reason=reason)
        self._finding = self._context.recorder.put(pause=Pause(self.quota, until, reason))
        self._drop(why="its account was paused")

    def _halt(self, reason: str) -> None:
        if self.halted is None:
            logger().error("account_halted", account=self.quota.account, reason=reason)
        self._finding = self._context.recorder.put(halt=Halt(self.quota, reason))
        for lane in self._peers:
            lane.halted, lane._finding = reason, self._finding  # noqa: SLF001  (a lane itself)
            lane._drop(why="its account was halted")  # noqa: SLF001

    def _halt_unusable(self, claimed: Claimed) -> None:
        """Stop the batches that nothing can be claimed from; the account's others go on."""
        for batch_id, why in claimed.unusable.items():
            self._halt_batch(batch_id, f"{why}; then `bulkreset batch resume {batch_id}`")

    def _halt_batch(self, batch_id: int, reason: str) -> None:
        self._finding = self._context.recorder.put(batch_halt=(batch_id, reason))
        self._drop(batch_id, why="its batch was halted")

    def _at(self, instant: float) -> datetime:
        """Turn a monotonic instant into the database's time."""
        return _EPOCH + self._offset + timedelta(seconds=instant)

"""Sends one call, once, judges its answer, and hands on what became of it."""

from datetime import datetime
from time import monotonic

from bulkreset.errors import BulkresetError
from bulkreset.logs import logger
from bulkreset.model import DAMAGED, Claim, Outcome, Verdict
from bulkreset.providers.base import Call
from bulkreset.providers.connections import Reserved
from bulkreset.runner.handling import PROTECTED
from bulkreset.runner.parts import Parts


class Sender:
    """The one that sends for a lane. A pause or a halt that an answer asks for goes to the account's valve."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._account = parts.quota.account
        self._provider = parts.provider
        self._handling = parts.handling
        self._completions = parts.completions
        self._clock = parts.clock
        self._way_out = parts.way_out

    async def send(self, claim: Claim, drops: int, reserved: Reserved) -> None:
        """Send a call, once, and hand its result on; `drops` is how often the buffer had been emptied."""
        call: Call | None = None
        try:
            if drops != self._parts.buffer.drops:
                # An answer came between the buffer and here, and stopped what had not left.
                self._completions.release([claim], "it was stopped on its way out")
            else:
                call = self._call(claim)
        finally:
            if call is None:  # whatever kept it from leaving
                self._way_out.unsent(claim)
                reserved.give_back()
        if call is not None:
            await self._exchange(claim, call, reserved)

    def _call(self, claim: Claim) -> Call | None:
        """Build the call of a claim; where nothing may be sent for it, close it and return None."""
        try:
            call = self._handling.call(claim)
        except ValueError as error:
            self._completions.unsent(claim, Verdict(Outcome.UNEXPECTED, code=DAMAGED, message=str(error)))
            logger().error("task_damaged", account=self._account, task=claim.task_id, reason=str(error))
            return None
        except BulkresetError as error:  # who is protected cannot be told
            self._completions.unsent(claim, Verdict(Outcome.RELEASED, message=str(error)))
            self._parts.valve.halt(self._parts.quota, str(error))
            return None
        if call is None:
            self._completions.unsent(claim, PROTECTED)
        return call

    async def _exchange(self, claim: Claim, call: Call, reserved: Reserved) -> None:
        parts, tally = self._parts, self._parts.tally
        generation, login = self._provider.auth.generation, parts.login.number
        started = monotonic()
        tally.sent += 1
        parts.departures.leave(claim.batch_id, started)
        try:
            verdict = await self._answer(claim, call, reserved)
        finally:
            parts.departures.land(claim.batch_id)
        sent_at = None
        if verdict.outcome is Outcome.RELEASED:
            tally.sent -= 1
        elif verdict.outcome is not Outcome.UNREACHABLE:
            sent_at = self._clock.at(started)
        ended = monotonic()
        latency_ms = round((ended - started) * 1000)
        stale = login != parts.login.number  # refused already for an earlier call, and replaced since
        if verdict.outcome is Outcome.UNAUTHORIZED and not stale:
            parts.login.refused(generation)
            # Nothing leaves without a login; the claimer gets a fresh one before it claims again.
            parts.drop(None, "the login was refused")
        if not tally.heard:  # more than one call may leave, now that the first has ended
            tally.heard = True
            parts.low.set()
        closed_at = self._clock.at(ended)
        closed = self._completions.close(claim, verdict, sent_at, closed_at, latency_ms)
        if (reason := self._handling.too_many_failed(parts.watch, closed)) is not None:
            parts.valve.halt_batch(claim.batch_id, reason)
        if verdict.outcome is Outcome.POLICY_REJECTED and self._outdated(started):
            return  # says nothing about passwords that are built to the policy as it is now
        self._judge(claim, verdict, sent_at, closed_at, stale=stale)

    async def _answer(self, claim: Claim, call: Call, reserved: Reserved) -> Verdict:
        """Send a call and say what its answer means, or that there is none."""
        headers = {**self._provider.auth.headers(), "X-Request-Id": f"{claim.batch_id}-{claim.task_id}-{claim.n}"}
        found = await self._way_out.exchange(claim, call, headers, reserved)
        if isinstance(found, Verdict):
            return found
        return self._handling.classify(claim, found, self._clock.at(monotonic()))

    def _outdated(self, started: float) -> bool:
        """Whether a password sent then may be older than the policy; the first such finding has it read again."""
        policy = self._parts.policy
        if not policy.doubted and not policy.fresh:
            policy.doubted = True
            self._parts.drop(None, "the password policy is read again")
        return policy.older_than(started)

    def _judge(
        self, claim: Claim, verdict: Verdict, sent_at: datetime | None, closed_at: datetime, *, stale: bool
    ) -> None:
        """Do to the account or the batch what a run of such answers asks for."""
        valve, quota = self._parts.valve, self._parts.quota
        asked = self._parts.watch.see(
            verdict,
            batch_id=claim.batch_id,
            sent_at=sent_at,
            now=closed_at,
            stale=stale,
            asked_for=claim.action,
        )
        if asked.pause_until is not None:
            valve.pause(quota, asked.pause_until, asked.reason or "")
        if asked.halt_account is not None:
            refused = verdict.outcome is Outcome.UNAUTHORIZED
            advice = f"; {self._provider.auth.advice}" if refused else ""
            valve.halt(quota, asked.halt_account + advice)
        if asked.halt_batch is not None:
            valve.halt_batch(claim.batch_id, asked.halt_batch)

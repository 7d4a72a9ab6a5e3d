"""How every claim of a lane ends: once, whether its call was sent or not."""

import asyncio
from collections.abc import Iterable
from datetime import datetime
from time import monotonic

from bulkreset.model import Claim, Outcome, Quota, Verdict
from bulkreset.runner.context import Context
from bulkreset.runner.database_clock import DatabaseClock
from bulkreset.runner.handling import Handling
from bulkreset.runner.recorder import GATHER_S
from bulkreset.runner.valve import Valve
from bulkreset.store.results import Closing


class Completions:
    """Hands what became of claims to the recorder; `low` is set when one of them is due again soon."""

    def __init__(
        self,
        context: Context,
        which: Quota,
        *,
        handling: Handling,
        clock: DatabaseClock,
        valve: Valve,
        low: asyncio.Event,
    ) -> None:
        self._context = context
        self._quota = which
        self._handling = handling
        self._clock = clock
        self._valve = valve
        self._low = low
        self._given_back = 0  # the recorder's number of our last claim that was not sent

    def all_given_back(self, saved: int) -> bool:
        """Whether every claim that was not sent is back in the tables, where so much was saved."""
        return self._given_back <= saved

    def close(
        self, claim: Claim, verdict: Verdict, sent_at: datetime | None, closed_at: datetime, latency_ms: int | None
    ) -> Closing:
        """Decide what becomes of a claim's task and have it written."""
        closing = self._handling.close(claim, verdict, sent_at, closed_at, latency_ms)
        decision = closing.decision
        if decision.due_at is not None:
            # Have another look when this falls due, where that is sooner than the next poll.
            wait = max(0.0, (decision.due_at - closed_at).total_seconds()) + 2 * GATHER_S
            if wait < self._context.poll_interval:
                asyncio.get_running_loop().call_later(wait, self._low.set)
        number = self._context.recorder.put(closing)
        if decision.outcome is Outcome.RELEASED:
            self._given_back = number
            self._valve.note_pause(self._quota, None)
        return closing

    def unsent(self, claim: Claim, verdict: Verdict) -> None:
        """Close a claim whose call did not leave."""
        self.close(claim, verdict, None, self._clock.at(monotonic()), None)

    def release(self, claims: Iterable[Claim], why: str) -> None:
        """Give claims back that were never sent."""
        for claim in claims:
            self.unsent(claim, Verdict(Outcome.RELEASED, message=why))

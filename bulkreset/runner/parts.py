"""What the rooms of one lane share."""

import asyncio
from dataclasses import dataclass, field
from typing import Self

from bulkreset.limits.rates import Rate
from bulkreset.model import Quota
from bulkreset.providers.base import Provider
from bulkreset.runner.buffer import Buffer
from bulkreset.runner.completions import Completions
from bulkreset.runner.context import Context
from bulkreset.runner.database_clock import DatabaseClock
from bulkreset.runner.departures import Departures
from bulkreset.runner.handling import Handling
from bulkreset.runner.pace import Pace
from bulkreset.runner.standing import KnownPolicy, Login
from bulkreset.runner.valve import Valve
from bulkreset.runner.watch import Watch
from bulkreset.runner.way_out import WayOut


@dataclass(slots=True)
class Tally:
    """What one lane has done so far."""

    claimed: int = 0
    sent: int = 0
    heard: bool = False  # whether any call has ended
    touched: set[int] = field(default_factory=set)  # the batches of which something was claimed


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts of a lane. Whoever changes one is named beside it; the others only look."""

    context: Context
    quota: Quota
    provider: Provider
    valve: Valve
    pace: Pace  # claimer
    clock: DatabaseClock  # claimer
    login: Login  # claimer, sender
    policy: KnownPolicy  # claimer, sender
    handling: Handling  # claimer
    watch: Watch  # sender
    buffer: Buffer  # claimer, dispatcher
    completions: Completions
    way_out: WayOut  # dispatcher
    departures: Departures  # sender
    tally: Tally
    low: asyncio.Event  # the buffer wants more
    in_flight: set[asyncio.Task[None]]  # dispatcher: calls that have left, until all about them is done

    @classmethod
    def of(
        cls, context: Context, which: Quota, provider: Provider, rate: Rate, valve: Valve, *, share: float
    ) -> Self:
        """Make the parts of the lane of one quota."""
        low = asyncio.Event()
        pace, clock = Pace(rate, share), DatabaseClock()
        handling = Handling(provider, context.guard)
        return cls(
            context=context,
            quota=which,
            provider=provider,
            valve=valve,
            pace=pace,
            clock=clock,
            login=Login(provider.auth, which.account),
            policy=KnownPolicy(context, which, provider),
            handling=handling,
            watch=Watch(rate.window),
            buffer=Buffer(),
            completions=Completions(context, which, handling=handling, clock=clock, valve=valve, low=low),
            way_out=WayOut(context.transport, provider, pace, low.set),
            departures=Departures(),
            tally=Tally(),
            low=low,
            in_flight=set(),
        )

    @property
    def idle(self) -> bool:
        """Whether nothing waits and nothing is in flight."""
        return not self.buffer and not self.in_flight

    def drop(self, batch_id: int | None, why: str) -> None:
        """Send nothing of a batch, or of any, that has not left, what is being claimed just now included."""
        self.completions.release(self.buffer.drop(batch_id), why)

"""What a call needs to leave: a connection that is open, the belt, and room for what may arrive with it."""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from math import inf
from time import monotonic
from typing import Final

from bulkreset.limits.belt import belt
from bulkreset.limits.flight import Flight
from bulkreset.limits.quota import US
from bulkreset.logs import logger
from bulkreset.model import Claim, Outcome, Verdict
from bulkreset.providers.base import Answer, Call, Provider
from bulkreset.providers.connections import Connections, Reserved
from bulkreset.providers.http import WriteTransport
from bulkreset.providers.no_answer import Garbled, NotSent, Unclear, Unreachable
from bulkreset.runner.pace import Pace

# How often is looked whether answers have made room.
_LOOK_AGAIN_S: Final = 0.002


class WayOut:
    """The way out of one lane. It has one user at a time, the lane's dispatcher."""

    def __init__(
        self, transport: WriteTransport, provider: Provider, pace: Pace, connected: Callable[[], None]
    ) -> None:
        self._provider = provider
        self._transport = transport
        self._connected = connected
        self._connections: Connections | None = None
        self._waited_for = False
        self._flight = Flight(pace.rate, pace.spacing)
        self.keep_to(pace)

    def keep_to(self, pace: Pace) -> None:
        """Keep to another rate from now on."""
        self._pace = pace
        self._spacing = pace.spacing
        self._belt = belt(pace.rate, pace.spacing)
        self._flight.keep_to(pace.rate, pace.spacing)

    def beside(self, workers: int) -> None:
        """Note how many workers call the account: if there are others, what the share leaves free is divided."""
        divided = workers > 1 and self._pace.spare >= workers
        self._flight.fall_silent_at(self._pace.spare // workers if divided else inf)

    def ready(self) -> bool:
        """Tell whether the first calls find connections; `connected` is called when that has changed.

        Later ones are opened while calls leave.
        """
        if self._connections is None:
            self._connections = self._transport.connections(
                self._provider.base_url, calls_per_s=US / self._spacing.interval_us, changed=self._changed
            )
        self._waited_for = not self._connections.usable()
        return not self._waited_for

    def take(self, slots: Iterable[float]) -> None:
        """Note the slots that were taken, with a call or without."""
        self._flight.take(slots)

    def overdue(self) -> int:
        """Return how many earlier calls may arrive late, or have, and take the place of later ones."""
        return self._flight.overdue(monotonic())

    async def reserve(self, slot: float) -> Reserved | None:
        """Wait until one more call may leave, and reserve a connection; None where its slot expires first."""
        until = slot + self._spacing.grace_us / US
        assert self._connections is not None
        while (left := until - monotonic()) >= 0:
            if not self._flight.may_send(monotonic()):
                await asyncio.sleep(min(left, _LOOK_AGAIN_S))
            elif (reserved := self._connections.take()) is None:
                await self._connections.wait(left)
            else:
                async with self._belt:
                    return reserved
        return None

    def sent(self, claim: Claim, reserved: Reserved, slot: float) -> None:
        """Note a call that leaves now; it is not written where that is late by more than a part of the spread."""
        reserved.until = slot + (self._spacing.grace_us + self._spacing.spread_us / 2) / US
        self._flight.sent(_key(claim), monotonic())

    def unsent(self, claim: Claim) -> None:
        """Note that a call did not leave after all."""
        self._flight.unsent(_key(claim))

    async def exchange(
        self, claim: Claim, call: Call, headers: Mapping[str, str], reserved: Reserved
    ) -> Answer | Verdict:
        """Send a call, once, and return its answer; or the verdict where there is none to be judged."""
        try:
            with reserved.use():
                answer = await self._transport.send(call, headers)
        except Unreachable as error:
            self.unsent(claim)
            outcome = Outcome.RELEASED if isinstance(error, NotSent) else Outcome.UNREACHABLE
            return Verdict(outcome, message=str(error))
        except Unclear as error:
            self._flight.lost(_key(claim), monotonic())
            return Verdict(Outcome.UNKNOWN, message=str(error), unreadable=isinstance(error, Garbled))
        except Exception as error:  # noqa: BLE001  (the top of a task)
            # Ours to mend, and no reason to lose the call: it may have left.
            logger().exception("call_broke_off", account=self._provider.account)
            self._flight.lost(_key(claim), monotonic())
            return Verdict(Outcome.UNKNOWN, message=f"internal error: {type(error).__name__}")
        self._flight.answered(_key(claim), monotonic())
        return answer

    async def close(self) -> None:
        """Give the connections back."""
        if self._connections is not None:
            await self._connections.close()

    def _changed(self) -> None:
        if self._waited_for:
            self._connected()


def _key(claim: Claim) -> tuple[int, int]:
    return claim.task_id, claim.n

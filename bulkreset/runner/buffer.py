"""The claims of one lane that wait for their slots."""

import asyncio
from collections import deque

from bulkreset.model import Claim
from bulkreset.runner.waiting import until_set


class Buffer:
    """Claims in the order of their slots, which are instants of this process's monotonic clock."""

    def __init__(self) -> None:
        self.drops = 0  # how often it was emptied by a pause, a halt, a refused login or a stop
        self.more = False  # whether the last claim was cut short by the buffer, not by slots or tasks
        self.filled = asyncio.Event()  # it holds a claim, or its lane has ended
        self._dropped = asyncio.Event()
        self._waiting: deque[tuple[Claim, float]] = deque()

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def batches(self) -> frozenset[int]:
        """The batches that its claims are of."""
        return frozenset(claim.batch_id for claim, _ in self._waiting)

    @property
    def slot(self) -> float:
        """The first slot; never, where nothing waits."""
        return self._waiting[0][1] if self._waiting else float("inf")

    def put(self, claim: Claim, slot: float) -> None:
        """Add a claim, whose slot is later than all others."""
        self._waiting.append((claim, slot))
        self.filled.set()

    def take(self) -> tuple[Claim, float]:
        """Remove and return the first claim and its slot."""
        return self._waiting.popleft()

    def expired(self, oldest: float) -> list[Claim]:
        """Remove and return the claims whose slots are before this."""
        late = []
        while self.slot < oldest:
            late.append(self._waiting.popleft()[0])
        return late

    def drop(self, batch_id: int | None) -> list[Claim]:
        """Remove and return the claims of a batch, or all; a claim that is under way then is spoilt too."""
        self.drops += 1
        held, self._waiting = self._waiting, deque()
        dropped = []
        for claim, slot in held:
            if batch_id is None or claim.batch_id == batch_id:
                dropped.append(claim)
            else:
                self._waiting.append((claim, slot))
        self._dropped.set()
        return dropped

    async def until_dropped(self, seconds: float) -> None:
        """Wait until it is emptied, so many seconds at most; there is one waiter."""
        self._dropped.clear()
        await until_set(self._dropped, seconds)

"""Which calls have left, by batch: what a worker must know to say what a stop came too late for."""

from collections import Counter, deque
from typing import Final

# Longer than anybody waits for the confirmation of a stop.
_KEPT_FOR_S: Final = 10.0


class Departures:
    """The calls of the last ten seconds, and those that have no answer yet; times are monotonic seconds."""

    def __init__(self) -> None:
        self.in_flight: Counter[int] = Counter()
        self._left: deque[tuple[float, int]] = deque()

    def leave(self, batch_id: int, at: float) -> None:
        """Note that a call leaves."""
        self.in_flight[batch_id] += 1
        self._left.append((at, batch_id))
        while self._left[0][0] < at - _KEPT_FOR_S:
            self._left.popleft()

    def land(self, batch_id: int) -> None:
        """Note that a call has its answer, or never gets one."""
        self.in_flight[batch_id] -= 1
        if not self.in_flight[batch_id]:
            del self.in_flight[batch_id]

    def since(self, batch_id: int, at: float) -> int:
        """Count the calls of a batch that left at that time or after."""
        return sum(1 for left, of in self._left if of == batch_id and left >= at)

"""The sandbox's own time, so that a day can pass in a test without waiting for it."""

import time
from collections.abc import Callable


class Clock:
    """Tell monotonic seconds for rate windows and wall seconds for tokens, days and 24-hour counts."""

    __slots__ = ("_monotonic", "_offset", "_wall")

    def __init__(
        self, monotonic: Callable[[], float] = time.monotonic, wall: Callable[[], float] = time.time
    ) -> None:
        self._monotonic = monotonic
        self._wall = wall
        self._offset = 0.0

    def monotonic(self) -> float:
        """Return seconds that only ever grow; `advance` does not touch them."""
        return self._monotonic()

    def wall(self) -> float:
        """Return the seconds since 1970, moved on by every `advance`."""
        return self._wall() + self._offset

    def advance(self, seconds: float) -> None:
        """Move the wall clock on; rate windows keep running on the monotonic clock."""
        self._offset += seconds

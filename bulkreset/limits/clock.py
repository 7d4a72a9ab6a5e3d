"""Whether the database's clock was set: it must move as this process's monotonic one does.

A step forward would give the slots of one stretch of real time out twice, for what was claimed before is still to
be sent; a fail-over to a standby with another clock is such a step. Pure: readings in, no clock.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

# Clocks are steered by half a thousandth at most; a step below the slack fits into the jitter of a window.
_SLACK_S: Final = 0.02
_DRIFT: Final = 0.001


@dataclass(slots=True)
class ClockWatch:
    """Compares each reading of the database's clock with the one before."""

    _reading: tuple[datetime, float, float] | None = None

    def stepped(self, now: datetime, *, asked_at: float, read_at: float) -> bool:
        """Take in a reading that was made between two monotonic instants; tell whether the clock was set."""
        before, self._reading = self._reading, (now, asked_at, read_at)
        if before is None:
            return False
        then, asked_then, read_then = before
        moved = (now - then).total_seconds()
        slack = _SLACK_S + _DRIFT * (read_at - asked_then)
        return not asked_at - read_then - slack <= moved <= read_at - asked_then + slack

"""How many calls a provider takes, in which time."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Final

SECOND: Final = timedelta(seconds=1)
MINUTE: Final = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Rate:
    """At most `calls` in any `window`, and at most `daily` between two midnights UTC."""

    calls: float
    window: timedelta
    daily: int | None = None

    def shared(self, share: float) -> "Rate":
        """Return the part of this rate that one job may use, 0 < share ≤ 1; a daily limit keeps at least 1."""
        daily = None if self.daily is None else max(1, int(self.daily * share))
        return Rate(self.calls * share, self.window, daily)

    def at_most(self, other: "Rate | None") -> "Rate":
        """Return the lower of two rates over the same window; None is no limit."""
        if other is None or other.window != self.window or other.calls >= self.calls:
            return self
        return Rate(other.calls, self.window, self.daily)

    def measured(self, per_s: float) -> str:
        """Write a number of calls a second in the unit of this rate."""
        return f"{per_s * self.window.total_seconds():,.1f}/{self._per}"

    def as_share(self, share: float) -> str:
        """Say what this rate, which is a share of the provider's limit, is a share of: `54/s (90 % of 60/s)`."""
        if share == 1:
            return str(self)
        return f"{self} ({share:.0%} of {Rate(round(self.calls / share, 1), self.window)})".replace("%", " %")

    @property
    def _per(self) -> str:
        return "s" if self.window == SECOND else "min"

    def __str__(self) -> str:
        text = f"{self.calls:g}/{self._per}"
        return text if self.daily is None else f"{text}, {self.daily:,}/day"

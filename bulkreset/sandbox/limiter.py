"""Rate limits as strict as a provider can be: no window of time, wherever it begins, holds one call too many."""

from collections import deque
from typing import Literal

DAY_S = 86_400

Refusal = Literal["window", "daily"]


class SlidingWindow:
    """Admit at most `limit` calls in any half-open window of `window_s` seconds; None admits all."""

    __slots__ = ("_admitted", "limit", "peak", "window_s")

    def __init__(self, limit: int | None, window_s: float) -> None:
        self.limit = limit
        self.window_s = window_s
        self.peak = 0
        self._admitted: deque[float] = deque()

    def admit(self, now: float) -> bool:
        """Count a call at `now` and return True, or refuse it without counting it; `now` never decreases."""
        self._forget(now)
        if self.limit is not None and len(self._admitted) >= self.limit:
            return False
        self._admitted.append(now)
        self.peak = max(self.peak, len(self._admitted))
        return True

    def remaining(self, now: float) -> int:
        """Return how many calls would be admitted at `now`; 0 also where there is no limit."""
        self._forget(now)
        return max(0, (self.limit or 0) - len(self._admitted))

    def wait_s(self, now: float) -> float:
        """Return the seconds until a call would be admitted."""
        self._forget(now)
        if self.limit is None or len(self._admitted) < self.limit:
            return 0.0
        if self.limit < 1:
            return self.window_s
        return self._admitted[len(self._admitted) - self.limit] + self.window_s - now

    def _forget(self, now: float) -> None:
        edge = now - self.window_s
        admitted = self._admitted
        while admitted and admitted[0] <= edge:
            admitted.popleft()


class Gate:
    """The limits of one rate class of one tenant, and the pace at which it was used."""

    __slots__ = (
        "_arrived",
        "_day",
        "_used_today",
        "daily",
        "first_t",
        "label",
        "last_t",
        "refused",
        "total",
        "window",
    )

    def __init__(self, label: str, limit: int | None, window_s: float, daily: int | None = None) -> None:
        self.label = label
        self.daily = daily
        self._day = -1
        self._used_today = 0
        self.window = SlidingWindow(limit, window_s)
        self.reset()

    def reset(self) -> None:
        """Forget the pace so far; the limits themselves go on counting."""
        self._arrived = SlidingWindow(None, self.window.window_s)
        self.window.peak = 0
        self.total = 0
        self.refused = 0
        self.first_t: float | None = None
        self.last_t: float | None = None

    def change(self, limit: int | None, window_s: float, daily: int | None) -> None:
        """Set other limits from now on; calls already admitted still count against them."""
        self.window.limit = limit
        self.window.window_s = self._arrived.window_s = window_s
        self.daily = daily

    def admit(self, now: float, wall: float) -> Refusal | None:
        """Admit a call, or say which limit refuses it; refused calls count against none of them."""
        self.total += 1
        self._arrived.admit(now)
        day = int(wall // DAY_S)
        if day != self._day:
            self._day, self._used_today = day, 0
        if self.daily is not None and self._used_today >= self.daily:
            self.refused += 1
            return "daily"
        if not self.window.admit(now):
            self.refused += 1
            return "window"
        self._used_today += 1
        if self.first_t is None:
            self.first_t = now
        self.last_t = now
        return None

    def next_day(self, wall: float) -> int:
        """Return the Unix time at which the daily count begins anew: the next 00:00 UTC."""
        return (int(wall // DAY_S) + 1) * DAY_S

    def pace(self) -> dict[str, object]:
        """Describe how the limit was used: counts, span, the fullest window, and the share of the limit."""
        accepted = self.total - self.refused
        return {
            "label": self.label,
            "calls": self.total,
            "refused": self.refused,
            "max_in_window": self.window.peak,
            "max_arrived_in_window": self._arrived.peak,
            **span(accepted, self.first_t, self.last_t, self.window),
        }


def span(accepted: int, first: float | None, last: float | None, window: SlidingWindow) -> dict[str, object]:
    """Describe accepted calls from `first` to `last` as a share of what the window allows."""
    span_s = None if first is None or last is None else last - first
    share = None
    if window.limit and span_s and accepted > 1:
        share = (accepted - 1) / span_s * window.window_s / window.limit
    return {
        "accepted": accepted,
        "first_t": first,
        "last_t": last,
        "span_s": span_s,
        "limit": window.limit,
        "window_s": window.window_s,
        "used_share": share,
    }

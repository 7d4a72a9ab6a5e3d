"""Slot arithmetic: when may the next calls leave so that the provider never counts too many?

GCRA with burst 1. All workers of an account take their slots out of one line of time, whose next free point
(`tat`, theoretical arrival time) is a database row. A provider counts *arrivals*, and a call arrives a little
after its slot, so N calls per window W are spaced

    T = (W + J) / N

where J bounds how unevenly calls arrive: their lateness here (`grace`) plus the spread of the network. Then
the slots that can arrive inside one window fit into W + J, and there are at most N of them. A call later
than its grace must not be sent; its slot has expired.

Pure: integer microseconds since the epoch in and out, no clock, no database.
"""

import math
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from bulkreset.limits.rates import Rate

US: Final = 1_000_000

# J for a window of a second. 25 ms costs 2.4 % of the limit, and is what an event loop on a busy machine
# and a kept-alive connection need; for longer windows 1 % of the window is roomier and cheaper still.
_JITTER_FLOOR_US: Final = 25_000
_JITTER_OF_WINDOW: Final = 0.01
# The part of J that is left to the network and the reading of the database clock; the rest is grace.
_SPREAD_OF_JITTER: Final = 0.6
# No worker sends faster than this, so a limit above it needs no closer slots, and a roomier grace instead.
_CLOSEST_US: Final = 50
# Closer than a millisecond no clock is read over a network.
_LEAST_DOUBT_US: Final = 1_000
GRACE_CEILING_US: Final = 5 * US
"""No slot is good for longer, whatever the rate."""


@dataclass(frozen=True, slots=True)
class Spacing:
    """How one quota's slots lie: `interval_us` apart, each good for `grace_us`, `daily` of them a day."""

    interval_us: int
    grace_us: int
    window_us: int
    spread_us: int
    daily: int | None

    @classmethod
    def of(cls, rate: Rate) -> "Spacing":
        """Derive the spacing that keeps to the rate in every sliding window."""
        window_us = rate.window // timedelta(microseconds=1)
        jitter_us = _jitter_us(window_us)
        interval_us = max(math.ceil((window_us + jitter_us) / rate.calls), _CLOSEST_US)
        spread_us = int(jitter_us * _SPREAD_OF_JITTER)
        # Rates below one call a window have all the slack that whole intervals give.
        slack_us = int(max(rate.calls, 1) * interval_us) - window_us
        grace_us = min(slack_us - spread_us, GRACE_CEILING_US)
        return cls(interval_us, grace_us, window_us, spread_us, rate.daily)

    @property
    def clock_doubt_s(self) -> float:
        """How long reading the database's clock may take, for slots to be told by it: a part of the spread."""
        return max(self.spread_us, _LEAST_DOUBT_US) / US


def calls_in(window: timedelta, interval_s: float) -> float:
    """Return how many calls a window holds that are spaced so: what `Spacing.of` was given."""
    window_us = window // timedelta(microseconds=1)
    return round((window_us + _jitter_us(window_us)) / (interval_s * US), 1)


def free_slots(
    *,
    tat_us: int,
    now_us: int,
    spacing: Spacing,
    lead_us: int,
    horizon_us: int,
    most: int,
    not_before_us: int = 0,
) -> range:
    """Return up to `most` free slots between `now + lead` and `now + horizon`; `.stop` is the next `tat`.

    The slots are never before `tat` nor before `not_before`, so two claims never share one. A `tat` that no
    claim can have left behind (the clock was set back) is not waited for: a whole window is, which is safe
    whatever was sent before.
    """
    step = spacing.interval_us
    if tat_us > now_us + 2 * horizon_us + spacing.window_us + step:
        tat_us = now_us + spacing.window_us
    first = max(tat_us, now_us + lead_us, not_before_us)
    room = now_us + horizon_us - first
    count = max(0, min(most, -(-room // step)))
    return range(first, first + count * step, step)


def left_today(spacing: Spacing, *, used: int) -> int | None:
    """Return how many calls the daily limit still allows, or None where there is no daily limit."""
    return None if spacing.daily is None else max(0, spacing.daily - used)


def _jitter_us(window_us: int) -> int:
    return max(_JITTER_FLOOR_US, int(window_us * _JITTER_OF_WINDOW))

"""The ramp of a batch: its rate grows evenly from a tenth of the limit to all of it, in a time that was ordered.

Pure, and without a memory: each slot of the account's line of time tells by itself whether a batch on its ramp
may use it, so that any number of workers keep to one ramp.
"""

from math import sqrt
from typing import Final

from bulkreset.limits.quota import US

FIRST_SHARE: Final = 0.1
"""The part of the limit that a batch begins with."""


def on_ramp(since_us: int, ramp_us: int, *, interval_us: int) -> bool:
    """Tell whether the slot that lies `since_us` after the start of the ramp may be used; slots are even.

    It may where the number of calls that the ramp allows so far passes a whole number with this slot, and where
    it is the first: at a low rate a tenth of it is no call for a long time, and a ramp must begin.
    """
    if since_us >= ramp_us or since_us < interval_us:
        return True
    return int(_allowed(since_us, ramp_us, interval_us)) > int(
        _allowed(since_us - interval_us, ramp_us, interval_us)
    )


def extra_s(calls: int, ramp_s: int, *, interval_us: int) -> float:
    """Return how many seconds more so many calls take for their ramp."""
    if ramp_s == 0:
        return 0.0
    plain = calls * interval_us / US
    if plain >= (1 + FIRST_SHARE) / 2 * ramp_s:
        return round((1 - FIRST_SHARE) / 2 * ramp_s, 1)
    # The area under a rate that grows evenly, which is `plain`, solved for the time.
    growth = (1 - FIRST_SHARE) / ramp_s
    return round((sqrt(FIRST_SHARE**2 + 2 * growth * plain) - FIRST_SHARE) / growth - plain, 1)


def _allowed(since_us: int, ramp_us: int, interval_us: int) -> float:
    """Return how many calls the ramp allows up to a time on it: the area under a rate that grows evenly."""
    at = max(0, since_us)
    return (FIRST_SHARE * at + (1 - FIRST_SHARE) * at * at / (2 * ramp_us)) / interval_us

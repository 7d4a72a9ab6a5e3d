"""The belt: a second, independent limiter inside the process, beside the quota in the database.

The quota spaces the slots; the belt counts what really left. It catches the clump after an event-loop stall,
when several slots have come due at once. `asyncio_throttle` polls while it waits, so there must be exactly
one waiter per belt: the dispatcher (1,000 waiters were measured at 18 % of a core, one at 1 %).
"""

import math

from asyncio_throttle.throttler import Throttler

from bulkreset.limits.quota import US, Spacing
from bulkreset.limits.rates import Rate


def belt(rate: Rate, spacing: Spacing) -> Throttler:
    """Return a throttler that lets at most the rate's calls through in any window, network spread included."""
    return Throttler(
        rate_limit=max(1, math.ceil(rate.calls)),
        period=(spacing.window_us + spacing.spread_us) / US,
        retry_interval=min(0.01, spacing.interval_us / US / 4),
    )

"""What may arrive at once: how many calls a provider can still count in its next window, by what is known here.

A call arrives somewhere between its sending and its answer. While answers come as usual, it is taken to have
arrived at once, as slots assume. An answer that came later than usual says that its call may have stood still
on the way, so the call counts from then on; and a call that is unanswered for longer than usual may not have
arrived at all, so it counts for as long as that lasts. Every such call takes the place of a later one.

A worker lets no more calls count than it took slots of the account's line of time lately, used or not, and knows
of no other worker. One worker alone, or several whose network stands still together, keep to the limit, but for
the one call by which each further worker may round up where slots are dealt in turns. Where the network of one
worker stands still and not that of the others, its overdue calls take the place of later slots whenever it claims;
what others claimed before that is not taken back, so a window may hold those calls beyond the limit. So beside
others a worker that hears nothing any more stops sooner: when as many calls are overdue as its part of what the
share leaves free. What was on its way as usual when the silence began comes to that.

Pure: monotonic seconds in, no clock.
"""

from collections import deque
from collections.abc import Hashable, Iterable
from heapq import heappop, heappush
from math import inf
from typing import Final

from bulkreset.limits.quota import US, Spacing
from bulkreset.limits.rates import Rate

# Nine calls of ten are answered within the usual time; a stall of seconds is one or two of these samples, for they
# are spread in time and not counted by calls, while a provider that turned slow fills them within some answers.
_SAMPLES: Final = 64
_APART_S: Final = 0.05
_FEWEST: Final = 4
_QUANTILE: Final = 0.9


class Flight:
    """The calls of one lane that its provider may still have to count."""

    def __init__(self, rate: Rate, spacing: Spacing) -> None:
        self.usual_s = 0.0  # until it is known, every call counts from its answer on
        self.keep_to(rate, spacing)
        self._ahead: deque[float] = deque()
        self._behind: deque[float] = deque()
        self._unanswered: dict[Hashable, float] = {}
        self._counted: list[tuple[float, float]] = []  # a heap: counted until, sent at
        self._heard = -inf  # when the last call was sent that is answered
        self._spare = inf
        self._latencies: deque[float] = deque(maxlen=_SAMPLES)
        self._sampled_at = -inf

    def keep_to(self, rate: Rate, spacing: Spacing) -> None:
        """Keep to another rate from now on."""
        self._window_s = spacing.window_us / US
        # So long a stretch holds the rate's number of slots, and half an interval less than one more would need.
        self._reach_s = (max(rate.calls, 1.0) - 0.5) * spacing.interval_us / US

    def fall_silent_at(self, spare: float) -> None:
        """Stop when so many calls are overdue with no word of a later one; one that hangs alone stops nothing."""
        self._spare = spare

    def take(self, slots: Iterable[float]) -> None:
        """Note slots that were taken from the account's line of time, whatever becomes of them."""
        self._ahead.extend(slots)

    def may_send(self, now: float) -> bool:
        """Tell whether one more call keeps to the limit, even if all that may be on its way arrives with it."""
        while self._ahead and self._ahead[0] <= now:
            self._behind.append(self._ahead.popleft())
        while self._behind and self._behind[0] <= now - self._reach_s:
            self._behind.popleft()
        return self._silent(now) < self._spare and self._counting(now) < len(self._behind)

    def sent(self, call: Hashable, now: float) -> None:
        """Note a call that leaves now."""
        self._unanswered[call] = now

    def unsent(self, call: Hashable) -> None:
        """Forget a call that did not leave after all."""
        self._unanswered.pop(call, None)

    def answered(self, call: Hashable, now: float) -> None:
        """Note a call's answer, and learn from it how long answers take."""
        sent_at = self._unanswered.pop(call)
        self._heard = max(self._heard, sent_at)
        arrived = max(sent_at, now - self.usual_s)
        heappush(self._counted, (arrived + self._window_s, sent_at))
        if now - self._sampled_at >= _APART_S:
            self._sampled_at = now
            self._latencies.append(now - sent_at)
            if len(self._latencies) >= _FEWEST:
                self.usual_s = sorted(self._latencies)[int(_QUANTILE * len(self._latencies))]

    def lost(self, call: Hashable, now: float) -> None:
        """Note a call that was given up: it may have arrived as late as now."""
        heappush(self._counted, (now + self._window_s, self._unanswered.pop(call)))

    def overdue(self, now: float) -> int:
        """Return how many calls count although their own slots lie more than a window back."""
        self._forget(now)
        old = now - self._window_s
        late = sum(sent_at <= old for _, sent_at in self._counted)
        return late + sum(sent_at <= min(old, now - self.usual_s) for sent_at in self._unanswered.values())

    def _silent(self, now: float) -> int:
        if self._spare == inf:
            return 0
        late = now - self.usual_s
        return sum(self._heard < sent_at < late for sent_at in self._unanswered.values())

    def _counting(self, now: float) -> int:
        self._forget(now)
        if self.usual_s <= self._window_s:
            return len(self._counted) + len(self._unanswered)
        recent, late = now - self._window_s, now - self.usual_s
        waiting = sum(sent_at > recent or sent_at < late for sent_at in self._unanswered.values())
        return len(self._counted) + waiting

    def _forget(self, now: float) -> None:
        while self._counted and self._counted[0][0] <= now:
            heappop(self._counted)

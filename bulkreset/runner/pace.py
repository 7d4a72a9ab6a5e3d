"""The rate that one lane keeps to: the configured one, or less where the provider itself tells less."""

from bulkreset.limits.quota import US, Spacing
from bulkreset.limits.rates import Rate


class Pace:
    """A rate and its slots; `share` is the part that may be used of a limit which the provider tells."""

    def __init__(self, configured: Rate, share: float) -> None:
        self.rate = configured
        self.spacing = Spacing.of(configured)
        self._configured = configured
        self._share = share

    def heed(self, told: Rate | None) -> Rate | None:
        """Keep to what the provider tells now; return the rate that was kept before, None where it stays."""
        before = self.rate
        rate = self._configured.at_most(None if told is None else told.shared(self._share))
        if rate == before:
            return None
        self.rate, self.spacing = rate, Spacing.of(rate)
        return before

    @property
    def spare(self) -> float:
        """How many calls in a window the share leaves free of the provider's limit."""
        return self.rate.calls / self._share - self.rate.calls

    def settles_after(self, sent: int) -> float:
        """Return how many seconds must pass after so many calls that left at a higher rate.

        The first call alone has an interval of the new limit behind it; of more, a whole window must pass.
        """
        return self.spacing.interval_us / US if sent == 1 else self.rate.window.total_seconds()

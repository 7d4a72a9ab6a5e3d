"""The database's time, without asking for it."""

from datetime import UTC, datetime, timedelta
from time import monotonic


class DatabaseClock:
    """Turns instants of this process's monotonic clock into the database's time, and back.

    The machine's own clock stands in until the database's was read once.
    """

    def __init__(self) -> None:
        self.set(datetime.now(UTC), monotonic())

    def set(self, now: datetime, read_at: float) -> None:
        """Take in a reading of the database's clock, and when it was made."""
        self._now, self._read_at = now, read_at

    def at(self, instant: float) -> datetime:
        """Return the database's time at an instant."""
        return self._now + timedelta(seconds=instant - self._read_at)

    def instant(self, moment: datetime) -> float:
        """Return the instant of a time of the database's."""
        return self._read_at + (moment - self._now).total_seconds()

"""The database's time, without asking for it."""

from datetime import UTC, datetime, timedelta
from time import monotonic
from typing import Final

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class DatabaseClock:
    """Turns instants of this process's monotonic clock into the database's time, and back.

    The machine's own clock stands in until the database's was read once.
    """

    def __init__(self) -> None:
        self._offset = datetime.now(UTC) - _EPOCH - timedelta(seconds=monotonic())

    def set(self, now: datetime, read_at: float) -> None:
        """Take in a reading of the database's clock, and when it was made."""
        self._offset = now - _EPOCH - timedelta(seconds=read_at)

    def at(self, instant: float) -> datetime:
        """Return the database's time at an instant."""
        return _EPOCH + self._offset + timedelta(seconds=instant)

    def instant(self, moment: datetime) -> float:
        """Return the instant of a time of the database's."""
        return (moment - _EPOCH - self._offset).total_seconds()

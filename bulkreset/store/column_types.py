"""How values stand in columns: times in UTC, and what is read in place of a value that is none."""

from datetime import UTC, date, datetime
from functools import lru_cache
from typing import Any, Final

from sqlalchemy import Date, Dialect, Integer, String
from sqlalchemy.dialects.postgresql import TIMESTAMP
from sqlalchemy.types import TypeDecorator, TypeEngine


class UtcDateTime(TypeDecorator[datetime]):
    """An aware UTC datetime: `timestamptz` on PostgreSQL, sortable ISO text on SQLite."""

    impl = String(26)
    cache_ok = True

    # The three methods are SQLAlchemy's own; it documents them.
    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:  # noqa: D102
        if dialect.name == "postgresql":
            return dialect.type_descriptor(TIMESTAMP(timezone=True))
        return dialect.type_descriptor(String(26))

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> Any:  # noqa: D102
        if value is None or dialect.name == "postgresql":
            return value
        return time_text(value)

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:  # noqa: ARG002, D102
        if value is None:
            return None
        if isinstance(value, datetime):
            return value if value.tzinfo is not None else NO_TIME  # PostgreSQL's infinity
        try:
            return time_of(value)
        except (TypeError, ValueError, OverflowError):
            return NO_TIME


class UtcDay(TypeDecorator[date]):
    """A UTC day; one that cannot be read is none."""

    impl = Date
    cache_ok = True

    def result_processor(self, dialect: Dialect, coltype: object) -> Any:  # noqa: D102
        process = super().result_processor(dialect, coltype)

        def read(value: Any) -> date | None:
            try:
                return process(value) if process else value
            except (TypeError, ValueError):
                return None

        return read


class Whole(TypeDecorator[int]):
    """A whole number; at SQLite a column may hold anything, which is read as NO_NUMBER."""

    impl = Integer
    cache_ok = True

    def process_result_value(self, value: Any, dialect: Dialect) -> int | None:  # noqa: ARG002, D102
        return value if value is None or isinstance(value, int) else NO_NUMBER


NO_TIME: Final = datetime(1970, 1, 1, tzinfo=UTC)
"""What a time is read as that is none: one damaged row must not keep all others from being read."""

NO_NUMBER: Final = -1
"""What a number is read as that is none; ours are 0 or more."""


def time_text(value: datetime) -> str:
    """Write a time as the SQLite columns hold it: always 26 characters, so that text order is time order."""
    if value.tzinfo is not UTC:
        value = value.astimezone(UTC)
    return value.isoformat(sep=" ", timespec="microseconds")[:26]


def slot_text(slot_us: int) -> str:
    """Write microseconds since 1970 as `time_text` writes that time; slots share their seconds, which are kept."""
    second, rest = divmod(slot_us, 1_000_000)
    return f"{_second_text(second)}{rest:06d}"


@lru_cache(maxsize=64)
def _second_text(second: int) -> str:
    return f"{datetime.fromtimestamp(second, UTC):%Y-%m-%d %H:%M:%S}."


def time_of(value: str) -> datetime:
    """Read a time from a column or from an order; without an offset it is UTC."""
    time = datetime.fromisoformat(value)
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)

"""When a provider says to come back: seconds, an ISO 8601 date-time or an HTTP-date.

Most send seconds (RFC 9110 delta-seconds), some an ISO 8601 UTC date-time, and proxies in between the HTTP-date of
RFC 9110. Nothing a provider can send makes this raise.
"""

import re
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Final

LONGEST: Final = timedelta(hours=48)
"""No documented limit resets later than the next day: a longer wait is a mistake, and is cut to this."""

_SECONDS = re.compile(r"\d{1,18}(?:\.\d{0,18})?", re.ASCII)


def parse_retry_after(value: str | None, now: datetime, date: str | None = None) -> datetime | None:
    """Return the moment a Retry-After names, between `now` and 48 hours later; None where it names none.

    A moment that has passed is returned as `now`. A date-time without an offset is UTC. It counts from the
    answer's own Date header, where there is one: the provider's clock may not be ours.
    """
    text = (value or "").strip()
    if not text:
        return None
    if _SECONDS.fullmatch(text):
        return now + min(timedelta(seconds=min(float(text), LONGEST.total_seconds())), LONGEST)
    moment = _iso(text) or _http_date(text)
    if moment is None:
        return None
    if (written_at := _http_date(date or "")) is not None:
        return now + min(max(moment - written_at, timedelta(0)), LONGEST)
    return min(max(moment, now), now + LONGEST)


def _iso(text: str) -> datetime | None:
    try:
        return _utc(datetime.fromisoformat(text)) if len(text) >= len("2020-05-31T00:00") else None
    except (ValueError, OverflowError):
        return None


def _http_date(text: str) -> datetime | None:
    try:
        return _utc(parsedate_to_datetime(text))
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def _utc(moment: datetime) -> datetime:
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)

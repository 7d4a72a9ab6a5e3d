"""Reading what a provider answered: JSON, headers, and the rules about statuses that hold for all of them."""

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from typing import Final

from bulkreset.model import Outcome, Verdict
from bulkreset.providers.base import Answer, sanitise
from bulkreset.providers.retry_after import parse_retry_after

WEB_PAGE: Final = "a web page in place of the API's answer; a proxy or captive portal may be in between"

NETWORK_LOGIN: Final = 511  # Network Authentication Required (RFC 6585), which only a captive portal says

_SHORT: Final = 128  # characters kept of a code or a request id


@dataclass(frozen=True, slots=True)
class Told:
    """What the body says: the provider's own code and text, and whether it could be read at all."""

    readable: bool
    code: str | None = None
    message: str | None = None


@dataclass(frozen=True, slots=True)
class Ruling:
    """What an answer means, before the provider's words are put to it. `note` is our own advice."""

    outcome: Outcome
    note: str | None = None
    retry_at: datetime | None = None
    pauses_quota: bool = False
    elsewhere: bool = False
    only_this_user: bool = False


class Unreadable:
    """The type of UNREADABLE: a body that is no JSON."""


UNREADABLE: Final = Unreadable()


def read_json(body: bytes) -> object:
    """Parse a JSON body, or return UNREADABLE; never raises."""
    if not body:  # the answer to nearly every call; an exception costs ten times as much
        return UNREADABLE
    try:
        parsed: object = json.loads(body)
    except (ValueError, RecursionError):
        return UNREADABLE
    return parsed


def table(value: object) -> Mapping[str, object]:
    """Return a JSON object, or an empty one for anything else."""
    return value if isinstance(value, dict) else {}


def rows(value: object) -> list[Mapping[str, object]]:
    """Return the JSON objects of a JSON list, or none for anything else."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def text(value: object) -> str | None:
    """Return a JSON string or number as text, None for anything else or empty."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        return None
    try:
        return str(value) or None
    except ValueError:  # more digits than Python turns into text
        return None


def whole(value: object) -> int | None:
    """Return a JSON number that is a whole one, None for anything else."""
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def count(value: object) -> int | None:
    """Return a whole number that came as one or as its digits, None for anything else."""
    if isinstance(value, str) and re.fullmatch(r"[0-9]{1,15}", value):
        return int(value)
    return whole(value)


def moment(value: object) -> datetime | None:
    """Return an ISO 8601 date-time in UTC, None for anything else; one without an offset is UTC."""
    if not isinstance(value, str):
        return None
    try:
        read = datetime.fromisoformat(value.strip())
        return read.replace(tzinfo=UTC) if read.tzinfo is None else read.astimezone(UTC)
    except (ValueError, OverflowError):  # the first and last days of the calendar overflow
        return None


def plain(words: str | None) -> str:
    """Fold case and white space, so that known phrasings can be compared."""
    return " ".join((words or "").split()).casefold()


def unmarked(body: bytes) -> bytes:
    """Return a body without the byte-order mark and the blanks before it."""
    return body.removeprefix(b"\xef\xbb\xbf").lstrip()


def is_page(answer: Answer) -> bool:
    """Tell a page of HTML or XML, which no documented answer of an API is, by its type or its first byte."""
    start = unmarked(answer.body[:1_000])
    return bool(start) and (start[:1] == b"<" or "html" in answer.headers.get("content-type", "").lower())


def asked_wait(answer: Answer, now: datetime) -> datetime | None:
    """Return the moment that the answer asks to wait for; None where it names none or one that has passed."""
    moment = parse_retry_after(answer.headers.get("retry-after"), now, answer.headers.get("date"))
    return moment if moment is not None and moment > now else None


def next_midnight(now: datetime) -> datetime:
    """Return the next 00:00 UTC, when daily limits start again."""
    return datetime.combine(now.astimezone(UTC).date() + timedelta(days=1), time(), UTC)


def common_ruling(answer: Answer, told: Told, now: datetime) -> Ruling | None:
    """Rule on the statuses that mean the same everywhere; None where the provider's own table decides.

    408, 409 and 5xx are complete answers: the write may stand behind them all the same. A refusal whose body
    cannot be read proves nothing, since something between us and the provider may have written it, as it writes
    every web page.
    """
    status = answer.status
    page = WEB_PAGE if is_page(answer) else None
    if status == 401:
        return Ruling(Outcome.UNAUTHORIZED, page)
    if 300 <= status < 400:
        return Ruling(Outcome.UNEXPECTED, "the address redirects; check api_url")
    if status in (408, 409) or 500 <= status < 600:
        retry_at = asked_wait(answer, now) if status == 503 else None
        note = WEB_PAGE if status == NETWORK_LOGIN else None
        return Ruling(Outcome.PROVIDER_ERROR, note, retry_at, retry_at is not None)
    if page and status != 429:
        return Ruling(Outcome.FORBIDDEN if status == 403 else Outcome.UNKNOWN, page)
    final = 200 <= status < 500
    if final and (told.readable or status < 400 or status in (403, 429)):
        return None
    note = f"HTTP {status} with an answer that cannot be read" if final else "not a final HTTP status"
    return Ruling(Outcome.UNKNOWN, note)


def verdict(
    answer: Answer, ruling: Ruling, told: Told, *, request_id: str, mask: Callable[[], Iterable[str]]
) -> Verdict:
    """Put a ruling and the provider's words together; nothing of the provider's gets in unsanitised.

    `request_id` is the name of the header in which the provider names the call to its own support.
    """
    identity = answer.headers.get(request_id)
    if ruling.outcome is Outcome.OK and identity is None:
        return Verdict(Outcome.OK, answer.status)
    hidden = tuple(mask())
    message = None
    if ruling.outcome is not Outcome.OK:
        message = sanitise("; ".join(filter(None, (ruling.note, told.message))) or f"HTTP {answer.status}", hidden)
    return Verdict(
        ruling.outcome,
        answer.status,
        code=sanitise(told.code, hidden)[:_SHORT] if told.code is not None else None,
        message=message,
        request_id=sanitise(identity, hidden)[:_SHORT] if identity is not None else None,
        retry_at=ruling.retry_at,
        pauses_quota=ruling.pauses_quota,
        elsewhere=ruling.elsewhere,
        unreadable=ruling.outcome is Outcome.UNKNOWN,
        only_this_user=ruling.only_this_user,
    )

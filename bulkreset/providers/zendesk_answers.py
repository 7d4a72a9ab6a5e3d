"""What Zendesk's answers to a password change or a revocation mean. Pure.

The page of the password call (developer.zendesk.com/api-reference/ticketing/users/user_passwords) documents no
error at all: the bodies here are those of the API in general. Sessions: /api-reference/ticketing/
account-configuration/sessions. 429: /api-reference/introduction/rate-limits;
errors as plain text: /api-reference/introduction/requests.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Final

from bulkreset.model import Outcome
from bulkreset.providers.answers import (
    UNREADABLE,
    Ruling,
    Told,
    asked_wait,
    common_ruling,
    is_page,
    plain,
    read_json,
    table,
    text,
)
from bulkreset.providers.base import Answer

USER_PAUSE: Final = timedelta(seconds=60)  # limits on one user are per minute (support.zendesk.com 4422518967706)
SETTING_ADVICE: Final = (
    "the account owner must turn on that admins can set passwords (Admin Center > Account > Security > Advanced),"
    " and the API user must be an admin"
)
SESSIONS_ADVICE: Final = "the API user may not end the sessions of others; it must be an admin or an agent"

_BY_STATUS: Final[Mapping[int, Ruling]] = {
    403: Ruling(Outcome.FORBIDDEN, SETTING_ADVICE),
    413: Ruling(Outcome.POLICY_REJECTED),  # Zendesk's own Ruby client reads 413 and 422 as RecordInvalid
    422: Ruling(Outcome.POLICY_REJECTED),
}


def read_answer(answer: Answer) -> Told:
    """Read the error forms of the API: a name with a description, a title with a message, plain text.

    `{"error": "RecordInvalid", "description": …, "details": {field: [{"description": …}]}}` and
    `{"error": {"title": …, "message": …}}` (node-zendesk #3, zenpy #336); 429 is text/plain.
    """
    body = read_json(answer.body)
    if body is UNREADABLE:
        is_text = answer.headers.get("content-type", "").lower().startswith("text/plain")
        said = answer.body.decode("utf-8", "replace").strip() if is_text and not is_page(answer) else ""
        return Told(readable=False, message=said or None)
    fields = table(body)
    error = fields.get("error")
    inner = table(error)
    parts = [
        text(fields.get("description")) or text(inner.get("message")) or text(fields.get("message")),
        *_details(fields.get("details")),
    ]
    code = text(error) or text(inner.get("title")) or ("error" if error else None)
    return Told(readable=True, code=code, message="; ".join(filter(None, parts)) or None)


def rule(answer: Answer, told: Told, now: datetime) -> Ruling:
    """Say what an answer to a password change means, at `now`."""
    status = answer.status
    if 200 <= status < 300:
        return _success_ruling(answer, told)
    return _refusal_ruling(answer, told, now) or _BY_STATUS.get(status, Ruling(Outcome.UNEXPECTED))


def rule_revocation(answer: Answer, told: Told, now: datetime) -> Ruling:
    """Say what an answer to the end of a user's sessions means, at `now`: nothing here is about passwords."""
    status = answer.status
    if status == 204:
        return Ruling(Outcome.OK)
    if 200 <= status < 300:
        return _success_ruling(answer, told)
    if ruling := _refusal_ruling(answer, told, now):
        return ruling
    return Ruling(Outcome.FORBIDDEN, SESSIONS_ADVICE) if status == 403 else Ruling(Outcome.UNEXPECTED)


def _refusal_ruling(answer: Answer, told: Told, now: datetime) -> Ruling | None:
    """Rule on what means the same whatever was asked for; None where the call itself decides."""
    if ruling := common_ruling(answer, told, now):
        return ruling
    if answer.status == 429:
        return _limit_ruling(answer, plain(told.message), now)
    if answer.status == 404 and told.code == "RecordNotFound":
        return Ruling(Outcome.USER_NOT_FOUND)
    if answer.status == 404:
        return Ruling(Outcome.UNKNOWN, "HTTP 404 that does not speak of the user")
    return None


def _details(details: object) -> Iterable[str]:
    """Flatten the texts of a validation error; a few are enough."""
    for field, faults in list(table(details).items())[:10]:
        for fault in (faults if isinstance(faults, list) else [faults])[:10]:
            said = text(fault) or text(table(fault).get("description"))
            if said:
                yield said if field.casefold() in said.casefold() else f"{field}: {said}"


def _success_ruling(answer: Answer, told: Told) -> Ruling:
    """Take "empty response" in every form seen: no body, blanks, `null`, `""`, or JSON without an error."""
    if answer.status != 200:
        return Ruling(Outcome.UNKNOWN, f"HTTP {answer.status} where Zendesk documents 200")
    if not answer.body.strip():
        return Ruling(Outcome.OK)
    if is_page(answer):
        return Ruling(Outcome.UNKNOWN, "HTTP 200 with a web page, which is no answer of the API")
    if not told.readable:
        return Ruling(Outcome.UNKNOWN, "HTTP 200 with an answer that cannot be read")
    if told.code is not None:
        return Ruling(Outcome.UNKNOWN, "HTTP 200 with an error in it")
    return Ruling(Outcome.OK)


def _limit_ruling(answer: Answer, message: str, now: datetime) -> Ruling:
    asked = asked_wait(answer, now)
    if "single unique user" in message:  # support.zendesk.com community 4887103531674
        return Ruling(Outcome.RATE_LIMITED, None, asked or now + USER_PAUSE)
    return Ruling(Outcome.RATE_LIMITED, None, asked, pauses_quota=True)

"""What Zendesk's answers to a password change or a revocation mean. Pure.

The page of the password call (developer.zendesk.com/api-reference/ticketing/users/user_passwords) documents no
error at all: the bodies here are those of the API in general. Sessions: /api-reference/ticketing/
account-configuration/sessions. 429: /api-reference/introduction/rate-limits;
errors as plain text: /api-reference/introduction/requests.
"""

import json
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Final

from bulkreset.model import Outcome
from bulkreset.providers.answers import (
    UNREADABLE,
    WEB_PAGE,
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
    `{"error": {"title": …, "message": …}}` (node-zendesk #3, zenpy #336); 429 is text/plain. A dead OAuth token is
    `{"error": "invalid_token", "error_description": …}` (zendesk_api_client_rb #297).
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
        text(fields.get("description"))
        or text(fields.get("error_description"))
        or text(inner.get("message"))
        or text(fields.get("message")),
        *_details(fields.get("details")),
    ]
    code = text(error) or text(inner.get("title")) or ("error" if error else None)
    return Told(readable=True, code=code, message="; ".join(filter(None, parts)) or None)


def rule(answer: Answer, told: Told, now: datetime) -> Ruling:
    """Say what an answer to a password change means, at `now`."""
    status = answer.status
    if status == 200 and _is_nothing(answer.body):
        return Ruling(Outcome.OK)
    if 200 <= status < 300:
        return _unproven(answer, told, documented=200)
    if ruling := _refusal_ruling(answer, told, now):
        return ruling
    if status in (413, 422) and (other := _other_field(answer)):
        note = f"refused for the field {other} of this user, whatever the password"
        return Ruling(Outcome.UNEXPECTED, note, only_this_user=True)
    return _BY_STATUS.get(status, Ruling(Outcome.UNEXPECTED))


def rule_revocation(answer: Answer, told: Told, now: datetime) -> Ruling:
    """Say what an answer to the end of a user's sessions means, at `now`: nothing here is about passwords."""
    status = answer.status
    if status == 204:
        return Ruling(Outcome.OK)
    if 200 <= status < 300:
        return _unproven(answer, told, documented=204)
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
        return Ruling(Outcome.UNKNOWN, "HTTP 404 that does not speak of the user; check api_url")
    return None


def _details(details: object) -> Iterable[str]:
    """Flatten the texts of a validation error; a few are enough."""
    for field, faults in list(table(details).items())[:10]:
        for fault in (faults if isinstance(faults, list) else [faults])[:10]:
            said = text(fault) or text(table(fault).get("description"))
            if said:
                yield said if field.casefold() in said.casefold() else f"{field}: {said}"


def _is_nothing(body: bytes) -> bool:
    """Tell "empty response" in every form seen: no body, blanks, `null`, `""`, `{}`; in UTF-8, as JSON must be."""
    if not body.strip():
        return True
    try:
        said = json.loads(body.decode())
    except (ValueError, RecursionError):
        return False
    return said is None or said in ("", {})


def _unproven(answer: Answer, told: Told, *, documented: int) -> Ruling:
    """Take a 2xx that is not the documented success for what it is: anything between may have written it."""
    if is_page(answer):
        note = WEB_PAGE
    elif answer.status != documented:
        note = f"HTTP {answer.status} where Zendesk documents {documented}"
    elif not told.readable:
        note = "HTTP 200 with an answer that cannot be read"
    elif told.code is not None:
        note = "HTTP 200 with an error in it"
    else:
        note = "HTTP 200 with something in it, where Zendesk documents nothing"
    return Ruling(Outcome.UNKNOWN, note)


def _other_field(answer: Answer) -> str | None:
    """Return the field that a validation error is about, where nothing in it speaks of the password."""
    details = table(table(read_json(answer.body)).get("details"))
    if not details or any("password" in said.casefold() for said in (*details, *_details(details))):
        return None
    return next(iter(details))


def _limit_ruling(answer: Answer, message: str, now: datetime) -> Ruling:
    asked = asked_wait(answer, now)
    if "single unique user" in message:  # support.zendesk.com community 4887103531674
        return Ruling(Outcome.RATE_LIMITED, None, asked or now + USER_PAUSE)
    return Ruling(Outcome.RATE_LIMITED, None, asked, pauses_quota=True)

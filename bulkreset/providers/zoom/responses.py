"""What Zoom's answers to a password change or a revocation mean: tables of codes, and known phrasings. Pure.

Sources, where a fact has no other beside it: Zoom's OpenAPI text of July 2022 (PUT /users/{userId}/password,
DELETE /users/{userId}/token) for codes and messages; developers.zoom.us/docs/commerce/rate-limits and
marketplace.zoom.us/docs/api-reference/rate-limits for 429; developers.zoom.us/docs/api/errors for the general
codes.
"""

import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Final

from bulkreset.model import Outcome
from bulkreset.providers.answers import (
    UNREADABLE,
    Ruling,
    Told,
    asked_wait,
    common_ruling,
    next_midnight,
    plain,
    read_json,
    rows,
    table,
    text,
)
from bulkreset.providers.base import Answer
from bulkreset.providers.retry_after import parse_retry_after

LOCK_PAUSE: Final = timedelta(seconds=5)  # Zoom names no time for its lock on one user

_BY_CODE: Final[Mapping[int, Outcome]] = {
    # HTTP 400, whatever was asked for; 1001 comes with 404, and was 400 in older texts.
    1001: Outcome.USER_NOT_FOUND,  # User does not exist: $userId.
    1010: Outcome.USER_NOT_FOUND,  # User not exist or not belong to this account (older text)
    1120: Outcome.NOT_RESETTABLE,  # the invitation is pending, invalid or expired (GET /users/{userId})
    124: Outcome.UNAUTHORIZED,  # Invalid access token. / Access token is expired. (devforum.zoom.us 95559)
    4700: Outcome.FORBIDDEN,  # Invalid access token, does not contain scopes.
    4711: Outcome.FORBIDDEN,  # token scopes do not match (docs/integrations/oauth-error-messages)
}

_OF_PASSWORDS: Final[Mapping[int, Outcome]] = {
    # HTTP 400, as the documentation has them for a password change alone.
    1117: Outcome.NOT_RESETTABLE,  # Can not update Admin's password
    1123: Outcome.NOT_RESETTABLE,  # Can only update password of Zoom work email account: SSO, Google …
    1124: Outcome.POLICY_REJECTED,  # Have at least {lengthRule} characters
    1125: Outcome.POLICY_REJECTED,  # Have at least 1 letter (a, b, c...)
    1126: Outcome.POLICY_REJECTED,  # Have at least 1 number (1, 2, 3...)
    1127: Outcome.POLICY_REJECTED,  # Have at least 1 special character (!, @, #...)
    1128: Outcome.POLICY_REJECTED,  # Include both Upper case and Lower case characters
    1129: Outcome.SAME_PASSWORD,  # Users cannot reuse any of the last $formerPwdCount passwords created.
    1130: Outcome.POLICY_REJECTED,  # Password can't use the same character.
    1131: Outcome.POLICY_REJECTED,  # Password can't use continuation character. Such as 'abcdef', '123456'.
    1136: Outcome.POLICY_REJECTED,  # Your password is too easy to guess. Try another one.
}

_SIGNS_IN_ELSEWHERE: Final = 1123

# Code 300 is used for anything; only these whole phrasings are understood. One more word, and it is unexpected.
_SAME_PASSWORD = re.compile(r"(your )?new password can ?not match (the|your) old password\.?")
_TOO_MANY = re.compile(
    r"this password can ?not be changed because it has already been changed the maximum number of times"
    r" over the (past|last) 24 hours\.?"
)
# Code 200 likewise: devforum.zoom.us/t/79648 (a wrong grant's token), docs/api/errors (permission).
_NO_PERMISSION = re.compile(r"no permission\b|no privilege\b|invalid api key\b|.*\bdoes not have permission\b")


def read_answer(answer: Answer) -> Told:
    """Read `{"code": …, "message": …}`, with the messages of `errors` where there are any.

    The table of OAuth errors calls the two `errorCode` and `errorMessage`
    (developers.zoom.us/docs/integrations/oauth-error-messages).
    """
    body = read_json(answer.body)
    if body is UNREADABLE:
        return Told(readable=False)
    fields = table(body)
    message = text(fields.get("message")) or text(fields.get("errorMessage"))
    parts = [message, *(text(item.get("message")) for item in rows(fields.get("errors")))]
    code = text(fields.get("code")) or text(fields.get("errorCode"))
    return Told(readable=True, code=code, message="; ".join(filter(None, parts)) or None)


def rule(answer: Answer, told: Told, now: datetime) -> Ruling:
    """Say what an answer to a password change means, at `now`."""
    return _password_ruling(answer.status, told, now) or rule_call(answer, told, now)


def rule_call(answer: Answer, told: Told, now: datetime) -> Ruling:
    """Say what an answer to any other call about one user means, at `now`: nothing here is about passwords."""
    status = answer.status
    if status == 204:
        return Ruling(Outcome.OK)
    if ruling := common_ruling(answer, told, now):
        return ruling
    if status < 300:
        return Ruling(Outcome.UNKNOWN, f"HTTP {status} where Zoom documents 204")
    if status == 429:
        return _limit_ruling(answer, plain(told.message), now)
    if status in (400, 404):
        return _code_ruling(status, told)
    return Ruling(Outcome.FORBIDDEN if status == 403 else Outcome.UNEXPECTED)


def _password_ruling(status: int, told: Told, now: datetime) -> Ruling | None:
    """Rule by what Zoom says of passwords and of nothing else."""
    if status != 400:
        return None
    code = _code(told)
    message = plain(told.message)
    if code == 300 and _SAME_PASSWORD.fullmatch(message):
        return Ruling(Outcome.SAME_PASSWORD)
    if code == 300 and _TOO_MANY.fullmatch(message):
        return Ruling(Outcome.TOO_MANY_CHANGES, None, now + timedelta(hours=24))
    outcome = _OF_PASSWORDS.get(code)
    return Ruling(outcome, elsewhere=code == _SIGNS_IN_ELSEWHERE) if outcome is not None else None


def _code_ruling(status: int, told: Told) -> Ruling:
    """Rule by Zoom's own code, and by its words where one code stands for several things."""
    code = _code(told)
    if status == 404 and code not in (1001, 1010):
        return Ruling(Outcome.UNKNOWN, "HTTP 404 that does not speak of the user; check api_url")
    if code == 200 and _NO_PERMISSION.match(plain(told.message)):
        return Ruling(Outcome.FORBIDDEN)
    return Ruling(_BY_CODE.get(code, Outcome.UNEXPECTED))


def _code(told: Told) -> int:
    return int(told.code) if told.code is not None and re.fullmatch(r"[0-9]{1,6}", told.code) else -1


def _limit_ruling(answer: Answer, message: str, now: datetime) -> Ruling:
    """Tell the account's limits from those of one user; the headers may be missing (devforum.zoom.us/t/18928)."""
    asked = asked_wait(answer, now)
    if message.startswith("too many concurrent requests"):
        return Ruling(Outcome.RATE_LIMITED, None, asked or now + LOCK_PAUSE)
    if "for this particular user" in message:
        return Ruling(Outcome.RATE_LIMITED, None, asked or next_midnight(now))
    kind = plain(answer.headers.get("x-ratelimit-type"))
    daily = kind.startswith("daily") if kind else "daily" in message
    if daily and parse_retry_after(answer.headers.get("retry-after"), now) is None:
        asked = next_midnight(now)
    return Ruling(Outcome.RATE_LIMITED, None, asked, pauses_quota=True)

"""Every answer that Zoom documents, and everything that it does not."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkreset.model import Outcome, Verdict
from bulkreset.providers.base import Answer
from bulkreset.providers.zoom.account import Zoom
from bulkreset.secret import MASK, Secret

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
MIDNIGHT = datetime(2026, 11, 23, tzinfo=UTC)
SECRET = "client-secret-value"


@pytest.fixture(scope="module")
def zoom():
    return Zoom(
        account="zoom-test",
        api_url="https://api.zoom.example/v2",
        oauth_url="https://zoom.example/oauth/token",
        account_id="acc",
        client_id=Secret("client"),
        client_secret=Secret(SECRET),
        transport=None,
        monotonic=lambda: 0.0,
    )


def said(code, message, **more):
    return json.dumps({"code": code, "message": message, **more}).encode()


SAME = "Your new password can not match the old password."
TOO_MANY = (
    "This password cannot be changed because it has already been changed the maximum number of times"
    " over the past 24 hours."
)


@pytest.mark.parametrize(
    ("status", "code", "message", "outcome"),
    [
        (400, 300, SAME, Outcome.SAME_PASSWORD),
        (400, 300, "  your NEW password\ncannot match  the old password", Outcome.SAME_PASSWORD),
        (400, "300", SAME, Outcome.SAME_PASSWORD),
        (400, 300, TOO_MANY, Outcome.TOO_MANY_CHANGES),
        (400, 300, f"It is not so that {SAME}", Outcome.UNEXPECTED),
        (400, 300, f"{SAME} Or is it?", Outcome.UNEXPECTED),
        (400, 300, "Ihr neues Kennwort darf nicht dem alten entsprechen.", Outcome.UNEXPECTED),
        (400, 300, "Validation Failed.", Outcome.UNEXPECTED),
        (400, 300, "Request Body should be a valid JSON object.", Outcome.UNEXPECTED),
        (400, 300, None, Outcome.UNEXPECTED),
        (400, None, SAME, Outcome.UNEXPECTED),
        (400, True, SAME, Outcome.UNEXPECTED),
        (400, 3e2, SAME, Outcome.UNEXPECTED),
        (400, 1117, "Can not update Admin's password", Outcome.NOT_RESETTABLE),
        (400, 1120, "Invitation expired", Outcome.NOT_RESETTABLE),
        (400, 1123, "Can only update password of Zoom work email account", Outcome.NOT_RESETTABLE),
        *((400, code, "…", Outcome.POLICY_REJECTED) for code in (1124, 1125, 1126, 1127, 1128, 1130, 1131, 1136)),
        (400, 1129, "Users cannot reuse any of the last 5 passwords created.", Outcome.SAME_PASSWORD),
        (404, 1001, "User does not exist: x.", Outcome.USER_NOT_FOUND),
        (404, 1010, "User not exist or not belong to this account", Outcome.USER_NOT_FOUND),
        (400, 1010, "User not exist or not belong to this account", Outcome.USER_NOT_FOUND),
        (404, 300, SAME, Outcome.UNKNOWN),
        (404, 2001, "Account does not exist", Outcome.UNKNOWN),
        (401, 124, "Invalid access token.", Outcome.UNAUTHORIZED),
        (400, 124, "invalid access token", Outcome.UNAUTHORIZED),
        (401, None, None, Outcome.UNAUTHORIZED),
        (400, 4700, "Invalid access token, does not contain scopes.", Outcome.FORBIDDEN),
        (400, 4711, "Invalid access token, does not contain scopes:[user:write:admin].", Outcome.FORBIDDEN),
        (400, 200, "Invalid api key or secret.", Outcome.FORBIDDEN),
        (400, 200, "No permission.", Outcome.FORBIDDEN),
        (400, 200, "No privilege.", Outcome.FORBIDDEN),
        (400, 200, "Only available for paid accounts.", Outcome.UNEXPECTED),
        (403, 200, "anything", Outcome.FORBIDDEN),
        (400, 9999, "new", Outcome.UNEXPECTED),
        (405, 300, SAME, Outcome.UNEXPECTED),
        (409, 300, SAME, Outcome.PROVIDER_ERROR),
        (408, None, None, Outcome.PROVIDER_ERROR),
        (500, None, None, Outcome.PROVIDER_ERROR),
        (502, 300, SAME, Outcome.PROVIDER_ERROR),
        (301, None, None, Outcome.UNEXPECTED),
        (307, 300, SAME, Outcome.UNEXPECTED),
        (200, None, None, Outcome.UNKNOWN),
        (201, None, None, Outcome.UNKNOWN),
        (202, None, None, Outcome.UNKNOWN),
        (101, None, None, Outcome.UNKNOWN),
        (600, None, None, Outcome.UNKNOWN),
    ],
)
def test_every_documented_answer_has_its_outcome(zoom, status, code, message, outcome):
    """Each code and phrasing means one thing, and what is not in the table means nothing good."""
    verdict = zoom.classify(Answer(status, {}, said(code, message)), now=NOW)
    assert verdict.outcome is outcome
    assert verdict.http_status == status


@pytest.mark.parametrize("code", [1117, 1120, 1123, 1124, 1001])
def test_only_1123_says_that_there_are_sessions_without_a_password(zoom, code):
    """Whoever signs in elsewhere has no password and may have sessions; of an admin or a guest it says nothing."""
    verdict = zoom.classify(Answer(400, {}, said(code, "some words")), now=NOW)
    assert verdict.elsewhere == (code == 1123)


def test_success_is_a_204(zoom):
    """A 204 is the one success; its tracking id is kept."""
    assert zoom.classify(Answer(204, {}, b""), now=NOW) == Verdict(Outcome.OK, 204)
    tracked = zoom.classify(Answer(204, {"x-zm-trackingid": "v=2.0;rid=WEB_1"}, b""), now=NOW)
    assert tracked == Verdict(Outcome.OK, 204, request_id="v=2.0;rid=WEB_1")


@pytest.mark.parametrize("status", [400, 402, 404, 405, 410, 422])
@pytest.mark.parametrize("body", [b"", b"<html>no</html>", b'{"code": 300, "mess', b"\xff\xfe", b"[" * 100_000])
def test_a_refusal_that_cannot_be_read_proves_nothing(zoom, status, body):
    """A proxy's page or a cut-off body is `unknown`: the call may have been carried out behind it."""
    assert zoom.classify(Answer(status, {}, body), now=NOW).outcome is Outcome.UNKNOWN


PER_SECOND = "You have reached the maximum per-second rate limit for this API. Try again later."
DAILY = (
    "You have reached the maximum daily rate limit for this API. Refer to the response header for details"
    " on when you can make another request."
)
PER_USER = (
    "You have exceeded the daily rate limit (100) of Meeting Create/Update API requests permitted for this"
    " particular user. You may resume these requests at GMT 00:00:00."
)
LOCKED = "Too many concurrent requests. A request to disassociate this user has already been made."


@pytest.mark.parametrize(
    ("message", "headers", "retry_at", "pauses_quota"),
    [
        (PER_SECOND, {"x-ratelimit-type": "QPS"}, None, True),
        (PER_SECOND, {}, None, True),
        (PER_SECOND, {"retry-after": "3"}, NOW + timedelta(seconds=3), True),
        (PER_SECOND, {"retry-after": "Sun, 22 Nov 2026 12:00:09 GMT"}, NOW + timedelta(seconds=9), True),
        (DAILY, {"x-ratelimit-type": "Daily-limit", "retry-after": "2026-11-23T00:00:00Z"}, MIDNIGHT, True),
        (DAILY, {"x-ratelimit-type": "daily-LIMIT"}, MIDNIGHT, True),
        (DAILY, {}, MIDNIGHT, True),
        (DAILY, {"retry-after": "tomorrow"}, MIDNIGHT, True),
        (DAILY, {"x-ratelimit-type": "QPS"}, None, True),
        # A moment that has passed: the limit may be open again, so the runner chooses its own short pause.
        (DAILY, {"retry-after": "2026-11-22T00:00:00Z"}, None, True),
        (PER_USER, {}, MIDNIGHT, False),
        (LOCKED, {}, NOW + timedelta(seconds=5), False),
        (LOCKED, {"retry-after": "2"}, NOW + timedelta(seconds=2), False),
        ("", {}, None, True),
    ],
)
def test_limits_pause_what_they_are_about(zoom, message, headers, retry_at, pauses_quota):
    """The account's limits pause the quota until the time given, one user's limit or lock only that user."""
    verdict = zoom.classify(Answer(429, headers, said(429, message)), now=NOW)
    assert (verdict.outcome, verdict.retry_at, verdict.pauses_quota) == (
        Outcome.RATE_LIMITED,
        retry_at,
        pauses_quota,
    )


def test_a_limit_is_known_by_its_status_alone(zoom):
    """A 429 with a body that nobody can read still pauses the quota."""
    verdict = zoom.classify(Answer(429, {"x-ratelimit-type": "Daily-limit"}, b"<html>"), now=NOW)
    assert (verdict.retry_at, verdict.pauses_quota) == (MIDNIGHT, True)


def test_the_24_hour_rule_names_its_end(zoom):
    """A user whose changes are spent is due again in a day, and nobody else waits."""
    verdict = zoom.classify(Answer(400, {}, said(300, TOO_MANY)), now=NOW)
    assert (verdict.retry_at, verdict.pauses_quota) == (NOW + timedelta(hours=24), False)


def test_maintenance_pauses_the_quota_as_long_as_asked(zoom):
    """A 503 with a Retry-After is believed; without one, and for other 5xx, the breaker decides."""
    asked = zoom.classify(Answer(503, {"retry-after": "60"}, b""), now=NOW)
    assert (asked.outcome, asked.retry_at, asked.pauses_quota) == (
        Outcome.PROVIDER_ERROR,
        NOW + timedelta(seconds=60),
        True,
    )
    for other in (Answer(503, {}, b""), Answer(502, {"retry-after": "60"}, b"")):
        verdict = zoom.classify(other, now=NOW)
        assert (verdict.retry_at, verdict.pauses_quota) == (None, False)


def test_the_words_are_kept_and_the_secrets_are_not(zoom):
    """Code and text reach the audit row with every secret of the call, and of the account, masked."""
    password = 'pä"ss&1'
    echo = said(f"c{password}", f"{password} {SECRET}", errors=[{"field": "password", "message": password}])
    verdict = zoom.classify(Answer(400, {"x-zm-trackingid": f"id-{password}"}, echo), now=NOW, mask=[password])
    assert verdict.message == f"{MASK} {MASK}; {MASK}"
    assert verdict.code == f"c{MASK}"
    assert verdict.request_id == f"id-{MASK}"


def test_a_redirect_says_what_to_check(zoom):
    """The operator reads that the address is wrong, not just a number."""
    assert "check api_url" in zoom.classify(Answer(302, {}, b""), now=NOW).message


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=8,
)
KNOWN_SHAPE = st.fixed_dictionaries(
    {},
    optional={
        "code": JSON | st.sampled_from([300, 124, 200, 1001, 1117, 1129, "300"]),
        "message": JSON | st.sampled_from([SAME, TOO_MANY, DAILY]),
        "errors": JSON,
    },
)
BODY = st.binary(max_size=50) | (JSON | KNOWN_SHAPE).map(lambda value: json.dumps(value).encode())
HEADERS = st.dictionaries(
    st.sampled_from(["retry-after", "x-ratelimit-type", "x-zm-trackingid", "content-type"]),
    st.text(st.characters(codec=None), max_size=40),
)


@given(st.integers(-1, 1000) | st.sampled_from([200, 204, 400, 404, 429, 503]), HEADERS, BODY)
def test_no_answer_breaks_it_and_only_a_204_is_a_success(zoom, status, headers, body):
    """Whatever arrives there is a verdict that can be stored, and success is what Zoom documents as such."""
    verdict = zoom.classify(Answer(status, headers, body), now=NOW, mask=["secret"])
    assert (verdict.outcome is Outcome.OK) == (status == 204)
    assert verdict.outcome not in (Outcome.CONFIRMED, Outcome.RELEASED, Outcome.UNREACHABLE)
    if verdict.outcome is Outcome.SAME_PASSWORD:
        assert status == 400
    for words in (verdict.code, verdict.message, verdict.request_id):
        assert words is None or len(words.encode()) <= 4 * 500
    assert verdict.retry_at is None or NOW < verdict.retry_at <= NOW + timedelta(hours=48)

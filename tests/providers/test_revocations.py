"""The end of a user's sessions at both providers: the call, and what every answer to it means."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkreset.model import Outcome
from bulkreset.providers.answers import WEB_PAGE
from bulkreset.providers.base import Answer
from bulkreset.providers.zendesk.account import Zendesk
from bulkreset.providers.zoom.account import Zoom
from bulkreset.secret import MASK, Secret

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
TOKEN = "api-token-value"
ZOOM = Zoom(
    account="zoom-test",
    api_url="https://api.zoom.example/v2",
    oauth_url="https://zoom.example/oauth/token",
    account_id="acc",
    client_id=Secret("client"),
    client_secret=Secret("client-secret-value"),
    transport=None,
    monotonic=lambda: 0.0,
)
ZENDESK = Zendesk(
    account="zendesk-test",
    api_url="https://test.zendesk.example",
    email="admin@example.com",
    api_token=Secret(TOKEN),
    transport=None,
)
BOTH = pytest.mark.parametrize("provider", [ZOOM, ZENDESK], ids=["zoom", "zendesk"])
PASSWORD_OUTCOMES = {
    Outcome.SAME_PASSWORD,
    Outcome.POLICY_REJECTED,
    Outcome.TOO_MANY_CHANGES,
    Outcome.CONFIRMED,
    Outcome.RELEASED,
    Outcome.UNREACHABLE,
}


def said(code, message):
    return json.dumps({"code": code, "message": message}).encode()


def test_the_calls_are_the_documented_ones():
    """A DELETE without a body, to one user."""
    call = ZOOM.revoke_sessions("a/b@example.com")
    assert (call.method, call.body) == ("DELETE", None)
    assert call.url == "https://api.zoom.example/v2/users/a%2Fb%40example.com/token"
    call = ZENDESK.revoke_sessions("123")
    assert (call.method, call.body) == ("DELETE", None)
    assert call.url == "https://test.zendesk.example/api/v2/users/123/sessions.json"


@BOTH
@pytest.mark.parametrize("ref", ["", "me", "..", "1 "])
def test_a_reference_that_could_mean_something_else_is_refused(provider, ref):
    """Nobody's sessions end by mistake, least of all the app's own."""
    with pytest.raises(ValueError, match=r"."):
        provider.revoke_sessions(ref)


@BOTH
@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (204, Outcome.OK),
        (201, Outcome.UNKNOWN),
        (202, Outcome.UNKNOWN),
        (302, Outcome.UNEXPECTED),
        (401, Outcome.UNAUTHORIZED),
        (403, Outcome.FORBIDDEN),
        (408, Outcome.PROVIDER_ERROR),
        (409, Outcome.PROVIDER_ERROR),
        (429, Outcome.RATE_LIMITED),
        (500, Outcome.PROVIDER_ERROR),
        (503, Outcome.PROVIDER_ERROR),
        (400, Outcome.UNEXPECTED),
        (405, Outcome.UNEXPECTED),
        (413, Outcome.UNEXPECTED),
        (422, Outcome.UNEXPECTED),
        (404, Outcome.UNKNOWN),
        (100, Outcome.UNKNOWN),
    ],
)
def test_a_status_means_the_same_at_both(provider, status, outcome):
    """Success is a 204, and what a password change shares with it is shared."""
    verdict = provider.classify_revocation(Answer(status, {}, b"" if status == 204 else b"{}"), now=NOW)
    assert (verdict.outcome, verdict.http_status) == (outcome, status)


@pytest.mark.parametrize(
    ("status", "code", "message", "outcome"),
    [
        (404, 1001, "User does not exist: x.", Outcome.USER_NOT_FOUND),
        (400, 1010, "User not exist or not belong to this account", Outcome.USER_NOT_FOUND),
        (400, 1120, "Invitation invalid/expired.", Outcome.NOT_RESETTABLE),
        (400, 124, "Invalid access token.", Outcome.UNAUTHORIZED),
        (400, 4711, "does not contain scopes", Outcome.FORBIDDEN),
        (400, 200, "No permission.", Outcome.FORBIDDEN),
        (400, 300, "Your new password can not match the old password.", Outcome.UNEXPECTED),
        (400, 1117, "Can not update Admin's password", Outcome.UNEXPECTED),
        (400, 1123, "Can only update password of Zoom work email account", Outcome.UNEXPECTED),
        *((400, code, "…", Outcome.UNEXPECTED) for code in (1124, 1129, 1136)),
        (404, 2001, "Account does not exist", Outcome.UNKNOWN),
        (200, None, None, Outcome.UNKNOWN),
    ],
)
def test_zooms_codes(status, code, message, outcome):
    """Codes about the user, the token and the scope mean what they always mean; those about passwords, nothing."""
    verdict = ZOOM.classify_revocation(Answer(status, {}, said(code, message)), now=NOW)
    assert verdict.outcome is outcome


@pytest.mark.parametrize(
    ("status", "headers", "body", "outcome"),
    [
        (204, {"content-type": "text/html"}, b"", Outcome.OK),
        (200, {}, b"", Outcome.UNKNOWN),
        (200, {}, b"{}", Outcome.UNKNOWN),
        (200, {}, b'{"success": false}', Outcome.UNKNOWN),
        (200, {"content-type": "text/html"}, b"<html>Sign in</html>", Outcome.UNKNOWN),
        (200, {}, b'{"error": "x"}', Outcome.UNKNOWN),
        (404, {}, b'{"error": "RecordNotFound", "description": "Not found"}', Outcome.USER_NOT_FOUND),
        (404, {}, b"<html>", Outcome.UNKNOWN),
    ],
)
def test_zendesks_forms(status, headers, body, outcome):
    """Only a 204 is a success, as documented: a 200 may be anybody's."""
    assert ZENDESK.classify_revocation(Answer(status, headers, body), now=NOW).outcome is outcome


PAGES = pytest.mark.parametrize(
    ("headers", "body"),
    [
        ({"content-type": "text/html; charset=utf-8"}, b"Sign in to the network"),
        ({"content-type": "text/plain"}, b"  <!DOCTYPE html><html>"),
        ({}, b"<?xml version='1.0'?><wispaccessgatewayparam/>"),
    ],
)


@BOTH
@PAGES
@pytest.mark.parametrize("action", ["classify", "classify_revocation"])
@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (200, Outcome.UNKNOWN),
        (202, Outcome.UNKNOWN),
        (400, Outcome.UNKNOWN),
        (404, Outcome.UNKNOWN),
        (407, Outcome.UNKNOWN),
        (422, Outcome.UNKNOWN),
        (401, Outcome.UNAUTHORIZED),
        (403, Outcome.FORBIDDEN),
        (511, Outcome.PROVIDER_ERROR),
    ],
)
def test_a_web_page_is_called_one_by_everybody(provider, action, status, outcome, headers, body):
    """Whatever the status, a page in place of an answer is named in the same words, and is never a success."""
    verdict = getattr(provider, action)(Answer(status, headers, body), now=NOW)
    assert verdict.outcome is outcome
    assert verdict.message == WEB_PAGE
    assert verdict.unreadable is (outcome is Outcome.UNKNOWN)


def test_limits_pause_what_they_are_about():
    """The account's limit pauses the quota; Zoom's lock on one user only that user."""
    asked = ZENDESK.classify_revocation(Answer(429, {"retry-after": "7"}, b""), now=NOW)
    assert (asked.retry_at, asked.pauses_quota) == (NOW + timedelta(seconds=7), True)
    locked = said(429, "Too many concurrent requests. A request to disassociate this user has already been made.")
    verdict = ZOOM.classify_revocation(Answer(429, {}, locked), now=NOW)
    assert (verdict.retry_at, verdict.pauses_quota) == (NOW + timedelta(seconds=5), False)


def test_a_403_speaks_of_sessions():
    """The advice about the password setting does not come up here."""
    verdict = ZENDESK.classify_revocation(Answer(403, {}, b"{}"), now=NOW)
    assert "sessions of others" in verdict.message
    assert "password" not in verdict.message


@BOTH
def test_the_secrets_are_masked(provider):
    """Whatever a provider echoes, no credential reaches the audit row."""
    (secret, *_) = provider.auth.secrets()
    body = json.dumps({"code": 5, "error": "x", "message": f"{secret} extra"}).encode()
    verdict = provider.classify_revocation(Answer(400, {}, body), now=NOW, mask=["extra"])
    assert verdict.message == f"{MASK} {MASK}"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=6,
)
CODES = st.sampled_from([300, 124, 200, 1001, 1117, 1120, 1123, 1129, 4711, "300"]) | st.integers(1110, 1140)
TOO_MANY = (
    "This password cannot be changed because it has already been changed the maximum number of times"
    " over the past 24 hours."
)
SAME = "Your new password can not match the old password."
WORDS = st.sampled_from([SAME, TOO_MANY, "RecordInvalid", "RecordNotFound"])
SHAPE = st.fixed_dictionaries(
    {}, optional={"code": JSON | CODES, "message": JSON | WORDS, "error": JSON | WORDS, "details": JSON}
)
BODY = st.binary(max_size=50) | (JSON | SHAPE).map(lambda value: json.dumps(value).encode())
HEADERS = st.dictionaries(
    st.sampled_from(["retry-after", "x-ratelimit-type", "content-type", "x-zm-trackingid", "x-request-id"]),
    st.text(st.characters(codec=None), max_size=40) | st.sampled_from(["text/plain", "text/html"]),
)
STATUS = st.integers(-1, 1000) | st.sampled_from([200, 204, 400, 404, 413, 422, 429, 503])


@BOTH
@given(status=STATUS, headers=HEADERS, body=BODY)
def test_no_answer_breaks_it_and_none_is_about_a_password(provider, status, headers, body):
    """Whatever arrives there is a verdict that can be stored, and never one of a password change."""
    verdict = provider.classify_revocation(Answer(status, headers, body), now=NOW, mask=["secret"])
    assert verdict.outcome not in PASSWORD_OUTCOMES
    if verdict.outcome is Outcome.OK:
        assert status == 204
    if status == 204:
        assert verdict.outcome is Outcome.OK
    for words in (verdict.code, verdict.message, verdict.request_id):
        assert words is None or len(words.encode()) <= 4 * 500
    assert verdict.retry_at is None or NOW < verdict.retry_at <= NOW + timedelta(hours=48)


async def test_a_write_without_a_body_is_sent_as_one(raw_server, http_answer, transport):
    """A DELETE leaves once, with an empty body, and its empty 204 comes back whole."""

    async def behave(request, writer):
        writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")

    async with raw_server(behave) as server:
        zendesk = Zendesk(
            account="zendesk-test", api_url=server.url, oauth_token=Secret(TOKEN), transport=transport
        )
        answer = await transport.send(zendesk.revoke_sessions("7"), zendesk.auth.headers())
        (request,) = server.requests
    assert zendesk.classify_revocation(answer, now=NOW).outcome is Outcome.OK
    assert (request.method, request.target, request.body) == ("DELETE", "/api/v2/users/7/sessions.json", b"")
    assert request.headers.get("content-length", "0") == "0"
    assert request.headers["authorization"] == f"Bearer {TOKEN}"

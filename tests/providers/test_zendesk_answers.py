"""Every answer that Zendesk is known to give to a password change, and everything else."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkreset.model import Outcome, Verdict
from bulkreset.providers.base import Answer
from bulkreset.providers.zendesk.account import Zendesk
from bulkreset.secret import MASK, Secret

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
TOKEN = "api-token-value"
JSON_TYPE = {"content-type": "application/json; charset=utf-8"}
TEXT_TYPE = {"content-type": "text/plain; charset=UTF-8"}
HTML_TYPE = {"content-type": "text/html; charset=utf-8"}


@pytest.fixture(scope="module")
def zendesk():
    return Zendesk(
        account="zendesk-test",
        api_url="https://test.zendesk.example",
        email="admin@example.com",
        api_token=Secret(TOKEN),
        transport=None,
    )


@pytest.mark.parametrize(
    ("status", "headers", "body", "outcome"),
    [
        (200, {}, b"", Outcome.OK),
        (200, HTML_TYPE, b"", Outcome.OK),
        (200, JSON_TYPE, b" \r\n", Outcome.OK),
        (200, JSON_TYPE, b"null", Outcome.OK),
        (200, JSON_TYPE, b'""', Outcome.OK),
        (200, JSON_TYPE, b"{}", Outcome.OK),
        (200, JSON_TYPE, b" { } ", Outcome.OK),
        *(
            (200, JSON_TYPE, said, Outcome.UNKNOWN)
            for said in (
                b'{"user": {"id": 1}}',
                b'{"success": false}',
                b'{"errors": [{"title": "Forbidden"}]}',
                b'{"message": "Not authenticated"}',
                b'{"status": "error"}',
                b'{"redirect": "/login"}',
                b'{"error": ""}',
                b'{"error": {}}',
                b'{"error_description": "x"}',
                b"false",
                b"true",
                b"0",
                b"1.5",
                b"[]",
                b"[{}]",
                b'"maintenance"',
                b'" "',
                b"NaN",
                *("{}".encode(encoding) for encoding in ("utf-16", "utf-16-le", "utf-32", "utf-8-sig")),
                "null".encode("utf-16-be"),
                b"\x00",
                b"{}{}",
                b"[" * 100_000,
            )
        ),
        (200, HTML_TYPE, b"<html>Sign in</html>", Outcome.UNKNOWN),
        (200, HTML_TYPE, b"1", Outcome.UNKNOWN),
        (200, {}, b"<!DOCTYPE html><p>hello", Outcome.UNKNOWN),
        (200, TEXT_TYPE, b"\xef\xbb\xbf <!-- hello --><html>", Outcome.UNKNOWN),
        (200, JSON_TYPE, b'{"user": {"id"', Outcome.UNKNOWN),
        (200, JSON_TYPE, b'{"error": "RecordInvalid"}', Outcome.UNKNOWN),
        (200, JSON_TYPE, b'{"error": ["no"]}', Outcome.UNKNOWN),
        (201, JSON_TYPE, b"{}", Outcome.UNKNOWN),
        (202, {}, b"", Outcome.UNKNOWN),
        (204, {}, b"", Outcome.UNKNOWN),
        (302, HTML_TYPE, b"<html>", Outcome.UNEXPECTED),
        (400, JSON_TYPE, b'{"error": "BadRequest"}', Outcome.UNEXPECTED),
        (400, HTML_TYPE, b"<html>", Outcome.UNKNOWN),
        (401, JSON_TYPE, b'{"error": "Couldn\'t authenticate you"}', Outcome.UNAUTHORIZED),
        (403, HTML_TYPE, b"<html>", Outcome.FORBIDDEN),
        (404, JSON_TYPE, b'{"error": "RecordNotFound", "description": "Not found"}', Outcome.USER_NOT_FOUND),
        (404, JSON_TYPE, b'{"error": "InvalidEndpoint"}', Outcome.UNKNOWN),
        (404, JSON_TYPE, b"[]", Outcome.UNKNOWN),
        (404, HTML_TYPE, b"<html>", Outcome.UNKNOWN),
        (413, JSON_TYPE, b'{"error": "RecordInvalid"}', Outcome.POLICY_REJECTED),
        (413, HTML_TYPE, b"<html>", Outcome.UNKNOWN),
        (422, JSON_TYPE, b'{"error": "RecordInvalid"}', Outcome.POLICY_REJECTED),
        (422, JSON_TYPE, b'{"error": "Rec', Outcome.UNKNOWN),
        (408, {}, b"", Outcome.PROVIDER_ERROR),
        (409, JSON_TYPE, b'{"error": "Conflict"}', Outcome.PROVIDER_ERROR),
        (500, HTML_TYPE, b"<html>", Outcome.PROVIDER_ERROR),
        (502, {}, b"", Outcome.PROVIDER_ERROR),
        (599, {}, b"", Outcome.PROVIDER_ERROR),
        (418, JSON_TYPE, b"{}", Outcome.UNEXPECTED),
        (100, {}, b"", Outcome.UNKNOWN),
    ],
)
def test_every_known_answer_has_its_outcome(zendesk, status, headers, body, outcome):
    """Each status and form means one thing, and what cannot be read proves nothing."""
    verdict = zendesk.classify(Answer(status, headers, body), now=NOW)
    assert verdict.outcome is outcome
    assert verdict.http_status == status


@pytest.mark.parametrize("details", [{"email": [{"description": "Email: cannot be blank"}]}, {"name": "is bad"}])
@pytest.mark.parametrize("status", [413, 422])
def test_a_refusal_for_another_field_is_this_users_alone(zendesk, status, details):
    """No new password helps where the password is not what is wrong, and it tells nothing of the next user."""
    body = {"error": "RecordInvalid", "description": "Record validation errors", "details": details}
    verdict = zendesk.classify(Answer(status, JSON_TYPE, json.dumps(body).encode()), now=NOW)
    assert (verdict.outcome, verdict.only_this_user) == (Outcome.UNEXPECTED, True)
    assert next(iter(details)) in verdict.message


@pytest.mark.parametrize(
    "details",
    [
        {"password": [{"description": "Password: must be at least 12 characters"}]},
        {"Password": []},
        {"base": [{"description": "The password is too short"}]},
        {"email": "cannot be blank", "password": "is too short"},
        {},
        [],
        "?",
    ],
)
def test_a_refusal_that_speaks_of_the_password_gets_a_new_one(zendesk, details):
    """Where the password is named, or nothing is, another password may do."""
    body = {"error": "RecordInvalid", "details": details}
    verdict = zendesk.classify(Answer(422, JSON_TYPE, json.dumps(body).encode()), now=NOW)
    assert (verdict.outcome, verdict.only_this_user) == (Outcome.POLICY_REJECTED, False)


def test_success_has_no_words(zendesk):
    """An empty 200 is a success, with the request id where there is one."""
    assert zendesk.classify(Answer(200, {}, b""), now=NOW) == Verdict(Outcome.OK, 200)
    named = zendesk.classify(Answer(200, {"x-request-id": "r1"}, b"{}"), now=NOW)
    assert named == Verdict(Outcome.OK, 200, request_id="r1")


@pytest.mark.parametrize(
    ("body", "headers", "retry_at", "pauses_quota"),
    [
        (b"Number of allowed API requests per minute exceeded", {"retry-after": "93"}, 93, True),
        (b"Number of allowed API requests per minute exceeded", {}, None, True),
        (b"Number of allowed API requests per minute exceeded", {"retry-after": "0"}, None, True),
        (b"You have exceeded the rate limit for updating a single unique user. id: 1", {}, 60, False),
        (b"You have exceeded the rate limit for updating a single unique user.", {"retry-after": "7"}, 7, False),
        (b"", {"retry-after": "7"}, 7, True),
    ],
)
def test_limits_pause_what_they_are_about(zendesk, body, headers, retry_at, pauses_quota):
    """The account's limit pauses the quota, the limit on one user only that user."""
    verdict = zendesk.classify(Answer(429, TEXT_TYPE | headers, body), now=NOW)
    assert verdict.outcome is Outcome.RATE_LIMITED
    assert verdict.retry_at == (None if retry_at is None else NOW + timedelta(seconds=retry_at))
    assert verdict.pauses_quota is pauses_quota


def test_maintenance_pauses_the_quota_as_long_as_asked(zendesk):
    """A 503 with a Retry-After is believed."""
    verdict = zendesk.classify(Answer(503, {"retry-after": "30"}, b""), now=NOW)
    assert (verdict.outcome, verdict.retry_at, verdict.pauses_quota) == (
        Outcome.PROVIDER_ERROR,
        NOW + timedelta(seconds=30),
        True,
    )


def test_a_403_says_what_to_do(zendesk):
    """The setting that is off by default is named, before Zendesk's own text."""
    body = json.dumps({"error": {"title": "Forbidden", "message": "You do not have access to this page."}})
    verdict = zendesk.classify(Answer(403, JSON_TYPE, body.encode()), now=NOW)
    assert verdict.code == "Forbidden"
    assert "Admin Center > Account > Security > Advanced" in verdict.message
    assert verdict.message.endswith("You do not have access to this page.")


def test_a_refused_password_says_why_and_hides_itself(zendesk):
    """The details of a validation error are told in one line, with password and token masked."""
    password = 'pä"ss&1'
    body = {
        "error": "RecordInvalid",
        "description": "Record validation errors",
        "details": {
            "password": [{"description": f"Password: {password} is too short"}, {"description": None}],
            "base": f"uses {TOKEN}",
        },
    }
    verdict = zendesk.classify(Answer(422, JSON_TYPE, json.dumps(body).encode()), now=NOW, mask=[password])
    assert verdict.code == "RecordInvalid"
    assert verdict.message == f"Record validation errors; Password: {MASK} is too short; base: uses {MASK}"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=8,
)
KNOWN_SHAPE = st.fixed_dictionaries(
    {}, optional={"error": JSON | st.just("RecordNotFound"), "description": JSON, "details": JSON}
)
BODY = st.binary(max_size=50) | (JSON | KNOWN_SHAPE).map(lambda value: json.dumps(value).encode())
HEADERS = st.dictionaries(
    st.sampled_from(["retry-after", "x-request-id", "content-type"]),
    st.text(st.characters(codec=None), max_size=40) | st.sampled_from(["text/plain", "text/html"]),
)


@given(st.integers(-1, 1000) | st.sampled_from([200, 404, 422, 429, 503]), HEADERS, BODY)
def test_no_answer_breaks_it_and_only_a_200_is_a_success(zendesk, status, headers, body):
    """Whatever arrives there is a verdict that can be stored, and success is a 200 that says nothing."""
    verdict = zendesk.classify(Answer(status, headers, body), now=NOW, mask=["secret"])
    if verdict.outcome is Outcome.OK:
        assert status == 200
        assert body.strip() in (b"", b"null", b'""') or json.loads(body.decode()) == {}
    assert verdict.outcome not in (Outcome.CONFIRMED, Outcome.SAME_PASSWORD, Outcome.UNREACHABLE)
    for words in (verdict.code, verdict.message, verdict.request_id):
        assert words is None or len(words.encode()) <= 4 * 500
    assert verdict.retry_at is None or NOW < verdict.retry_at <= NOW + timedelta(hours=48)

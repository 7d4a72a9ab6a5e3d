"""Zoom's calls, policy, check and listing, over real HTTP against a scripted account."""

import json
from datetime import UTC, datetime
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs
from zoom_account import build

from bulkreset.errors import ListingFault, ProviderRefused, ProviderUnavailable
from bulkreset.limits.rates import SECOND, Rate
from bulkreset.model import Action
from bulkreset.passwords.policy import STRONGEST
from bulkreset.providers.base import Answer, DirectoryUser, Role, Status
from bulkreset.providers.zoom.account import Zoom
from bulkreset.secret import Secret


class Account:
    """A Zoom account as far as reads go; a test scripts what differs."""

    def __init__(self, http_answer):
        self._answer = http_answer
        self.scope = "user:write:admin user:read:admin account:read:admin"
        self.settings = {"security": {"password_requirement": REQUIREMENT}}
        self.pages = {"active": [[USER]], "inactive": [[]], "pending": [[{"email": "new@example.com"}]]}
        self.faults = []  # whole answers sent in place of the next ones to the API
        self.logins = 0

    async def __call__(self, request, writer):
        path = urlsplit(request.target).path
        query = {name: values[0] for name, values in parse_qs(urlsplit(request.target).query).items()}
        if path == "/oauth/token":
            self.logins += 1
            told = {"access_token": f"token-{self.logins}", "expires_in": 3600, "scope": self.scope}
        elif self.faults:
            writer.write(self.faults.pop(0))
            return
        elif path == "/v2/accounts/me/settings" and query == {"option": "security"}:
            told = self.settings
        elif path == "/v2/users":
            pages = self.pages[query["status"]]
            number = int(query.get("next_page_token", "t0")[1:])
            following = f"t{number + 1}" if number + 1 < len(pages) else ""
            told = {"page_size": int(query["page_size"]), "users": pages[number], "next_page_token": following}
        else:
            raise AssertionError(request.target)
        writer.write(self._answer("200 OK", json.dumps(told).encode()))


REQUIREMENT = {
    "minimum_password_length": 12,
    "have_special_character": False,
    "consecutive_characters_length": 4,
    "weak_enhance_detection": True,
}
USER = {"id": "KDcuGIm1QgePTO8WbOqwIQ", "email": "a@example.com", "role_id": "2", "type": 1}


@pytest.fixture
def account(http_answer):
    return Account(http_answer)


@pytest.fixture
async def server(raw_server, account):
    async with raw_server(account) as running:
        yield running


@pytest.fixture
def zoom(server, transport, clock):
    return build(server.url, transport, clock)


@pytest.fixture
def offline(clock):
    return build("https://api.zoom.example", None, clock)


def test_the_call_is_the_documented_one(offline):
    """PUT with a JSON body, the user as one path segment; the password is not in its repr."""
    call = offline.set_password("a+b@example.com", Secret('pass"wörd'))
    assert (call.method, call.url) == (
        "PUT",
        "https://api.zoom.example/v2/users/a%2Bb%40example.com/password",
    )
    assert json.loads(call.body) == {"password": 'pass"wörd'}
    assert "pass" not in repr(call).replace("/password", "")


@pytest.mark.parametrize(
    "ref", ["", ".", "..", "me", "ME", "a b", "a\n", "a\x00", "\ud800", "x" * 255, "../me", "a/b", "a?b", "é"]
)
def test_a_reference_that_could_mean_something_else_is_refused(offline, ref):
    """No reference reaches another path, the app's own user, or the wire unencoded."""
    assert offline.check_ref(ref)
    with pytest.raises(ValueError, match=r"."):
        offline.set_password(ref, Secret("x"))


@given(ref=st.text(min_size=1, max_size=60))
def test_a_reference_stays_one_path_segment(ref):
    """Whatever is accepted comes out of the URL as it went in, and changes no other part of it."""
    zoom = Zoom(
        account="a",
        api_url="https://api.zoom.example/v2",
        oauth_url="https://zoom.example",
        account_id="a",
        client_id=Secret("c"),
        client_secret=Secret("s"),
        transport=None,
        monotonic=lambda: 0.0,
    )
    if zoom.check_ref(ref):
        return
    url = zoom.set_password(ref, Secret("x")).url
    segment = url.removeprefix("https://api.zoom.example/v2/users/").removesuffix("/password")
    assert unquote(segment) == ref
    assert not set(segment) & set("/?#")
    assert segment not in (".", "..")


def test_labels_are_zooms(offline):
    """Setting a password is Medium, ending sessions is Light."""
    assert offline.label(Action.SET_PASSWORD) == "medium"
    assert offline.label(Action.REVOKE_SESSIONS) == "light"


async def test_the_policy_is_read_from_the_account(zoom, pot):
    """Zoom's four fields are taken over, on top of what cannot be turned off; every call is paid for."""
    policy = await zoom.policy(pot)
    assert (policy.min_length, policy.max_length, policy.max_run) == (12, 31, 2)
    assert (policy.letter, policy.digit, policy.upper_and_lower, policy.special) == (True, True, True, False)
    assert policy.source == "Zoom account settings"
    assert pot.taken == 1


@pytest.mark.parametrize(
    ("requirement", "least", "special", "run"),
    [
        ({}, 8, True, 2),
        ({"minimum_password_length": 0, "consecutive_characters_length": 0}, 8, True, 2),
        ({"minimum_password_length": 14, "have_special_character": True}, 14, True, 2),
        ({"minimum_password_length": 99, "consecutive_characters_length": 8}, 31, True, 2),
        ({"minimum_password_length": "14", "consecutive_characters_length": "2"}, 14, True, 1),
        ({"minimum_password_length": "many", "consecutive_characters_length": 2}, 8, True, 1),
    ],
)
async def test_odd_requirements_make_a_policy_all_the_same(zoom, account, pot, requirement, least, special, run):
    """What is off falls back to the basic requirement, and what is senseless to the stronger side."""
    account.settings = {"security": {"password_requirement": requirement}}
    policy = await zoom.policy(pot)
    assert (policy.min_length, policy.special, policy.max_run) == (least, special, run)
    assert policy.impossible() is None


@pytest.mark.parametrize(
    ("status", "told"),
    [
        ("200 OK", {"code": 200, "message": "Only available for paid accounts."}),
        ("400 Bad Request", {"code": 4711, "message": "does not contain scopes"}),
        ("403 Forbidden", {"code": 200, "message": "No permission."}),
    ],
)
async def test_a_policy_that_is_not_shown_is_the_strongest(zoom, account, pot, http_answer, status, told):
    """Where Zoom does not show its requirement, the strongest form is used and says why."""
    account.faults = [http_answer(status, json.dumps(told).encode())]
    policy = await zoom.policy(pot)
    assert (policy.min_length, policy.special) == (STRONGEST.min_length, True)
    assert told["message"] in policy.source


async def test_an_outage_is_no_answer_about_the_policy(zoom, account, pot, http_answer, clock):
    """A provider that is away is asked again for a minute, paid for each time, and then said to be away."""
    account.faults = [http_answer("502 Bad Gateway")] * 8
    with pytest.raises(ProviderUnavailable, match="account 'zoom-test': Zoom did not answer"):
        await zoom.policy(pot)
    assert pot.taken == 7
    assert [round(pause) for pause in clock.slept] == [1, 2, 4, 8, 16, 29]


async def test_a_read_that_is_retried_says_so_after_five_seconds(zoom, account, pot, http_answer, clock):
    """Which account, what fault, and how long it waits now; a short one says nothing."""
    account.faults = [http_answer("502 Bad Gateway")] * 4
    with capture_logs() as said:
        await zoom.policy(pot)
    assert [(each["account"], each["fault"], each["tries"], each["wait_s"]) for each in said] == [
        ("zoom-test", "HTTP 502", 3, 4.0),
        ("zoom-test", "HTTP 502", 4, 8.0),
    ]
    account.faults = [http_answer("502 Bad Gateway")] * 2
    with capture_logs() as said:
        await zoom.policy(pot)
    assert said == []


async def test_a_provider_that_hangs_is_given_up_within_about_a_minute(zoom, account, pot, http_answer, clock):
    """What a try itself has cost counts: two that take half a minute are enough."""

    def slow():
        clock.advance(0)
        return times.pop(0)

    times = [0, 31, 31, 62, 62, 93, 93, 124]
    zoom._reader.monotonic = slow
    account.faults = [http_answer("502 Bad Gateway")] * 8
    with pytest.raises(ProviderUnavailable, match="in 2 tries"):
        await zoom.policy(pot)


async def test_the_listing_follows_every_page_of_every_status(zoom, account, pot, server):
    """Active, inactive and pending users come in turn; a pending user is named by the address."""
    account.pages["active"] = [
        [USER],
        [USER | {"id": "second", "email": None}, {"no": "id"}],
        [USER | {"id": "3"}],
    ]
    pages = [page async for page in zoom.directory(pot)]
    assert pages == [
        [DirectoryUser(USER["id"], "a@example.com", Role.MEMBER, Status.ACTIVE)],
        [DirectoryUser("second", None, Role.MEMBER, Status.ACTIVE)],
        [DirectoryUser("3", "a@example.com", Role.MEMBER, Status.ACTIVE)],
        [],
        [DirectoryUser("new@example.com", "new@example.com", None, Status.PENDING)],
    ]
    assert pot.taken == 5
    assert all("page_size=300" in request.target for request in server.requests if "/users" in request.target)


async def test_the_listing_waits_out_a_limit(zoom, account, pot, http_answer, clock):
    """A 429 in the middle of a listing costs the time asked for and no user."""
    account.faults = [http_answer("429 Slow", b"{}", "application/json", "Retry-After: 7")]
    pages = [page async for page in zoom.directory(pot)]
    assert len(pages) == 3
    assert clock.slept == [7]


async def test_the_listing_does_not_wait_for_tomorrow(zoom, account, pot, http_answer, clock):
    """A wait of hours is the caller's to decide, and names its end."""
    account.faults = [http_answer("429 Slow", b"{}", "application/json", "Retry-After: 2026-11-23T00:00:00Z")]
    with pytest.raises(ProviderUnavailable, match="wait until 2026-11-23 00:00:00 UTC"):
        await anext(zoom.directory(pot))
    assert clock.slept == []


async def test_the_listing_renews_a_token_once(zoom, account, pot, http_answer):
    """A 401 costs one new login and one more call; a second one in a row is a refusal."""
    refused = http_answer("401 Unauthorized", b'{"code": 124, "message": "Invalid access token."}')
    account.faults = [refused]
    assert [page async for page in zoom.directory(pot)]
    assert account.logins == 2
    account.faults = [refused, refused]
    with pytest.raises(ProviderRefused, match=r"does not accept the credentials: HTTP 401 \(124 Invalid"):
        await anext(zoom.directory(pot))


async def test_a_listing_that_breaks_off_is_not_taken_for_its_end(zoom, account, pot, http_answer):
    """A refusal in the middle, or an answer without users, is an error and never a shorter roster."""
    account.pages["active"] = [[USER], [USER]]
    listing = zoom.directory(pot)
    await anext(listing)
    account.faults = [http_answer("400 Bad Request", b'{"code": 4711, "message": "no scopes"}')]
    with pytest.raises(ProviderUnavailable, match="broke off"):
        await anext(listing)
    account.faults = [http_answer("200 OK", b"{}")]
    with pytest.raises(ProviderUnavailable, match="broke off"):
        await anext(zoom.directory(pot))


async def test_a_listing_that_turns_in_a_circle_ends(zoom, account, pot, http_answer):
    """The same page token twice is an error, not an endless listing."""
    circle = http_answer("200 OK", json.dumps({"users": [USER], "next_page_token": "t0"}).encode())
    account.faults = [circle, circle]
    with pytest.raises(ProviderUnavailable, match="does not move on"):
        [page async for page in zoom.directory(pot)]


async def test_a_listing_that_goes_round_ends(zoom, account, pot, http_answer):
    """Tokens that come again after others are an error as well, which says how far it came."""

    def page(token):
        return http_answer("200 OK", json.dumps({"users": [USER], "next_page_token": token}).encode())

    account.faults = [page("A"), page("B"), page("A"), page("B")]
    with pytest.raises(ListingFault, match=r"active users does not move on: page 3 leads back .* after 3 users"):
        [each async for each in zoom.directory(pot)]
    assert pot.taken == 3


async def test_a_listing_that_is_not_allowed_names_the_scope(zoom, account, pot, http_answer):
    """A missing scope is a refusal that says which one to add."""
    account.faults = [http_answer("400 Bad Request", b'{"code": 4711, "message": "no scopes"}')]
    with pytest.raises(ProviderRefused, match="user:read:admin"):
        await anext(zoom.directory(pot))


async def test_a_sound_account_passes_the_check(zoom, pot, server):
    """Everything is looked at, and nothing is written."""
    findings = (await zoom.check(pot)).findings
    assert [finding.topic for finding in findings] == ["login", "scopes", "policy", "listing"]
    assert all(finding.ok for finding in findings)
    assert [request.method for request in server.requests if "/v2" in request.target] == ["GET", "GET"]


@pytest.mark.parametrize(
    ("scope", "ok"),
    [
        ("user:read:admin", False),
        ("user:write", False),
        ("user:update:password:admin", True),
        ("user:update:password:master", True),
        ("user:master", True),
        ("user:read:user:master", False),
        ("", True),
    ],
)
async def test_a_missing_scope_is_found(zoom, account, pot, scope, ok):
    """The scope that sets passwords is missed by name; a login that names none is left to the first call."""
    account.scope = scope
    (finding,) = [finding for finding in (await zoom.check(pot)).findings if finding.topic == "scopes"]
    assert finding.ok is ok
    if not ok:
        assert "user:write:admin or user:update:password:admin" in finding.detail


async def test_what_a_reset_does_not_need_does_not_fail_the_check(zoom, account, pot, http_answer):
    """Without the scopes to read, a reset from a file still goes through, and the findings say so."""
    refused = http_answer("400 Bad Request", b'{"code": 4711, "message": "no scopes"}')
    account.faults = [refused, refused]
    findings = {finding.topic: finding for finding in (await zoom.check(pot)).findings}
    assert findings["policy"].ok
    assert "account:read:admin" in findings["policy"].detail
    assert findings["listing"].ok
    assert "only needed to take the users from the account" in findings["listing"].detail


async def test_an_account_that_is_away_fails_the_check(zoom, account, pot, http_answer):
    """An outage is a finding, not a crash."""
    account.faults = [http_answer("503 Away")] * 16
    findings = {finding.topic: finding.ok for finding in (await zoom.check(pot)).findings}
    assert findings == {"login": True, "scopes": True, "policy": False, "listing": False}


async def test_the_scope_to_end_sessions_is_asked_for_where_they_are_to_end(zoom, account, pot):
    """Without it the first revocation would halt the account, after passwords were set."""
    account.scope = "user:update:password:admin user:read:admin account:read:admin"
    for revokes in (False, True):
        (finding,) = [one for one in (await zoom.check(pot, revokes=revokes)).findings if one.topic == "scopes"]
        assert finding.ok is not revokes
        assert "user:delete:token:admin" in finding.detail


@pytest.mark.parametrize(
    ("status", "told", "limits"),
    [
        (429, ("QPS", "Medium", "20"), {"medium": 20}),
        (429, ("qps", "light", "4"), {"light": 4}),
        (429, ("Daily-limit", "Medium", "20"), {}),
        (429, ("", "Medium", "20"), {}),
        (429, ("QPS", "Medium", "0"), {}),
        (429, ("QPS", "Medium", "many"), {}),
        (204, ("QPS", "Medium", "20"), {}),
    ],
)
def test_a_refusal_tells_the_limit_a_second(offline, status, told, limits):
    """A 429 by the second names the limit of its label; what counts by the day, or is no refusal, says nothing."""
    names = ("x-ratelimit-type", "x-ratelimit-category", "x-ratelimit-limit")
    headers = dict(zip(names, told, strict=True))
    offline.classify(Answer(status, headers, b"{}"), now=datetime(2026, 11, 22, tzinfo=UTC))
    for label in ("light", "medium"):
        assert offline.told_rate(label) == (Rate(limits[label], SECOND) if label in limits else None)

"""Zendesk's calls, policy, check and listing, over real HTTP against a scripted account."""

import json
from base64 import b64decode
from datetime import UTC, datetime

import pytest

from bulkreset.errors import ConfigError, ListingFault, ProviderRefused, ProviderUnavailable
from bulkreset.limits.rates import MINUTE, Rate
from bulkreset.model import Action, Outcome
from bulkreset.providers.base import Answer, DirectoryUser, Remark, Role, Status
from bulkreset.providers.reads import WrongAddress
from bulkreset.providers.zendesk.account import Zendesk
from bulkreset.secret import Secret

TOKEN = "api-token-value"


class Account:
    """A Zendesk account under a path of its own; a test scripts what differs."""

    def __init__(self, http_answer):
        self._answer = http_answer
        self.me = {"id": 7, "role": "admin"}
        self.requirements = ["must be at least 5 characters"]
        self.users = [{"id": 10 + n, "email": f"{n}@example.com", "role": "end-user"} for n in range(3)]
        self.token = {"scopes": ["read", "write"], "expires_at": None}
        self.link = None  # what links.next says in place of the next page
        self.faults = []

    async def __call__(self, request, writer):
        path, _, query = request.target.partition("?")
        base = f"http://{request.headers['host']}/acme/api/v2"
        if self.faults:
            writer.write(self.faults.pop(0))
            return
        if path == "/acme/api/v2/users/me.json":
            told = {"user": self.me}
        elif path == "/acme/api/v2/oauth/tokens/current":
            told = {"token": self.token}
        elif path == "/acme/api/v2/users/7/password/requirements":
            told = {"requirements": self.requirements}
        elif path == "/acme/api/v2/users.json":
            n = int(query.partition("after%5D=")[2] or 0)
            more = n + 1 < len(self.users)
            told = {
                "users": self.users[n : n + 1],
                "meta": {"has_more": more},
                "links": {"next": self.link or f"{base}/users.json?page%5Bsize%5D=100&page%5Bafter%5D={n + 1}"},
            }
        elif path == "/acme/api/v2/users/7/password" and request.method == "PUT":
            told = None
        else:
            raise AssertionError(request.target)
        writer.write(self._answer("200 OK", json.dumps(told).encode()))


@pytest.fixture
def account(http_answer):
    return Account(http_answer)


@pytest.fixture
async def server(raw_server, account):
    async with raw_server(account) as running:
        yield running


@pytest.fixture
def zendesk(server, transport, clock):
    return build(f"{server.url}/acme", transport, clock, email="admin@example.com", api_token=Secret(TOKEN))


def clock_now():
    return datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


async def findings_of(provider, pot):
    return {finding.topic: finding for finding in (await provider.check(pot)).findings}


def build(url, transport, clock, **credentials):
    return Zendesk(
        account="zendesk-test",
        api_url=url,
        transport=transport,
        sleep=clock.sleep,
        clock=clock.now,
        **credentials,
    )


def test_the_call_is_the_documented_one(clock):
    """POST with a JSON body to the user's id, under the one label."""
    zendesk = build("https://acme.zendesk.example/", None, clock, oauth_token=Secret(TOKEN))
    call = zendesk.set_password("123", Secret("new"))
    assert (call.method, call.url) == ("POST", "https://acme.zendesk.example/api/v2/users/123/password")
    assert json.loads(call.body) == {"password": "new"}
    assert {zendesk.label(action) for action in Action} == {"default"}


@pytest.mark.parametrize(
    "ref", ["", "0", "-1", "1/2", "a@example.com", "me", "..", "1 ", "\uff11", "1\n", "9" * 30]
)
def test_only_a_number_names_a_user(clock, ref):
    """A reference that is no id cannot be sent, and so reaches no other endpoint."""
    zendesk = build("https://acme.zendesk.example", None, clock, oauth_token=Secret(TOKEN))
    assert zendesk.check_ref(ref)
    with pytest.raises(ValueError, match="numeric"):
        zendesk.set_password(ref, Secret("x"))


def test_credentials_take_both_documented_forms(clock):
    """An API token goes with the address as Basic, an OAuth token as Bearer; both are masked."""
    basic = build("https://x.example", None, clock, email="admin@example.com", api_token=Secret(TOKEN)).auth
    value = basic.headers()["Authorization"].removeprefix("Basic ")
    assert b64decode(value).decode() == f"admin@example.com/token:{TOKEN}"
    assert set(basic.secrets()) == {TOKEN, value}
    bearer = build("https://x.example", None, clock, oauth_token=Secret(TOKEN)).auth
    assert bearer.headers() == {"Authorization": f"Bearer {TOKEN}"}
    assert set(bearer.secrets()) == {TOKEN}


@pytest.mark.parametrize(
    "credentials", [{}, {"email": "a@example.com"}, {"api_token": Secret("x")}, {"oauth_token": Secret("a\nb")}]
)
def test_credentials_that_cannot_be_used_are_refused_at_once(clock, credentials):
    """Missing or mangled credentials are an error of the configuration that shows none of them."""
    with pytest.raises(ConfigError, match="account 'zendesk-test'") as caught:
        build("https://x.example", None, clock, **credentials)
    assert "\n" not in str(caught.value)


async def test_the_policy_is_read_for_the_api_user(zendesk, account, pot):
    """The id is looked up, the sentences are read, and both calls are paid for."""
    account.requirements = ["must be at least 40 characters"]
    policy = await zendesk.policy(pot)
    assert policy.min_length == 40
    assert pot.taken == 2


async def test_a_policy_that_is_not_shown_is_the_strongest(zendesk, account, pot, http_answer):
    """Where the requirements cannot be read, the strongest form is used and says why."""
    me = http_answer("200 OK", b'{"user": {"id": 7, "role": "admin"}}')
    account.faults = [me, http_answer("403 Forbidden", b'{"error": "Forbidden"}')]
    policy = await zendesk.policy(pot)
    assert (policy.min_length, policy.special) == (20, True)
    assert "HTTP 403 (Forbidden)" in policy.source


async def test_the_listing_follows_every_page(zendesk, account, pot, server):
    """Users come a page at a time, in order, with what says whether they can be reset."""
    account.users[1]["suspended"] = True
    account.users[2]["active"] = False
    pages = [page async for page in zendesk.directory(pot)]
    assert pages == [
        [DirectoryUser("10", "0@example.com", Role.MEMBER, Status.ACTIVE)],
        [DirectoryUser("11", "1@example.com", Role.MEMBER, Status.SUSPENDED)],
        [DirectoryUser("12", "2@example.com", Role.MEMBER, Status.INACTIVE)],
    ]
    assert pot.taken == 3
    assert server.requests[0].target == "/acme/api/v2/users.json?page%5Bsize%5D=100"


@pytest.mark.parametrize(
    "link",
    [
        "https://evil.example/acme/api/v2/users.json",
        "{origin}/other/api/v2/users.json",
        "{origin}/acme/api/v2evil/users.json",
        "{origin}/acme/api/v2/../../../other",
        "{origin}/acme/api/v2/%2e%2e/other",
        "{origin}/acme/api/v2/users\\..\\..\\other",
        "{origin}/acme/api/v2/..%2fother",
        "http://user@{host}/acme/api/v2/users.json",
        "http://{host}@evil.example/acme/api/v2/users.json",
        "http://{host}\\@evil.example/acme/api/v2/users.json",
        "//evil.example/acme/api/v2/users.json",
        "/acme/api/v2/users.json",
        "{origin}/acme/api/v2/users.json\r\nX: y",
        "http://127.0.0.1:1/acme/api/v2/users.json",
        "http://[::1/acme/api/v2/",
    ],
)
async def test_credentials_follow_no_link_to_elsewhere(zendesk, account, pot, server, link):
    """A next page at another host, port or path is refused, and nothing is sent there."""
    account.link = link.format(origin=server.url, host=f"127.0.0.1:{server.port}")
    with pytest.raises(ProviderRefused, match="check api_url"):
        [page async for page in zendesk.directory(pot)]
    assert len(server.requests) == 1


async def test_a_listing_that_turns_in_a_circle_ends(zendesk, account, pot, server):
    """The same link twice is an error, not an endless listing."""
    account.link = f"{server.url}/acme/api/v2/users.json?page%5Bsize%5D=100"
    with pytest.raises(ProviderUnavailable, match="does not move on"):
        [page async for page in zendesk.directory(pot)]


@pytest.mark.parametrize("links", [True, False])
async def test_a_listing_that_goes_round_ends(zendesk, account, pot, http_answer, server, links):
    """A link or a cursor that comes again is an error, which says how far it came."""

    def page(number):
        name = "AB"[number % 2]
        link = f"{server.url}/acme/api/v2/users.json?x={name if links else number}"
        body = {"users": [account.users[0]], "meta": {"has_more": True}, "links": {"next": link}}
        if not links:
            body["meta"]["after_cursor"] = name
        return http_answer("200 OK", json.dumps(body).encode())

    account.faults = [page(number) for number in range(6)]
    with pytest.raises(ListingFault, match=r"does not move on: page 3 leads back .* after 3 users"):
        [each async for each in zendesk.directory(pot)]
    assert pot.taken == 3


async def test_the_listing_waits_out_a_limit(zendesk, account, pot, http_answer, clock):
    """A 429 costs the seconds asked for and no user."""
    account.faults = [
        http_answer("429 Slow", b"Number of allowed API requests exceeded", "text/plain", "Retry-After: 93")
    ]
    assert len([page async for page in zendesk.directory(pot)]) == 3
    assert clock.slept == [93]


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        ("403 Forbidden", b"{}", ProviderRefused),
        ("400 Bad Request", b"{}", ProviderRefused),
        ("401 Unauthorized", b'{"error": "Couldn\'t authenticate you"}', ProviderRefused),
        ("200 OK", b"<html>", WrongAddress),
        ("200 OK", b'{"users": {}}', ProviderUnavailable),
    ],
)
async def test_a_listing_that_breaks_off_is_not_taken_for_its_end(
    zendesk, account, pot, http_answer, status, body, error
):
    """A refusal or an answer without users is an error and never a shorter roster."""
    account.faults = [http_answer(status, body)]
    with pytest.raises(error, match="account 'zendesk-test'"):
        [page async for page in zendesk.directory(pot)]


async def test_a_401_is_not_asked_about_twice(zendesk, account, pot, http_answer, server):
    """A fixed credential that is refused is not sent again: repeated failures may lock it."""
    account.faults = [http_answer("401 Unauthorized", b"{}")] * 2
    with pytest.raises(ProviderRefused):
        await zendesk.policy(pot)
    assert len(server.requests) == 1


async def test_a_sound_account_passes_the_check(zendesk, pot, server):
    """Login, role, policy and the setting are looked at, and nothing is written."""
    findings = await findings_of(zendesk, pot)
    assert list(findings) == ["login", "role", "token", "policy", "setting"]
    assert all(finding.ok for finding in findings.values())
    assert findings["setting"].remark is Remark.UNKNOWN
    assert "Admin Center > Account > Security > Advanced" in findings["setting"].detail
    assert {request.method for request in server.requests} == {"GET"}


async def test_an_agent_fails_the_check(zendesk, account, pot):
    """Only an admin may set passwords, so another role is found before the first call."""
    account.me = {"id": 7, "role": "agent"}
    findings = await findings_of(zendesk, pot)
    assert not findings["role"].ok
    assert "agent" in findings["role"].detail


async def test_an_anonymous_user_is_nobody(zendesk, account, pot):
    """Zendesk answers 200 for nobody logged in; that is a failed login."""
    account.me = {"id": None, "role": "end-user", "name": "Anonymous user"}
    (finding,) = (await zendesk.check(pot)).findings
    assert (finding.topic, finding.ok) == ("login", False)


async def test_an_api_token_is_warned_of_by_the_dates_of_its_end(zendesk, pot):
    """It serves, and says when it will not: no new ones, thirty idle days, the last day of all."""
    token = (await findings_of(zendesk, pot))["token"]
    assert (token.ok, token.remark) == (True, Remark.WARNING)
    for words in ("2026-10-27", "30 days", "2027-04-30", "client_id"):
        assert words in token.detail


@pytest.mark.parametrize(
    ("scopes", "ok"),
    [
        (["read", "write"], True),
        (["write", "read", "tickets:read"], True),
        ("read write", True),
        ("read", False),
        (["read"], False),
        (["write"], False),
        (["users:read", "users:write"], False),
        (["read", "users:write"], False),
        ([], True),
    ],
)
async def test_a_token_tells_its_scopes(server, account, transport, clock, pot, scopes, ok):
    """Both broad scopes are needed; what the password call refuses fails the check by name."""
    account.token = {"scopes": scopes, "expires_at": None}
    zendesk = build(f"{server.url}/acme", transport, clock, oauth_token=Secret(TOKEN))
    finding = (await findings_of(zendesk, pot))["scopes"]
    assert finding.ok is ok
    assert ok or "read write" in finding.detail
    assert (finding.remark is Remark.UNKNOWN) == (not scopes)


@pytest.mark.parametrize(
    ("ends_at", "words", "remark"),
    [
        ("2026-11-22T12:10:00Z", "ends 2026-11-22 12:10 UTC, in 10 min", Remark.WARNING),
        ("2026-12-22T12:00:00Z", "ends 2026-12-22 12:00 UTC, in 720 h", None),
        (None, "names no end", None),
    ],
)
async def test_a_token_tells_its_end(server, account, transport, clock, pot, ends_at, words, remark):
    """A fixed token that ends within a day is a warning; the estimate can be compared with its end."""
    account.token = {"scopes": ["read", "write"], "expires_at": ends_at}
    zendesk = build(f"{server.url}/acme", transport, clock, oauth_token=Secret(TOKEN))
    finding = (await findings_of(zendesk, pot))["token"]
    assert words in finding.detail
    assert finding.remark is remark
    assert (zendesk.auth.ends_at is None) == (ends_at is None)


async def test_a_token_that_may_not_read_says_what_it_needs(zendesk, account, pot, http_answer):
    """`write` alone covers no GET: the login fails with the scopes that are needed."""
    refused = {"error": "Forbidden", "description": "You are missing the following required scopes: read"}
    account.faults = [http_answer("403 Forbidden", json.dumps(refused).encode())]
    (finding,) = (await zendesk.check(pot)).findings
    assert not finding.ok
    assert "required scopes: read" in finding.detail
    assert "`read write`" in finding.detail


async def test_the_accounts_own_limit_is_heard(zendesk, account, pot, http_answer):
    """Any answer tells it; until then it is not known."""
    assert zendesk.told_rate("default") is None
    me = b'{"user": {"id": 7, "role": "admin"}}'
    account.faults = [http_answer("200 OK", me, "application/json", "X-Rate-Limit: 200")]
    await zendesk.me(pot)
    assert zendesk.told_rate("default") == Rate(200, MINUTE)
    for nonsense in ("0", "-1", "many", "", "1e9"):
        zendesk.classify(Answer(200, {"x-rate-limit": nonsense}, b""), now=clock_now())
        assert zendesk.told_rate("default") == Rate(200, MINUTE)
    zendesk.classify(Answer(200, {"x-rate-limit": "700"}, b""), now=clock_now())
    assert zendesk.told_rate("default") == Rate(700, MINUTE)


async def test_an_own_password_is_changed_with_the_one_before(zendesk, pot, transport, server):
    """The API user's own password is changed by one write, whose answer is read like any other."""
    verdict = await zendesk.own_password(transport, Secret("old-one"), Secret("new-one"), pot)
    assert verdict.outcome is Outcome.OK
    request = server.requests[-1]
    assert (request.method, request.target) == ("PUT", "/acme/api/v2/users/7/password")
    assert json.loads(request.body) == {"previous_password": "old-one", "password": "new-one"}
    assert pot.taken == 2


async def test_an_own_password_whose_answer_is_lost_is_unknown(zendesk, account, pot, transport, http_answer):
    """Nothing is guessed about one's own password either, and neither password is shown."""
    me = http_answer("200 OK", b'{"user": {"id": 7, "role": "admin"}}')
    account.faults = [me, b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n"]
    verdict = await zendesk.own_password(transport, Secret("old-one"), Secret("new-one"), pot)
    assert verdict.outcome is Outcome.UNKNOWN
    refused = {"error": "RecordInvalid", "description": "old-one new-one"}
    account.faults = [me, http_answer("422 No", json.dumps(refused).encode())]
    verdict = await zendesk.own_password(transport, Secret("old-one"), Secret("new-one"), pot)
    assert (verdict.outcome, verdict.message) == (Outcome.POLICY_REJECTED, "******** ********")

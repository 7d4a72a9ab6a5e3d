"""Who is at a Zoom account: the listing and its short-lived tokens, the count, the owner, and how one signs in."""

import json
from datetime import UTC, datetime
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st
from zoom_account import build

from bulkreset.errors import ProviderRefused, ProviderUnavailable
from bulkreset.providers.answers import moment
from bulkreset.providers.base import DirectoryUser, Login, Role, Status

DEAD = {"code": 300, "message": "The next page token is invalid or expired."}
NO_SCOPE = {"code": 4711, "message": "Invalid access token, does not contain scopes:[user:read:admin]."}


class Account:
    """Users by status in pages of one; `dead` says how often the next uses of a page token are refused."""

    def __init__(self, http_answer):
        self._answer = http_answer
        self.users = {"active": [], "inactive": [], "pending": []}
        self.single = {}  # path segment → (status line, body)
        self.dead = 0
        self.refused = False
        self.totals = {}
        self.asked = []

    async def __call__(self, request, writer):
        url = urlsplit(request.target)
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        status, told = "200 OK", {}
        self.asked.append(request.target)
        if url.path == "/oauth/token":
            self.asked.pop()
            told = {"access_token": "token", "expires_in": 3600, "scope": ""}
        elif url.path == "/v2/users":
            status, told = self._list(query)
        else:
            status, told = self.single[url.path.removeprefix("/v2/users/")]
        writer.write(self._answer(status, json.dumps(told).encode()))

    def _list(self, query):
        users = self.users[query["status"]]
        number = int(query.get("next_page_token", "t0")[1:])
        if self.refused:
            return "400 Bad Request", DEAD
        if number and self.dead:
            self.dead -= 1
            return "400 Bad Request", DEAD
        following = f"t{number + 1}" if number + 1 < len(users) else ""
        total = self.totals.get(query["status"], len(users))
        return "200 OK", {
            "users": users[number : number + 1],
            "total_records": total,
            "next_page_token": following,
        }


@pytest.fixture
def account(http_answer):
    return Account(http_answer)


@pytest.fixture
async def zoom(raw_server, account, transport, clock):
    async with raw_server(account) as server:
        yield build(server.url, transport, clock)


def user(name, **more):
    return {"id": name, "email": f"{name}@example.com", "role_id": "2", **more}


async def ids(listing):
    return [found.user_id async for page in listing for found in page]


async def test_everything_that_a_listing_says_is_kept(zoom, account, pot):
    """Role, status, groups and times come out as values; what is not said or not readable is None."""
    account.users = {
        "active": [
            user(
                "o", role_id="0", status="active", group_ids=["g1", "g2", None], created_at="2024-01-02T03:04:05Z"
            ),
            user(
                "a", role_id=1, user_created_at="2024-01-02T05:04:05+02:00", last_login_time="2026-11-01T00:00:00Z"
            ),
            user("m", role_id="RkQyVjAxMjM", group_ids="g1", created_at="yesterday", last_login_time=1700000000),
        ],
        "inactive": [user("i", role_id=None, created_at="0001-01-01T00:00:00+14:00", last_login_time="")],
        "pending": [{"email": "p@example.com"}],
    }
    found = [each async for page in zoom.directory(pot) for each in page]
    created = datetime(2024, 1, 2, 3, 4, 5, tzinfo=UTC)
    last = datetime(2026, 11, 1, tzinfo=UTC)
    assert found == [
        DirectoryUser("o", "o@example.com", Role.OWNER, Status.ACTIVE, ("g1", "g2"), created),
        DirectoryUser("a", "a@example.com", Role.ADMIN, Status.ACTIVE, (), created, last),
        DirectoryUser("m", "m@example.com", Role.MEMBER, Status.ACTIVE),
        DirectoryUser("i", "i@example.com", None, Status.INACTIVE),
        DirectoryUser("p@example.com", "p@example.com", None, Status.PENDING),
    ]
    assert all(time.tzinfo is UTC for each in found for time in (each.created_at, each.last_login_at) if time)


@pytest.mark.parametrize("deaths", [1, 2, 3])
async def test_a_listing_whose_token_died_begins_anew(zoom, account, pot, deaths):
    """A page token lives 15 minutes: the listing of that status starts again and misses nobody."""
    account.users["active"] = [user("a"), user("b"), user("c")]
    account.users["inactive"] = [user("i")]
    account.dead = deaths
    assert await ids(zoom.directory(pot)) == ["a"] * deaths + ["a", "b", "c", "i"]


async def test_a_listing_that_always_dies_is_an_error(zoom, account, pot):
    """After three new starts the listing is given up by name, never cut short."""
    account.users["active"] = [user("a"), user("b")]
    account.dead = 4
    with pytest.raises(
        ProviderUnavailable, match="'zoom-test': Zoom broke off its listing of active users 4 times"
    ):
        await ids(zoom.directory(pot))
    assert pot.taken == 8


async def test_each_status_may_begin_anew(zoom, account, pot):
    """The restarts are counted for each status by itself."""
    account.users["active"] = [user("a"), user("b")]
    account.users["inactive"] = [user("i"), user("j")]
    account.dead = 3
    found = []
    async for page in zoom.directory(pot):
        found += [each.user_id for each in page]
        if found[-1] == "b":
            account.dead = 3
    assert found == ["a"] * 4 + ["b"] + ["i"] * 4 + ["j"]


async def test_a_first_page_that_is_refused_is_not_asked_for_again(zoom, account, pot):
    """No page token, none that died: the refusal is told at once."""
    account.refused = True
    with pytest.raises(ProviderRefused, match="does not list its users"):
        await ids(zoom.directory(pot))
    assert pot.taken == 1


async def test_the_count_is_the_sum_over_every_status(zoom, account, pot):
    """Three reads of one user each, paid for, give what a listing is held against."""
    account.totals = {"active": 5000, "inactive": 12, "pending": 3}
    assert await zoom.headcount(pot) == 5015
    assert pot.taken == 3
    assert all("page_size=1&" in f"{target}&" for target in account.asked)


@pytest.mark.parametrize("total", [None, -1, "12", 1.5, True])
async def test_a_count_that_cannot_be_read_is_an_error(zoom, account, pot, total):
    """No number, no guess."""
    account.totals = {"pending": total}
    with pytest.raises(ProviderUnavailable, match="how many pending users"):
        await zoom.headcount(pot)


async def test_the_app_acts_for_the_owner(zoom, account, pot):
    """`me` is the user whose rights the app has."""
    account.single["me"] = ("200 OK", user("own", role_id="0", status="active", group_ids=["g"]))
    assert await zoom.me(pot) == DirectoryUser("own", "own@example.com", Role.OWNER, Status.ACTIVE, ("g",))
    assert pot.taken == 1


async def test_an_owner_that_is_not_told_is_none(zoom, account, pot):
    """A refusal leaves the owner to the listing; an answer without a user is an error."""
    account.single["me"] = ("400 Bad Request", NO_SCOPE)
    assert await zoom.me(pot) is None
    account.single["me"] = ("200 OK", {})
    with pytest.raises(ProviderUnavailable, match="who the app acts for"):
        await zoom.me(pot)


@pytest.mark.parametrize(
    ("told", "login"),
    [
        ({"login_types": [100]}, Login(resettable=True)),
        ({"login_types": [1, 100, 101]}, Login(resettable=True)),
        ({"login_type": 100}, Login(resettable=True)),
        ({"login_types": [101]}, Login(resettable=False, reason="signs in by SSO only", sso=True)),
        ({"login_types": [], "login_type": 101}, Login(resettable=False, reason="signs in by SSO only", sso=True)),
        ({"login_types": [1]}, Login(resettable=False, reason="signs in with Google")),
        ({"login_types": [24, 27]}, Login(resettable=False, reason="signs in with Apple or Microsoft")),
        ({"login_types": [101, 0]}, Login(resettable=False, reason="signs in with SSO or Facebook", sso=True)),
        ({"login_types": [77]}, Login(resettable=False, reason="signs in with login type 77")),
        ({"login_types": [], "status": "pending"}, Login(resettable=False, reason="the invitation is pending")),
        ({"login_types": ["100", True, None]}, None),
        ({}, None),
    ],
)
async def test_how_a_user_signs_in(zoom, account, pot, told, login):
    """Only a work e-mail login has a password here, however many others stand beside it."""
    account.single["a%40example.com"] = ("200 OK", user("a", **told))
    assert await zoom.login("a@example.com", pot) == login
    assert pot.taken == 1


@pytest.mark.parametrize(
    ("status", "code", "login"),
    [
        ("404 Not Found", 1001, None),
        ("404 Not Found", 1010, None),
        ("400 Bad Request", 1010, None),
        ("400 Bad Request", 300, None),
        ("400 Bad Request", 1120, Login(resettable=False, reason="the invitation is pending")),
    ],
)
async def test_a_user_that_is_not_shown(zoom, account, pot, status, code, login):
    """A stranger is nobody, and an invitation is told from one."""
    account.single["u"] = (status, {"code": code, "message": "…"})
    assert await zoom.login("u", pot) == login


@pytest.mark.parametrize("status", ["400 Bad Request", "403 Forbidden"])
async def test_an_app_that_may_not_look_is_told_the_scope(zoom, account, pot, status):
    """What would be refused for everybody is an error at the first user, not an answer about the user."""
    account.single["u"] = (status, NO_SCOPE)
    with pytest.raises(ProviderRefused, match="user:read:user:admin"):
        await zoom.login("u", pot)


@pytest.mark.parametrize("ref", ["me", "", "..", "a b"])
async def test_only_a_user_is_asked_about(zoom, pot, ref):
    """A reference that could mean something else is not sent."""
    with pytest.raises(ValueError, match=r"."):
        await zoom.login(ref, pot)
    assert pot.taken == 0


@given(st.text() | st.datetimes(timezones=st.timezones()).map(str) | st.integers() | st.none())
def test_no_time_breaks_a_listing(value):
    """A time is read as aware UTC or not at all."""
    read = moment(value)
    assert read is None or read.tzinfo is UTC


@given(st.datetimes(min_value=datetime(1970, 1, 1), timezones=st.just(UTC)))  # noqa: DTZ001  (hypothesis wants it bare)
def test_a_time_comes_out_as_it_went_in(at):
    """What a provider writes down is the moment that is read."""
    assert moment(at.isoformat().replace("+00:00", "Z")) == at

"""Who is at a Zendesk account: what the listing says, the count, and whose token it is."""

import json
from datetime import UTC, datetime

import pytest

from bulkreset.errors import ProviderRefused, ProviderUnavailable
from bulkreset.providers.base import DirectoryUser, Role, Status
from bulkreset.providers.zendesk.account import Zendesk
from bulkreset.secret import Secret


@pytest.fixture
def told():
    return {}  # path → (status line, body)


@pytest.fixture
async def zendesk(raw_server, http_answer, told, transport, clock):
    async def behave(request, writer):
        status, body = told[request.target.partition("?")[0].removeprefix("/api/v2/")]
        writer.write(http_answer(status, json.dumps(body).encode()))

    async with raw_server(behave) as server:
        yield Zendesk(
            account="zendesk-test",
            api_url=server.url,
            oauth_token=Secret("token-value"),
            transport=transport,
            sleep=clock.sleep,
            clock=clock.now,
        )


async def test_everything_that_a_listing_says_is_kept(zendesk, told, pot):
    """Role, status, group and times come out as values; what is not said or not readable is None."""
    users = [
        {"id": 1, "role": "admin", "default_group_id": 77, "created_at": "2024-01-02T03:04:05Z"},
        {"id": 2, "role": "agent", "last_login_at": "2026-11-01T02:00:00+02:00", "default_group_id": None},
        {"id": 3, "role": "end-user", "suspended": True, "active": False, "created_at": 5},
        {"id": 4, "role": "guest", "active": False, "last_login_at": "soon"},
        {"name": "nobody"},
    ]
    told["users.json"] = ("200 OK", {"users": users, "meta": {"has_more": False}})
    assert [user async for page in zendesk.directory(pot) for user in page] == [
        DirectoryUser("1", None, Role.ADMIN, Status.ACTIVE, ("77",), datetime(2024, 1, 2, 3, 4, 5, tzinfo=UTC)),
        DirectoryUser("2", None, Role.AGENT, Status.ACTIVE, (), None, datetime(2026, 11, 1, tzinfo=UTC)),
        DirectoryUser("3", None, Role.MEMBER, Status.SUSPENDED),
        DirectoryUser("4", None, None, Status.INACTIVE),
    ]


async def test_the_count_is_zendesks_own(zendesk, told, pot):
    """One read, paid for, gives what a listing is held against."""
    told["users/count.json"] = ("200 OK", {"count": {"value": 5000, "refreshed_at": "2026-11-22T00:00:00Z"}})
    assert await zendesk.headcount(pot) == 5000
    assert pot.taken == 1


@pytest.mark.parametrize(
    ("status", "body"),
    [
        ("200 OK", {"count": {"value": None}}),
        ("200 OK", {"count": 5}),
        ("200 OK", {"count": {"value": -1}}),
        ("403 Forbidden", {"error": "Forbidden"}),
        ("404 Not Found", {"error": "RecordNotFound"}),
    ],
)
async def test_a_count_that_cannot_be_read_is_an_error(zendesk, told, pot, status, body):
    """No number, no guess."""
    told["users/count.json"] = (status, body)
    with pytest.raises(ProviderUnavailable, match="'zendesk-test': Zendesk does not tell how many"):
        await zendesk.headcount(pot)


async def test_whose_token_it_is(zendesk, told, pot):
    """`me` is the API user with the role; an anonymous one is a refusal."""
    me = {"id": 7, "email": "admin@example.com", "role": "admin"}
    told["users/me.json"] = ("200 OK", {"user": me})
    assert await zendesk.me(pot) == DirectoryUser("7", "admin@example.com", Role.ADMIN, Status.ACTIVE)
    told["users/me.json"] = ("200 OK", {"user": {"id": None, "email": "invalid@example.com"}})
    with pytest.raises(ProviderRefused, match="who is logged in"):
        await zendesk.me(pot)


async def test_nothing_tells_how_a_user_signs_in(zendesk, pot):
    """Zendesk documents no such field, so nothing is asked and nothing paid."""
    assert await zendesk.login("7", pot) is None
    assert pot.taken == 0

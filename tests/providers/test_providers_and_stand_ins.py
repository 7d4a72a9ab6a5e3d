"""The providers' own reads and revocations against the strict stand-ins, which share no code with them."""

from datetime import UTC, datetime, timedelta
from time import monotonic

import pytest

from bulkreset.errors import ProviderUnavailable
from bulkreset.model import Outcome
from bulkreset.providers.base import Login, Role, Status
from bulkreset.providers.zendesk.account import Zendesk
from bulkreset.providers.zoom.account import Zoom
from bulkreset.sandbox import Clock, Sandbox
from bulkreset.secret import Secret

KINDS = {"owner": 1, "admin": 2, "sso": 3, "google": 1, "inactive": 2, "pending": 2, "missing": 1}


@pytest.fixture
async def sandbox():
    running = Sandbox(clock=Clock(lambda: 0.0, lambda: 1_700_000_000.0))
    await running.start()
    yield running
    await running.stop()


@pytest.fixture
def zoom(sandbox, transport):
    def build(**spec):
        tenant = sandbox.add({"name": "zoom", "provider": "zoom", "token_ttl_s": 20_000, **spec})
        url = sandbox.url_of("zoom")
        provider = Zoom(
            account="zoom-test",
            api_url=f"{url}/v2",
            oauth_url=f"{url}/oauth/token",
            account_id=tenant.spec.account_id,
            client_id=Secret(tenant.spec.client_id),
            client_secret=Secret(tenant.spec.client_secret),
            transport=transport,
            monotonic=monotonic,
        )
        return tenant, provider

    return build


@pytest.fixture
def zendesk(sandbox, transport):
    def build(**spec):
        tenant = sandbox.add({"name": "desk", "provider": "zendesk", **spec})
        token = Secret(tenant.spec.oauth_token)
        return tenant, Zendesk(
            account="desk-test", api_url=sandbox.url_of("desk"), oauth_token=token, transport=transport
        )

    return build


async def everyone(provider, pot):
    return [user async for page in provider.directory(pot) for user in page]


async def test_a_whole_zoom_account_is_listed(zoom, pot):
    """The listing brings everybody with role, status and group, and as many as Zoom itself counts."""
    _, provider = zoom(generate={"count": 700, "kinds": KINDS, "groups": ["g1", "g2"]})
    users = await everyone(provider, pot)
    assert len(users) == len({user.user_id for user in users}) == await provider.headcount(pot) == 699
    roles = [user.role for user in users]
    assert (roles.count(Role.OWNER), roles.count(Role.ADMIN)) == (1, 2)
    states = [user.status for user in users]
    assert (states.count(Status.INACTIVE), states.count(Status.PENDING)) == (2, 2)
    assert {user.groups for user in users} == {("g1",), ("g2",)}
    assert {user.created_at for user in users} == {datetime(2024, 1, 1, tzinfo=UTC)}


async def test_a_dead_page_token_costs_a_new_start(zoom, sandbox, pot):
    """After a pause of more than 15 minutes in the middle, everybody is listed all the same."""
    tenant, provider = zoom(generate={"count": 700})
    listing = provider.directory(pot)
    found = [user.user_id for user in await anext(listing)]
    sandbox.clock.advance(901)
    found += [user.user_id async for page in listing for user in page]
    assert len(found) == 1000
    assert len(set(found)) == 700
    assert {user.listed for user in tenant.users} == {1, 2}


async def test_a_listing_that_is_too_slow_for_its_tokens_is_an_error(zoom, sandbox, pot):
    """Where every token dies the listing gives up instead of turning for ever."""
    _, provider = zoom(generate={"count": 301})
    pages = []

    async def dawdle():
        async for page in provider.directory(pot):
            pages.append(page)
            sandbox.clock.advance(901)

    with pytest.raises(ProviderUnavailable, match="broke off its listing of active users"):
        await dawdle()
    assert [len(page) for page in pages] == [300] * 4


async def test_the_app_acts_for_the_stand_ins_owner(zoom, pot):
    """`me` and the listing name the same owner; an account without one has nobody."""
    _, provider = zoom(generate={"count": 5, "kinds": {"owner": 1}})
    me = await provider.me(pot)
    assert me in await everyone(provider, pot)
    assert (me.role, me.status) == (Role.OWNER, Status.ACTIVE)
    _, provider = zoom(generate={"count": 5})
    assert await provider.me(pot) is None


@pytest.mark.parametrize(
    ("kind", "login"),
    [
        ("normal", Login(resettable=True)),
        ("inactive", Login(resettable=True)),
        ("sso", Login(resettable=False, reason="signs in by SSO only", sso=True)),
        ("google", Login(resettable=False, reason="signs in with Google")),
        ("pending", Login(resettable=False, reason="the invitation is pending")),
        ("missing", None),
    ],
)
async def test_a_login_foretells_the_answer(zoom, transport, pot, kind, login):
    """Who is said to be resettable takes a password, and nobody else does."""
    _, provider = zoom(users=[{"id": "u", "email": "u@example.com", "kind": kind}])
    assert await provider.login("u@example.com", pot) == login
    call = provider.set_password("u@example.com", Secret("Xk7!mRw2qPz9"))
    answer = await transport.send(call, provider.auth.headers())
    outcome = provider.classify(answer, now=datetime.now(UTC)).outcome
    assert (outcome is Outcome.OK) == (login is not None and login.resettable)


async def test_a_whole_zendesk_account_is_listed(zendesk, pot):
    """The listing brings everybody with the role, and as many as Zendesk itself counts."""
    kinds = {"owner": 1, "admin": 1, "agent": 3, "suspended": 2, "missing": 1}
    _, provider = zendesk(generate={"count": 250, "kinds": kinds, "groups": ["7"]})
    users = await everyone(provider, pot)
    assert len(users) == len({user.user_id for user in users}) == await provider.headcount(pot) == 249
    roles = [user.role for user in users]
    assert (roles.count(Role.ADMIN), roles.count(Role.AGENT), roles.count(Role.OWNER)) == (2, 3, 0)
    assert [user.status for user in users].count(Status.SUSPENDED) == 2
    assert {user.groups for user in users} == {("7",)}


async def test_sessions_end_at_both(zoom, zendesk, transport):
    """A revocation lands at its user, and a stranger is told from one."""
    zoom_tenant, at_zoom = zoom(users=[{"id": "u", "email": "u@example.com", "kind": "sso", "sessions": 2}])
    desk_tenant, at_zendesk = zendesk(users=[{"id": 5, "email": "u@example.com"}])
    now = datetime.now(UTC)
    for tenant, provider, ref, stranger in (
        (zoom_tenant, at_zoom, "U@example.com", "nobody"),
        (desk_tenant, at_zendesk, "5", "6"),
    ):
        await provider.auth.prepare()
        outcomes = []
        for name in (ref, stranger):
            answer = await transport.send(provider.revoke_sessions(name), provider.auth.headers())
            outcomes.append(provider.classify_revocation(answer, now=now).outcome)
        assert outcomes == [Outcome.OK, Outcome.USER_NOT_FOUND]
        (user,) = tenant.users
        assert (user.sessions, user.revoked) == (0, 1)


async def test_a_lost_answer_to_a_revocation_is_harmless(zoom, transport):
    """Sessions that have ended already end again: an unclear revocation can always be repeated."""
    tenant, provider = zoom(users=[{"id": "u", "email": "u@example.com"}])
    await provider.auth.prepare()
    verdicts = []
    for _ in range(2):
        answer = await transport.send(provider.revoke_sessions("u"), provider.auth.headers())
        verdicts.append(provider.classify_revocation(answer, now=datetime.now(UTC) + timedelta(seconds=1)))
    assert [verdict.outcome for verdict in verdicts] == [Outcome.OK, Outcome.OK]
    assert tenant.users[0].revoked == 2

"""Zoom's login, against a scripted answer and a clock that moves when told."""

import asyncio
import json
from base64 import b64decode

import pytest

from bulkreset.errors import ProviderRefused, ProviderUnavailable
from bulkreset.providers.answers import WEB_PAGE
from bulkreset.providers.base import Answer
from bulkreset.providers.credentials import Credential
from bulkreset.providers.no_answer import Unclear, Unreachable
from bulkreset.providers.tokens import TokenAuth
from bulkreset.providers.zoom.auth import ZoomGrant
from bulkreset.secret import Secret

SECRET = "client-secret-value"


def granted(token="token-1", expires_in=3600, **more):
    told = {"access_token": token, "token_type": "bearer", "expires_in": expires_in} | more
    return Answer(200, {}, json.dumps(told).encode())


class Login:
    """Answers logins one after the other, when the gate is open."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.calls = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.started = asyncio.Event()

    async def post_form(self, url, headers, form):
        self.calls.append((url, headers, form))
        self.started.set()
        await self.gate.wait()
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


def auth_on(login, clock):
    grant = ZoomGrant(
        oauth_url="https://zoom.example/oauth/token",
        account_id="acc",
        client_id=Credential(Secret("client")),
        client_secret=Credential(Secret(SECRET)),
        transport=login,
    )
    return TokenAuth(account="zoom-prod", grant=grant, monotonic=clock.monotonic)


async def test_the_login_is_the_documented_one(clock):
    """Basic credentials, the grant in the body, nothing in the address; the token goes on requests."""
    login = Login(granted(scope="user:write:admin account:read:admin", api_url="https://evil.example"))
    auth = auth_on(login, clock)
    await auth.prepare()
    ((url, headers, form),) = login.calls
    assert url == "https://zoom.example/oauth/token"
    scheme, _, credentials = headers["Authorization"].partition(" ")
    assert (scheme, b64decode(credentials)) == ("Basic", f"client:{SECRET}".encode())
    assert form == {"grant_type": "account_credentials", "account_id": "acc"}
    assert auth.headers() == {"Authorization": "Bearer token-1"}
    assert auth.scopes == {"user:write:admin", "account:read:admin"}
    assert auth.generation == 1


async def test_a_token_is_used_until_a_minute_before_its_end(clock):
    """One login serves an hour less a minute, then the next one replaces it."""
    login = Login(granted("token-1"), granted("token-2"))
    auth = auth_on(login, clock)
    await auth.prepare()
    clock.advance(3539)
    await auth.prepare()
    assert len(login.calls) == 1
    clock.advance(1)
    await auth.prepare()
    assert auth.headers() == {"Authorization": "Bearer token-2"}
    assert (auth.generation, len(login.calls)) == (2, 2)


async def test_a_short_lived_token_is_not_renewed_at_every_call(clock):
    """A token that lives for less than two minutes is renewed at half its life."""
    login = Login(granted(expires_in=40), granted())
    auth = auth_on(login, clock)
    await auth.prepare()
    clock.advance(19)
    await auth.prepare()
    assert len(login.calls) == 1
    clock.advance(1)
    await auth.prepare()
    assert len(login.calls) == 2


async def test_callers_without_a_token_share_one_login(clock):
    """Any number of callers at once cause one login, and all have its token."""
    login = Login(granted())
    auth = auth_on(login, clock)
    login.gate.clear()
    callers = [asyncio.create_task(auth.prepare()) for _ in range(50)]
    await login.started.wait()
    login.gate.set()
    await asyncio.gather(*callers)
    assert len(login.calls) == 1


async def test_callers_share_a_login_that_failed(clock):
    """A refused login is not asked for again by each of those who waited for it."""
    login = Login(Answer(401, {}, b'{"reason": "Invalid client_id or client_secret", "error": "invalid_client"}'))
    auth = auth_on(login, clock)
    login.gate.clear()
    callers = [asyncio.create_task(auth.prepare()) for _ in range(50)]
    await login.started.wait()
    login.gate.set()
    faults = await asyncio.gather(*callers, return_exceptions=True)
    assert {type(fault) for fault in faults} == {ProviderRefused}
    assert len(login.calls) == 1


async def test_nobody_waits_for_a_renewal_while_the_old_token_serves(clock):
    """In the last minute one caller renews and the others go on with the token at hand."""
    login = Login(granted("token-1"), granted("token-2"))
    auth = auth_on(login, clock)
    await auth.prepare()
    clock.advance(3545)
    login.gate.clear()
    login.started.clear()
    renewal = asyncio.create_task(auth.prepare())
    await login.started.wait()
    await auth.prepare()
    assert auth.headers() == {"Authorization": "Bearer token-1"}
    login.gate.set()
    await renewal
    assert auth.headers() == {"Authorization": "Bearer token-2"}
    assert len(login.calls) == 2


async def test_a_renewal_that_fails_is_tried_again_while_the_old_token_serves(clock):
    """An outage of the login stops nothing until the token really ends."""
    away = Answer(503, {}, b"")
    login = Login(granted("token-1"), away, away, granted("token-2"))
    auth = auth_on(login, clock)
    await auth.prepare()
    clock.advance(3545)
    await auth.prepare()
    await auth.prepare()
    assert len(login.calls) == 2
    clock.advance(60)
    with pytest.raises(ProviderUnavailable, match="zoom-prod"):
        await auth.prepare()
    await auth.prepare()
    assert auth.headers() == {"Authorization": "Bearer token-2"}


async def test_only_the_current_token_can_be_dropped(clock):
    """A late 401 for an old token does not cost the new one."""
    login = Login(granted("token-1"), granted("token-2"))
    auth = auth_on(login, clock)
    await auth.prepare()
    auth.invalidate(1)
    auth.invalidate(1)
    await auth.prepare()
    auth.invalidate(1)
    await auth.prepare()
    assert auth.headers() == {"Authorization": "Bearer token-2"}
    assert len(login.calls) == 2


async def test_every_credential_is_masked(clock):
    """Secret, Basic credentials, the token and the one before it are all on the list to mask."""
    login = Login(granted("token-1"), granted("token-2"))
    auth = auth_on(login, clock)
    await auth.prepare()
    auth.invalidate(1)
    await auth.prepare()
    basic = login.calls[0][1]["Authorization"].removeprefix("Basic ")
    assert set(auth.secrets()) == {SECRET, basic, "token-1", "token-2"}
    assert "token" not in repr(vars(auth)["_token"])


@pytest.mark.parametrize(
    ("answer", "error", "words"),
    [
        (
            Answer(401, {}, b'{"reason": "Invalid client_id or client_secret", "error": "invalid_client"}'),
            ProviderRefused,
            "account 'zoom-prod': Zoom refused the login: invalid_client (Invalid client_id or client_secret)",
        ),
        (
            Answer(400, {}, b'{"reason": "Bad Request", "error": "invalid_request"}'),
            ProviderRefused,
            "account 'zoom-prod': Zoom refused the login: invalid_request (Bad Request); check account_id",
        ),
        (
            Answer(400, {}, b'{"code": 4717, "message": "disabled"}'),
            ProviderRefused,
            "account 'zoom-prod': Zoom refused the login: 4717 (disabled); activate the app in the Zoom App",
        ),
        (Answer(403, {}, b"{}"), ProviderRefused, "check client_id, client_secret, account_id"),
        (Answer(404, {}, b"<html>"), ProviderRefused, f"no answer of Zoom's login: {WEB_PAGE}; check oauth_url"),
        (Answer(302, {}, b""), ProviderRefused, "check oauth_url"),
        (Answer(429, {}, b'{"code": 429, "message": "slow down"}'), ProviderUnavailable, "429 (slow down)"),
        (Answer(500, {}, b""), ProviderUnavailable, "HTTP 500; try again later"),
        (Answer(200, {}, b"{}"), ProviderUnavailable, "holds no token"),
        (
            Answer(200, {}, b"<html>"),
            ProviderUnavailable,
            f"no token (HTTP 200): {WEB_PAGE}; check oauth_url",
        ),
        (granted("to\nken"), ProviderUnavailable, "holds no token"),
        (Unreachable("zoom.example: refused"), ProviderUnavailable, "zoom.example: refused; try again later"),
        (Unclear("zoom.example: lost"), ProviderUnavailable, "zoom.example: lost"),
    ],
)
async def test_a_login_that_fails_says_whose_turn_it_is(clock, answer, error, words):
    """A refusal is told from an outage, and says in one line what to check."""
    auth = auth_on(Login(answer), clock)
    with pytest.raises(error) as caught:
        await auth.prepare()
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.__context__ is None


async def test_a_refusal_that_echoes_the_secret_is_masked(clock):
    """Nothing that the login answers can carry a credential into an error."""
    echo = json.dumps({"error": "invalid_client", "reason": f"{SECRET} is wrong"}).encode()
    with pytest.raises(ProviderRefused) as caught:
        await auth_on(Login(Answer(400, {}, echo)), clock).prepare()
    assert SECRET not in str(caught.value)

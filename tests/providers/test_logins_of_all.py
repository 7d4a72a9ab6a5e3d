"""Logins that renew themselves: what holds at every provider, for time, callers, refusals and changed files."""

import asyncio
import json
import os

import pytest

from bulkreset.errors import ProviderRefused, ProviderUnavailable
from bulkreset.providers.base import Answer
from bulkreset.providers.credentials import Credential
from bulkreset.providers.no_answer import Unreachable
from bulkreset.providers.tokens import TokenAuth
from bulkreset.providers.zendesk.auth import ZendeskGrant
from bulkreset.providers.zoom.auth import ZoomGrant
from bulkreset.secret import Secret
from bulkreset.settings import SecretSource

LIFE = {"zoom": 3600, "zendesk": 1800}


class Logins:
    """Answers logins one after the other, and keeps the secret that each came with."""

    def __init__(self):
        self.answers = []
        self.secrets = []
        self.asked = []

    async def post_form(self, url, headers, form):
        from base64 import b64decode

        self.asked.append((url, dict(form)))
        return self._answer(b64decode(headers["Authorization"].removeprefix("Basic ")).decode().partition(":")[2])

    async def post_grant(self, url, fields):
        self.asked.append((url, dict(fields)))
        return self._answer(fields["client_secret"])

    def _answer(self, secret):
        self.secrets.append(secret)
        answer = self.answers.pop(0) if self.answers else granted(len(self.secrets))
        if isinstance(answer, Exception):
            raise answer
        return answer


def granted(number, **more):
    return Answer(200, {}, json.dumps({"access_token": f"token-{number}", "expires_in": 600} | more).encode())


def refused(error="invalid_client", status=401):
    return Answer(status, {}, json.dumps({"error": error, "error_description": "no, thanks"}).encode())


@pytest.fixture(params=["zoom", "zendesk"])
def provider(request):
    return request.param


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "secret"
    write(path, "first")
    return path


@pytest.fixture
def logins():
    return Logins()


@pytest.fixture
def auth(provider, logins, clock, file, tmp_path):
    secret = Credential.read(SecretSource(file=file.name), tmp_path, "accounts.a.client_secret")
    if provider == "zoom":
        grant = ZoomGrant(
            oauth_url="https://zoom.example/oauth/token",
            account_id="acc",
            client_id=Credential(Secret("client")),
            client_secret=secret,
            transport=logins,
        )
    else:
        grant = ZendeskGrant(
            url="https://acme.zendesk.example/",
            client_id=Credential(Secret("client")),
            client_secret=secret,
            lifetime_s=None,
            transport=logins,
        )
    return TokenAuth(account="a", grant=grant, monotonic=clock.monotonic)


def write(path, text):
    """Put another file in the place of one, as an editor does."""
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as out:
        out.write(text)


def token_of(auth):
    return auth.headers()["Authorization"]


async def test_a_token_is_renewed_a_minute_early(auth, logins, clock):
    """One login serves until a minute before the token's end."""
    await auth.prepare()
    clock.advance(539)
    await auth.prepare()
    assert len(logins.asked) == 1
    clock.advance(1)
    await auth.prepare()
    assert token_of(auth) == "Bearer token-2"


async def test_a_refused_token_is_replaced_once(auth, logins):
    """After a 401 the next call has a fresh token; a late 401 for the old one costs nothing."""
    await auth.prepare()
    generation = auth.generation
    auth.invalidate(generation)
    await auth.prepare()
    auth.invalidate(generation)
    await auth.prepare()
    assert (token_of(auth), len(logins.asked)) == ("Bearer token-2", 2)


async def test_many_callers_make_one_login(auth, logins):
    """Whoever waits for a login shares it."""
    await asyncio.gather(*(auth.prepare() for _ in range(50)))
    assert len(logins.asked) == 1


@pytest.mark.parametrize("told", [None, 0, -1, "x", True, [], 1e308])
async def test_an_end_that_is_not_told_is_taken_as_short(auth, logins, clock, told, provider):
    """What says nothing about the token's life counts as the shortest documented one, and not as none."""
    logins.answers = [granted(1, expires_in=told)]
    await auth.prepare()
    clock.advance({"zoom": 3600, "zendesk": 300}[provider] - 61)
    await auth.prepare()
    assert len(logins.asked) == 1
    clock.advance(1)
    await auth.prepare()
    assert len(logins.asked) == 2


@pytest.mark.parametrize("told", [600, "600", 600.0])
async def test_an_end_is_read_in_every_form(auth, logins, clock, told):
    """A number, a number with a fraction of nothing, and a number as text are the same life."""
    logins.answers = [granted(1, expires_in=told)]
    await auth.prepare()
    clock.advance(539)
    await auth.prepare()
    assert len(logins.asked) == 1
    clock.advance(1)
    await auth.prepare()
    assert len(logins.asked) == 2


async def test_a_new_secret_in_the_file_is_logged_in_with(auth, logins, file):
    """A changed file ends the token: the next call has one of the new secret."""
    await auth.prepare()
    write(file, "second")
    assert token_of(auth) == "Bearer token-1"
    await auth.prepare()
    assert logins.secrets == ["first", "second"]
    assert token_of(auth) == "Bearer token-2"


async def test_a_file_that_is_only_touched_costs_no_login(auth, logins, file):
    """The same secret again is the same credential."""
    await auth.prepare()
    write(file, "first")
    await auth.prepare()
    assert len(logins.asked) == 1


async def test_a_refused_login_reads_the_file_for_the_next(auth, logins, file):
    """A wrong secret is corrected in its file, and nowhere else."""
    logins.answers = [refused()]
    with pytest.raises(ProviderRefused, match="check client_id"):
        await auth.prepare()
    write(file, "second")
    await auth.prepare()
    assert logins.secrets == ["first", "second"]


async def test_a_file_that_is_away_stops_nothing_while_the_secret_serves(auth, logins, clock, file):
    """What was read before is used for renewals; an editor's half-written file is no secret."""
    await auth.prepare()
    file.unlink()
    await auth.prepare()
    write(file, "")
    await auth.prepare()
    assert len(logins.asked) == 1
    clock.advance(599)
    await auth.prepare()
    assert logins.secrets == ["first", "first"]


async def test_a_file_that_is_away_after_a_refusal_is_named(auth, logins, file):
    """One line with the refusal and the file; nothing else breaks, and the file's return mends it."""
    file.unlink()
    logins.answers = [refused()]
    with pytest.raises(ProviderRefused, match=r"refused the login.*no such secret file") as caught:
        await auth.prepare()
    assert "\n" not in str(caught.value)
    write(file, "second")
    await auth.prepare()
    assert logins.secrets == ["first", "second"]


async def test_both_secrets_are_masked_after_a_change(auth, logins, file):
    """A late answer may still name the old one."""
    await auth.prepare()
    write(file, "second")
    await auth.prepare()
    assert {"first", "second", "token-1", "token-2"} <= set(auth.secrets())


async def test_an_outage_is_no_refusal(auth, logins):
    """What cannot be reached is tried again later and says nothing about the credentials."""
    logins.answers = [Unreachable("x.example: refused"), Answer(429, {}, b"slow"), Answer(503, {}, b"<html>")]
    for _ in range(3):
        with pytest.raises(ProviderUnavailable, match="try again later"):
            await auth.prepare()
    await auth.prepare()


async def test_a_captive_portal_at_the_login_names_the_address(auth, logins, provider):
    """A page, a redirect or a path that is not there is of the address and not of the secret."""
    setting = "oauth_url" if provider == "zoom" else "subdomain or api_url"
    page = Answer(200, {"content-type": "text/html"}, b"<html>Sign in to GuestWifi</html>")
    away = Answer(404, {}, b'{"error": "InvalidEndpoint", "description": "Not found"}')
    method = Answer(405, {}, b'{"message": "Method Not Allowed"}')
    network = Answer(511, {}, b"")
    logins.answers = [page, network, away, method, Answer(302, {"location": "https://portal.example"}, b"")]
    while logins.answers:
        portal = logins.answers[0] in (page, network)
        with pytest.raises((ProviderRefused, ProviderUnavailable), match=f"check {setting}") as caught:
            await auth.prepare()
        assert ("captive portal" in str(caught.value)) is portal


@pytest.mark.parametrize("status", [200, 400, 401, 403, 404])
async def test_a_refusal_that_has_a_name_is_one_under_any_status(auth, logins, status):
    """`invalid_client` is of the client and not of the address, even where it comes as a success."""
    logins.answers = [refused(status=status)]
    with pytest.raises(ProviderRefused, match=r"no, thanks.*client_id"):
        await auth.prepare()


@pytest.mark.parametrize("told", ["read write", "read,write", ["read", "write"], ["read write"]])
async def test_scopes_are_read_in_every_form(auth, logins, told):
    """One text, or a list of texts."""
    logins.answers = [granted(1, scope=told)]
    await auth.prepare()
    assert auth.scopes == {"read", "write"}


@pytest.mark.parametrize("told", [None, "", 7.5, {}, [], [None, {}], True])
async def test_scopes_that_are_not_told_are_none(auth, logins, told):
    """What is no text names no scope, and stops no login."""
    logins.answers = [granted(1, scope=told)]
    await auth.prepare()
    assert auth.scopes == frozenset()


ADVICE = {
    "zoom": {
        "invalid_client": "client_id and client_secret",
        "invalid_grant": "check account_id",
        "unauthorized_client": "Server-to-Server OAuth",
        "4700": "unexpected",
        "4706": "without a client or a grant",
        "4717": "activate the app",
        "4735": "owner has left",
        "4738": "disabled the app",
        "4741": "was revoked",
        "odd": "check client_id, client_secret, account_id",
    },
    "zendesk": {
        "invalid_client": "unique identifier",
        "invalid_grant": "confidential",
        "unauthorized_client": "confidential",
        "unsupported_grant_type": "client-credentials grant",
        "invalid_scope": "allowed scopes",
        "invalid_request": "token_lifetime",
        "invalid_token": "unique identifier",
        "odd": "unique identifier",
    },
}


async def test_each_documented_refusal_has_its_own_advice(auth, logins, provider):
    """By name or number, in each form that the two can have; the provider's own reason is in the line."""
    for name, words in ADVICE[provider].items():
        forms = [{"error": name, "error_description": "because"}, {"error": name, "reason": "because"}]
        forms += [{"code": name, "message": "because"}, {"errorCode": name, "errorMessage": "because"}]
        for form in forms:
            logins.answers = [Answer(400, {}, json.dumps(form).encode())]
            with pytest.raises(ProviderRefused) as caught:
                await auth.prepare()
            assert f"{name} (because)" in str(caught.value)
            assert words in str(caught.value)


async def test_zendesks_login_is_the_documented_one(logins, clock):
    """A JSON object with the grant, both scopes, and the life that is wanted: without it no end is told."""
    for lifetime, asked in ((None, 1800), (86_400, 86_400)):
        grant = ZendeskGrant(
            url="https://acme.zendesk.example/",
            client_id=Credential(Secret("client")),
            client_secret=Credential(Secret("secret")),
            lifetime_s=lifetime,
            transport=logins,
        )
        await TokenAuth(account="a", grant=grant, monotonic=clock.monotonic).prepare()
        url, fields = logins.asked[-1]
        assert url == "https://acme.zendesk.example/oauth/tokens"
        assert fields == {
            "grant_type": "client_credentials",
            "client_id": "client",
            "client_secret": "secret",
            "scope": "read write",
            "expires_in": asked,
        }

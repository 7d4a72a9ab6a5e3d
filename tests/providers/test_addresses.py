"""A wrong address, another product, or a page in between: named as that at every provider, and nothing else."""

import json
from datetime import UTC, datetime

import pytest
from zoom_account import build as build_zoom

from bulkreset.errors import ProviderUnavailable
from bulkreset.model import Outcome
from bulkreset.providers.base import Answer
from bulkreset.providers.reads import WrongAddress
from bulkreset.providers.zendesk.account import Zendesk
from bulkreset.secret import Secret

PAGE = b"<!DOCTYPE html><html><body>Sign in to GuestWifi</body></html>"
TOKEN = json.dumps({"access_token": "t", "expires_in": 3600, "scope": "user:write:admin user:read:admin"}).encode()

IN_ITS_PLACE = {
    "a page": ("200 OK", PAGE, "text/html"),
    "a page that says it is JSON": ("200 OK", PAGE, "application/json"),
    "a page that refuses": ("403 Forbidden", PAGE, "text/html"),
    "a page for the login": ("401 Unauthorized", PAGE, "text/html"),
    "a page that is not there": ("404 Not Found", PAGE, "text/html"),
    "a network's login": ("511 Network Authentication Required", PAGE, "text/html"),
    "plain text": ("200 OK", b"It works!", "text/plain"),
    "nothing": ("200 OK", b"", "application/json"),
    "a redirect": ("302 Found", b"", "text/html"),
    "no such API": ("404 Not Found", b'{"error": "InvalidEndpoint", "code": 2300}', "application/json"),
    "no such path": ("404 Not Found", b'{"message": "Not Found"}', "application/json"),
    "another product's login": ("401 Unauthorized", b'{"message": "Unauthenticated."}', "application/json"),
    "another product's refusal": ("403 Forbidden", b'{"reason": "no licence"}', "application/json"),
    "another product": ("200 OK", b'{"ok": true, "version": "9.1"}', "application/json"),
}


@pytest.fixture(params=["zoom", "zendesk"])
async def account(request, raw_server, http_answer, transport, clock):
    """A provider whose login works and whose API is something else, as `answers` says."""
    answers = []

    async def answer(asked, writer):
        if "/oauth/" in asked.target and "current" not in asked.target:
            writer.write(http_answer("200 OK", TOKEN))
            return
        writer.write(http_answer(*(answers.pop(0) if len(answers) > 1 else answers[0])))

    async with raw_server(answer) as server:
        if request.param == "zoom":
            provider = build_zoom(server.url, transport, clock)
        else:
            provider = Zendesk(
                account="zendesk-test",
                api_url=server.url,
                client_id=Secret("client"),
                client_secret=Secret("client-secret"),
                transport=transport,
                monotonic=clock.monotonic,
                sleep=clock.sleep,
                clock=clock.now,
            )
        yield provider, answers, server


@pytest.mark.parametrize("what", IN_ITS_PLACE)
async def test_the_check_names_the_address(account, pot, what, clock):
    """One finding fails, of the address, at once, and no word of it is about scopes or users."""
    provider, answers, _ = account
    answers.append(IN_ITS_PLACE[what])
    failures = [finding for finding in (await provider.check(pot)).findings if not finding.ok]
    (finding,) = failures
    assert finding.topic == "address"
    assert "api_url" in finding.detail
    assert "scope" not in finding.detail
    assert "\n" not in finding.detail
    assert not clock.slept


@pytest.mark.parametrize("what", [what for what in IN_ITS_PLACE if what != "another product"])
async def test_a_read_names_the_address(account, pot, what):
    """Policy, listing and count end with it as well, and make no guess."""
    provider, answers, _ = account
    answers.append(IN_ITS_PLACE[what])
    for read in (provider.policy, provider.headcount, provider.me):
        with pytest.raises(WrongAddress, match="api_url"):
            await read(pot)
    with pytest.raises(WrongAddress, match="api_url"):
        await anext(provider.directory(pot))


async def test_a_page_in_the_middle_may_pass(account, pot, clock):
    """Once the API was heard from, a page in its place is waited for like an outage."""
    provider, answers, _ = account
    users = json.dumps({"users": [], "total_records": 3, "count": {"value": 3}}).encode()
    good = ("200 OK", users, "application/json")
    answers += [good] * 3
    await provider.headcount(pot)
    answers[:] = [IN_ITS_PLACE["a page"], good]
    assert await provider.headcount(pot) in (3, 9)
    assert clock.slept == [1]
    answers[:] = [IN_ITS_PLACE["a page"]]
    with pytest.raises(ProviderUnavailable, match="a web page in place of"):
        await provider.headcount(pot)


@pytest.mark.parametrize("status", ["408 Request Timeout", "409 Conflict", "429 Too Many Requests"])
async def test_a_page_that_asks_to_wait_is_waited_for(account, pot, clock, status):
    """A gateway's page about too many calls or a slow one is of no address: the read is made again."""
    provider, answers, _ = account
    users = json.dumps({"users": [], "total_records": 3, "count": {"value": 3}}).encode()
    answers[:] = [(status, PAGE, "text/html"), ("200 OK", users, "application/json")]
    assert await provider.headcount(pot) in (3, 9)
    assert clock.slept == [1]


async def test_a_byte_order_mark_is_of_no_other_product(account, pot):
    """JSON that begins with the mark is read as JSON."""
    provider, answers, _ = account
    users = json.dumps({"users": [], "total_records": 3, "count": {"value": 3}}).encode()
    answers[:] = [("200 OK", b"\xef\xbb\xbf" + users, "application/json")]
    assert await provider.headcount(pot) in (3, 9)


@pytest.mark.parametrize(
    "body",
    [b'{"error": "InvalidEndpoint", "description": "Not found"}', b'{"code": 2300}', b"{}", PAGE, b""],
)
async def test_a_404_of_the_address_is_of_no_user(account, body):
    """A write that finds no API says nothing about its user: it is unknown, and says what to check."""
    provider, _, _ = account
    answer = Answer(404, {}, body)
    now = datetime(2026, 11, 22, tzinfo=UTC)
    for classify in (provider.classify, provider.classify_revocation):
        verdict = classify(answer, now=now)
        assert verdict.outcome is Outcome.UNKNOWN
        if body.startswith(b"{"):
            assert "check api_url" in verdict.message

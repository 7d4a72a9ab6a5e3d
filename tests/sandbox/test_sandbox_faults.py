import asyncio

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sandbox_client import until

from bulkreset.sandbox import SpecError, parse_rule
from bulkreset.sandbox.directory import digest_of
from bulkreset.sandbox.faults import FaultScript

GOOD = "Xk7!mRw2qPz9"
USER = "-normal_id-22-chars-ab"


def script(client, *rules):
    client.tenant.faults.add([parse_rule(rule) for rule in rules])


def stands(client):
    return client.tenant.directory.by_id(USER).password_sha256 == digest_of(GOOD)


@pytest.mark.parametrize("applied", [False, True])
@pytest.mark.parametrize("status", [500, 502, 503])
async def test_a_server_error_may_stand_or_not(zoom, status, applied):
    """A 5xx comes as JSON or HTML, and the password behind it is set or not, as the rule says."""
    api = await zoom()
    script(api, {"kind": "5xx", "status": status, "applied": applied, "html": status == 502})
    answer = await api.put(USER, GOOD)
    assert answer.status == status
    assert answer.headers["Content-Type"].startswith("text/html" if status == 502 else "application/json")
    assert stands(api) is applied
    call = api.tenant.log.calls[-1]
    assert (call.fault, call.applied, call.status) == ("5xx", applied, status)


@pytest.mark.parametrize(
    ("rule", "header"),
    [
        ({}, "2"),
        ({"retry_after": 7}, "7"),
        ({"retry_after": 7, "form": "http_date"}, "Tue, 14 Nov 2023 22:13:27 GMT"),
        ({"retry_after": 7, "form": "iso"}, "2023-11-14T22:13:27Z"),
    ],
)
async def test_maintenance_tells_when_to_return(zendesk, rule, header):
    """A 503 carries Retry-After in the form asked for."""
    api = await zendesk()
    script(api, {"kind": "503_retry_after", **rule})
    answer = await api.post(101, GOOD)
    assert (answer.status, answer.headers["Retry-After"]) == (503, header)


async def test_a_slow_call_is_answered_late(zoom, naps):
    """A slow call takes the seconds of its rule and is then served as ever."""
    api = await zoom()
    script(api, {"kind": "slow", "seconds": 7.5})
    assert (await api.put(USER, GOOD)).status == 204
    assert naps.asked == [7.5]
    assert stands(api)


async def test_a_slow_write_lands_after_its_client_left(zoom, naps):
    """A client that gives up does not stop the work: the write lands behind its back."""
    api = await zoom()
    naps.free.clear()
    script(api, {"kind": "slow", "seconds": 7.5})
    impatient = asyncio.create_task(api.put(USER, GOOD))
    await until(lambda: naps.asked == [7.5])
    call = api.tenant.log.calls[-1]
    impatient.cancel()
    await until(lambda: not call.open)
    assert (call.status, call.applied, stands(api)) == (None, False, False)
    naps.free.set()
    await until(lambda: call.applied)
    assert stands(api)


@pytest.mark.parametrize("applied", [False, True])
async def test_a_hanging_call_ends_with_its_client(zoom, applied):
    """A hanging call never answers, applied or not, and ends when the client leaves."""
    api = await zoom()
    script(api, {"kind": "hang", "applied": applied})
    waiting = asyncio.create_task(api.put(USER, GOOD))
    await until(lambda: api.tenant.log.calls[-1].fault == "hang" and stands(api) is applied)
    call = api.tenant.log.calls[-1]
    assert call.open
    waiting.cancel()
    await until(lambda: not call.open)
    assert (call.status, stands(api)) == (None, applied)


async def test_a_hanging_call_does_not_stop_the_sandbox_from_stopping(zoom, sandbox):
    """Stopping the sandbox drops the calls that hang."""
    api = await zoom()
    script(api, {"kind": "hang"})
    waiting = asyncio.create_task(api.put(USER, GOOD))
    await until(lambda: api.tenant.log.calls[-1].fault == "hang")
    await sandbox.stop()
    with pytest.raises(aiohttp.ClientError):
        await waiting


async def test_an_applied_write_loses_its_answer(zoom):
    """The password stands and the connection ends without a single byte."""
    api = await zoom()
    script(api, {"kind": "apply_drop", "times": 1})
    with pytest.raises(aiohttp.ServerDisconnectedError):
        await api.put(USER, GOOD)
    assert stands(api)
    call = api.tenant.log.calls[-1]
    assert (call.status, call.applied, call.fault) == (None, True, "apply_drop")
    assert (await api.put(USER, GOOD)).json["code"] == 300


async def test_a_reset_connection_applies_nothing(zoom):
    """The connection is reset before the body is read, and the password stays."""
    api = await zoom()
    script(api, {"kind": "reset", "times": 1})
    with pytest.raises((ConnectionResetError, aiohttp.ClientOSError)):
        await api.put(USER, GOOD)
    assert not stands(api)
    assert (await api.put(USER, GOOD)).status == 204


@pytest.mark.parametrize(
    ("kind", "status", "content_type", "applied"),
    [
        ("malformed", 200, "application/json", True),
        ("malformed_error", 400, "application/json", False),
        ("wrong_type", 200, "text/html", True),
    ],
)
async def test_unreadable_answers(zoom, kind, status, content_type, applied):
    """An answer can be cut off or of another type, over a write that stands or does not."""
    api = await zoom()
    script(api, {"kind": kind})
    answer = await api.put(USER, GOOD)
    assert answer.status == status
    assert answer.headers["Content-Type"].startswith(content_type)
    with pytest.raises(ValueError, match="line 1"):
        _ = answer.json
    assert stands(api) is applied


@pytest.mark.parametrize(
    ("kind", "zoom_code", "zendesk_error"),
    [
        ("401", 124, "Couldn't authenticate you"),
        ("403", 200, "Forbidden"),
        ("408", 408, "RequestTimeout"),
        ("409", 409, "Conflict"),
    ],
)
async def test_refusals_speak_the_language_of_the_provider(zoom, zendesk, kind, zoom_code, zendesk_error):
    """Each refusal has the status of its name and the provider's own body, and applies nothing."""
    api, desk = await zoom(), await zendesk()
    for client in (api, desk):
        script(client, {"kind": kind})
    answer, other = await api.put(USER, GOOD), await desk.post(101, GOOD)
    assert (answer.status, answer.json["code"]) == (int(kind), zoom_code)
    error = other.json["error"]
    assert (other.status, error["title"] if isinstance(error, dict) else error) == (int(kind), zendesk_error)
    assert not stands(api)


async def test_a_429_out_of_the_blue(zoom, zendesk):
    """A 429 can come below the limit, daily or not, with a Retry-After of its own."""
    api, desk = await zoom(), await zendesk()
    script(
        api,
        {"kind": "429", "times": 1},
        {"kind": "429", "daily": True, "times": 1},
        {"kind": "429", "retry_after": 3},
    )
    script(desk, {"kind": "429", "retry_after": 93})
    first, second, third = [await api.put(USER, GOOD) for _ in range(3)]
    assert (first.status, first.headers["X-RateLimit-Type"]) == (429, "QPS")
    assert second.headers["Retry-After"] == "2023-11-15T00:00:00Z"
    assert third.headers["Retry-After"] == "3"
    assert (await desk.post(101, GOOD)).headers["retry-after"] == "93"


async def test_a_fault_counts_against_the_limit(zoom):
    """A call that a fault hits has passed the limit first; one above the limit meets no fault."""
    api = await zoom(limit=1)
    script(api, {"kind": "5xx"})
    assert [(await api.put(USER, GOOD)).status for _ in range(2)] == [500, 429]


async def test_a_fault_comes_after_the_credentials(zoom):
    """Without a token there is 401 and no fault."""
    api = await zoom()
    script(api, {"kind": "5xx"})
    api.headers = {}
    assert (await api.put(USER, GOOD)).status == 401


async def test_where_a_fault_strikes(zoom):
    """By default only password writes are hit; `any` hits every call, and `token` the OAuth endpoint."""
    api = await zoom()
    script(api, {"kind": "5xx"})
    assert (await api.call("GET", "/v2/users")).status == 200
    script(api, {"kind": "5xx", "on": "token", "status": 503})
    assert (await api.call("POST", "/oauth/token")).status == 503
    script(api, {"kind": "5xx", "on": "any", "status": 502})
    assert (await api.call("GET", "/v2/users")).status == 502


async def test_a_fault_for_some_users(zoom):
    """A rule with users hits them by id, by e-mail address, and by what was asked for."""
    api = await zoom()
    script(api, {"kind": "5xx", "users": ["ada@example.com", "nobody"]})
    assert (await api.put(USER, GOOD)).status == 500
    assert (await api.put("nobody", GOOD)).status == 500
    assert (await api.put("sso-id", GOOD)).status == 400


def hits(seed, rule, calls=200):
    faults = FaultScript(seed)
    faults.add([parse_rule(rule)])
    return [faults.pick("writes", ("u",)) is not None for _ in range(calls)]


@given(seed=st.integers(), share=st.floats(0, 1))
def test_a_share_is_repeatable(seed, share):
    """The same seed always hits the same calls; a share of 0 hits none and of 1 all."""
    rule = {"kind": "5xx", "share": share}
    assert hits(seed, rule) == hits(seed, rule)
    assert not any(hits(seed, {"kind": "5xx", "share": 0}))
    assert all(hits(seed, {"kind": "5xx", "share": 1}))


def test_a_share_hits_about_so_many():
    """A share of 0.3 hits about 30 of 100 calls, for this seed."""
    assert 500 < sum(hits(7, {"kind": "5xx", "share": 0.3}, 2000)) < 700


@given(every=st.integers(1, 50), times=st.none() | st.integers(0, 9))
def test_every_and_times(every, times):
    """`every` hits each so-many-th call, and `times` bounds how many are hit."""
    struck = hits(0, {"kind": "5xx", "every": every, "times": times})
    wanted = [n for n in range(1, 201) if n % every == 0]
    assert [n for n, hit in enumerate(struck, 1) if hit] == (wanted if times is None else wanted[:times])


@pytest.mark.parametrize(
    ("rule", "word"),
    [
        ({"kind": "earthquake"}, "kind"),
        ({}, "kind"),
        ({"kind": "5xx", "chance": 1}, "chance"),
        ({"kind": "5xx", "share": 1.5}, "share"),
        ({"kind": "5xx", "every": 0}, "every"),
        ({"kind": "5xx", "every": 2, "share": 0.5}, "share"),
        ({"kind": "5xx", "on": "sundays"}, "on"),
        ({"kind": "5xx", "status": 404}, "status"),
        ({"kind": "503_retry_after", "form": "words"}, "form"),
        ({"kind": "reset", "applied": True}, "applied"),
    ],
)
def test_a_rule_that_makes_no_sense_is_refused(rule, word):
    """The key that is wrong is the first word of the message."""
    with pytest.raises(SpecError, match=f"^{word}:"):
        parse_rule(rule)

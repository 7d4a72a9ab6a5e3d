import json

import pytest
from sandbox_client import token

from bulkreset.sandbox import Generate, TenantSpec, generated_user
from bulkreset.sandbox.directory import digest_of

GOOD = "Xk7!mRw2qPz9"
USER = "-normal_id-22-chars-ab"


def lines(answer):
    return [json.loads(line) for line in answer.body.splitlines()]


async def test_a_tenant_is_made_and_removed(control, sandbox):
    """PUT makes a tenant or replaces it, and DELETE removes it."""
    made = await control.call("PUT", "/tenants/new", json={"provider": "zendesk", "generate": {"count": 3}})
    assert (made.status, made.json["users"], made.json["window_s"]) == (201, 3, 60)
    assert made.json["url"] == sandbox.url_of("new")
    assert (await control.call("PUT", "/tenants/new", json={"provider": "zoom"})).status == 200
    assert (await control.call("GET", "/tenants/new")).json["provider"] == "zoom"
    assert [item["name"] for item in (await control.call("GET", "/tenants")).json["tenants"]] == ["new"]
    assert (await control.call("DELETE", "/tenants/new")).status == 204
    assert (await control.call("GET", "/tenants/new")).status == 404


@pytest.mark.parametrize(
    ("spec", "word"),
    [
        ({}, "provider"),
        ({"provider": "slack"}, "provider"),
        ({"provider": "zoom", "name": "other"}, "name"),
        ({"provider": "zoom", "colour": "red"}, "colour"),
        ({"provider": "zoom", "limit": -1}, "limit"),
        ({"provider": "zoom", "limit": True}, "limit"),
        ({"provider": "zoom", "paid": 1}, "paid"),
        ({"provider": "zoom", "latency_ms": "fast"}, "latency_ms"),
        ({"provider": "zoom", "client_id": 7}, "client_id"),
        ({"provider": "zoom", "scopes": "user:write"}, "scopes"),
        ({"provider": "zoom", "rate_headers": "some"}, "rate_headers"),
        ({"provider": "zoom", "policy": {"length": 9}}, "policy"),
        ({"provider": "zoom", "users": [{"email": "x@y"}]}, "users"),
        ({"provider": "zoom", "users": [{"id": "1", "email": "x@y", "kind": "agent"}]}, "users"),
        ({"provider": "zoom", "users": [{"id": "1", "email": "a@b"}, {"id": "2", "email": "A@b"}]}, "users"),
        ({"provider": "zendesk", "users": [{"id": "x7", "email": "a@b"}]}, "users"),
        ({"provider": "zoom", "generate": {"count": 1, "kinds": {"sso": 2}}}, "generate"),
        ([], "body"),
    ],
)
async def test_a_wrong_spec_is_refused_by_its_key(control, spec, word):
    """The key that is wrong is the first word of the error, and nothing is made."""
    answer = await control.call("PUT", "/tenants/new", json=spec)
    assert answer.status == 400
    assert answer.json["error"].startswith(f"{word}:")
    assert (await control.call("GET", "/tenants/new")).status == 404


@pytest.mark.parametrize("name", ["Up", "_sandbox", "a%20b"])
async def test_names_are_plain(control, name):
    """A tenant's name fits into an address and cannot hide the control API."""
    assert (await control.call("PUT", f"/tenants/{name}", json={"provider": "zoom"})).status == 400


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "", 404),
        ("GET", "/clock", 404),
        ("GET", "/tenants/none/state", 404),
        ("POST", "/tenants/zoom-a/state", 404),
        ("POST", "/tenants/zoom-a", 405),
        ("GET", "/tenants/zoom-a/calls?since=x", 400),
        ("POST", "/clock", 400),
        ("POST", "/tenants/zoom-a/faults", 400),
    ],
)
async def test_calls_that_are_not_there(control, zoom, method, path, status):
    """An unknown control call, and one without what it needs, is refused in words."""
    await zoom()
    answer = await control.call(method, path, data=b"{}" if path == "/clock" else b"")
    assert answer.status == status
    assert answer.json["error"]


async def test_health(control, zoom):
    """The sandbox says that it is there, and whom it plays."""
    await zoom()
    assert (await control.call("GET", "/health")).json == {"status": "ok", "tenants": ["zoom-a"]}


async def test_settings_change_while_calls_come_in(control, zoom, zendesk):
    """A patch changes the limit, the policy and the setting, and keeps users and passwords."""
    api, desk = await zoom(), await zendesk()
    await api.put(USER, GOOD)
    patch = {"limit": 1, "rate_headers": "none", "policy": {"minimum_password_length": 14}}
    assert (await control.call("PATCH", "/tenants/zoom-a", json=patch)).json["limit"] == 1
    assert (await api.put(USER, GOOD)).status == 429  # the call before the patch still counts
    await control.call("PATCH", "/tenants/zoom-a", json={"limit": None})
    assert (await api.put(USER, GOOD)).json["code"] == 300
    assert (await api.put(USER, "Vb4?nTs8hLd3")).json["code"] == 1124
    await control.call("PATCH", "/tenants/desk-a", json={"password_setting": False})
    assert (await desk.post(101, GOOD)).status == 403


@pytest.mark.parametrize("key", ["name", "provider", "users", "generate", "seed"])
async def test_what_a_tenant_is_made_of_cannot_be_patched(control, zoom, key):
    """The users and the provider of a tenant stay."""
    await zoom()
    answer = await control.call("PATCH", "/tenants/zoom-a", json={key: "x"})
    assert (answer.status, answer.json["error"].partition(":")[0]) == (400, key)


async def test_all_tokens_are_revoked(control, zoom):
    """After `revoke_tokens` every token is 401, and a new one works with the new scopes."""
    api = await zoom()
    await control.call("PATCH", "/tenants/zoom-a", json={"revoke_tokens": True, "scopes": ["user:write:admin"]})
    assert (await api.put(USER, GOOD)).status == 401
    api.headers = {"Authorization": f"Bearer {await token(api)}"}
    assert (await api.put(USER, GOOD)).status == 204
    assert (await api.call("GET", "/v2/users")).json["code"] == 4711


async def test_latency(control, zoom, naps):
    """The latency is waited for after the work, before the answer."""
    api = await zoom()
    await control.call("PATCH", "/tenants/zoom-a", json={"latency_ms": 250})
    assert (await api.put(USER, GOOD)).status == 204
    assert naps.asked == [0.25]


async def test_faults_by_control(control, zoom):
    """Rules are added one by one or as a list, shown with how often they hit, and removed together."""
    api = await zoom()
    await control.call("POST", "/tenants/zoom-a/faults", json={"kind": "5xx", "times": 1})
    await control.call("POST", "/tenants/zoom-a/faults", json=[{"kind": "409"}])
    assert [(await api.put(USER, GOOD)).status for _ in range(2)] == [500, 409]
    shown = (await control.call("GET", "/tenants/zoom-a/faults")).json["faults"]
    assert [(rule["kind"], rule["seen"], rule["fired"]) for rule in shown] == [("5xx", 1, 1), ("409", 1, 1)]
    assert (await control.call("DELETE", "/tenants/zoom-a/faults")).status == 204
    assert (await api.put(USER, GOOD)).status == 204


async def test_the_clock_is_advanced_for_days_and_not_for_rates(control, zoom):
    """Advancing the clock ends tokens and leaves the rate window as it is."""
    api = await zoom(limit=1, token_ttl_s=100)
    await api.put(USER, GOOD)
    answer = await control.call("POST", "/clock", json={"advance_s": 99})
    assert answer.json == {"wall": 1_700_000_099.0, "monotonic": 5_000.0}
    assert (await api.put(USER, GOOD)).status == 429
    await control.call("POST", "/clock", json={"advance_s": 1})
    assert (await api.put(USER, GOOD)).status == 401


async def test_the_state_tells_what_became_of_each_user(control, zoom, sandbox):
    """Every user on the roster is there with the hash of the password, and never with the password."""
    api = await zoom()
    await api.put(USER, GOOD)
    sandbox.clock.advance(86_400)
    answer = await control.call("GET", "/tenants/zoom-a/state")
    assert answer.json["users"][USER] == {
        "email": "Ada@Example.com",
        "kind": "normal",
        "password_sha256": digest_of(GOOD),
        "changes": 1,
        "changes_24h": 0,
        "applied": 1,
        "sessions": 1,
        "revoked": 0,
        "listed": 0,
    }
    assert answer.json["counts"]["users"] == 6
    assert (answer.json["counts"]["applied"], answer.json["counts"]["users_changed"]) == (1, 1)
    assert GOOD.encode() not in answer.body


async def test_every_call_is_recorded(control, zoom):
    """The record has one line for each call that reached the tenant, in order, and no password."""
    api = await zoom(limit=1)
    traced = {"X-Request-Id": "r-1", "User-Agent": "tester"}
    await api.call("PUT", "/v2/users/ada%40example.com/password?x=y", headers=traced, json={"password": GOOD})
    await api.put(USER, GOOD)
    answer = await control.call("GET", "/tenants/zoom-a/calls")
    issued, written, refused = lines(answer)
    assert (issued["path"], issued["label"], issued["status"]) == ("/zoom-a/oauth/token", None, 200)
    assert written == {
        "seq": 2,
        "t": 5_000.0,
        "label": "Medium",
        "method": "PUT",
        "path": "/zoom-a/v2/users/ada%40example.com/password",
        "user": USER,
        "ref": "ada@example.com",
        "request_id": "r-1",
        "user_agent": "tester",
        "status": 204,
        "code": None,
        "fault": None,
        "applied": True,
        "password_sha256": digest_of(GOOD),
        "open": False,
    }
    assert (refused["status"], refused["code"], refused["applied"], refused["password_sha256"]) == (
        429,
        429,
        False,
        None,
    )
    assert GOOD.encode() not in answer.body
    assert [call["seq"] for call in lines(await control.call("GET", "/tenants/zoom-a/calls?since=2"))] == [3]


async def test_each_answer_names_its_line_in_the_record(zoom, zendesk):
    """The provider's own tracking header holds the number of the call."""
    api, desk = await zoom(), await zendesk()
    assert (await api.put(USER, GOOD)).headers["x-zm-trackingid"] == "sandbox-2"
    assert (await desk.post(101, GOOD)).headers["x-zendesk-request-id"] == "sandbox-1"


async def test_the_record_is_bounded(control, zoom):
    """With `keep_calls` only the last ones are kept, with 0 none; all are counted."""
    api = await zoom(keep_calls=2)
    for _ in range(3):
        await api.put(USER, GOOD)
    assert [call["seq"] for call in lines(await control.call("GET", "/tenants/zoom-a/calls"))] == [3, 4]
    await control.call("PATCH", "/tenants/zoom-a", json={"keep_calls": 0})
    await api.put(USER, GOOD)
    assert lines(await control.call("GET", "/tenants/zoom-a/calls")) == []
    assert (await control.call("GET", "/tenants/zoom-a/state")).json["counts"]["calls"] == 5


async def test_the_pace_is_told_and_forgotten(control, zoom, hands):
    """The pace counts what was accepted and refused, the writes apart, until it is forgotten."""
    api = await zoom(limit=2)
    await api.call("GET", "/v2/users")
    for _ in range(3):
        hands.monotonic += 0.5
        await api.put(USER, GOOD)
    await api.put(USER, GOOD)
    pace = (await control.call("GET", "/tenants/zoom-a/pace")).json
    assert (pace["calls"], pace["accepted"], pace["refused"]) == (5, 4, 1)
    assert (pace["first_t"], pace["last_t"], pace["span_s"]) == (5_000.0, 5_001.5, 1.5)
    assert (pace["max_in_window"], pace["max_arrived_in_window"], pace["limit"]) == (2, 3, 2)
    assert pace["used_share"] == pytest.approx(1.0)
    assert (pace["writes"]["accepted"], pace["writes"]["first_t"]) == (3, 5_000.5)
    assert pace["labels"]["Light"]["calls"] == 0
    assert (await control.call("DELETE", "/tenants/zoom-a/calls")).status == 204
    pace = (await control.call("GET", "/tenants/zoom-a/pace")).json
    assert (pace["calls"], pace["writes"]["accepted"], pace["used_share"]) == (0, 0, None)


async def test_generated_users_are_always_the_same(sandbox):
    """The n-th user of a provider has the same id and address in every tenant; special kinds come first."""
    tenant = sandbox.add(TenantSpec("gen", "zoom", generate=Generate(4, {"admin": 1, "missing": 2})))
    assert [user.kind for user in tenant.users] == ["admin", "missing", "missing", "normal"]
    assert [user.email for user in tenant.users[:2]] == ["user00001@example.com", "user00002@example.com"]
    assert [user.id for user in tenant.users] == [generated_user("zoom", n).id for n in range(1, 5)]
    assert {len(user.id) for user in tenant.users} == {22}
    assert generated_user("zendesk", 7).id.isdecimal()

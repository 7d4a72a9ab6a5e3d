"""Who may call Zendesk's mock server, as whom, and for how long."""

import json

import pytest
from sandbox_client import basic

DEAD = {
    "error": "invalid_token",
    "error_description": "The access token provided is expired, revoked, malformed or invalid for other reasons.",
}
GOOD = "Xk7!mRw2qPz9"


async def ask(api, **fields):
    given = {
        "grant_type": "client_credentials",
        "client_id": "sandbox-client-id",
        "client_secret": "sandbox-client-secret",
        "scope": "read write",
        "expires_in": 1800,
    }
    wanted = {name: value for name, value in (given | fields).items() if value is not None}
    return await api.call("POST", "/oauth/tokens", json=wanted, headers={"Authorization": ""})


def bearer(token):
    return {"Authorization": f"Bearer {token}"}


@pytest.fixture
async def api(zendesk):
    return await zendesk()


async def test_a_client_logs_in_by_itself(api):
    """The client-credentials grant gives a token that reads and writes."""
    told = (await ask(api)).json
    assert (told["token_type"], told["scope"], told["expires_in"]) == ("bearer", "read write", 1800)
    api.headers = bearer(told["access_token"])
    assert (await api.call("GET", "/api/v2/users/me.json")).json["user"]["id"] == 102
    assert (await api.post(101, GOOD)).status == 200


async def test_a_form_is_as_good_as_an_object(api):
    """Both ways to write the grant are taken."""
    form = {"grant_type": "client_credentials", "client_id": "sandbox-client-id"}
    form |= {"client_secret": "sandbox-client-secret", "scope": "read"}
    assert (await api.call("POST", "/oauth/tokens", data=form)).status == 200


async def test_an_end_is_told_only_where_it_was_asked_for(api):
    """Without `expires_in` the token lives for half an hour, and the answer does not say so."""
    told = (await ask(api, expires_in=None)).json
    assert "expires_in" not in told
    api.headers = bearer(told["access_token"])
    shown = (await api.call("GET", "/api/v2/oauth/tokens/current")).json["token"]
    assert (shown["created_at"], shown["expires_at"]) == ("2023-11-14T22:13:20Z", "2023-11-14T22:43:20Z")


@pytest.mark.parametrize(
    ("fields", "status", "error"),
    [
        ({"client_secret": "wrong"}, 401, "invalid_client"),
        ({"client_id": None}, 401, "invalid_client"),
        ({"grant_type": "password"}, 400, "unsupported_grant_type"),
        ({"scope": "read impersonate"}, 400, "invalid_scope"),
        ({"expires_in": 300}, 400, "invalid_request"),
        ({"expires_in": 172_800}, 400, "invalid_request"),
        ({"expires_in": "soon"}, 400, "invalid_request"),
    ],
)
async def test_a_login_that_is_refused(api, fields, status, error):
    """Each refusal has its name and a description."""
    answer = await ask(api, **fields)
    assert (answer.status, answer.json["error"]) == (status, error)
    assert answer.json["error_description"]


async def test_a_token_ends(zendesk, hands):
    """When its life is over, or all are revoked, a token is answered as a dead one."""
    api = await zendesk(token_ttl_s=40, oauth_token_ttl_s=60)
    told = (await ask(api)).json
    assert told["expires_in"] == 40
    for token, life in ((told["access_token"], 40), ("sandbox-oauth-token", 20)):
        api.headers = bearer(token)
        assert (await api.call("GET", "/api/v2/users/me")).status == 200
        hands.wall += life
        answer = await api.call("GET", "/api/v2/users/me")
        assert (answer.status, answer.json) == (401, DEAD)
        assert answer.headers["WWW-Authenticate"].startswith("Bearer")


async def test_tokens_are_revoked(api, control):
    """The control call ends the tokens of logins, and a new login works."""
    api.headers = bearer((await ask(api)).json["access_token"])
    await control.call("PATCH", "/tenants/desk-a", json={"revoke_tokens": True})
    assert (await api.call("GET", "/api/v2/users/me")).json == DEAD
    api.headers = bearer((await ask(api)).json["access_token"])
    assert (await api.call("GET", "/api/v2/users/me")).status == 200


@pytest.mark.parametrize(
    ("scopes", "reads", "sets", "states"),
    [
        (["read", "write"], 200, 200, 200),
        (["read"], 200, 403, 200),
        (["write"], 403, 200, 403),
        (["users:read", "users:write"], 200, 403, 403),
    ],
)
async def test_scopes_are_kept(zendesk, scopes, reads, sets, states):
    """`write` reads nothing, `read` writes nothing, and the password calls take no token scoped to users."""
    api = await zendesk(scopes=scopes)
    api.headers = bearer("sandbox-oauth-token")
    assert (await api.call("GET", "/api/v2/users.json")).status == reads
    answer = await api.post(101, GOOD)
    assert answer.status == sets
    if sets == 403:
        assert answer.json["description"] == "You are missing the following required scopes: write"
    assert (await api.call("GET", "/api/v2/users/101/password/requirements.json")).status == states
    shown = await api.call("GET", "/api/v2/oauth/tokens/current")
    assert (shown.status, shown.json["token"]["scopes"]) == (200, sorted(scopes))


async def test_an_api_token_has_no_oauth_token_behind_it(api):
    """With Basic there is no current token to show."""
    assert (await api.call("GET", "/api/v2/oauth/tokens/current")).status == 404


@pytest.mark.parametrize(("who", "number", "old"), [("ada", 101, "old password"), ("boss", 102, "boss password")])
async def test_any_verified_user_changes_the_own_password(api, who, number, old):
    """An API token serves for the address of any user: the own password, and no other for an end user."""
    api.headers = basic(f"{who}@example.com/token:sandbox-api-token")
    assert (await api.call("GET", "/api/v2/users/me")).json["user"]["id"] == number
    body = {"previous_password": old, "password": GOOD}
    assert (await api.call("PUT", f"/api/v2/users/{number}/password", json=body)).status == 200
    assert (await api.call("PUT", "/api/v2/users/103/password", json=body)).status == 403
    others = await api.post(103, GOOD)
    assert others.status == (200 if who == "boss" else 403)
    assert (await api.call("GET", "/api/v2/users.json")).status == (200 if who == "boss" else 403)


async def test_a_refusal_by_a_fault_has_the_form_of_the_login(api, control):
    """A 401 is of the token where there is one, and of the credentials elsewhere."""
    for headers, error in ((bearer("sandbox-oauth-token"), "invalid_token"), ({}, "Couldn't authenticate you")):
        await control.call("POST", "/tenants/desk-a/faults", json={"kind": "401", "times": 1})
        answer = await api.call(
            "POST", "/api/v2/users/101/password", headers=headers, data=json.dumps({"password": GOOD})
        )
        assert (answer.status, answer.json["error"]) == (401, error)

import json

import pytest
from sandbox_client import basic

from bulkreset.sandbox.directory import digest_of

GOOD = "Xk7!mRw2qPz9"
FORBIDDEN = {
    "error": {
        "title": "Forbidden",
        "message": "You do not have access to this page. Please contact the account owner of this help desk "
        "for further help.",
    }
}


@pytest.mark.parametrize("suffix", ["", ".json"])
@pytest.mark.parametrize("user", [101, 102, 103, 104])
async def test_a_password_is_set(zendesk, suffix, user):
    """Every kind of user takes a password; the answer is 200, said to be JSON, and empty."""
    api = await zendesk()
    answer = await api.call("POST", f"/api/v2/users/{user}/password{suffix}", json={"password": GOOD})
    assert (answer.status, answer.body) == (200, b"")
    assert answer.headers["Content-Type"].startswith("application/json")
    assert api.tenant.directory.by_id(str(user)).password_sha256 == digest_of(GOOD)


async def test_the_same_password_again_is_set_again(zendesk):
    """Zendesk does not mind the same password: it is applied twice and changed once."""
    api = await zendesk()
    assert [(await api.post(101, GOOD)).status for _ in range(2)] == [200, 200]
    user = api.tenant.directory.by_id("101")
    assert (user.applied, user.changes) == (2, 1)


@pytest.mark.parametrize("ref", ["999", "105", "ada@example.com", "..", "101%2F..%2F101", "%31", "me", "101.json"])
async def test_only_the_number_of_a_user_finds_it(zendesk, ref):
    """Strangers, e-mail addresses and paths in place of the number are 404; an encoded digit is a digit."""
    api = await zendesk()
    answer = await api.post(ref, GOOD)
    assert (answer.status, answer.json) == (404, {"error": "RecordNotFound", "description": "Not found"})
    assert all(user.applied == 0 for user in api.tenant.users)


async def test_an_unknown_path(zendesk):
    """A path that Zendesk does not have is 404 in Zendesk's form."""
    api = await zendesk()
    for path in ("/api/v2/users//password", "/api/v2/tickets.json", "/", ""):
        answer = await api.call("POST", path, json={})
        assert (answer.status, answer.json["error"]) == (404, "InvalidEndpoint")


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": ""},
        basic("boss@example.com/token:wrong"),
        basic("out@example.com/token:sandbox-api-token"),
        basic("nobody@example.com/token:sandbox-api-token"),
        basic("boss@example.com:sandbox-api-token"),
        {"Authorization": "Basic !!"},
    ],
    ids=["none", "token", "suspended", "stranger", "form", "encoding"],
)
async def test_wrong_credentials(zendesk, headers):
    """Whoever cannot show the token is 401 with Zendesk's challenge."""
    api = await zendesk()
    answer = await api.call("POST", "/api/v2/users/101/password", headers=headers, json={"password": GOOD})
    assert (answer.status, answer.json) == (401, {"error": "Couldn't authenticate you"})
    assert answer.headers["WWW-Authenticate"] == 'Basic realm="Web Password"'


async def test_an_oauth_token_works(zendesk):
    """The account's OAuth token is as good as its API token."""
    api = await zendesk()
    api.headers = {"Authorization": "Bearer sandbox-oauth-token"}
    assert (await api.post(101, GOOD)).status == 200


async def test_the_setting_is_off(zendesk):
    """Unless the owner lets admins set passwords, each is 403."""
    api = await zendesk(password_setting=False)
    answer = await api.post(101, GOOD)
    assert (answer.status, answer.json) == (403, FORBIDDEN)


async def test_an_agent_may_not_set_passwords(zendesk):
    """The token of an agent who is no admin is 403."""
    api = await zendesk(email="agent@example.com")
    api.headers = basic("agent@example.com/token:sandbox-api-token")
    assert (await api.post(101, GOOD)).status == 403


@pytest.mark.parametrize(
    ("password", "policy", "broken"),
    [
        ("abcd", None, "must be at least 5 characters"),
        ("ada@example.com", None, "must be different from email address"),
        ("abcdefgh", {"requirements": [], "min_length": 9}, "must be at least 9 characters"),
        ("abcd1", ["must include letters in mixed case and numbers"], None),
        ("Abcde", ["must include letters in mixed case and numbers"], None),
        ("Abcd1", ["must include a character that is not a letter or number"], None),
        ("Abcd1", ["must be fewer than 5 characters"], None),
    ],
)
async def test_the_policy_refuses(zendesk, password, policy, broken):
    """A requirement that is not met is 422 with the requirement's own words."""
    api = await zendesk(**({"policy": policy} if policy is not None else {}))
    answer = await api.post(101, password)
    assert (answer.status, answer.json["error"]) == (422, "RecordInvalid")
    wanted = broken or policy[0]
    assert answer.json["details"] == {"password": [{"description": f"Password: {wanted}"}]}


async def test_unreadable_requirements_are_only_shown(zendesk):
    """A requirement in words that the sandbox does not know refuses nothing."""
    api = await zendesk(policy=["must please the board", "must include letters in mixed case and numbers"])
    assert (await api.post(101, "Abcd1")).status == 200
    answer = await api.call("GET", "/api/v2/users/101/password/requirements.json")
    assert answer.json == {
        "requirements": ["must please the board", "must include letters in mixed case and numbers"]
    }


async def test_reuse_is_refused_as_deep_as_the_history(zendesk):
    """With a history the present and the former passwords are refused."""
    api = await zendesk(history=3)
    for password in ("first one", "second one"):
        assert (await api.post(101, password)).status == 200
    assert (await api.post(101, "second one")).status == 422
    assert (await api.post(101, "old password")).status == 422
    assert (await api.post(101, "third one")).status == 200
    for password in ("old password", "fourth one"):
        assert (await api.post(101, password)).status == 200


async def test_the_body_must_be_json_with_a_string(zendesk):
    """A body that is no JSON object is 422, and a password that is no string 400."""
    api = await zendesk()
    path = "/api/v2/users/101/password"
    assert (await api.call("POST", path, data={"password": GOOD})).status == 422
    broken = await api.call("POST", path, data=b"{", headers={"Content-Type": "application/json"})
    assert broken.json == {"error": "Unprocessable Entity", "message": "Server could not parse JSON"}
    assert (await api.post(101, 12345678)).status == 400


async def test_the_own_password(zendesk):
    """The caller's own password is changed with the previous one, and nobody else's."""
    api = await zendesk()
    change = {"previous_password": "boss password", "password": GOOD}
    assert (await api.call("PUT", "/api/v2/users/101/password", json=change)).status == 403
    wrong = {**change, "previous_password": "guess"}
    assert (await api.call("PUT", "/api/v2/users/102/password", json=wrong)).status == 422
    assert (await api.call("PUT", "/api/v2/users/102/password.json", json=change)).status == 200
    assert api.tenant.directory.by_id("102").password_sha256 == digest_of(GOOD)


async def test_the_limit(zendesk, hands):
    """Normal answers count down; above the limit comes plain text with Retry-After in seconds."""
    api = await zendesk(limit=2)
    first, second, third = [await api.post(101, GOOD) for _ in range(3)]
    assert [a.headers["X-Rate-Limit-Remaining"] for a in (first, second)] == ["1", "0"]
    assert first.headers["X-Rate-Limit"] == "2"
    assert third.status == 429
    assert third.body == b"Number of allowed API requests per minute exceeded"
    assert third.headers["Content-Type"].startswith("text/plain")
    assert third.headers["retry-after"] == "60"
    hands.monotonic += 59.5
    assert (await api.post(101, GOOD)).headers["retry-after"] == "1"
    hands.monotonic += 0.5
    assert (await api.post(101, GOOD)).status == 200


@pytest.mark.parametrize(
    ("form", "retry_after"), [("none", None), ("seconds", "60"), ("http_date", "Tue, 14 Nov 2023 22:14:20 GMT")]
)
async def test_the_forms_of_the_rate_headers(zendesk, form, retry_after):
    """The headers can be left out, and Retry-After can be a date."""
    api = await zendesk(limit=1, rate_headers=form)
    first, second = [await api.post(101, GOOD) for _ in range(2)]
    assert ("X-Rate-Limit" in first.headers) is (form != "none")
    assert second.headers.get("Retry-After") == retry_after


async def test_users_are_listed_by_cursor(zendesk):
    """Pages of 100, followed by their links, bring every user once."""
    api = await zendesk(users=[], generate={"count": 250, "kinds": {"admin": 2, "missing": 10}})
    found, path = [], "/api/v2/users.json?page%5Bsize%5D=100"
    while path:
        page = (await api.call("GET", path)).json
        found += [user["id"] for user in page["users"]]
        following = page["links"]["next"]
        assert page["meta"]["has_more"] is (following is not None)
        path = following and following.removeprefix(api.url)
    assert len(found) == len(set(found)) == 240
    assert all(isinstance(user_id, int) for user_id in found)


@pytest.mark.parametrize("query", ["page[size]=101", "page[size]=0", "page[after]=x&page[size]=1", "page=101"])
async def test_a_listing_with_wrong_parameters(zendesk, query):
    """Pages too large, cursors unknown and page 101 are refused."""
    api = await zendesk()
    answer = await api.call("GET", f"/api/v2/users.json?{query}")
    assert (answer.status, answer.json["error"]) == (400, "InvalidPaginationParameter")


async def test_users_are_listed_by_number_and_role(zendesk):
    """The older paging works, and a role narrows the list."""
    api = await zendesk()
    page = (await api.call("GET", "/api/v2/users.json?per_page=2&page=2")).json
    assert ([user["id"] for user in page["users"]], page["next_page"], page["count"]) == ([103, 104], None, 4)
    ends = (await api.call("GET", "/api/v2/users.json?role=end-user")).json["users"]
    assert [(user["id"], user["suspended"]) for user in ends] == [(101, False), (104, True)]


async def test_who_am_i(zendesk):
    """The caller is shown with its role; so is any user by its number."""
    api = await zendesk()
    me = (await api.call("GET", "/api/v2/users/me.json")).json["user"]
    assert (me["id"], me["role"]) == (102, "admin")
    assert (await api.call("GET", "/api/v2/users/103.json")).json["user"]["role"] == "agent"
    assert (await api.call("GET", "/api/v2/users/105.json")).status == 404


async def test_sessions_are_ended(zendesk):
    """Ending a user's sessions answers 204 and is counted."""
    api = await zendesk()
    assert (await api.call("DELETE", "/api/v2/users/101/sessions.json")).status == 204
    assert api.tenant.directory.by_id("101").revoked == 1


async def test_no_answer_holds_a_password(zendesk):
    """Whatever is refused, the password is not in the answer."""
    api = await zendesk(policy={"requirements": [], "min_length": 99})
    assert GOOD not in json.dumps((await api.post(101, GOOD)).json)

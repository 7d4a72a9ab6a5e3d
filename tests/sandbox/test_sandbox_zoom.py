import asyncio
import json

import aiohttp
import pytest
from sandbox_client import ask_token, basic, token

from bulkreset.sandbox import generated_user
from bulkreset.sandbox.directory import digest_of

GOOD = "Xk7!mRw2qPz9"
OTHER = "Vb4?nTs8hLd3"
USER = "-normal_id-22-chars-ab"


async def test_a_password_is_set_by_id(zoom):
    """A good password for a work e-mail user answers 204 without a body, and stands."""
    api = await zoom()
    answer = await api.put(USER, GOOD)
    assert (answer.status, answer.body) == (204, b"")
    user = api.tenant.directory.by_id(USER)
    assert (user.password_sha256, user.applied, user.changes) == (digest_of(GOOD), 1, 1)


async def test_a_password_is_set_by_email_in_any_case(zoom):
    """The e-mail address finds its user whatever its case; an id must be exact."""
    api = await zoom()
    assert (await api.put("aDA@eXAMPLE.com", GOOD)).status == 204
    assert (await api.put("-NORMAL_id-22-chars-ab", OTHER)).status == 404


@pytest.mark.parametrize(
    ("ref", "status", "code", "message"),
    [
        ("admin-id", 400, 1117, "Can not update Admin's password"),
        ("owner-id", 400, 1117, "Can not update Admin's password"),
        ("me", 400, 1117, "Can not update Admin's password"),
        ("sso-id", 400, 1123, "Can only update password of Zoom work email account"),
        ("pending@example.com", 400, 1120, "Invitation invalid/expired."),
        ("gone-id", 404, 1001, "User does not exist: gone-id."),
        ("nobody@example.com", 404, 1001, "User does not exist: nobody@example.com."),
    ],
)
async def test_users_that_cannot_be_reset(zoom, ref, status, code, message):
    """Admins, SSO users, invitations and strangers are each refused in Zoom's own words."""
    api = await zoom()
    answer = await api.put(ref, GOOD)
    assert answer.status == status
    assert answer.json == {"code": code, "message": message}
    assert answer.headers["Content-Type"] == "application/json;charset=UTF-8"
    assert all(user.applied == 0 for user in api.tenant.users)


async def test_the_same_password_is_refused_by_its_text(zoom):
    """The present password answers 400/300, which is how a lost answer can be told to have landed."""
    api = await zoom()
    await api.put(USER, GOOD)
    answer = await api.put(USER, GOOD)
    assert answer.status == 400
    assert answer.json == {"code": 300, "message": "Your new password can not match the old password."}
    assert api.tenant.directory.by_id(USER).applied == 1


async def test_the_first_password_counts_as_the_old_one(zoom):
    """A user's password from before the sandbox began is known to it like any other."""
    api = await zoom()
    assert (await api.put(USER, "Old!pass2word")).json["code"] == 300


async def test_reuse_is_refused_as_deep_as_the_history(zoom):
    """A former password answers 1129 until `history` newer ones came after it."""
    api = await zoom(history=1)
    await api.put(USER, GOOD)
    await api.put(USER, OTHER)
    answer = await api.put(USER, GOOD)
    assert answer.json == {
        "code": 1129,
        "message": "Users cannot reuse any of the last 1 passwords created.",
    }
    assert (await api.put(USER, "Hq5#wYc1uJx6")).status == 204
    assert (await api.put(USER, GOOD)).status == 204


async def test_too_many_changes_in_24_hours(zoom, sandbox):
    """The second change within 24 hours is refused with the other 300, and works a day later."""
    api = await zoom(max_changes_24h=1)
    await api.put(USER, GOOD)
    answer = await api.put(USER, OTHER)
    assert (answer.status, answer.json["code"]) == (400, 300)
    assert answer.json["message"] == (
        "This password cannot be changed because it has already been changed the maximum number of times "
        "over the past 24 hours."
    )
    sandbox.clock.advance(86_400)
    api.headers = {"Authorization": f"Bearer {await token(api)}"}
    assert (await api.put(USER, OTHER)).status == 204


@pytest.mark.parametrize(
    ("password", "policy", "code"),
    [
        ("Xk7!mRw", {}, 1124),
        ("Xk7!mRw2q", {"minimum_password_length": 10}, 1124),
        ("74!61905#28", {}, 1125),
        ("XkamRwzqPz", {}, 1126),
        ("Xk7amRw2qPz9", {"have_special_character": True}, 1127),
        ("xk7!mrw2qpz9", {}, 1128),
        ("Xk7!abcdefP9", {}, 1131),
        ("Xk7!abcdeP92", {}, None),
        ("Xk7!abcdefP9", {"consecutive_characters_length": 8}, 1131),
        ("Xk7!fedcbaP9", {}, 1131),
        ("Xk7!qwertyP9", {}, 1131),
        ("Xk7!aaaaaaP9", {}, 1131),
        ("Xk7!123wR2qz", {"consecutive_characters_length": 4}, None),
        ("Xk7!1234wR2q", {"consecutive_characters_length": 4}, 1131),
        ("Password!7", {"weak_enhance_detection": True}, 1136),
        ("Password!7", {}, None),
    ],
)
async def test_the_policy(zoom, password, policy, code):
    """Each rule of the account refuses with its own code."""
    api = await zoom(policy=policy)
    answer = await api.put(USER, password)
    assert (answer.status, answer.body and answer.json["code"]) == ((204, b"") if code is None else (400, code))


async def test_more_than_31_characters_fail_validation(zoom):
    """Zoom takes 31 characters and no more."""
    api = await zoom()
    answer = await api.put(USER, "Xk7!mRw2" * 4)
    assert answer.json == {
        "code": 300,
        "message": "Validation Failed.",
        "errors": [{"field": "password", "message": "Invalid field."}],
    }
    assert (await api.put(USER, ("Xk7!mRw2" * 4)[:31])).status == 204


@pytest.mark.parametrize(
    "body",
    [
        {"data": {"password": GOOD}},
        {"data": b'{"password": "Xk7', "headers": {"Content-Type": "application/json"}},
        {"data": json.dumps({"password": GOOD}), "headers": {"Content-Type": "text/plain"}},
        {"json": [GOOD]},
    ],
    ids=["form", "cut off", "wrong type", "no object"],
)
async def test_the_body_must_be_json(zoom, body):
    """A body that is not a JSON object, said to be one, is refused."""
    api = await zoom()
    answer = await api.call("PUT", f"/v2/users/{USER}/password", **body)
    assert answer.status == 400
    assert answer.json == {"code": 300, "message": "Request Body should be a valid JSON object."}


@pytest.mark.parametrize(
    ("segment", "ref"),
    [
        ("..", ".."),
        ("%2E%2E", ".."),
        ("..%2Fadmin-id", "../admin-id"),
        ("x%2Fpassword%3Fy", "x/password?y"),
        ("..%2F..%2F..%2Fdesk", "../../../desk"),
        ("%", "%"),
    ],
)
async def test_a_user_id_is_one_segment_whatever_it_holds(zoom, sandbox, segment, ref):
    """Dots and encoded slashes in a user id never lead to another address."""
    api = await zoom()
    port = int(sandbox.url.rpartition(":")[2])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    body = json.dumps({"password": GOOD})
    writer.write(
        f"PUT /zoom-a/v2/users/{segment}/password HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
        f"Authorization: {api.headers['Authorization']}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n{body}".encode()
    )
    answer = (await reader.read()).decode()
    writer.close()
    await writer.wait_closed()
    assert answer.startswith("HTTP/1.1 404")
    assert json.loads(answer.rpartition("\r\n")[2])["code"] == 1001
    assert (api.tenant.log.calls[-1].ref, api.tenant.log.calls[-1].user) == (ref, None)


@pytest.mark.parametrize("path", ["/v2/users//password", "/v2/users/a/b/password", "/v3/users", "/", "/v2/"])
async def test_unknown_paths(zoom, path):
    """A path that Zoom does not have is answered by 404 in Zoom's form."""
    api = await zoom()
    answer = await api.call("PUT", path, json={})
    assert (answer.status, answer.json["code"]) == (404, 2300)


async def test_a_token_is_issued(zoom):
    """Client credentials with the account's id give a bearer token with its scopes and life time."""
    api = await zoom(token_ttl_s=1200)
    answer = (await ask_token(api)).json
    assert (answer["token_type"], answer["expires_in"]) == ("bearer", 1200)
    assert "user:write:admin" in answer["scope"].split()


async def test_several_tokens_live_at_once(zoom):
    """A newer token does not end the older one."""
    api = await zoom()
    await token(api)
    assert (await api.put(USER, GOOD)).status == 204


@pytest.mark.parametrize(
    ("who", "form", "status", "error"),
    [
        ("sandbox-client-id:wrong", {}, 400, "invalid_client"),
        ("no colon", {}, 400, "invalid_client"),
        ("sandbox-client-id:sandbox-client-secret", {"grant_type": "refresh"}, 400, "unsupported_grant_type"),
        ("sandbox-client-id:sandbox-client-secret", {"account_id": "other"}, 400, "invalid_request"),
    ],
)
async def test_a_token_is_refused(zoom, who, form, status, error):
    """Wrong credentials, grants and accounts are refused with a reason and an error."""
    api = await zoom()
    answer = await ask_token(api, who, **form)
    assert (answer.status, answer.json["error"]) == (status, error)
    assert answer.json["reason"]


async def test_the_token_request_needs_basic_credentials_and_no_json(zoom):
    """Without Basic credentials 401; with a body that is no form 400."""
    api = await zoom()
    query = "?grant_type=account_credentials&account_id=sandbox-account-id"
    assert (await api.call("POST", "/oauth/token" + query)).status == 401
    who = basic("sandbox-client-id:sandbox-client-secret")
    asked = {"grant_type": "account_credentials", "account_id": "sandbox-account-id"}
    assert (await api.call("POST", "/oauth/token", headers=who, json=asked)).status == 400


async def test_a_token_expires(zoom, sandbox):
    """One second before its end a token works, and at its end it is 401 with code 124."""
    api = await zoom(token_ttl_s=60)
    sandbox.clock.advance(59)
    assert (await api.put(USER, GOOD)).status == 204
    sandbox.clock.advance(1)
    answer = await api.put(USER, OTHER)
    assert (answer.status, answer.json["code"]) == (401, 124)


async def test_a_revoked_token_ends(zoom):
    """A token given back is invalid at once."""
    api = await zoom()
    given = api.headers["Authorization"].removeprefix("Bearer ")
    who = basic("sandbox-client-id:sandbox-client-secret")
    answer = await api.call("POST", "/oauth/revoke", headers=who, data={"token": given})
    assert answer.json == {"status": "success"}
    assert (await api.put(USER, GOOD)).json == {"code": 124, "message": "Invalid access token."}


async def test_a_missing_scope_is_named(zoom):
    """A token without the scope of an operation is refused with 4711 and the names."""
    api = await zoom(scopes=["user:read:admin"])
    answer = await api.put(USER, GOOD)
    assert (answer.status, answer.json["code"]) == (400, 4711)
    assert "user:write:admin" in answer.json["message"]
    assert (await api.call("GET", "/v2/users")).status == 200


async def test_granular_scopes_work(zoom):
    """The granular scope of an operation stands for the classic one."""
    api = await zoom(scopes=["user:update:password:admin"])
    assert (await api.put(USER, GOOD)).status == 204
    assert (await api.call("GET", "/v2/users")).json["code"] == 4711


async def test_the_second_limit(zoom, hands):
    """Above the limit Zoom answers 429 with its category and no Retry-After, until the second is over."""
    api = await zoom(limit=2)
    answers = [await api.put("nobody", GOOD) for _ in range(3)]
    assert [answer.status for answer in answers] == [404, 404, 429]
    headers = answers[2].headers
    assert headers["X-RateLimit-Category"] == "Medium"
    assert (headers["X-RateLimit-Type"], headers["X-RateLimit-Limit"]) == ("QPS", "2")
    assert headers["X-RateLimit-Remaining"] == "0"
    assert "Retry-After" not in headers
    assert answers[2].json == {
        "code": 429,
        "message": "You have reached the maximum per-second rate limit for this API. Try again later.",
    }
    hands.monotonic += 1
    assert (await api.put("nobody", GOOD)).status == 404


async def test_the_limit_counts_reads_of_the_same_label(zoom):
    """Listing users and reading settings are Medium like the password; a single user is Light."""
    api = await zoom(limit=2, light_limit=1)
    assert (await api.call("GET", "/v2/users")).status == 200
    assert (await api.call("GET", "/v2/accounts/me/settings?option=security")).status == 200
    assert (await api.put(USER, GOOD)).status == 429
    assert (await api.call("GET", f"/v2/users/{USER}")).status == 200
    answer = await api.call("GET", f"/v2/users/{USER}")
    assert (answer.status, answer.headers["X-RateLimit-Category"]) == (429, "Light")


async def test_the_daily_limit(zoom, sandbox):
    """The daily limit tells its end as an ISO 8601 time: the next midnight in UTC."""
    api = await zoom(daily=1, token_ttl_s=200_000)
    await api.put(USER, GOOD)
    answer = await api.put(USER, OTHER)
    assert answer.status == 429
    assert answer.headers["X-RateLimit-Type"] == "Daily-limit"
    assert answer.headers["Retry-After"] == "2023-11-15T00:00:00Z"
    assert "daily rate limit" in answer.json["message"]
    sandbox.clock.advance(86_400)
    assert (await api.put(USER, OTHER)).status == 204


@pytest.mark.parametrize(
    ("form", "retry_after", "category"),
    [("none", None, None), ("seconds", "1", "Medium"), ("http_date", "Tue, 14 Nov 2023 22:13:21 GMT", "Medium")],
)
async def test_the_forms_of_the_rate_headers(zoom, form, retry_after, category):
    """The headers of a 429 can be left out, and Retry-After can take each form in use."""
    api = await zoom(limit=1, rate_headers=form)
    await api.put("nobody", GOOD)
    answer = await api.put("nobody", GOOD)
    assert answer.headers.get("Retry-After") == retry_after
    assert answer.headers.get("X-RateLimit-Category") == category


async def test_users_are_listed_page_by_page(zoom):
    """Pages of 300 linked by tokens bring every active user once, without a login type."""
    api = await zoom(users=[], generate={"count": 700, "kinds": {"sso": 3, "pending": 20, "missing": 10}})
    found, sizes, following = [], [], ""
    while True:
        page = (await api.call("GET", f"/v2/users?page_size=300&next_page_token={following}")).json
        found += [user["id"] for user in page["users"]]
        sizes.append(len(page["users"]))
        assert page["total_records"] == 670
        following = page["next_page_token"]
        if not following:
            break
    assert sizes == [300, 300, 70]
    assert len(set(found)) == 670
    assert generated_user("zoom", 1).id in found
    assert "login_type" not in page["users"][0]


async def test_pending_users_have_no_id(zoom):
    """Invitations are listed under their own status, without an id."""
    api = await zoom()
    users = (await api.call("GET", "/v2/users?status=pending")).json["users"]
    assert [(user["email"], "id" in user) for user in users] == [("pending@example.com", False)]


async def test_a_page_token_ends_after_15_minutes(zoom, sandbox):
    """A token that is too old, changed or of another status is refused."""
    api = await zoom(users=[], generate={"count": 3})
    following = (await api.call("GET", "/v2/users?page_size=2")).json["next_page_token"]
    path = f"/v2/users?page_size=2&next_page_token={following}"
    assert len((await api.call("GET", path)).json["users"]) == 1
    assert (await api.call("GET", path + "x")).status == 400
    assert (await api.call("GET", path + "&status=pending")).status == 400
    sandbox.clock.advance(900)
    answer = await api.call("GET", path)
    assert (answer.status, answer.json["code"]) == (400, 300)


@pytest.mark.parametrize("query", ["page_size=301", "page_size=0", "page_size=x", "status=lost", "page_number=0"])
async def test_a_listing_with_wrong_parameters(zoom, query):
    """What Zoom does not take in a listing is refused."""
    api = await zoom()
    answer = await api.call("GET", f"/v2/users?{query}")
    assert (answer.status, answer.json["message"]) == (400, "Validation Failed.")


@pytest.mark.parametrize(("ref", "login"), [("Ada@Example.com", 100), ("sso-id", 101), ("admin-id", 100)])
async def test_a_single_user_shows_the_login_type(zoom, ref, login):
    """Only the single user tells by which way it logs in."""
    api = await zoom()
    answer = await api.call("GET", f"/v2/users/{ref}")
    assert answer.json["login_type"] == login


async def test_a_single_user_that_is_not_there(zoom):
    """A stranger is 404/1001, and an invitation 400/1120."""
    api = await zoom()
    assert (await api.call("GET", "/v2/users/nobody")).json["code"] == 1001
    assert (await api.call("GET", "/v2/users/pending-id")).json["code"] == 1120


async def test_the_policy_is_told(zoom):
    """The security settings hold the four fields of the policy, for `me` and the account's id alike."""
    api = await zoom(policy={"minimum_password_length": 12, "have_special_character": True})
    for account in ("me", "sandbox-account-id"):
        answer = await api.call("GET", f"/v2/accounts/{account}/settings?option=security")
        assert answer.json["security"]["password_requirement"] == {
            "minimum_password_length": 12,
            "have_special_character": True,
            "consecutive_characters_length": 0,
            "weak_enhance_detection": False,
        }
    assert "security" not in (await api.call("GET", "/v2/accounts/me/settings")).json
    assert (await api.call("GET", "/v2/accounts/other/settings?option=security")).json["code"] == 2001


async def test_a_free_account_has_no_settings(zoom):
    """An account that does not pay is told so under HTTP 200, as documented."""
    api = await zoom(paid=False)
    answer = await api.call("GET", "/v2/accounts/me/settings?option=security")
    assert (answer.status, answer.json["code"]) == (200, 200)


async def test_sessions_are_ended(zoom):
    """Ending a user's sessions answers 204 and is counted."""
    api = await zoom()
    assert (await api.call("DELETE", f"/v2/users/{USER}/token")).status == 204
    assert api.tenant.directory.by_id(USER).revoked == 1
    assert (await api.call("DELETE", "/v2/users/nobody/token")).json["code"] == 1001


async def test_a_password_is_set_by_the_form_of_2021(zoom):
    """Zoom's older documentation sends multipart/form-data, and it counts like JSON."""
    api = await zoom()
    form = aiohttp.MultipartWriter("form-data")
    form.append(GOOD).set_content_disposition("form-data", name="password")
    answer = await api.call("PUT", f"/v2/users/{USER}/password", data=form)
    assert (answer.status, answer.body) == (204, b"")
    assert api.tenant.directory.by_id(USER).applied == 1


async def test_a_form_without_a_password_is_invalid(zoom):
    """Another field is no password."""
    api = await zoom()
    form = aiohttp.MultipartWriter("form-data")
    form.append("x").set_content_disposition("form-data", name="other")
    assert (await api.call("PUT", f"/v2/users/{USER}/password", data=form)).json["code"] == 300


async def test_a_token_is_issued_by_query_too(zoom):
    """Zoom's own collection of requests names the grant in the query and sends no body."""
    api = await zoom()
    query = "grant_type=account_credentials&account_id=sandbox-account-id"
    answer = await api.call(
        "POST", f"/oauth/token?{query}", headers=basic("sandbox-client-id:sandbox-client-secret")
    )
    assert answer.status == 200
    assert answer.json["access_token"]


@pytest.mark.parametrize(
    ("role", "emails"), [("1", ["admin@example.com"]), ("2", ["Ada@Example.com", "sso@example.com"])]
)
async def test_a_listing_by_role_shows_that_role_only(zoom, role, emails):
    """`role_id` is applied on every page, and a page token is good for its own listing only."""
    api = await zoom()
    listed, query = [], f"role_id={role}&page_size=1"
    while query:
        page = (await api.call("GET", f"/v2/users?{query}")).json
        listed += page["users"]
        following = page["next_page_token"]
        query = following and f"role_id={role}&page_size=1&next_page_token={following}"
    assert [user["email"] for user in listed] == emails
    assert {user["role_id"] for user in listed} == {role}

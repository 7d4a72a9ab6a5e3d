"""What the stand-ins say of their users, how these come and go, and what becomes of their sessions."""

import json

import pytest

from bulkreset.sandbox import parse_rule
from bulkreset.sandbox.directory import digest_of

GOOD = "Xk7!mRw2qPz9"
EVERY_KIND = ("normal", "admin", "owner", "sso", "google", "inactive", "pending", "missing")


def people(*kinds, first=1):
    return [{"id": str(n), "email": f"{kind}@example.com", "kind": kind} for n, kind in enumerate(kinds, first)]


async def listed(api, status):
    return (await api.call("GET", f"/v2/users?status={status}")).json


async def test_zoom_lists_each_kind_under_its_status(zoom):
    """Each listing has its users and counts them; roles are told by their numbers, login types by nobody."""
    api = await zoom(users=people(*EVERY_KIND))
    pages = {status: await listed(api, status) for status in ("active", "inactive", "pending")}
    assert {
        status: [(user["email"].partition("@")[0], user["role_id"], user["status"]) for user in page["users"]]
        for status, page in pages.items()
    } == {
        "active": [
            ("normal", "2", "active"),
            ("admin", "1", "active"),
            ("owner", "0", "active"),
            ("sso", "2", "active"),
            ("google", "2", "active"),
        ],
        "inactive": [("inactive", "2", "inactive")],
        "pending": [("pending", "2", "pending")],
    }
    assert [page["total_records"] for page in pages.values()] == [5, 1, 1]
    assert not any("login_types" in user for page in pages.values() for user in page["users"])


@pytest.mark.parametrize(
    ("kind", "login", "status"),
    [("normal", 100, 204), ("inactive", 100, 204), ("sso", 101, 400), ("google", 1, 400)],
)
async def test_zooms_login_types_and_passwords_agree(zoom, kind, login, status):
    """Only a user with a work e-mail login takes a password; the others are 1123."""
    api = await zoom(users=people(kind))
    assert (await api.call("GET", "/v2/users/1")).json["login_types"] == [login]
    answer = await api.put("1", GOOD)
    assert answer.status == status
    if status == 400:
        assert answer.json["code"] == 1123


async def test_what_is_said_of_a_user_at_zoom(zoom):
    """Groups, department and times are as described; who never came has no last login."""
    seen = {"groups": ["g1", "g2"], "dept": "Legal", "created_at": "2025-05-05T05:05:05Z"}
    users = people("normal", "admin")
    users[0] |= seen | {"last_login_at": "2026-01-01T00:00:00Z"}
    api = await zoom(users=users)
    first, second = (await listed(api, "active"))["users"]
    assert (first["group_ids"], first["dept"]) == (["g1", "g2"], "Legal")
    assert (first["created_at"], first["last_login_time"]) == ("2025-05-05T05:05:05Z", "2026-01-01T00:00:00Z")
    assert (second["group_ids"], second["created_at"]) == ([], "2024-01-01T00:00:00Z")
    assert "last_login_time" not in second
    assert (await api.call("GET", "/v2/users/1")).json["group_ids"] == ["g1", "g2"]


async def test_what_is_said_of_a_user_at_zendesk(zendesk):
    """The owner is one more admin; the first group and the times are as described."""
    users = people("normal", "owner", "agent", "suspended", first=11)
    users[0] |= {"groups": [7, 8], "created_at": "2025-05-05T05:05:05Z", "last_login_at": "2026-01-01T00:00:00Z"}
    api = await zendesk(users=users)
    found = (await api.call("GET", "/api/v2/users.json?page[size]=100")).json["users"]
    assert [user["role"] for user in found] == ["end-user", "admin", "agent", "end-user"]
    assert [user["default_group_id"] for user in found] == [7, None, None, None]
    assert (found[0]["created_at"], found[0]["last_login_at"]) == ("2025-05-05T05:05:05Z", "2026-01-01T00:00:00Z")
    admins = (await api.call("GET", "/api/v2/users.json?role=admin")).json["users"]
    assert [user["id"] for user in admins] == [12]


async def test_zendesks_owner_may_set_passwords(zendesk):
    """The owner is an admin in rights as well."""
    api = await zendesk(users=[*people("normal"), {"id": 2, "email": "boss@example.com", "kind": "owner"}])
    assert (await api.post(1, GOOD)).status == 200
    assert (await api.call("GET", "/api/v2/users/me.json")).json["user"]["role"] == "admin"


async def test_zendesk_counts_its_users(zendesk):
    """The count is of whom the listing shows, with the time of counting."""
    api = await zendesk()
    answer = await api.call("GET", "/api/v2/users/count.json")
    assert answer.json == {"count": {"value": 4, "refreshed_at": "2023-11-14T22:13:20Z"}}
    assert (await api.call("GET", "/api/v2/users/count?role=agent")).json["count"]["value"] == 1
    assert (await api.call("DELETE", "/api/v2/users/count")).status == 404


async def test_generated_users_take_turns_in_groups(sandbox):
    """A generated tenant has its groups filled evenly, in an order that is always the same."""
    generate = {"count": 5, "groups": ["a", "b"]}
    tenant = sandbox.add({"name": "gen", "provider": "zoom", "generate": generate})
    assert [user.groups for user in tenant.users] == [("a",), ("b",), ("a",), ("b",), ("a",)]


@pytest.mark.parametrize(
    ("provider", "wrong"),
    [
        ("zoom", {"sessions": -1}),
        ("zoom", {"sessions": True}),
        ("zoom", {"groups": "abc"}),
        ("zoom", {"created_at": "yesterday"}),
        ("zoom", {"last_login_at": 5}),
        ("zoom", {"kind": "suspended"}),
        ("zendesk", {"groups": ["abc"]}),
        ("zendesk", {"kind": "google"}),
    ],
)
async def test_a_user_that_cannot_be_is_refused(control, provider, wrong):
    """What no provider would say of a user is refused by its key, at the start and later."""
    users = [{"id": "1", "email": "a@example.com", **wrong}]
    await control.call("PUT", "/tenants/old", json={"provider": provider})
    for answer in (
        await control.call("PUT", "/tenants/new", json={"provider": provider, "users": users}),
        await control.call("POST", "/tenants/old/users", json={"add": users}),
    ):
        assert answer.status == 400
        assert answer.json["error"].startswith("users:")


async def test_sessions_outlive_a_new_password(zoom, control):
    """Sessions end by a revocation and by nothing else; each one is counted."""
    users = people("normal", "sso")
    users[0]["sessions"] = 3
    api = await zoom(users=users)
    assert (await api.put("1", GOOD)).status == 204

    async def state():
        told = (await control.call("GET", "/tenants/zoom-a/state")).json
        return [(user["sessions"], user["revoked"]) for user in told["users"].values()], told["counts"]

    assert (await state())[0] == [(3, 0), (1, 0)]
    for _ in range(2):
        assert (await api.call("DELETE", "/v2/users/1/token")).status == 204
    found, counts = await state()
    assert found == [(0, 2), (1, 0)]
    assert (counts["sessions"], counts["revoked"]) == (1, 2)


async def test_a_pending_user_has_no_sessions_to_end(zoom):
    """An invitation is refused as in every other call about one user."""
    api = await zoom()
    answer = await api.call("DELETE", "/v2/users/pending-id/token")
    assert (answer.status, answer.json["code"]) == (400, 1120)
    assert not api.tenant.log.calls[-1].applied


async def test_a_revocation_is_on_record(zoom, zendesk):
    """The record tells which user's sessions were ended, and that they were."""
    api, desk = await zoom(), await zendesk()
    await api.call("DELETE", "/v2/users/sso%40example.com/token")
    call = api.tenant.log.calls[-1]
    assert (call.method, call.path) == ("DELETE", "/zoom-a/v2/users/sso%40example.com/token")
    assert (call.user, call.ref, call.applied, call.status) == ("sso-id", "sso@example.com", True, 204)
    assert call.password_sha256 is None
    await desk.call("DELETE", "/api/v2/users/101/sessions.json")
    call = desk.tenant.log.calls[-1]
    assert (call.user, call.ref, call.applied, call.status) == ("101", "101", True, 204)
    await desk.call("DELETE", "/api/v2/users/105/sessions.json")
    assert not desk.tenant.log.calls[-1].applied


@pytest.mark.parametrize("applied", [False, True])
async def test_a_fault_of_revocations_hits_nothing_else(zoom, applied):
    """`revocations` strikes the end of sessions alone, applied or not as the rule says."""
    api = await zoom()
    api.tenant.faults.add([parse_rule({"kind": "5xx", "on": "revocations", "applied": applied})])
    assert (await api.put("ada@example.com", GOOD)).status == 204
    assert (await api.call("GET", "/v2/users/sso-id")).status == 200
    assert (await api.call("DELETE", "/v2/users/sso-id/token")).status == 500
    user = api.tenant.directory.by_id("sso-id")
    assert (user.sessions, user.revoked, api.tenant.log.calls[-1].applied) == (
        (0, 1, True) if applied else (1, 0, False)
    )


async def test_a_fault_of_passwords_spares_revocations(zoom, zendesk):
    """By default a rule hits password writes alone; `any` hits revocations as well."""
    api, desk = await zoom(), await zendesk()
    for client in (api, desk):
        client.tenant.faults.add([parse_rule({"kind": "5xx"})])
    assert (await api.call("DELETE", "/v2/users/sso-id/token")).status == 204
    assert (await desk.call("DELETE", "/api/v2/users/101/sessions")).status == 204
    api.tenant.faults.add([parse_rule({"kind": "409", "on": "any"})])
    assert (await api.call("DELETE", "/v2/users/sso-id/token")).status == 409


async def test_users_come_and_go(control, zoom):
    """A tenant that lives takes new users and lets others vanish, and the rest keep what they have."""
    api = await zoom()
    await api.put("ada@example.com", GOOD)
    assert (await listed(api, "active"))["total_records"] == 4
    change = {
        "add": [{"id": "new-id", "email": "New@example.com", "sessions": 2}],
        "remove": ["sso-id", "ADMIN@example.com"],
    }
    answer = await control.call("POST", "/tenants/zoom-a/users", json=change)
    assert (answer.status, answer.json) == (200, {"users": 5})
    assert (await api.put("sso-id", GOOD)).json["code"] == 1001
    assert (await api.put("admin@example.com", GOOD)).json["code"] == 1001
    assert (await api.put("new@example.com", GOOD)).status == 204
    assert [user["id"] for user in (await listed(api, "active"))["users"]] == [
        "-normal_id-22-chars-ab",
        "owner-id",
        "new-id",
    ]
    state = (await control.call("GET", "/tenants/zoom-a/state")).json["users"]
    assert state["-normal_id-22-chars-ab"]["password_sha256"] == digest_of(GOOD)
    assert "sso-id" not in state


async def test_a_change_happens_whole_or_not_at_all(control, zoom):
    """One user that is not there, or is there already, leaves everybody where they were."""
    api = await zoom()
    newcomer = {"id": "new-id", "email": "new@example.com"}
    for change, word in (
        ({"add": [newcomer], "remove": ["sso-id", "nobody"]}, "remove"),
        ({"add": [newcomer, {"id": "x", "email": "ADA@example.com"}], "remove": ["sso-id"]}, "users"),
        ({"add": [newcomer], "drop": []}, "drop"),
        ({"remove": "sso-id"}, "remove"),
        ({"add": {}}, "users"),
    ):
        answer = await control.call("POST", "/tenants/zoom-a/users", json=change)
        assert (answer.status, answer.json["error"].partition(":")[0]) == (400, word), json.dumps(change)
    assert len(api.tenant.users) == 6
    assert api.tenant.directory.by_id("sso-id") is not None
    assert api.tenant.directory.by_id("new-id") is None


async def test_a_user_can_be_replaced_in_one_call(control, zoom):
    """Removals come first, so that an address is free again."""
    await zoom()
    change = {"add": [{"id": "new-id", "email": "sso@example.com"}], "remove": ["sso-id"]}
    assert (await control.call("POST", "/tenants/zoom-a/users", json=change)).json == {"users": 6}


async def test_who_was_listed_is_counted(zoom, zendesk):
    """Each user tells how often a page showed it, and only a page does."""
    api, desk = await zoom(), await zendesk()
    await api.call("GET", "/v2/users?page_size=1")
    await api.call("GET", "/v2/users?page_size=300")
    await api.call("GET", "/v2/users/sso-id")
    assert {user.id: user.listed for user in api.tenant.users} == {
        "-normal_id-22-chars-ab": 2,
        "admin-id": 1,
        "owner-id": 1,
        "sso-id": 1,
        "pending-id": 0,
        "gone-id": 0,
    }
    await desk.call("GET", "/api/v2/users.json?page[size]=1")
    await desk.call("GET", "/api/v2/users.json?page=1")
    assert [user.listed for user in desk.tenant.users] == [2, 1, 1, 1, 0]


@pytest.mark.parametrize(
    ("query", "emails"),
    [
        ("role=agent", ["agent@example.com"]),
        ("role[]=agent", ["agent@example.com"]),
        ("role[]=agent&role[]=admin", ["agent@example.com", "boss@example.com"]),
        ("role[]=nobody", []),
    ],
)
async def test_zendesk_lists_the_roles_that_were_asked_for(zendesk, query, emails):
    """Both forms of the filter are applied, to the listing and to the count alike."""
    api = await zendesk()
    listed = (await api.call("GET", f"/api/v2/users.json?{query}")).json["users"]
    assert sorted(user["email"] for user in listed) == emails
    assert (await api.call("GET", f"/api/v2/users/count.json?{query}")).json["count"]["value"] == len(emails)


@pytest.mark.parametrize("path", ["search.json?query=ADA@example.com", "show_many.json?ids=101,9999"])
async def test_zendesk_finds_single_users(zendesk, path):
    """A search by address and a list of ids show whom the account has, and skip whom it has not."""
    api = await zendesk()
    answer = await api.call("GET", f"/api/v2/users/{path}")
    assert [user["id"] for user in answer.json["users"]] == [101]


async def test_both_names_of_a_request_are_on_every_zendesk_answer(zendesk):
    """`x-request-id` is the one that a client keeps for support."""
    answer = await (await zendesk()).call("GET", "/api/v2/users/me.json")
    assert answer.headers["x-request-id"] == answer.headers["x-zendesk-request-id"] == "sandbox-1"

"""Sessions are ended after the password is set: in its own quota, retried like any call, and never for nothing."""

from datetime import datetime, timedelta
from itertools import pairwise

import pytest
from installation import addresses, calls_reach, check_books, resets, revocations
from losing import lose_a_worker

from bulkreset.options import Options
from bulkreset.sandbox import parse_rule
from bulkreset.store import lifecycle

SESSIONS = Options(revoke_sessions=True, halt_at=1.0)
ODD = '{"code":9,"message":"odd"}'


def spaced(installation, label):
    """Return the shortest time between two slots of a label, over both kinds of calls."""
    rows = installation.query(
        "SELECT a.slot_at FROM attempt a JOIN task t ON t.id = a.task_id WHERE t.label = ? ORDER BY a.slot_at",
        label,
    )
    times = [datetime.fromisoformat(slot_at) for (slot_at,) in rows]
    return min(later - earlier for earlier, later in pairwise(times))


def actions_of(installation, label):
    return installation.query(
        "SELECT action, count(*) FROM task WHERE label = ? GROUP BY action ORDER BY action", label
    )


async def test_zooms_two_labels_are_kept_side_by_side(zoom, installation):
    """Passwords go under Medium and sessions under Light, each at a limit that refuses one call too many."""
    tenant = zoom(45, limit=35, light_limit=30, account={"requests_per_second": 35, "plan": "pro"})
    placed = await installation.order("zoom", addresses(45), options=SESSIONS)
    await installation.run()
    check_books(installation, tenant)
    batch = await installation.batch(placed.id)
    assert (batch.state, batch.outcomes, batch.sessions["succeeded"]) == ("done", {"ok": 45}, 45)
    assert [(gate.label, gate.refused) for gate in tenant.gates.values()] == [("Medium", 0), ("Light", 0)]
    assert actions_of(installation, "medium") == [("set_password", 45)]
    assert actions_of(installation, "light") == [("revoke_sessions", 45)]
    assert spaced(installation, "medium") >= timedelta(seconds=1) / 35
    assert spaced(installation, "light") >= timedelta(seconds=1) / 30
    assert {(user.applied, user.revoked, user.sessions) for user in tenant.users} == {(1, 1, 0)}
    # Nobody is signed out before the new password stands: they would sign in with the old one again.
    set_at = {call.user: call.seq for call in resets(tenant)}
    assert all(call.seq > set_at[call.user] for call in revocations(tenant))


async def test_zendesk_pays_both_from_one_pot(zendesk, installation):
    """Passwords and sessions share one line of slots, which is never closer than the account's limit."""
    tenant = zendesk(40, account={"requests_per_minute": 6_000})
    placed = await installation.order("zendesk", addresses(40, "zendesk"), options=SESSIONS)
    assert placed.calls == 80
    await installation.run()
    check_books(installation, tenant)
    batch = await installation.batch(placed.id)
    assert (batch.state, batch.outcomes, batch.sessions["succeeded"]) == ("done", {"ok": 40}, 40)
    assert installation.query("SELECT label FROM quota") == [("default",)]
    assert actions_of(installation, "default") == [("revoke_sessions", 40), ("set_password", 40)]
    assert spaced(installation, "default") >= timedelta(minutes=1) / 6_000
    assert {(user.applied, user.revoked, user.sessions) for user in tenant.users} == {(1, 1, 0)}


async def test_only_those_with_a_new_password_are_signed_out(zoom, installation):
    """Whoever failed or is unknown keeps the sessions; who signs in elsewhere has no password and loses them."""
    kinds = {"sso": 2, "google": 1, "missing": 2, "admin": 1}
    tenant = zoom(30, generate={"count": 30, "kinds": kinds})
    failing = addresses(30)[10:13]
    tenant.faults.add([parse_rule({"kind": "answer", "status": 400, "body": ODD, "users": failing})])
    placed = await installation.order("zoom", addresses(30), options=SESSIONS)
    await installation.run()
    check_books(installation, tenant)
    sessions = {user.email: user.sessions for user in tenant.users}
    by_kind = {user.email: user.kind for user in tenant.users}
    for email, alive in sessions.items():
        kept = by_kind[email] in ("missing", "admin") or email in failing
        assert alive == kept, (email, by_kind[email])
    assert all((user.applied, user.revoked) == (0, 1) for user in tenant.users if user.kind in ("sso", "google"))
    batch = await installation.batch(placed.id)
    assert (batch.counts["succeeded"], batch.counts["skipped"], batch.counts["failed"]) == (21, 4, 5)
    assert (batch.sessions["succeeded"], batch.sessions["skipped"], batch.left) == (24, 6, 0)
    unsent = installation.query(
        "SELECT attempt, message FROM task WHERE action = 'revoke_sessions' AND state = 'skipped'"
    )
    assert set(unsent) == {(0, "skipped: no password was set for this user")}


async def test_single_sign_on_that_is_known_before_costs_no_call(zoom, installation):
    """With --check-logins nobody without a password is asked to take one; their sessions end all the same."""
    tenant = zoom(20, generate={"count": 20, "kinds": {"sso": 3, "google": 1}})
    placed = await installation.order("zoom", addresses(20), options=SESSIONS, preflight=True, check_logins=True)
    assert (placed.skipped, placed.sends, placed.calls) == ({"sso": 3, "login": 1}, 16, 35)
    await installation.run()
    check_books(installation, tenant)
    assert len(resets(tenant)) == 16
    assert {(user.kind, user.applied, user.sessions) for user in tenant.users} == {
        *{("sso", 0, 0), ("google", 0, 1), ("normal", 1, 0)}
    }


FAULTS = (
    *({"kind": "5xx"}, {"kind": "429", "retry_after": 1}, {"kind": "apply_drop"}, {"kind": "401"}),
    *({"kind": "reset"}, {"kind": "malformed_error"}),
)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("provider", ["zoom", "zendesk"])
async def test_a_fault_while_sessions_are_ended_is_retried(provider, request, installation):
    """No password is sent again for any of them, and in the end everybody is signed out."""
    users = addresses(20, provider)
    faults = [{**fault, "on": "revocations", "times": 1, "users": [users[n]]} for n, fault in enumerate(FAULTS)]
    tenant = request.getfixturevalue(provider)(20, faults=faults)
    placed = await installation.order(provider, users, options=SESSIONS)
    await installation.run()
    check_books(installation, tenant)
    batch = await installation.batch(placed.id)
    assert (batch.state, batch.outcomes, batch.sessions["succeeded"]) == ("done", {"ok": 20}, 20)
    assert {(user.applied, user.sessions) for user in tenant.users} == {(1, 0)}
    met = {call.fault for call in revocations(tenant) if call.fault}
    assert met == {fault["kind"] for fault in FAULTS}
    assert len(resets(tenant)) == 20


async def test_sessions_that_cannot_be_ended_leave_the_password_as_it_is(zoom, installation):
    """The one task fails and the other stays succeeded: the batch is done, and not clean."""
    user = addresses(1)[0]
    tenant = zoom(5, faults=[{"kind": "answer", "status": 400, "body": ODD, "users": [user], "on": "revocations"}])
    placed = await installation.order("zoom", addresses(5), options=SESSIONS)
    await installation.run()
    batch = await installation.batch(placed.id)
    assert (batch.state, batch.outcomes, batch.clean) == ("done", {"ok": 5}, False)
    assert (batch.sessions["succeeded"], batch.sessions["failed"]) == (4, 1)
    assert [user.sessions for user in tenant.users] == [1, 0, 0, 0, 0]


async def test_a_stop_in_the_middle_loses_no_session(zoom, installation):
    """Stopped between passwords and sessions, and started again: each user has one of each, once."""
    tenant = zoom(40, account={"requests_per_second": 100}, latency_ms=20)

    async def stop(worker):
        await calls_reach(tenant, tenant.log.total + 25)
        worker.stop()

    placed = await installation.order("zoom", addresses(40), options=SESSIONS)
    await installation.run(once=False, meanwhile=stop)
    assert (await installation.batch(placed.id)).left > 0
    assert installation.query("SELECT count(*) FROM task WHERE state = 'running'") == [(0,)]
    await installation.run()
    check_books(installation, tenant)
    batch = await installation.batch(placed.id)
    assert (batch.state, batch.outcomes, batch.sessions["succeeded"]) == ("done", {"ok": 40}, 40)
    assert {(user.applied, user.revoked, user.sessions) for user in tenant.users} == {(1, 1, 0)}


@pytest.mark.usefixtures("impatient")
async def test_a_lost_worker_loses_no_session(zoom, installation, monkeypatch):
    """Lost before it could record anything, its passwords are confirmed by the next, and sessions end after it."""
    tenant = zoom(20)
    placed = await installation.order("zoom", addresses(20), options=SESSIONS)
    await lose_a_worker(installation, monkeypatch)
    landed = sum(user.applied for user in tenant.users)
    assert landed > 0
    assert revocations(tenant) == []
    await installation.run()
    check_books(installation, tenant)
    batch = await installation.batch(placed.id)
    assert batch.outcomes["confirmed"] == landed
    assert (batch.counts["succeeded"], batch.sessions["succeeded"], batch.state) == (20, 20, "done")
    assert {(user.changes, user.sessions) for user in tenant.users} == {(1, 0)}


async def test_a_cancelled_batch_ends_no_more_sessions(zoom, installation):
    """What waits for a password is cancelled with it."""
    tenant = zoom(40, account={"requests_per_second": 60}, latency_ms=20)
    placed = await installation.order("zoom", addresses(40), options=SESSIONS)

    async def cancel(worker):
        await calls_reach(tenant, tenant.log.total + 15)
        await installation.steer(lifecycle.cancel, placed.id)

    await installation.run(meanwhile=cancel)
    check_books(installation, tenant)
    batch = await installation.batch(placed.id)
    assert (batch.state, batch.left) == ("cancelled", 0)
    assert batch.sessions["cancelled"] > 0
    assert sum(user.revoked for user in tenant.users) == batch.sessions["succeeded"]

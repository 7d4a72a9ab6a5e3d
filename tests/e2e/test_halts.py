"""A halt is of the whole account or batch, at once, says why, and is gone on from by `batch resume`."""

import re
from dataclasses import replace

import pytest
from installation import addresses, calls_reach, check_books, resets, revocations, writes

from bulkreset.options import Options
from bulkreset.providers.base import Answer
from bulkreset.providers.http import WriteTransport
from bulkreset.sandbox import parse_rule
from bulkreset.store import lifecycle

SESSIONS = Options(revoke_sessions=True)
ODD = '{"code":9,"message":"odd"}'


@pytest.fixture
def after_the_first_403(monkeypatch):
    """Note every call that leaves after a 403 was read."""
    seen = {"on_their_way": 0, "refused": 0, "late": []}
    send = WriteTransport.send

    async def watched(way, call, headers):
        if seen["refused"]:
            seen["late"].append((call.method, call.url))
        seen["on_their_way"] += 1
        try:
            answer = await send(way, call, headers)
        finally:
            seen["on_their_way"] -= 1
        if answer.status == 403 and not seen["refused"]:
            seen["refused"] = 1
            seen["in_flight"] = seen["on_their_way"]
        return answer

    monkeypatch.setattr(WriteTransport, "send", watched)
    return seen


@pytest.mark.parametrize("on", ["writes", "revocations"])
async def test_the_first_403_halts_both_lanes_at_once(zoom, installation, after_the_first_403, on):
    """Whichever label it comes under, nothing leaves after it at either; resume finishes both."""
    tenant = zoom(
        80,
        account={"requests_per_second": 30, "plan": "business"},
        latency_ms=300,
        faults=[{"kind": "403", "times": 1, "on": on, "users": [addresses(20)[1]]}],
    )
    placed = await installation.order("zoom", addresses(80), options=SESSIONS)
    await installation.run()
    assert after_the_first_403["refused"] == 1
    assert after_the_first_403["in_flight"] > 0
    assert after_the_first_403["late"] == []
    refused = next(call.seq for call in tenant.log.calls if call.status == 403)
    later = [call for call in writes(tenant) if call.seq > refused]
    assert len(later) <= after_the_first_403["in_flight"]
    assert len(writes(tenant)) < 160, "nothing was left to be stopped"
    reasons = installation.query("SELECT label, halted_reason FROM quota ORDER BY label")
    assert [label for label, _ in reasons] == ["light", "medium"]
    assert all("the provider refuses these credentials: HTTP 403" in reason for _, reason in reasons)
    sent = len(writes(tenant))
    await installation.run()
    assert len(writes(tenant)) == sent, "a worker that starts at a halted account calls it"

    installation.zoom("zoom", requests_per_second=1000, plan="business")
    await installation.steer(lifecycle.resume, placed.id)
    await installation.run()
    check_books(installation, tenant)
    batch = await installation.batch(placed.id)
    assert (batch.state, batch.outcomes, batch.sessions["succeeded"]) == ("done", {"ok": 80}, 80)
    assert {(user.applied, user.sessions) for user in tenant.users} == {(1, 0)}


async def test_what_is_dispatched_in_the_same_turn_does_not_leave(zoom, installation, monkeypatch):
    """Calls that are due together are stopped by the first one's answer, however soon it comes."""
    zoom(50, account={"requests_per_second": 100_000})
    placed = await installation.order("zoom", addresses(50))
    sent = []

    async def refuse(_way, call, _headers):
        sent.append(call.url)
        return Answer(403, {}, b'{"code":200,"message":"No permission."}')

    monkeypatch.setattr(WriteTransport, "send", refuse)
    await installation.run()
    assert len(sent) == 1
    assert (await installation.batch(placed.id)).left == 50
    ends = installation.query("SELECT outcome, count(*) FROM attempt GROUP BY outcome")
    assert ends == [("forbidden", 1), ("released", 49)]


async def test_a_halt_counts_under_a_label_that_was_never_called(zoom, installation):
    """A worker that begins after the halt ends no sessions there either, though that quota is new to all."""
    tenant = zoom(20, generate={"count": 20, "kinds": {"sso": 5}}, account={"requests_per_second": 20})
    tenant.faults.add([parse_rule({"kind": "403"})])
    placed = await installation.order("zoom", addresses(20), options=SESSIONS)
    installation.query("DELETE FROM quota WHERE label = 'light'")
    await installation.run(accounts=["zoom"])
    # People with single sign-on are now free to be signed out, under a label that has no row.
    installation.query("DELETE FROM quota WHERE label = 'light'")
    installation.query("UPDATE task SET wave = 1 WHERE action = 'revoke_sessions'")
    await installation.run()
    assert revocations(tenant) == []
    assert (await installation.batch(placed.id)).left == 40
    assert len(installation.query("SELECT 1 FROM quota WHERE halted_reason IS NOT NULL")) == 2


async def test_too_large_a_share_of_failures_halts_the_batch_and_says_so(zoom, installation):
    """One more than the share of a hundred is one too many; the others wait until somebody resumes."""
    failing = addresses(50)[::2]
    tenant = zoom(50, account={"requests_per_second": 20})
    tenant.faults.add([parse_rule({"kind": "answer", "status": 400, "body": ODD, "users": failing})])
    placed = await installation.order("zoom", addresses(50), options=Options(halt_at=0.05))
    await installation.run()
    batch = await installation.batch(placed.id)
    assert (batch.state, batch.counts["failed"]) == ("halted", 6)
    assert re.fullmatch(r"6 of the last 1\d users failed; --halt-at allows 5 in 100", batch.state_reason)
    assert len(resets(tenant)) < 20
    assert installation.query("SELECT DISTINCT halted_reason FROM quota") == [(None,)]

    tenant.faults.clear()
    installation.zoom("zoom", requests_per_second=1000)
    await installation.steer(lifecycle.resume, placed.id)
    await installation.run()
    check_books(installation, tenant)
    batch = await installation.batch(placed.id)
    assert (batch.state, batch.state_reason, batch.outcomes) == ("done", None, {"ok": 44, "unexpected": 6})


async def test_as_many_failures_as_are_allowed_halt_nothing(zoom, installation):
    """Exactly the share is not more than the share."""
    failing = addresses(50)[::10]
    tenant = zoom(50)
    tenant.faults.add([parse_rule({"kind": "answer", "status": 400, "body": ODD, "users": failing})])
    placed = await installation.order("zoom", addresses(50), options=Options(halt_at=0.05))
    await installation.run()
    batch = await installation.batch(placed.id)
    assert (batch.state, batch.outcomes) == ("done", {"ok": 45, "unexpected": 5})


async def test_a_batch_halt_is_of_that_batch_alone(zoom, installation):
    """Another batch of the same account goes on to its end."""
    failing = addresses(40)
    tenant = zoom(60, account={"requests_per_second": 100})
    tenant.faults.add([parse_rule({"kind": "answer", "status": 400, "body": ODD, "users": failing})])
    bad = await installation.order("zoom", addresses(40))
    good = await installation.order("zoom", addresses(60)[40:])
    await installation.run()
    assert (await installation.batch(bad.id)).state == "halted"
    assert (await installation.batch(good.id)).outcomes == {"ok": 20}


async def test_zendesks_setting_that_is_off_stops_an_order_from_going_further(zendesk, installation):
    """What is switched off in the middle of a run costs no more than what was in flight, of both kinds."""
    tenant = zendesk(60, account={"requests_per_minute": 3_000})
    placed = await installation.order("zendesk", addresses(60, "zendesk"), options=SESSIONS)

    async def switch_off(worker):
        await calls_reach(tenant, tenant.log.total + 20)
        tenant.change(replace(tenant.spec, password_setting=False))

    await installation.run(meanwhile=switch_off)
    assert 1 <= sum(call.status == 403 for call in resets(tenant)) <= 5
    assert (await installation.batch(placed.id)).left > 0
    tenant.change(replace(tenant.spec, password_setting=True))
    installation.zendesk("zendesk", requests_per_minute=60_000)
    await installation.steer(lifecycle.resume, placed.id)
    await installation.run()
    batch = await installation.batch(placed.id)
    assert (batch.outcomes, batch.sessions["succeeded"]) == ({"ok": 60}, 60)

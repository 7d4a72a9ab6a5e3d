"""Who goes first, who waits for whom, and how fast it begins: seen in the sandbox's own record."""

import pytest
from installation import addresses, check_books, resets, writes

from bulkreset.intake.users_file import user_line
from bulkreset.options import Options
from bulkreset.sandbox import parse_rule
from bulkreset.store import control, lifecycle

ODD = '{"code":9,"message":"odd"}'


def canaries_of(installation):
    rows = installation.query("SELECT user_ref FROM task WHERE wave = 0 AND action = 'set_password'")
    return {user_ref for (user_ref,) in rows}


@pytest.mark.usefixtures("impatient")
async def test_nobody_is_called_before_the_canaries_have_ended(zoom, installation):
    """The last call for a canary, tried again and signed out, lies before the first for anybody else."""
    tenant = zoom(30)
    placed = await installation.order("zoom", addresses(30), options=Options(canary=4, revoke_sessions=True))
    canaries = canaries_of(installation)
    assert (placed.canaries, len(canaries)) == (4, 4)
    tenant.faults.add([parse_rule({"kind": "5xx", "times": 2, "users": [min(canaries)]})])
    await installation.run()
    check_books(installation, tenant)
    ids = {tenant.directory.by_email(email).id for email in canaries}
    seen = [(call.user in ids, call.method) for call in writes(tenant)]
    assert seen[:10] == [(True, method) for _, method in seen[:10]]
    assert sorted(method for _, method in seen[:10]) == ["DELETE"] * 4 + ["PUT"] * 6
    assert not any(canary for canary, _ in seen[10:])
    assert len(seen) == 62
    assert (await installation.batch(placed.id)).outcomes == {"ok": 30}
    kinds = [
        kind for _, _, kind, _ in await installation.with_store(lambda store: control.trail(store, placed.id))
    ]
    assert kinds == ["created", "started", "canaries_passed", "done"]


async def test_a_hold_after_the_canaries_waits_for_a_person(zoom, installation):
    """The batch is paused and says why; nobody else is called until it is resumed."""
    tenant = zoom(20)
    options = Options(canary=3, hold_after_canary=True)
    placed = await installation.order("zoom", addresses(20), options=options)
    await installation.run()
    batch = await installation.batch(placed.id)
    assert (batch.state, batch.counts["succeeded"], batch.left) == ("paused", 3, 17)
    assert batch.state_reason == (
        "0 of 3 canaries failed; look with `bulkreset report 1 --state succeeded`, then `bulkreset batch resume 1`"
    )
    assert {call.ref for call in resets(tenant)} == canaries_of(installation)
    await installation.run()
    assert len(resets(tenant)) == 3
    await installation.steer(lifecycle.resume, placed.id)
    await installation.run()
    check_books(installation, tenant)
    assert (await installation.batch(placed.id)).outcomes == {"ok": 20}


async def test_canaries_that_fail_halt_the_batch(zoom, installation):
    """Nobody else is touched where more of them failed than the order allows."""
    tenant = zoom(20, faults=[{"kind": "answer", "status": 400, "body": ODD}])
    placed = await installation.order("zoom", addresses(20), options=Options(canary=4))
    await installation.run()
    batch = await installation.batch(placed.id)
    assert (batch.state, batch.counts["failed"], batch.left) == ("halted", 4, 16)
    assert batch.state_reason == "4 of 4 canaries failed; `bulkreset report 1 --state failed` lists them"
    assert {call.ref for call in resets(tenant)} == canaries_of(installation)


async def test_those_to_do_first_are_done_first(zoom, installation):
    """They come before everybody, then come the lines with the highest priority, then the others."""
    names = addresses(12)
    first = tuple(user_line(name, n, "first") for n, name in enumerate((names[9].upper(), names[4]), 1))
    lines = [
        user_line(name, n, "users")._replace(priority=p)
        for n, (name, p) in enumerate(zip(names, PRIORITIES, strict=True), 1)
    ]
    tenant = zoom(12, account={"requests_per_second": 50})
    placed = await installation.order("zoom", lines, first=first)
    assert placed.first == 2
    await installation.run()
    assert sorted(call.ref for call in resets(tenant)) == names
    # By the slots that they were given first: one whose slot expires on a busy machine is called after the others.
    given = "SELECT user_ref FROM attempt JOIN task ON task.id = task_id WHERE n = 1 ORDER BY slot_at"
    called = [user_ref for (user_ref,) in installation.query(given)]
    assert set(called[:2]) == {names[4], names[9]}
    assert called[2:5] == [names[7], names[11], names[0]]
    assert set(called[5:]) == set(names) - set(called[:5])


PRIORITIES = (1, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 5)


async def test_those_to_do_first_are_the_canaries(zoom, installation):
    """Where there are both, the canaries are taken from those to do first."""
    zoom(20)
    first = tuple(user_line(name, n, "first") for n, name in enumerate(addresses(20)[15:18], 1))
    await installation.order("zoom", addresses(20), first=first, options=Options(canary=3))
    assert canaries_of(installation) == set(addresses(20)[15:18])


async def test_a_ramp_begins_with_a_tenth_of_the_rate(zoom, installation):
    """At no time of the ramp have more calls arrived than its rate allows, which is far less than the limit's."""
    tenant = zoom(150, account={"requests_per_second": 100})
    placed = await installation.order("zoom", addresses(150), options=Options(ramp_s=2))
    await installation.run()
    times = [call.t for call in resets(tenant)]
    margin = 8  # calls: a late first one moves the beginning of all
    for tenths in range(1, 20):
        at = tenths / 10
        allowed = 100 * (0.1 * at + 0.9 * at * at / 4)
        assert sum(time - times[0] < at for time in times) <= allowed + margin, at
    assert (await installation.batch(placed.id)).outcomes == {"ok": 150}

"""What is in escrow is in force: for everybody who was reset, for nobody else, and for the recipients only."""

from base64 import b64decode
from hashlib import sha256

import pyrage
import pytest
from installation import addresses, calls_reach, check_books
from losing import lose_a_worker

from bulkreset.options import Options
from bulkreset.sandbox import parse_rule

ODD = '{"code":9,"message":"odd"}'


@pytest.fixture
def identities():
    return [pyrage.x25519.Identity.generate() for _ in range(2)]


@pytest.fixture
def kept(identities):
    """Options of a batch whose passwords go to two recipients."""
    return Options(escrow_to=tuple(str(one.to_public()) for one in identities), halt_at=1.0)


def opened(installation, identity):
    """Open every password in escrow; return its hash by the address of its user."""
    rows = installation.query("SELECT t.display, e.sealed FROM escrow e JOIN task t ON t.id = e.task_id")
    found = {
        display: sha256(pyrage.decrypt(b64decode(sealed), [identity])).hexdigest() for display, sealed in rows
    }
    assert len(found) == len(rows), "two passwords of one user"
    return found


def in_force(tenant):
    return {user.email: user.password_sha256 for user in tenant.users if user.applied}


def check_escrow(installation, tenant, identities, expected):
    """Each recipient opens a password for everybody who was reset, and it is the one that opens the account."""
    for identity in identities:
        assert opened(installation, identity) == in_force(tenant)
    assert len(in_force(tenant)) == expected
    assert installation.query("SELECT count(*) FROM task WHERE sealed IS NOT NULL") == [(0,)]
    succeeded = installation.query(
        "SELECT count(*) FROM task WHERE state = 'succeeded' AND action = 'set_password'"
    )
    assert succeeded == [(expected,)]


@pytest.mark.parametrize("provider", ["zoom", "zendesk"])
async def test_every_password_in_escrow_is_the_one_in_force(provider, request, installation, identities, kept):
    """Nothing is kept for who failed or was skipped, and the batch's own key is destroyed."""
    tenant = request.getfixturevalue(provider)(30, generate={"count": 30, "kinds": {"missing": 2}})
    failing = addresses(30, provider)[10:12]
    tenant.faults.add([parse_rule({"kind": "answer", "status": 422, "body": ODD, "users": failing})])
    placed = await installation.order(provider, addresses(30, provider), options=kept)
    await installation.run()
    check_books(installation, tenant)
    assert (await installation.batch(placed.id)).counts["failed"] == 4
    check_escrow(installation, tenant, identities, 26)
    assert installation.query("SELECT wrapped_key FROM batch") == [(None,)]


UNSEEN = ({"kind": "apply_drop"}, {"kind": "5xx", "applied": True}, {"kind": "malformed"})


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("provider", ["zoom", "zendesk"])
async def test_a_password_that_is_confirmed_later_is_the_one_that_landed(
    provider, request, installation, identities, kept
):
    """After an answer that was lost or said nothing the same password is sent, and it is the one that is kept."""
    users = addresses(10, provider)
    tenant = request.getfixturevalue(provider)(10)
    tenant.faults.add([parse_rule({**UNSEEN[n % 3], "users": [users[n]], "times": 1}) for n in range(6)])
    placed = await installation.order(provider, users, options=kept)
    await installation.run()
    check_books(installation, tenant)
    if provider == "zoom":
        assert (await installation.batch(placed.id)).outcomes == {"ok": 4, "confirmed": 6}
    assert {user.changes for user in tenant.users} == {1}
    check_escrow(installation, tenant, identities, 10)


@pytest.mark.parametrize("provider", ["zoom", "zendesk"])
async def test_a_lost_worker_takes_no_password_with_it(
    provider, request, installation, identities, kept, monkeypatch
):
    """What it had set and not recorded is set again, the same, and kept then."""
    tenant = request.getfixturevalue(provider)(20)
    await installation.order(provider, addresses(20, provider), options=kept)
    await lose_a_worker(installation, monkeypatch)
    assert in_force(tenant)
    assert installation.query("SELECT count(*) FROM escrow") == [(0,)]
    await installation.run()
    check_books(installation, tenant)
    assert {user.changes for user in tenant.users} == {1}
    check_escrow(installation, tenant, identities, 20)


async def test_a_password_that_was_refused_is_never_kept(zoom, installation, identities, kept):
    """Where a second one had to be made, it is the second that is kept."""
    user = addresses(1)[0]
    says = '{"code":1136,"message":"Your password is too easy to guess. Try another one."}'
    tenant = zoom(5, faults=[{"kind": "answer", "status": 400, "body": says, "users": [user], "times": 2}])
    await installation.order("zoom", addresses(5), options=kept)
    await installation.run()
    assert installation.query("SELECT password_no FROM task WHERE user_ref = ?", user) == [(3,)]
    check_escrow(installation, tenant, identities, 5)


async def test_a_stop_keeps_what_was_set_and_no_more(zoom, installation, identities, kept):
    """At any moment the escrow holds exactly those who have succeeded."""
    tenant = zoom(40, account={"requests_per_second": 60}, latency_ms=20)

    async def stop(worker):
        await calls_reach(tenant, tenant.log.total + 15)
        worker.stop()

    await installation.order("zoom", addresses(40), options=kept)
    await installation.run(once=False, meanwhile=stop)
    assert 0 < len(in_force(tenant)) < 40
    assert opened(installation, identities[0]) == in_force(tenant)
    await installation.run()
    check_escrow(installation, tenant, identities, 40)


async def test_without_recipients_nothing_is_kept(zoom, installation):
    """A throwaway batch leaves no row in escrow."""
    zoom(5)
    await installation.order("zoom", addresses(5))
    await installation.run()
    assert installation.query("SELECT count(*) FROM escrow") == [(0,)]

"""A draft is worked on when others than the requester have approved just this roster and these options."""

import pytest
from installation import addresses, check_books, resets, revocations, writes

from bulkreset.errors import ConfigError, UsageError
from bulkreset.model import BatchState
from bulkreset.options import Options
from bulkreset.store import control, lifecycle


async def test_a_draft_is_not_worked_on(zoom, installation):
    """Nothing is called before the approval of somebody else; then all of it is."""
    tenant = zoom(10, account={"require_approval": 1})
    placed = await installation.order("zoom", addresses(10), options=Options(revoke_sessions=True))
    assert placed.approvals_needed == 1
    await installation.run()
    assert writes(tenant) == []
    assert (await installation.batch(placed.id)).state == "draft"
    with pytest.raises(UsageError, match="ordered by tester; somebody else must approve"):
        await installation.steer(control.approve, placed.id, "tester")
    with pytest.raises(UsageError, match="draft"):
        await installation.steer(lifecycle.resume, placed.id)
    await installation.run()
    assert writes(tenant) == []
    assert await installation.steer(control.approve, placed.id, "ada") == 0
    await installation.run()
    check_books(installation, tenant)
    batch = await installation.batch(placed.id)
    assert (batch.state, batch.outcomes, batch.sessions["succeeded"]) == (BatchState.DONE, {"ok": 10}, 10)


async def test_two_approvals_are_of_two_people(zoom, installation):
    """One person twice, in whatever spelling, is one person."""
    tenant = zoom(5, account={"require_approval": 2})
    placed = await installation.order("zoom", addresses(5))
    assert await installation.steer(control.approve, placed.id, "ada") == 1
    with pytest.raises(UsageError, match="another person"):
        await installation.steer(control.approve, placed.id, "Ada (as root)")
    await installation.run()
    assert writes(tenant) == []
    assert await installation.steer(control.approve, placed.id, "bea") == 0
    await installation.run()
    assert len(resets(tenant)) == 5


async def test_an_approval_of_another_roster_is_refused(zoom, installation):
    """Neither the hash of another batch counts, nor one of this batch whose rows were changed since."""
    tenant = zoom(10, account={"require_approval": 1})
    one = await installation.order("zoom", addresses(10)[:5])
    other = await installation.order("zoom", addresses(10)[5:])

    async def approve(store):
        return await control.approve(store, other.id, "ada", roster=one.roster_sha256)

    with pytest.raises(UsageError, match="nothing is approved"):
        await installation.with_store(approve)
    installation.query("UPDATE task SET user_ref = 'eve@example.com' WHERE id = 1")
    with pytest.raises(UsageError, match="not those that were ordered"):
        await installation.steer(control.approve, one.id, "ada")
    await installation.run()
    assert writes(tenant) == []


async def test_an_approval_does_not_outlive_a_change_of_the_options(zoom, installation):
    """What was approved with other options is not approved."""
    tenant = zoom(5, account={"require_approval": 2})
    placed = await installation.order("zoom", addresses(5))
    assert await installation.steer(control.approve, placed.id, "ada") == 1
    installation.query("UPDATE batch SET options = replace(options, '\"halt_at\":0.2', '\"halt_at\":1.0')")
    assert await installation.steer(control.approve, placed.id, "bea") == 1
    await installation.run()
    assert writes(tenant) == []


async def test_an_emergency_is_for_the_configuration_to_allow(zoom, installation):
    """Where it does not, the order is refused and the account not asked."""
    tenant = zoom(5, account={"require_approval": 1})
    with pytest.raises(ConfigError, match="allow_emergency"):
        await installation.order("zoom", addresses(5), emergency=True)
    assert tenant.log.total == 0
    assert installation.query("SELECT count(*) FROM batch") == [(0,)]


async def test_an_allowed_emergency_starts_at_once_and_is_in_the_trail(zoom, installation):
    """It needs no approval, and says so for good."""
    tenant = zoom(5, account={"require_approval": 2, "allow_emergency": True})
    placed = await installation.order("zoom", addresses(5), emergency=True)
    assert placed.approvals_needed == 0
    [(kind, detail)] = installation.query("SELECT kind, detail FROM event")
    assert kind == "created"
    assert '"emergency":true' in detail.replace(" ", "")
    await installation.run()
    assert len(resets(tenant)) == 5
    assert (await installation.batch(placed.id)).options.emergency
    assert revocations(tenant) == []

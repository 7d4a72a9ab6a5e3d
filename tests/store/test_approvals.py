"""Drafts: who may let them go, and what exactly was approved; the same on both databases."""

import hashlib
import json

import pytest

from bulkreset.errors import UsageError
from bulkreset.model import BatchState, Skip
from bulkreset.options import Options
from bulkreset.store import audit, batches, control, lifecycle
from bulkreset.store.rosters import PlannedEntry


async def change(store, sql):
    async with store.write() as conn:
        await conn.exec_driver_sql(sql)


async def test_a_draft_is_claimed_only_after_its_last_approval(store, order, claim):
    """Two people beside the requester must approve; nobody is called before."""
    batch_id = await order(["a"], approvals_needed=2)
    assert (await batches.get(store, batch_id)).state is BatchState.DRAFT
    assert (await claim()).claims == []
    assert await control.approve(store, batch_id, "bob") == 1
    assert (await claim()).claims == []
    assert await control.approve(store, batch_id, "eve") == 0
    assert await control.approvals(store, batch_id) == ["bob", "eve"]
    assert len((await claim()).claims) == 1


@pytest.mark.parametrize("who", ["tester", "Tester", "tester (as root)"])
async def test_nobody_approves_the_own_order(store, order, who):
    """The requester cannot, by no spelling and not through sudo either."""
    batch_id = await order(["a"], approvals_needed=1)
    with pytest.raises(UsageError, match="was ordered by tester; somebody else"):
        await control.approve(store, batch_id, who)
    assert (await batches.get(store, batch_id)).state is BatchState.DRAFT


async def test_one_person_counts_once(store, order):
    """A second approval by the same person is refused."""
    batch_id = await order(["a"], approvals_needed=2)
    await control.approve(store, batch_id, "bob")
    with pytest.raises(UsageError, match="has the approval of bob"):
        await control.approve(store, batch_id, "bob (as root)")


async def test_an_approval_for_another_roster_is_refused(store, order):
    """Whoever names the hash that was looked at is held to it; a beginning of it will do."""
    batch_id = await order(["a"], approvals_needed=1)
    other = await order(["b"], approvals_needed=1)
    hashes = [(await batches.get(store, one)).roster_sha256 for one in (batch_id, other)]
    for wrong in (hashes[1], hashes[0][:7], ""):
        with pytest.raises(UsageError, match="the approval is for the roster"):
            await control.approve(store, batch_id, "bob", roster=wrong)
    assert (await batches.get(store, batch_id)).state is BatchState.DRAFT
    assert await control.approve(store, batch_id, "bob", roster=hashes[0][:12].upper()) == 0


@pytest.mark.parametrize(
    "tampering",
    [
        "UPDATE task SET user_ref = 'boss' WHERE user_ref = 'a'",
        "UPDATE task SET state = 'pending', finished_at = NULL WHERE state = 'skipped'",
        "DELETE FROM task WHERE user_ref = 'a'",
    ],
)
async def test_a_roster_that_was_changed_in_the_table_is_not_approved(store, order, tampering):
    """Another user, a user less, or one who was to be left out: the hashes no longer fit."""
    entries = [PlannedEntry("a", "a"), PlannedEntry("vip", "vip", skipped=Skip.PROTECTED, message="protected")]
    calls = hashlib.sha256(b"a\n").hexdigest()
    batch_id = await order((), planned=entries, approvals_needed=1, options=Options(sends_sha256=calls))
    await change(store, tampering)
    with pytest.raises(UsageError, match="find out who changed the table"):
        await control.approve(store, batch_id, "bob")
    assert (await batches.get(store, batch_id)).state is BatchState.DRAFT


@pytest.mark.parametrize(
    "values", ["options = '{\"canary\":5}'", "roster_sha256 = 'abc'"], ids=["options", "roster"]
)
async def test_a_change_voids_the_approvals_before_it(store, order, values):
    """An approval counts only for the roster and the options that it was given for."""
    batch_id = await order(["a"], approvals_needed=2)
    await control.approve(store, batch_id, "bob")
    await change(store, f"UPDATE batch SET {values} WHERE id = {batch_id}")
    assert await control.approvals(store, batch_id) == []
    if values.startswith("options"):
        assert await control.approve(store, batch_id, "eve") == 1
        assert await control.approve(store, batch_id, "bob") == 0


async def test_only_a_draft_is_approved_and_it_can_be_cancelled(store, order):
    """What runs already needs no approval, what is not there has none, and a draft can be thrown away."""
    open_id = await order(["a"])
    with pytest.raises(UsageError, match=f"batch {open_id} is open; only a draft"):
        await control.approve(store, open_id, "bob")
    with pytest.raises(UsageError, match="there is no batch 99"):
        await control.approve(store, 99, "bob")
    draft = await order(["b"], approvals_needed=1)
    await lifecycle.cancel(store, draft, "bob")
    found = await batches.get(store, draft)
    assert (found.state, found.counts["cancelled"]) == (BatchState.CANCELLED, 1)


async def test_the_trail_holds_what_was_approved(store, order):
    """Each approval is an event with both hashes, and the chain is whole."""
    batch_id = await order(["a"], approvals_needed=1)
    await control.approve(store, batch_id, "bob")
    found = await batches.get(store, batch_id)
    events = {kind: (actor, json.loads(detail)) for _, actor, kind, detail in await control.trail(store, batch_id)}
    assert events["approved"] == (
        "bob",
        {"roster_sha256": found.roster_sha256, "options_sha256": found.options_sha256},
    )
    assert "opened" in events
    async with store.read() as conn:
        assert await audit.verify(conn, batch_id) is None


async def test_equal_logins_are_one_person(store, order):
    """Whatever names were set by hand: who logged in as the requester, or as another approver, is the same."""
    batch_id = await order(["a"], approvals_needed=2, login="ada (uid 1000)")
    with pytest.raises(UsageError, match=r"from the login that you use, ada \(uid 1000\)"):
        await control.approve(store, batch_id, "somebody-else", login="ada (uid 1000)")
    assert await control.approve(store, batch_id, "bob", login="bob (uid 1001)") == 1
    with pytest.raises(UsageError, match="has the approval of bob"):
        await control.approve(store, batch_id, "yet-another", login="bob (uid 1001)")
    assert await control.approve(store, batch_id, "eve", login="eve (uid 1000)") == 0
    async with store.read() as conn:
        rows = (await conn.exec_driver_sql("SELECT approver, login FROM approval ORDER BY approver")).all()
    assert [tuple(row) for row in rows] == [("bob", "bob (uid 1001)"), ("eve", "eve (uid 1000)")]


async def test_no_login_is_no_persons(store, order):
    """A service has none: two of those are told apart by their names alone."""
    batch_id = await order(["a"], approvals_needed=1, login=None)
    assert await control.approve(store, batch_id, "bob", login=None) == 0


@pytest.mark.parametrize("who", ["ada", "Ada (as root)"])
async def test_an_order_by_sql_is_not_approved_under_the_name_it_claims(store, order, who):
    """The claimed name is that of the requester, with where it was claimed beside."""
    batch_id = await order(["a"], approvals_needed=1, requested_by="ada (by SQL, request 12)")
    with pytest.raises(UsageError, match="somebody else must approve"):
        await control.approve(store, batch_id, who)

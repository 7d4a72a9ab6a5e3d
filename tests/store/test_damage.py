"""One damaged batch or task stops itself alone; every test runs on both databases."""

import pytest
from plain_sealer import PlainSealer
from sqlalchemy import text

from bulkreset.errors import DamagedBatch, KeyMismatch
from bulkreset.model import Action, BatchState
from bulkreset.options import Options
from bulkreset.store import batches, control

DAMAGED = "its options are damaged"


async def change(store, sql, **values):
    async with store.write() as conn:
        await conn.execute(text(sql), values)


class Selective(PlainSealer):
    """Cannot do anything for one batch."""

    def __init__(self, locked):
        self.locked = locked

    def obstacle(self, of):
        return "its key does not open" if of.id == self.locked else None

    def fresh(self, of, **task):
        assert of.id != self.locked
        return super().fresh(of, **task)


async def test_a_batch_whose_key_does_not_open_leaves_the_account_to_the_others(store, order, claim):
    """Its tasks stay as they are, and it is named; the next batch of the same account is claimed from."""
    locked, whole = await order(["a", "b"]), await order(["c"])
    claimed = await claim(sealer=Selective(locked))
    assert [one.batch_id for one in claimed.claims] == [whole]
    assert claimed.unusable == {locked: "its key does not open"}


@pytest.mark.parametrize("options", ["{", '{"ramp_s": "soon"}', "[]"])
async def test_a_batch_of_damaged_options_is_claimed_from_no_more(store, order, claim, options):
    """How it is to be worked on cannot be told; the others can."""
    damaged, whole = await order(["a"]), await order(["b"])
    await change(store, "UPDATE batch SET options = :o WHERE id = :b", o=options, b=damaged)
    claimed = await claim()
    assert [one.batch_id for one in claimed.claims] == [whole]
    assert DAMAGED in claimed.unusable[damaged]


async def test_where_all_batches_are_unusable_nothing_is_claimed(store, order, claim):
    """No slot is spent on them."""
    damaged = await order(["a"])
    await change(store, "UPDATE batch SET options = '' WHERE id = :b", b=damaged)
    claimed = await claim()
    assert (claimed.claims, list(claimed.spent)) == ([], [])
    assert list(claimed.unusable) == [damaged]


async def test_one_sealed_password_that_does_not_open_is_one_task_without_a_password(store, order, claim):
    """The claim goes on with the others."""
    await order(["a", "b", "c"])
    await change(store, "UPDATE task SET sealed = 'x', password_no = 1 WHERE user_ref = 'b'")

    class Strict(PlainSealer):
        def open(self, of, **sealed):
            raise KeyMismatch("does not open")

    claimed = await claim(sealer=Strict())
    assert {one.user_ref: one.password is None for one in claimed.claims} == {"a": False, "b": True, "c": False}


async def test_everybody_can_be_looked_at_beside_a_damaged_batch(store, order):
    """Lists show it with what is wrong; commands about it say so; commands about others work."""
    damaged, whole = await order(["a"]), await order(["b"], options=Options(revoke_sessions=True))
    await change(store, "UPDATE batch SET options = '{' WHERE id = :b", b=damaged)
    shown = {one.id: one for one in await batches.find(store)}
    assert DAMAGED in shown[damaged].state_reason
    assert shown[whole].state_reason is None
    async with store.read() as conn:
        assert Action.REVOKE_SESSIONS in (await batches.open_work(conn))["zoom"]
    assert await control.approvals(store, damaged) == []


async def test_a_draft_of_damaged_options_cannot_be_approved(store, order):
    """Nobody can say what they approve."""
    draft = await order(["a"], approvals_needed=1)
    await change(store, "UPDATE batch SET options = '{' WHERE id = :b", b=draft)
    with pytest.raises(DamagedBatch, match=f"batch {draft}: {DAMAGED}"):
        await control.approve(store, draft, "somebody else", roster=None)


async def test_damage_behind_the_canaries_halts_the_batch(store, order, claim):
    """How many failures are too many cannot be told."""
    batch_id = await order(["a"], options=Options(canary=1))
    await change(store, "UPDATE batch SET options = '{', wave = 0 WHERE id = :b", b=batch_id)
    await change(store, "UPDATE task SET state = 'succeeded', wave = 0 WHERE batch_id = :b", b=batch_id)
    await control.advance(store)
    shown = await batches.get(store, batch_id)
    assert shown.state is BatchState.HALTED
    assert DAMAGED in shown.state_reason

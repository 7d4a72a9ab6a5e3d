"""Who may have been changed all the same: kept with the task until a success, and counted."""

import pytest
from closings import closing, rows, succeeded

from bulkreset.model import UNCLEAR_LIMIT, Outcome, TaskState
from bulkreset.store import batches, lifecycle, results
from bulkreset.store.results import Ledger

FINAL = (TaskState.FAILED, TaskState.SKIPPED, TaskState.CANCELLED)


async def flags(store):
    return [
        (row[0], bool(row[1])) for row in await rows(store, "SELECT state, maybe_changed FROM task ORDER BY id")
    ]


async def record(store, *closings):
    await results.record(store, Ledger(list(closings)))


async def test_a_doubt_is_kept_from_call_to_call_and_counted_where_it_ends(store, order, claim, hand):
    """What is decided about a call comes back with the next claim, and the batch counts it by state."""
    batch_id = await order(["a", "b", "c"])
    first, second, _ = (await claim()).claims
    for held in (first, second):
        await record(
            store,
            closing(
                held,
                Outcome.UNKNOWN,
                TaskState.PENDING,
                hand.now,
                due_at=hand.now,
                keep=True,
                maybe_landed=True,
                maybe_changed=True,
            ),
        )
    hand.pass_(2)
    again = {one.user_ref: one for one in (await claim()).claims}
    assert {ref: one.maybe_changed for ref, one in again.items()} == {"a": True, "b": True}
    await record(
        store,
        closing(again["a"], Outcome.UNEXPECTED, TaskState.FAILED, hand.now, maybe_changed=True),
        succeeded(again["b"], hand.now),
    )
    assert await flags(store) == [("failed", True), ("succeeded", False), ("running", False)]
    batch = await batches.get(store, batch_id)
    assert (batch.maybe_changed, batch.sessions_maybe_ended) == ({"failed": 1}, {})
    assert not batch.clean


async def test_whoever_is_rescued_is_in_doubt(store, order, claim, hand):
    """The call of a worker that was lost may have landed, whether its task goes again or is given up."""
    batch_id = await order(["a"])
    for _ in range(UNCLEAR_LIMIT):
        hand.pass_(2)
        assert (await claim()).claims
        await results.rescue(store, all_running=True)
        assert (await flags(store))[0][1]
    assert (await batches.get(store, batch_id)).maybe_changed == {"failed": 1}


async def test_who_is_cancelled_after_a_lost_call_is_not_taken_for_untouched(store, order, claim):
    """A cancel ends what waits; those who were called before and may have been changed are told apart."""
    batch_id = await order(["a", "b"])
    await claim(1)
    await results.rescue(store, all_running=True)
    await lifecycle.cancel(store, batch_id, "ada")
    assert await flags(store) == [("cancelled", True), ("cancelled", False)]
    assert (await batches.get(store, batch_id)).maybe_changed == {"cancelled": 1}


async def test_a_retry_forgets_no_doubt(store, order, claim, hand):
    """The next password is another one, and what the calls before it did is still not known."""
    batch_id = await order(["a"])
    (held,) = (await claim()).claims
    await record(store, closing(held, Outcome.UNKNOWN, TaskState.FAILED, hand.now, maybe_changed=True))
    await lifecycle.retry(store, batch_id, "ada", outcomes=[], fresh_key=lambda: "wrapped")
    hand.pass_(2)
    (again,) = (await claim()).claims
    assert (again.maybe_landed, again.maybe_changed) == (False, True)
    await record(store, succeeded(again, hand.now))
    assert (await batches.get(store, batch_id)).maybe_changed == {}


@pytest.mark.parametrize("state", FINAL)
async def test_a_batch_without_doubts_counts_none(store, order, claim, hand, state):
    """Whoever was surely refused, or never called, is no doubt."""
    batch_id = await order(["a"])
    (held,) = (await claim()).claims
    await record(store, closing(held, Outcome.UNEXPECTED, state, hand.now))
    batch = await batches.get(store, batch_id)
    assert (batch.maybe_changed, batch.in_doubt) == ({}, 0)

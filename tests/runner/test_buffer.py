"""The claims of one lane that wait for their slots."""

import asyncio
from datetime import UTC, datetime

from bulkreset.model import Action, Claim
from bulkreset.runner.buffer import Buffer


def claim(task_id, batch_id=1):
    return Claim(
        task_id=task_id,
        batch_id=batch_id,
        n=1,
        user_ref=f"u{task_id}",
        action=Action.REVOKE_SESSIONS,
        slot_at=datetime(2026, 1, 1, tzinfo=UTC),
        tries=0,
        unclear=0,
        renewals=0,
        password_no=0,
        maybe_landed=False,
        password=None,
        display=f"u{task_id}",
        maybe_changed=False,
    )


def filled(*batches):
    buffer = Buffer()
    for number, batch_id in enumerate(batches, 1):
        buffer.put(claim(number, batch_id), float(number))
    return buffer


def test_claims_come_out_in_the_order_of_their_slots():
    """The first slot is told before; of an empty buffer it is never."""
    buffer = filled(1, 2)
    assert (len(buffer), buffer.batches, buffer.slot) == (2, {1, 2}, 1.0)
    assert [buffer.take()[0].task_id for _ in range(2)] == [1, 2]
    assert (len(buffer), buffer.batches, buffer.slot) == (0, frozenset(), float("inf"))


def test_what_is_too_late_is_taken_out_and_the_rest_stays():
    """A slot of just then can be used still."""
    buffer = filled(1, 1, 1)
    assert [each.task_id for each in buffer.expired(2.0)] == [1]
    assert buffer.slot == 2.0


def test_one_batch_can_be_dropped_and_the_others_keep_their_order():
    """Each drop is counted, so that a claim which is under way is spoilt."""
    buffer = filled(1, 2, 1, 2)
    assert [each.task_id for each in buffer.drop(1)] == [1, 3]
    assert (len(buffer), buffer.slot, buffer.drops) == (2, 2.0, 1)
    assert [each.task_id for each in buffer.drop(None)] == [2, 4]
    assert (len(buffer), buffer.drops) == (0, 2)


async def test_a_drop_ends_the_wait_for_a_slot():
    """Whoever waits looks again at once; an earlier drop does not count."""
    buffer = filled(1)
    buffer.drop(None)
    waiting = asyncio.create_task(buffer.until_dropped(60))
    await asyncio.sleep(0)
    assert not waiting.done()
    buffer.drop(None)
    await asyncio.wait_for(waiting, 5)

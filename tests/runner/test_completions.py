"""How claims end: handed to the recorder, and what that changes for the lane."""

import asyncio
from datetime import timedelta

import pytest
from rooms import NOW, QUOTA, Clock, claim_of, parts_of

from bulkreset.model import Outcome, Verdict


@pytest.fixture
def parts(monkeypatch):
    return parts_of(Clock(monkeypatch))


async def test_a_call_that_is_given_back_opens_a_day_that_was_used_up(parts):
    """It counts no more, once that is saved; until then a row that says so is not believed."""
    parts.valve.note_pause(QUOTA, NOW + timedelta(hours=8))
    parts.completions.release([claim_of(1)], "stopped")
    assert parts.valve.paused_until(QUOTA) is None
    recorder = parts.context.recorder
    assert not parts.completions.all_given_back(recorder.saved)
    recorder.save()
    assert parts.completions.all_given_back(recorder.saved)


async def test_a_call_that_was_sent_leaves_a_pause_as_it_is(parts):
    """It has used a slot."""
    parts.valve.note_pause(QUOTA, NOW)
    parts.completions.close(claim_of(1), Verdict(Outcome.OK), NOW, NOW, 1)
    assert parts.valve.paused_until(QUOTA) == NOW


async def test_a_task_that_is_due_again_before_the_next_poll_wakes_the_claimer(parts):
    """It would wait for the poll otherwise."""
    parts.completions.close(claim_of(1), Verdict(Outcome.RATE_LIMITED, retry_at=NOW), NOW, NOW, 1)
    await asyncio.wait_for(parts.low.wait(), 20)


async def test_a_call_that_did_not_leave_has_no_time_of_sending(parts):
    """Nor a latency."""
    parts.completions.unsent(claim_of(1), Verdict(Outcome.NOT_RESETTABLE))
    (closing,) = parts.context.recorder.closings
    assert (closing.result.sent_at, closing.result.latency_ms, closing.result.closed_at) == (None, None, NOW)

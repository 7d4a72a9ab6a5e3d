"""The recorder: a result that cannot be saved is kept and tried again, for as long as it takes."""

import asyncio
from datetime import timedelta

import pytest
from rooms import NOW, QUOTA, claim_of

from bulkreset.errors import DatabaseReplaced, StoreError
from bulkreset.model import Decision, Outcome, Result, TaskState, Verdict
from bulkreset.runner.recorder import Recorder
from bulkreset.store import results
from bulkreset.store.quotas import Pause
from bulkreset.store.results import Closing


def closing(number):
    result = Result(claim_of(number), Verdict(Outcome.OK), NOW, NOW, 1)
    return Closing(result, Decision(TaskState.SUCCEEDED, Outcome.OK))


class Tables:
    """What is recorded; `faults` come before it works."""

    def __init__(self, monkeypatch):
        self.saved, self.faults = [], []
        monkeypatch.setattr(results, "record", self.record)

    async def record(self, store, ledger, *, worker):
        if self.faults:
            raise self.faults.pop(0)
        self.saved.append([one.result.claim.task_id for one in ledger.closings])


@pytest.fixture
def tables(monkeypatch):
    return Tables(monkeypatch)


async def test_a_database_that_went_away_gets_every_result_when_it_is_back(tables):
    """Each once, in the order of their coming; meanwhile nothing more may be claimed, and the waits grow."""
    waits, ready = [], []

    async def sleep(seconds):
        waits.append(seconds)
        ready.append(recorder.ready)
        recorder.put(closing(len(waits) + 1))

    recorder = Recorder(None, "w", sleep=sleep)
    tables.faults = [StoreError("gone")] * 3
    recorder.put(closing(1))
    recorder.stop()
    await asyncio.wait_for(recorder.run(), 20)
    assert tables.saved == [[1], [2, 3, 4]]
    assert (ready, recorder.ready, recorder.waiting) == ([False] * 3, True, 0)
    assert max(waits) <= 2.0
    assert waits[0] < 0.11


async def test_a_finding_is_saved_without_waiting_for_more(tables):
    """`saved` tells when: then quota rows can be trusted again."""
    recorder = Recorder(None)
    number = recorder.put(pause=Pause(QUOTA, NOW + timedelta(seconds=1), "429"))
    assert recorder.saved < number
    async with asyncio.timeout(20):
        await recorder.step()
    assert recorder.saved == number


async def test_results_of_a_database_that_was_replaced_belong_nowhere(tables):
    """They are not written into whatever has taken its place."""
    recorder = Recorder(None)
    tables.faults = [DatabaseReplaced("another file")]
    recorder.put(closing(1))
    recorder.stop()
    with pytest.raises(DatabaseReplaced):
        await asyncio.wait_for(recorder.run(), 20)
    assert tables.saved == []

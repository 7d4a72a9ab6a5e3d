"""The log of a run: what it took up, how far it is, and how that ended."""

from types import SimpleNamespace

import pytest
from structlog.testing import capture_logs

from bulkreset.runner import progress
from bulkreset.runner.progress import EVERY_S, Progress


class Rows(list):
    def all(self):
        return self


class Hand:
    """A database of batches and a clock, both moved by hand."""

    def __init__(self, monkeypatch):
        self.now = 0.0
        self.rows = Rows()
        monkeypatch.setattr(progress.batches, "find", self._find)

    def read(self):
        return self

    async def __aenter__(self):
        return self

    async def __aexit__(self, *_):
        pass

    async def execute(self, _):
        return self.rows

    async def _find(self, _, ids):
        return [SimpleNamespace(id=n, account="zoom", total=100, left=40, outcomes={"ok": 60}) for n in ids]

    def batch(self, state, reason=None):
        values = {"id": 1, "account": "zoom", "incident": "INC-1", "state": state, "state_reason": reason}
        self.rows[:] = [SimpleNamespace(**values)]


@pytest.fixture
def hand(monkeypatch):
    return Hand(monkeypatch)


async def events(watched):
    with capture_logs() as told:
        await watched.step()
    return told


async def test_each_change_of_a_batch_is_told_once(hand):
    """Taken, paused with the reason, resumed, halted as an error, done; and nothing while nothing changes."""
    watched = Progress(hand, now=lambda: hand.now)
    assert await events(watched) == []
    story = (
        ("open", None, "batch_taken", "info"),
        ("paused", "paused by ada", "batch_paused", "warning"),
        ("open", None, "batch_resumed", "info"),
        ("halted", "too many", "batch_halted", "error"),
        ("done", None, "batch_done", "info"),
    )
    for state, reason, event, level in story:
        hand.batch(state, reason)
        [told] = await events(watched)
        assert (told["event"], told["log_level"], told["batch"]) == (event, level, 1)
        assert told.get("reason") == reason
        if state != "done":
            assert await events(watched) == []


async def test_progress_is_told_once_a_minute(hand):
    """How many users, what is left, how they ended."""
    watched = Progress(hand, now=lambda: hand.now)
    hand.batch("open")
    await events(watched)
    hand.now = EVERY_S - 1
    assert await events(watched) == []
    hand.now = EVERY_S
    [told] = await events(watched)
    assert (told["event"], told["users"], told["calls_left"]) == ("batch_progress", 100, 40)
    hand.now += 1
    assert await events(watched) == []

"""The claimer: what is claimed when, and what becomes of claims that must not be sent after all."""

from contextlib import asynccontextmanager

import pytest
from rooms import AWAY, NOW, QUOTA, REFUSED, Clock, Tables, claim_of, parts_of

from bulkreset.errors import StoreError
from bulkreset.limits.rates import SECOND, Rate
from bulkreset.runner import claimer
from bulkreset.runner.claimer import Claimer
from bulkreset.store.quotas import Offer


@pytest.fixture
def clock(monkeypatch):
    return Clock(monkeypatch)


@pytest.fixture
def tables(clock, monkeypatch):
    return Tables(clock, monkeypatch)


async def test_claims_go_into_the_buffer_at_their_slots(clock, tables):
    """In this process's own time."""
    parts = parts_of(clock)
    tables.claims = [claim_of(1, 0.1), claim_of(2, 0.15)]
    await Claimer(parts).step()
    assert parts.buffer.slot == pytest.approx(clock.now + 0.1)
    assert [parts.buffer.take()[0].task_id for _ in range(2)] == [1, 2]
    assert (parts.tally.claimed, parts.tally.touched) == (2, {1})


async def test_what_a_stop_meets_on_the_way_is_given_back(clock, tables):
    """The transaction ran when the buffer was emptied: of what it brought nothing may leave."""
    parts = parts_of(clock)
    tables.claims = [claim_of(1), claim_of(2)]
    tables.meanwhile = lambda: parts.drop(None, "stopped")
    assert await Claimer(parts).step() < 0.1
    assert not parts.buffer
    assert parts.context.recorder.outcomes == [(1, "released"), (2, "released")]


async def test_a_clock_that_could_not_be_read_closely_gives_its_slots_back(clock, tables):
    """They could be off by as much."""
    parts = parts_of(clock)
    tables.claims, tables.doubt_s = [claim_of(1)], 0.5
    await Claimer(parts).step()
    assert not parts.buffer
    assert parts.context.recorder.outcomes == [(1, "released")]


async def test_nothing_is_claimed_while_a_finding_is_not_saved(clock, tables):
    """The quota row says less than is known here."""
    parts = parts_of(clock)
    claimer_ = Claimer(parts)
    parts.valve.pause(QUOTA, NOW, "429")
    assert await claimer_.step() < 0.1
    assert tables.asked_for == []
    parts.context.recorder.save()
    await claimer_.step()
    assert tables.asked_for != []


@pytest.mark.parametrize("lack", ["results cannot be saved", "another configuration"])
async def test_nothing_is_claimed_that_could_not_be_recorded_or_agreed(clock, tables, lack):
    """A database that went away between claim and record, and a worker whose configuration differs."""
    parts = parts_of(clock, allows=lambda _: lack != "another configuration")
    parts.context.recorder.ready = lack != "results cannot be saved"
    assert await Claimer(parts).step() > 0
    assert tables.asked_for == []


async def test_a_database_that_is_away_brings_nothing_and_is_looked_into(clock, tables):
    """The next look is a poll away; what damaged rows there may be is looked for."""
    suspected = []
    parts = parts_of(clock, suspect=lambda: suspected.append(True))
    tables.fault = StoreError("gone")
    assert await Claimer(parts).step() == parts.context.poll_interval
    assert (suspected, parts.idle) == ([True], True)


async def test_a_login_that_is_away_is_tried_more_rarely(clock, tables):
    """And shows until when nothing leaves."""
    parts = parts_of(clock)
    parts.provider.auth.fault = AWAY
    claimer_ = Claimer(parts)
    await claimer_.step()
    await claimer_.step()
    assert (parts.provider.auth.asked, tables.asked_for) == (1, [])
    assert parts.valve.paused_until(QUOTA) > clock.moment()
    clock.now = parts.login.again_at
    parts.provider.auth.fault = None
    await claimer_.step()
    assert (parts.provider.auth.asked, len(tables.asked_for)) == (2, 1)


async def test_a_login_that_is_refused_halts_the_account(clock, tables):
    """Nobody knows what else would help."""
    parts = parts_of(clock)
    parts.provider.auth.fault = REFUSED
    await Claimer(parts).step()
    assert parts.valve.halted == "the login is refused"
    assert (len(parts.context.recorder.halts), tables.asked_for) == (1, [])


async def test_a_halt_that_was_lifted_counts_refusals_from_nothing(clock, tables, monkeypatch):
    """Until it is lifted in the tables, not even a login is tried."""
    halts = {"acme": "403"}

    class Store:
        @asynccontextmanager
        async def read(self):
            yield None

    class Member:
        quota = QUOTA

        def reopened(self):
            reopened.append(True)

    async def known(_):
        return halts

    reopened = []
    parts = parts_of(clock, store=Store())
    monkeypatch.setattr(claimer.quotas, "halts", known)
    parts.valve.join(Member())
    parts.valve.note_halt("403")
    claimer_ = Claimer(parts)
    await claimer_.step()
    assert (parts.provider.auth.asked, tables.asked_for, reopened) == (0, [], [])
    halts.clear()
    await claimer_.step()
    assert (parts.valve.halted, reopened, len(tables.asked_for)) == (None, [True], 1)


async def test_an_outage_is_probed_by_one_call_at_a_time(clock, tables):
    """And by none while that one has no answer."""
    parts = parts_of(clock)
    parts.watch.probing = True
    tables.claims = [claim_of(1), claim_of(2)]
    claimer_ = Claimer(parts)
    await claimer_.step()
    await claimer_.step()
    assert (tables.asked_for, len(parts.buffer)) == ([1], 1)


async def test_no_more_is_claimed_than_can_leave_in_time(clock, tables):
    """Beside what is in flight and what waits."""
    parts = parts_of(clock, concurrency=5)
    parts.in_flight.update({1, 2, 3})
    tables.claims = [claim_of(n) for n in range(9)]
    claimer_ = Claimer(parts)
    await claimer_.step()
    assert tables.asked_for == [2]
    await claimer_.step()
    assert (tables.asked_for, parts.buffer.more) == ([2], True)


async def test_a_lower_limit_is_kept_once_what_left_before_is_out_of_the_window(clock, tables):
    """The calls that left by the higher one still count."""
    parts = parts_of(clock)
    parts.tally.sent = 5
    parts.provider.told = Rate(2, SECOND)
    claimer_ = Claimer(parts)
    await claimer_.step()
    assert (parts.way_out.kept, tables.asked_for) == (Rate(2, SECOND), [])
    assert await claimer_.step() == pytest.approx(1.0)
    clock.now += 1.0
    await claimer_.step()
    assert len(tables.asked_for) == 1


async def test_nothing_is_claimed_before_a_connection_is_open(clock, tables):
    """The first slots would be lost."""
    parts = parts_of(clock)
    parts.way_out.connected = False
    await Claimer(parts).step()
    assert tables.asked_for == []


async def test_a_batch_that_cannot_be_worked_on_stops_itself_alone(clock, tables):
    """What was claimed of the others goes on."""
    parts = parts_of(clock)
    tables.claims, tables.unusable = [claim_of(1, 0.1)], {7: "its key is gone"}
    await Claimer(parts).step()
    assert parts.context.recorder.batch_halts == [(7, "its key is gone; then `bulkreset batch resume 7`")]
    assert len(parts.buffer) == 1


async def test_a_pause_in_the_row_is_shown(clock, tables):
    """As the row has it; and gone when the row has none."""
    parts = parts_of(clock)
    tables.offer = Offer(range(0), opens_at=NOW, pause_reason="429")
    claimer_ = Claimer(parts)
    await claimer_.step()
    assert parts.valve.paused_until(QUOTA) == NOW
    tables.offer = Offer(range(0))
    await claimer_.step()
    assert parts.valve.paused_until(QUOTA) is None

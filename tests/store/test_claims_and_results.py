"""Claim, record, rescue: the heart of the promises, one statement at a time."""

import dataclasses
from datetime import UTC, datetime, timedelta

import pytest
from closings import closing, rows, succeeded
from sqlalchemy import event, select, text

from bulkreset.errors import KeyMismatch, StoreError
from bulkreset.limits.clock import ClockWatch
from bulkreset.model import UNCLEAR_LIMIT, Outcome, Quota, TaskState
from bulkreset.options import Options
from bulkreset.store import claims, due, lifecycle, results
from bulkreset.store.quotas import Halt, Pause, at
from bulkreset.store.results import Ledger
from bulkreset.store.tables import quota

QUOTA = Quota("zoom", "medium")


async def test_an_attempt_is_on_the_disk_before_its_claim_is_handed_out(store, order, claim):
    """A claim commits the attempt, the lease and the sealed password of each task it returns."""
    await order(["a", "b", "c"])
    claimed = (await claim(2)).claims
    assert [(c.user_ref, c.n, c.password.reveal()) for c in claimed] == [("a", 1, "pw-1-1"), ("b", 1, "pw-2-1")]
    found = await rows(store, "SELECT task_id, n, outcome, closed_at FROM attempt ORDER BY task_id")
    assert found == [(1, 1, None, None), (2, 1, None, None)]
    states = await rows(store, "SELECT state, attempt, worker, sealed IS NOT NULL FROM task ORDER BY id")
    assert states == [("running", 1, "w1", 1), ("running", 1, "w1", 1), ("pending", 0, None, 0)]


async def test_two_claims_never_share_a_task_or_a_slot(store, order, claim):
    """What is running is not claimed again, and slots go on where the last claim ended."""
    await order([f"u{n:03}" for n in range(100)])
    first, second = await claim(30), await claim(30)
    assert not {c.task_id for c in first.claims} & {c.task_id for c in second.claims}
    assert first.claims[-1].slot_at < second.claims[0].slot_at


async def test_slots_are_taken_only_for_tasks_there_are(store, order, claim):
    """Three tasks move the line of time by three slots, not by the fifty that were free."""
    await order(["a", "b", "c"])
    claimed = await claim(50, rate=100)
    assert len(claimed.offer.slots) == 50
    async with store.read() as conn:
        tat = (await conn.execute(select(quota.c.tat))).scalar_one()
    assert tat == datetime(2026, 1, 31, 12, 0, 0, 30_750, UTC)


async def test_a_small_batch_progresses_beside_a_huge_one(store, order, claim):
    """Turns are taken batch by batch, also when a claim has a single slot."""
    huge, small = await order([f"h{n:04}" for n in range(500)]), await order([f"s{n}" for n in range(10)])
    claimed = (await claim(20)).claims
    assert sum(c.batch_id == small for c in claimed) == 10
    assert sum(c.batch_id == huge for c in claimed) == 10


async def test_single_slot_claims_serve_every_batch_in_time(store, order, claim, hand):
    """With one slot a claim, which batch is first changes from claim to claim."""
    first, second = await order([f"a{n:02}" for n in range(50)]), await order([f"b{n:02}" for n in range(50)])
    served = []
    for _ in range(20):
        hand.pass_(0.501)
        served += [c.batch_id for c in (await claim(1)).claims]
    assert {first, second} == set(served)


@pytest.mark.parametrize("act", [lifecycle.pause, lifecycle.cancel])
async def test_nothing_is_claimed_from_a_batch_that_is_not_open(store, order, claim, act):
    """A paused or cancelled batch yields no claim."""
    batch_id = await order(["a"])
    await act(store, batch_id, "tester")
    assert (await claim()).claims == []


async def test_nothing_is_claimed_before_its_time(store, order, claim, hand):
    """not_before of a batch and due_at of a task are both waited for."""
    await order(["a"], not_before=hand.now + timedelta(hours=1))
    assert (await claim()).claims == []
    hand.pass_(3601)
    [held] = (await claim()).claims
    later = hand.now + timedelta(minutes=5)
    await results.record(
        store,
        Ledger([closing(held, Outcome.PROVIDER_ERROR, TaskState.PENDING, hand.now, due_at=later, keep=True)]),
    )
    assert (await claim()).claims == []
    async with store.read() as conn:
        assert await due.next_due(conn, QUOTA) == later
        assert await due.waits(conn, hand.now) == {held.batch_id: later}
    hand.pass_(301)
    async with store.read() as conn:
        assert await due.waits(conn, hand.now) == {}
    assert [c.n for c in (await claim()).claims] == [2]


async def test_a_batch_waits_for_its_clock_only_while_nothing_else_decides(store, order, claim, hand):
    """The latest of due_at, not_before and pause says when; what is claimed, halted or a draft does not wait."""
    later = hand.now + timedelta(hours=1)
    waiting = await order(["a"], not_before=later)
    held = await order(["b"])
    await order(["c"], approvals_needed=1)
    await order(["d"], account="other")
    [claimed] = (await claim()).claims
    assert claimed.batch_id == held

    async def waits():
        async with store.read() as conn:
            return await due.waits(conn, hand.now)

    assert await waits() == {waiting: later}
    paused = hand.now + timedelta(hours=2)
    await results.record(store, Ledger(pauses=[Pause(QUOTA, paused, "a 429")]))
    assert await waits() == {waiting: paused}
    await results.record(store, Ledger(halts=[Halt(QUOTA, "no permission")]))
    assert await waits() == {}


async def test_an_unclear_end_keeps_the_password_and_a_refusal_changes_it(store, order, claim, hand):
    """The same sealed password goes again after a rescue; after a refusal a new one with the next number."""
    await order(["a"])
    [first] = (await claim()).claims
    await results.rescue(store, all_running=True)
    hand.pass_(2)
    [second] = (await claim()).claims
    assert (second.password.reveal(), second.password_no, second.maybe_landed) == (
        first.password.reveal(),
        1,
        True,
    )
    again = closing(second, Outcome.POLICY_REJECTED, TaskState.PENDING, hand.now, due_at=hand.now, renewals=1)
    await results.record(store, Ledger([again]))
    hand.pass_(2)
    [third] = (await claim()).claims
    assert (third.password.reveal(), third.password_no, third.maybe_landed) == ("pw-1-2", 2, False)
    assert third.renewals == 1


async def test_a_final_task_keeps_no_sealed_password(store, order, claim, hand):
    """Success and failure alike remove the ciphertext."""
    await order(["a", "b"])
    one, two = (await claim()).claims
    await results.record(
        store,
        Ledger(
            [
                closing(one, Outcome.OK, TaskState.SUCCEEDED, hand.now),
                closing(two, Outcome.UNEXPECTED, TaskState.FAILED, hand.now, keep=True),
            ]
        ),
    )
    assert await rows(store, "SELECT state, sealed FROM task ORDER BY id") == [
        ("succeeded", None),
        ("failed", None),
    ]


async def test_a_lease_is_waited_for_and_then_given_back(store, order, claim, hand):
    """Rescue takes nothing before the lease ends, everything after, and nothing twice."""
    await order(["a", "b"])
    await claim(lease=30)
    hand.pass_(29)
    assert await results.rescue(store) == 0
    hand.pass_(3)
    assert await results.rescue(store) == 2
    assert await results.rescue(store) == 0
    found = await rows(store, "SELECT state, outcome, unclear, maybe_landed FROM task")
    assert found == [("pending", "unknown", 1, 1)] * 2
    assert await rows(store, "SELECT DISTINCT outcome FROM attempt") == [("unknown",)]


async def test_unclear_attempts_are_capped(store, order, claim, hand):
    """A task whose end is never known fails as unknown, its password gone, instead of going round for ever."""
    await order(["a"])
    for _ in range(UNCLEAR_LIMIT):
        hand.pass_(2)
        assert (await claim()).claims
        await results.rescue(store, all_running=True)
    hand.pass_(2)
    assert (await claim()).claims == []
    assert await rows(store, "SELECT state, outcome, sealed FROM task") == [("failed", "unknown", None)]


async def test_the_same_ledger_twice_changes_nothing(store, order, claim, hand):
    """A record repeated after a lost commit answer is harmless."""
    await order(["a"])
    [held] = (await claim()).claims
    ledger = Ledger([closing(held, Outcome.OK, TaskState.SUCCEEDED, hand.now)])
    assert await results.record(store, ledger) == 1
    before = await rows(store, "SELECT * FROM task")
    assert await results.record(store, ledger) == 0
    assert await rows(store, "SELECT * FROM task") == before


async def test_a_pause_is_kept_until_its_end_and_never_shortened(store, order, claim, hand):
    """The later of two pauses holds; claims begin again at its end, not before."""
    await order(["a"])
    late, early = hand.now + timedelta(seconds=20), hand.now + timedelta(seconds=5)
    await results.record(store, Ledger(pauses=[Pause(QUOTA, late, "429"), Pause(QUOTA, early, "429")]))
    claimed = await claim()
    assert (claimed.claims, claimed.offer.opens_at, claimed.offer.pause_reason) == ([], late, "429")
    hand.pass_(19.5)
    assert [c.slot_at for c in (await claim()).claims] == [late]


async def test_a_halt_stops_the_account_and_only_that_one(store, order, claim):
    """A halted account yields no claim; another one does; resume lifts the halt."""
    at_zoom = await order(["a"])
    await order(["a"], account="other")
    await results.record(store, Ledger(halts=[Halt(QUOTA, "no permission")]))
    assert (await claim()).offer.halted_reason == "no permission"
    assert len((await claim(which=Quota("other", "medium"))).claims) == 1
    await lifecycle.resume(store, at_zoom, "tester")
    assert len((await claim()).claims) == 1


async def test_a_claim_that_cannot_seal_leaves_nothing_behind(store, order, claim):
    """An error inside a claim rolls back: no attempt, no lease, no slot."""

    class Broken:
        def obstacle(self, of):
            return None

        def fresh(self, of, *, task_id, password_no, display):
            raise KeyMismatch("another key")

    await order(["a"])
    with pytest.raises(KeyMismatch):
        await claim(sealer=Broken())
    assert await rows(store, "SELECT count(*) FROM attempt") == [(0,)]
    assert await rows(store, "SELECT state, attempt FROM task") == [("pending", 0)]


@pytest.mark.parametrize("database_url", ["sqlite:///bulkreset.db"])
async def test_a_full_database_loses_nothing_and_says_so(store, order, claim):
    """When the file cannot grow, a claim fails with one line and leaves the table as it was."""
    await order([f"u{n:05}" for n in range(3000)])
    async with store.engine.connect() as conn:
        pages = (await conn.execute(text("PRAGMA page_count"))).scalar_one()
    before = await rows(store, "SELECT count(*), sum(attempt) FROM task")

    @event.listens_for(store.engine.sync_engine, "connect")
    def shrink(connection, _):
        connection.execute(f"PRAGMA max_page_count = {pages}")

    await store.engine.dispose()
    with pytest.raises(StoreError, match="disk is full"):
        await claim(900)
    assert await rows(store, "SELECT count(*) FROM task WHERE state = 'running' AND attempt = 0") == [(0,)]
    assert (await rows(store, "SELECT count(*), sum(attempt) FROM task"))[0][0] == before[0][0]


async def test_a_new_password_cannot_have_landed(store, order, claim, hand):
    """Whatever was noted of the password before it, one that is new has not been sent yet."""
    await order(["a"])
    async with store.write() as conn:
        await conn.execute(text("UPDATE task SET maybe_landed = TRUE, sealed = NULL"))
    [held] = (await claim()).claims
    assert not held.maybe_landed
    assert await rows(store, "SELECT maybe_landed FROM task") == [(False,)]


async def test_the_first_reason_for_a_halt_stays(store, order, claim):
    """Later refusals of calls in flight do not hide what began it."""
    await order(["a"])
    await results.record(store, Ledger(halts=[Halt(QUOTA, "first")]))
    await results.record(store, Ledger(halts=[Halt(QUOTA, "second")]))
    assert (await claim()).offer.halted_reason == "first"


async def test_the_calls_of_yesterday_do_not_count_today(store, order, claim, hand):
    """The daily limit starts anew at midnight UTC."""
    await order([f"u{n}" for n in range(20)])
    assert len((await claim(daily=5)).claims) == 5
    hand.pass_(10)
    spent = await claim(daily=5)
    assert (spent.claims, spent.offer.opens_at) == (
        [],
        hand.now.replace(day=1, month=2, hour=0, minute=0, second=0),
    )
    hand.pass_(12 * 3600)
    assert len((await claim(daily=5)).claims) == 5


def released(claim, at):
    return closing(claim, Outcome.RELEASED, TaskState.PENDING, at, due_at=at, keep=True)


async def used_today(store):
    return [used for (used,) in await rows(store, "SELECT used_today FROM quota ORDER BY account, label")]


async def test_what_was_claimed_and_not_sent_does_not_count_for_the_day(store, order, claim, hand):
    """The daily limit is of calls that may have left: a slot that expired leaves room for another call."""
    await order([f"u{n}" for n in range(20)])
    held = (await claim(daily=5)).claims
    ends = [succeeded(one, hand.now) for one in held[:3]] + [released(one, hand.now) for one in held[3:]]
    await results.record(store, Ledger(ends))
    assert await used_today(store) == [3]
    hand.pass_(2)
    assert len((await claim(daily=5)).claims) == 2
    hand.pass_(2)
    assert (await claim(daily=5)).claims == []


async def test_what_is_given_back_is_given_back_once(store, order, claim, hand):
    """Neither a ledger that is written again nor a claim that was rescued before counts twice."""
    await order(["a", "b", "c"])
    held = (await claim(daily=5)).claims
    ledger = Ledger([released(held[0], hand.now)])
    await results.record(store, ledger)
    await results.record(store, ledger)
    assert await used_today(store) == [2]
    await results.rescue(store, all_running=True)  # its call may have left
    assert await used_today(store) == [2]
    late = Ledger([released(one, hand.now) for one in held])
    await results.record(store, late)
    await results.record(store, late)
    assert await used_today(store) == [0]


@pytest.mark.parametrize("outcome", sorted(set(Outcome) - {Outcome.RELEASED}))
async def test_what_may_have_left_counts_whatever_became_of_it(store, order, claim, hand, outcome):
    """No other end is surely one of a call that the provider has not seen, least of all an unknown one."""
    await order(["a"])
    [held] = (await claim(daily=5)).claims
    end = closing(held, outcome, TaskState.PENDING, hand.now, due_at=hand.now)
    await results.record(store, Ledger([end]))
    await results.record(store, Ledger([released(held, hand.now)]))
    assert await used_today(store) == [0 if outcome is Outcome.UNKNOWN else 1]


async def test_what_was_claimed_yesterday_is_not_given_back_today(store, order, claim, hand):
    """A claim counts on the day it was made, and its release takes nothing out of the next one's count."""
    await order([f"u{n}" for n in range(20)])
    hand.pass_(12 * 3600 - 0.3)
    late = (await claim(5, daily=5)).claims
    assert len(late) == 5
    hand.pass_(1)  # past midnight
    first = Ledger([released(late[0], hand.now)])  # before any claim of the new day
    await results.record(store, first)
    assert len((await claim(3, daily=5)).claims) == 3
    for one in late[1:]:
        await results.record(store, Ledger([released(one, hand.now)]))
    assert await used_today(store) == [3]
    hand.pass_(2)
    assert len((await claim(daily=5)).claims) == 2


async def test_each_label_is_given_back_its_own(store, order, claim, hand):
    """One ledger holds what several lanes did not send, at several accounts."""
    await order(["a", "b"], options=Options(revoke_sessions=True))
    await order(["c", "d", "e"], account="other")
    sent = [dataclasses.replace(succeeded(one, hand.now), chained=True) for one in (await claim()).claims]
    await results.record(store, Ledger(sent))
    light = (await claim(which=Quota("zoom", "light"))).claims
    other = (await claim(which=Quota("other", "medium"))).claims
    assert await used_today(store) == [3, 2, 2]
    await results.record(store, Ledger([released(one, hand.now) for one in (*other[:2], light[0])]))
    assert await used_today(store) == [1, 1, 2]


async def test_a_count_is_never_below_zero(store, order, claim, hand):
    """What cannot hold what is given back was damaged, and is left for that to be found."""
    await order(["a", "b"])
    held = (await claim(daily=5)).claims
    async with store.write() as conn:
        await conn.execute(text("UPDATE quota SET used_today = 1"))
    await results.record(store, Ledger([released(one, hand.now) for one in held]))
    assert await used_today(store) == [1]


async def test_a_clock_set_back_an_hour_costs_one_window(store, order, claim, hand):
    """Claims go on after one window, not after an hour, and no slot is given twice."""
    await order([f"u{n:03}" for n in range(200)])
    hand.pass_(7200)
    before = (await claim(20)).claims[-1].slot_at
    hand.pass_(-3600)
    assert (await claim(20)).claims == []
    hand.pass_(1.1)
    held = (await claim(20)).claims
    assert len(held) == 20
    assert held[0].slot_at < before


async def test_the_days_count_survives_a_clock_that_went_ahead_and_back(store, order, claim, hand):
    """What was counted under a later date still counts when the date is put right."""
    await order([f"u{n}" for n in range(20)])
    hand.pass_(86_400)
    assert len((await claim(daily=5)).claims) == 5
    hand.pass_(-86_400)
    await claim(daily=5)
    hand.pass_(2)
    assert (await claim(daily=5)).claims == []


@pytest.mark.parametrize("state", ["paused", "halted"])
async def test_a_batch_with_nothing_left_is_done_whatever_held_it(store, order, claim, hand, state):
    """The last answers came in while it was paused or halted: it ends, and its key is destroyed."""
    batch_id = await order(["a"])
    [held] = (await claim()).claims
    if state == "paused":
        await lifecycle.pause(store, batch_id, "tester")
    ledger = Ledger([closing(held, Outcome.OK, TaskState.SUCCEEDED, hand.now)])
    if state == "halted":
        ledger.batch_halts[batch_id] = "why"
    await results.record(store, ledger)
    assert await lifecycle.finish(store) == [batch_id]
    assert await rows(store, "SELECT state, wrapped_key FROM batch") == [("done", None)]


@pytest.mark.parametrize("step", [-30, -3, 5, 86_400])
async def test_a_clock_that_was_set_costs_a_window_and_gives_no_slot_twice(store, order, claim, hand, step):
    """What was claimed before is sent within the horizon; nobody gets a slot before that is a window back."""
    await order([f"u{n}" for n in range(60)])
    watch = ClockWatch()
    first = await claim(20, rate=20, clock=watch)
    assert len(first.claims) == 20
    hand.pass_(step)
    assert (await claim(20, rate=20, clock=watch)).claims == []
    set_at = hand.now
    hand.pass_(1.9)
    slots = (await claim(20, rate=20)).offer.slots
    assert at(slots.start) >= set_at + timedelta(seconds=2)


@pytest.mark.parametrize(("slow", "readings", "doubt"), [(0, 1, 0.0), (1, 2, 0.0), (9, 3, 1.0)])
async def test_the_databases_clock_is_read_again_where_a_reading_was_slow(
    order, claim, monkeypatch, slow, readings, doubt
):
    """All slots of a claim would be given back by such a reading; but three are enough, since others wait."""

    class Instants:
        asked = 0

        def __call__(self):
            reading, ends = divmod(self.asked, 2)
            self.asked += 1
            return reading * 10.0 + (1.0 if ends and reading < slow else 0.0)

    instants = Instants()
    monkeypatch.setattr(claims, "monotonic", instants)
    await order(["a@x.org"])
    claimed = await claim()
    assert (instants.asked, claimed.clock_doubt) == (2 * readings, doubt)
    assert claimed.read_at == 10.0 * (readings - 1) + doubt

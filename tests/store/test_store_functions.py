"""What each public function of the store promises, the same on both databases."""

from datetime import timedelta

import pytest
from closings import closing, rows

from bulkreset.errors import InputError, ProviderRefused, ProviderUnavailable, UsageError
from bulkreset.limits.quota import Spacing
from bulkreset.limits.rates import SECOND, Rate
from bulkreset.model import Action, Outcome, Quota, TaskState
from bulkreset.report import queries
from bulkreset.store import audit, batches, due, keys, lifecycle, quotas, results
from bulkreset.store.batches import NewBatch
from bulkreset.store.pace import Pacer
from bulkreset.store.quotas import Halt, Pause, Window
from bulkreset.store.results import Ledger
from bulkreset.store.rosters import RosterEntry

QUOTA = Quota("zoom", "medium")
AHEAD = Window(timedelta(0), timedelta(seconds=1))
TEN = Spacing.of(Rate(10, SECOND))


async def end(store, hand, claimed, outcome=Outcome.OK, state=TaskState.SUCCEEDED):
    return await results.record(store, Ledger([closing(c, outcome, state, hand.now) for c in claimed.claims]))


async def kinds(store, batch_id):
    async with store.read() as conn:
        assert await audit.verify(conn, batch_id) is None
    return [
        kind for (kind,) in await rows(store, f"SELECT kind FROM event WHERE batch_id = {batch_id} ORDER BY seq")
    ]


def roster_of(*entries, total=None):
    new = NewBatch(
        "zoom", "medium", "INC-2", "why", "tester", None, "0" * 64, total or len(entries), 1, 2, "{}", "key"
    )

    async def roster():
        # In two parts, as a large one comes.
        yield list(entries[:1])
        yield list(entries[1:])

    return new, roster()


async def create(store, *entries, **options):
    async with store.write() as conn:
        return await batches.create(conn, *roster_of(*entries, **options), now=await store.now(conn))


# Batches.


async def test_every_line_of_a_roster_has_its_row_whatever_stands_against_it(store, order, hand):
    """Open elsewhere: `skipped`, and where; unknown to the provider: `failed`; the rest waits."""
    first = await order(["ada", "bob"])
    second = await create(
        store,
        RosterEntry("ada", "Ada@Example.com"),
        RosterEntry("zoë", "Zoë"),
        RosterEntry("nobody@example.com", "Nobody@Example.com", resolved=False),
    )
    lines = {line.user_ref: line async for line in queries.tasks(store, second)}
    assert {ref: (line.state, line.outcome, line.message) for ref, line in lines.items()} == {
        "ada": ("skipped", None, f"already open in batch {first}"),
        "nobody@example.com": ("failed", "user_not_found", "the account's listing has no user with this address"),
        "zoë": ("pending", None, None),
    }
    assert [lines[ref].finished_at for ref in ("ada", "nobody@example.com", "zoë")] == [hand.now, hand.now, None]
    assert lines["ada"].user == "Ada@Example.com"
    batch = await batches.get(store, second)
    assert (batch.total, batch.excluded, batch.duplicates, batch.left) == (3, 1, 2, 1)
    assert batch.outcomes == {"user_not_found": 1}


async def test_a_roster_that_changed_while_it_was_written_leaves_nothing(store):
    """Other than the counted number of rows: an error, and no batch, task or event."""
    with pytest.raises(InputError, match="2 rows instead of 3"):
        await create(store, RosterEntry("a", "a"), RosterEntry("b", "b"), total=3)
    for table in ("batch", "task", "event"):
        assert await rows(store, f"SELECT count(*) FROM {table}") == [(0,)]


async def test_batches_are_found_by_id_by_account_and_while_unfinished(store, order, claim, hand):
    """The oldest first, each with its own counts, and none that was not asked for."""
    done = await order(["a"])
    await end(store, hand, await claim())
    assert await lifecycle.finish(store) == [done]
    cancelled = await order(["b"])
    await lifecycle.cancel(store, cancelled, "tester")
    going = await order(["c", "d"])
    other = await order(["c"], account="other")

    async def found(**which):
        return [batch.id for batch in await batches.find(store, **which)]

    assert await found() == [done, cancelled, going, other]
    assert await found(unfinished=True) == [going, other]
    assert await found(ids=[done], unfinished=True) == [done, going, other]
    assert await found(unfinished=True, accounts=["other"]) == [other]
    assert await found(ids=[other, done, 999]) == [done, other]
    assert await found(ids=[999]) == []
    batch = await batches.get(store, going)
    assert (batch.state, batch.counts["pending"], batch.left, batch.outcomes) == ("open", 2, 2, {})
    assert set(batch.counts) == {str(state) for state in TaskState}
    ended = await batches.get(store, done)
    assert (ended.started_at, ended.finished_at, ended.outcomes) == (hand.now, hand.now, {"ok": 1})


@pytest.mark.parametrize("act", [lifecycle.pause, lifecycle.resume, lifecycle.cancel])
async def test_a_batch_that_is_not_there_or_is_over_cannot_be_changed(store, order, act):
    """One line that says which batch and what state it is in; nothing is in its trail."""
    batch_id = await order(["a"])
    await lifecycle.cancel(store, batch_id, "tester")
    for number, words in ((999, "there is no batch 999"), (batch_id, "is cancelled")):
        with pytest.raises(UsageError, match=words):
            await act(store, number, "tester")
    with pytest.raises(UsageError, match="there is no batch 999"):
        await batches.get(store, 999)
    assert await kinds(store, batch_id) == ["created", "cancelled"]


async def test_pause_and_resume_leave_their_reasons_and_the_trail(store, order):
    """Who paused it is shown while it is paused, and both are in the trail."""
    batch_id = await order(["a"])
    await lifecycle.pause(store, batch_id, "ada")
    batch = await batches.get(store, batch_id)
    assert (batch.state, batch.state_reason) == ("paused", "paused by ada")
    with pytest.raises(UsageError, match="is paused"):
        await lifecycle.pause(store, batch_id, "ada")
    await lifecycle.resume(store, batch_id, "bob")
    batch = await batches.get(store, batch_id)
    assert (batch.state, batch.state_reason) == ("open", None)
    with pytest.raises(UsageError, match="is open"):
        await lifecycle.resume(store, batch_id, "bob")
    assert await kinds(store, batch_id) == ["created", "paused", "resumed"]


async def test_a_cancelled_batch_ends_when_its_last_call_is_recorded(store, order, claim, hand):
    """What waits is cancelled at once, what is on its way is recorded, and then the key goes."""
    batch_id = await order(["a", "b", "c"])
    held = (await claim(2)).claims
    await lifecycle.cancel(store, batch_id, "tester")
    assert await lifecycle.finish(store) == []
    assert await keys.wrapped_keys(store) == [(batch_id, "key")]
    again = closing(held[1], Outcome.UNKNOWN, TaskState.PENDING, hand.now, due_at=hand.now, keep=True, unclear=1)
    ok = closing(held[0], Outcome.OK, TaskState.SUCCEEDED, hand.now)
    assert await results.record(store, Ledger([ok, again])) == 2
    assert await lifecycle.finish(store) == []
    assert await rows(store, "SELECT state, sealed FROM task ORDER BY id") == [
        ("succeeded", None),
        ("cancelled", None),
        ("cancelled", None),
    ]
    assert await rows(store, "SELECT state, wrapped_key FROM batch") == [("cancelled", None)]
    assert await keys.wrapped_keys(store) == []
    assert await kinds(store, batch_id) == ["created", "started", "cancelled", "emptied"]


async def retry(store, batch_id, *outcomes):
    return await lifecycle.retry(store, batch_id, "tester", outcomes=outcomes, fresh_key=lambda: "another key")


async def test_retry_opens_a_finished_batch_with_another_key_and_new_passwords(store, order, claim, hand):
    """Failed tasks start anew; those that succeeded are left alone; attempts go on counting."""
    batch_id = await order(["a", "b"])
    one, two = (await claim()).claims
    failed = closing(two, Outcome.UNKNOWN, TaskState.FAILED, hand.now, tries=3, unclear=20, renewals=1)
    await results.record(store, Ledger([closing(one, Outcome.OK, TaskState.SUCCEEDED, hand.now), failed]))
    await lifecycle.finish(store)
    hand.pass_(60)
    assert await retry(store, batch_id) == 1
    assert await rows(store, "SELECT state, finished_at, wrapped_key FROM batch") == [
        ("open", None, "another key")
    ]
    [held] = (await claim()).claims
    assert (held.user_ref, held.n, held.password_no) == ("b", 2, 2)
    assert (held.tries, held.unclear, held.renewals, held.maybe_landed) == (0, 0, 0, False)
    assert await kinds(store, batch_id) == ["created", "started", "done", "retried"]


async def test_retry_by_outcome_takes_those_only_and_skipped_ones_too(store, order, claim, hand):
    """With outcomes named, a task skipped for one of them is tried again; others are not."""
    batch_id = await order(["a", "b", "c"])
    a, b, c = (await claim()).claims
    await results.record(
        store,
        Ledger(
            [
                closing(a, Outcome.NOT_RESETTABLE, TaskState.SKIPPED, hand.now),
                closing(b, Outcome.UNEXPECTED, TaskState.FAILED, hand.now),
                closing(c, Outcome.USER_NOT_FOUND, TaskState.FAILED, hand.now),
            ]
        ),
    )
    with pytest.raises(UsageError, match="no failed task with outcome forbidden"):
        await retry(store, batch_id, Outcome.FORBIDDEN)
    assert await retry(store, batch_id, Outcome.NOT_RESETTABLE, Outcome.UNEXPECTED) == 2
    states = await rows(store, "SELECT user_ref, state FROM task ORDER BY id")
    assert states == [("a", "pending"), ("b", "pending"), ("c", "failed")]


async def test_retry_leaves_a_user_that_is_open_elsewhere(store, order, claim, hand):
    """Never two calls in flight for one user; where that leaves nothing, it says so."""
    first = await order(["a", "b"])
    await end(store, hand, await claim(), Outcome.UNEXPECTED, TaskState.FAILED)
    await order(["a"])
    assert await retry(store, first) == 1
    assert await rows(store, "SELECT user_ref FROM task WHERE state = 'pending' AND batch_id = 1") == [("b",)]
    with pytest.raises(UsageError, match="no failed task"):
        await retry(store, first)


async def test_retry_of_a_cancelled_batch_is_refused_and_changes_nothing(store, order, claim, hand):
    """What was cancelled stays cancelled, its failed tasks too."""
    batch_id = await order(["a", "b"])
    await end(store, hand, await claim(1), Outcome.UNEXPECTED, TaskState.FAILED)
    await lifecycle.cancel(store, batch_id, "tester")
    before = await rows(store, "SELECT * FROM task ORDER BY id")
    with pytest.raises(UsageError, match="is cancelled"):
        await retry(store, batch_id)
    assert await rows(store, "SELECT * FROM task ORDER BY id") == before


async def test_retry_of_a_paused_batch_leaves_it_paused(store, order, claim, hand):
    """Its operator paused it, and only resume ends that."""
    batch_id = await order(["a", "b"])
    await end(store, hand, await claim(1), Outcome.UNEXPECTED, TaskState.FAILED)
    await lifecycle.pause(store, batch_id, "tester")
    assert await retry(store, batch_id) == 1
    assert (await batches.get(store, batch_id)).state == "paused"


async def test_a_new_policy_drops_passwords_that_surely_have_not_landed(store, order, claim, hand):
    """What may be in force is kept, what is on its way too; other accounts and finished batches as well."""
    going, other = await order(["a", "b", "c"]), await order(["x"], account="other")
    a, b, _ = (await claim()).claims
    again = {"due_at": hand.now, "keep": True}
    await results.record(
        store,
        Ledger(
            [
                closing(a, Outcome.UNREACHABLE, TaskState.PENDING, hand.now, **again),
                closing(b, Outcome.UNKNOWN, TaskState.PENDING, hand.now, **again, maybe_landed=True),
            ]
        ),
    )
    await batches.set_policy(store, "zoom", '{"length": 30}')
    assert await rows(
        store, "SELECT user_ref, state, sealed IS NULL FROM task WHERE account = 'zoom' ORDER BY id"
    ) == [
        ("a", "pending", True),
        ("b", "pending", False),
        ("c", "running", False),
    ]
    assert await rows(store, "SELECT id, policy FROM batch ORDER BY id") == [
        (going, '{"length": 30}'),
        (other, "{}"),
    ]
    hand.pass_(2)
    assert [(c.user_ref, c.password_no) for c in (await claim()).claims] == [("a", 2), ("b", 1)]


async def test_the_same_policy_again_drops_nothing(store, order, claim, hand):
    """Read again and found unchanged: passwords stay."""
    await order(["a"])
    [held] = (await claim()).claims
    again = closing(held, Outcome.UNREACHABLE, TaskState.PENDING, hand.now, due_at=hand.now, keep=True)
    await results.record(store, Ledger([again]))
    await batches.set_policy(store, "zoom", "{}")
    assert await rows(store, "SELECT sealed IS NULL FROM task") == [(False,)]


async def test_accounts_with_open_batches_are_named_once(store, order):
    """A paused batch is no reason to be at work; two open ones are one."""
    await order(["a"])
    await order(["b"])
    await lifecycle.pause(store, await order(["c"], account="other"), "tester")
    async with store.read() as conn:
        assert await batches.open_work(conn) == {"zoom": {Action.SET_PASSWORD}}


async def test_nothing_is_due_where_no_task_waits(store, order, claim):
    """A quota without a pending task has no next time."""
    await order(["a"])
    await claim()
    async with store.read() as conn:
        assert await due.next_due(conn, QUOTA) is None
        assert await due.next_due(conn, Quota("nobody", "medium")) is None


# Quotas.


async def test_single_slots_share_the_line_of_time_with_claims(store, order, claim, hand):
    """A listing's call and a reset never have the same slot, whoever came first."""
    await order(["a", "b"])
    now, _, first = await quotas.take_one(store, QUOTA, TEN, AHEAD)
    held = (await claim(2, rate=10)).claims
    _, _, last = await quotas.take_one(store, QUOTA, TEN, AHEAD)
    slots = [quotas.at(first.slots.start), *(c.slot_at for c in held), quotas.at(last.slots.start)]
    step = timedelta(microseconds=TEN.interval_us)
    assert now == slots[0] == hand.now
    assert slots == [hand.now + n * step for n in range(4)]


async def test_a_single_slot_counts_for_the_day(store):
    """The daily limit is one for all calls."""
    daily = Spacing.of(Rate(10, SECOND, 2))
    taken = [len((await quotas.take_one(store, QUOTA, daily, AHEAD))[2].slots) for _ in range(3)]
    assert taken == [1, 1, 0]
    assert await rows(store, "SELECT used_today FROM quota") == [(2,)]


async def test_findings_of_several_accounts_are_written_at_once(store, hand):
    """Each pause where it belongs, the later end kept; a halt holds all labels of its account."""
    light, other = Quota("zoom", "light"), Quota("other", "default")
    near, far = hand.now + timedelta(seconds=5), hand.now + timedelta(seconds=50)
    async with store.write() as conn:
        await quotas.apply(
            conn,
            hand.now,
            [Pause(QUOTA, near, "near"), Pause(other, far, "far"), Pause(light, near, "light")],
            [Halt(light, "401")],
        )
        await quotas.apply(conn, hand.now, [Pause(other, near, "sooner")], [])
        await quotas.apply(conn, hand.now, [], [])
    sql = "SELECT account, label, pause_reason, halted_reason FROM quota ORDER BY account, label"
    assert await rows(store, sql) == [
        ("other", "default", "far", None),
        ("zoom", "light", "light", "401"),
        ("zoom", "medium", "near", "401"),
    ]
    async with store.write() as conn:
        assert await quotas.halts(conn) == {"zoom": "401"}
        await quotas.lift(conn, "zoom")
        assert await quotas.halts(conn) == {}
    assert await rows(store, sql) == [
        ("other", "default", "far", None),
        ("zoom", "light", "light", None),
        ("zoom", "medium", "near", None),
    ]


async def test_results_and_findings_are_one_transaction(store, order, claim, hand):
    """A record writes its results, the pause, the halt and the halted batch together; later halts are not news."""
    batch_id = await order(["a", "b"])
    one, two = (await claim()).claims
    until = hand.now + timedelta(seconds=9)
    ledger = Ledger(
        [closing(one, Outcome.OK, TaskState.SUCCEEDED, hand.now)],
        [Pause(QUOTA, until, "429")],
        [Halt(QUOTA, "403")],
        {batch_id: "twenty refusals"},
    )
    assert await results.record(store, ledger) == 1
    ledger = Ledger([closing(two, Outcome.OK, TaskState.SUCCEEDED, hand.now)], batch_halts={batch_id: "later"})
    assert await results.record(store, ledger) == 1
    batch = await batches.get(store, batch_id)
    assert (batch.state, batch.state_reason, batch.outcomes) == ("halted", "twenty refusals", {"ok": 2})
    assert await rows(store, "SELECT halted_reason, pause_reason FROM quota") == [("403", "429")]
    assert await kinds(store, batch_id) == ["created", "started", "halted"]


async def test_an_empty_ledger_writes_nothing(store, order):
    """Nothing to record is no error."""
    await order(["a"])
    assert await results.record(store, Ledger()) == 0
    assert not Ledger()


# Pacing.


class Naps:
    """Sleep by moving the clock."""

    def __init__(self, hand):
        self._hand = hand
        self.slept = []

    async def __call__(self, seconds):
        self.slept.append(round(seconds, 4))
        self._hand.pass_(seconds)


def still():
    """A database that answers at once."""
    return 0.0


async def test_a_slot_that_a_slow_commit_has_used_up_is_not_called_in(store, hand):
    """The call leaves at a slot that is still good, from further ahead each time; none leaves late."""
    naps, began, instants = Naps(hand), hand.now, iter([0.0, 0.4, 1.0, 1.5, 2.0, 2.1])
    await Pacer(store, QUOTA, TEN, sleep=naps, monotonic=lambda: next(instants))()
    # Late by 0.4 s, so 0.8 s ahead are asked for; half a second of that goes on the next commit.
    assert naps.slept == [pytest.approx(0.3, abs=0.001)]
    assert hand.now == began + timedelta(seconds=naps.slept[0])
    assert next(instants) == 2.0


async def test_paced_calls_leave_one_interval_apart(store, hand):
    """However fast they are asked for, calls keep the spacing and none is let through early."""
    naps, began, left = Naps(hand), hand.now, []
    pacer = Pacer(store, QUOTA, TEN, sleep=naps, monotonic=still)
    for _ in range(5):
        await pacer()
        left.append(hand.now - began)
    assert left == [n * timedelta(microseconds=TEN.interval_us) for n in range(5)]


async def test_a_paced_call_waits_for_a_short_pause_and_gives_up_at_a_long_one(store, hand):
    """Seconds are waited for; ten minutes are told to whoever asked."""
    pacer, began = Pacer(store, QUOTA, TEN, sleep=Naps(hand), monotonic=still), hand.now
    await results.record(store, Ledger(pauses=[Pause(QUOTA, began + timedelta(seconds=20), "429")]))
    await pacer()
    assert hand.now == began + timedelta(seconds=20)
    await results.record(store, Ledger(pauses=[Pause(QUOTA, hand.now + timedelta(minutes=10), "429")]))
    with pytest.raises(ProviderUnavailable, match="429; try again then"):
        await pacer()


async def test_no_paced_call_leaves_at_a_halted_account(store, hand):
    """The reason and the way out are said; no slot is taken."""
    await results.record(store, Ledger(halts=[Halt(QUOTA, "no permission")]))
    with pytest.raises(ProviderRefused, match=r"no permission.*batch resume"):
        await Pacer(store, QUOTA, TEN, sleep=Naps(hand), monotonic=still)()
    assert await rows(store, "SELECT used_today FROM quota") == [(0,)]


# Reading.

# Names of several planes of Unicode, and two that look like others.
REFS = [
    "Zebra",
    "a-b",
    "a_b",
    "ab",
    "zoë",
    "zoe",
    "Ähre",
    "éa",
    "日本",
    "\U0001d518ser",
    "\uff41",
    "~last",
    "0first",
    "a b",
]


async def test_tasks_are_paged_in_the_order_of_bytes_whatever_the_language(store, monkeypatch):
    """Each once, in the order in which the roster was hashed, with pages that end at any letter."""
    monkeypatch.setattr(queries, "_PAGE", 3)
    batch_id = await create(store, *(RosterEntry(ref, ref) for ref in REFS))
    expected = sorted(REFS, key=str.encode)
    assert [line.user_ref async for line in queries.tasks(store, batch_id)] == expected
    none = [line async for line in queries.tasks(store, batch_id, [TaskState.FAILED])]
    assert none == []


async def test_a_task_is_read_with_all_its_attempts_and_filters_by_state(store, order, claim, hand, monkeypatch):
    """The oldest attempt first, over page ends; only the states that were asked for."""
    monkeypatch.setattr(queries, "_PAGE", 2)
    batch_id = await order(["a", "b", "c", "d", "e"])
    await claim(1)
    await results.rescue(store, all_running=True)
    hand.pass_(2)
    await end(store, hand, await claim(4))
    lines = [line async for line in queries.tasks(store, batch_id)]
    assert {line.user_ref: [(a.n, a.outcome) for a in line.attempts] for line in lines} == {
        "a": [(1, "unknown"), (2, "ok")],
        "b": [(1, "ok")],
        "c": [(1, "ok")],
        "d": [(1, "ok")],
        "e": [],
    }
    done = [line.user_ref async for line in queries.tasks(store, batch_id, [TaskState.SUCCEEDED])]
    assert done == ["a", "b", "c", "d"]
    assert (await queries.audit_head(store, batch_id)) == (
        await rows(store, "SELECT hash FROM event ORDER BY seq DESC LIMIT 1")
    )[0][0]
    assert await queries.audit_head(store, 999) == audit.GENESIS


@pytest.mark.parametrize("name", ["Ada@Example.com", " ADA@example.com", "7Kq"])
async def test_a_user_is_found_by_each_name_that_is_known(store, name):
    """By the address that is called, and by the id that the listing told."""
    batch_id = await create(
        store, RosterEntry("ada@example.com", "Ada@Example.com", user_id="7Kq"), RosterEntry("b", "b")
    )
    assert [line.user_id async for line in queries.tasks(store, batch_id, users=[name])] == ["7Kq"]


async def test_a_store_proves_that_it_can_be_written_without_a_change(store):
    """The probe of a runner leaves everything as it is."""
    before = await rows(store, "SELECT * FROM alembic_version")
    await store.prove_writable()
    assert await rows(store, "SELECT * FROM alembic_version") == before

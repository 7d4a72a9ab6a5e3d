"""One damaged batch or task stops itself alone; every test runs on both databases."""

from contextlib import suppress

import pytest
from closings import closing, rows
from databases import drop_checks
from plain_sealer import PlainSealer
from sqlalchemy import text

from bulkreset.errors import DamagedBatch, KeyMismatch, StoreError
from bulkreset.model import Action, BatchState, Outcome, Quota, TaskState
from bulkreset.options import Options
from bulkreset.report.status import status
from bulkreset.store import batches, control, damage, lifecycle, quotas, results
from bulkreset.store.results import Ledger

QUOTA = Quota("zoom", "medium")
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


LABELS = {"zoom": {Action.SET_PASSWORD: "medium", Action.REVOKE_SESSIONS: "light"}}


async def harm(store, table, assignment, which="TRUE", **values):
    """Write what no statement of ours could: words that are none are kept out by the tables' own checks."""
    async with store.write() as conn:
        await drop_checks(conn)
        await conn.execute(text(f"UPDATE {table} SET {assignment} WHERE {which}"), values)
        if store.sqlite:
            await conn.exec_driver_sql("PRAGMA ignore_check_constraints = OFF")


def skip_unless_kept(store, *, on_sqlite):
    if on_sqlite and not store.sqlite:
        pytest.skip("PostgreSQL keeps only what its column's type allows")


ON_BOTH = [
    ("state = 'gone'", "state"),
    ("action = 'dance'", "action"),
    ("label = 'heavy'", "label"),
    ("label = 'light'", "label"),
    ("account = 'other'", "account"),
    ("wave = 7", "wave"),
    ("wave = NULL", "wave"),
    ("attempt = -1", "attempt"),
    ("due_at = '2199-01-01 00:00:00'", "due_at"),
]
ON_SQLITE = [
    ("due_at = 'soon'", "due_at"),
    ("due_at = x'00'", "due_at"),
    ("due_at = 12", "due_at"),
    ("attempt = 'x'", "attempt"),
    ("tries = 1.5", "tries"),
    ("renewals = x'00'", "renewals"),
    ("password_no = 'x'", "password_no"),
    ("maybe_landed = 'x'", "maybe_landed"),
    ("sealed = x'ff'", "sealed"),
    ("user_ref = x'ff'", "user_ref"),
    ("display = x'ff'", "display"),
]


async def test_however_many_tasks_are_damaged_all_of_them_are_marked(store, order):
    """More of them than a statement can have parameters stop themselves, and not the worker that looks."""
    await order([f"u{n:05d}@x.org" for n in range(33_000)])
    await harm(store, "task", "attempt = -1")
    assert len((await damage.mark(store, LABELS)).tasks) == 33_000
    assert (await batches.find(store))[0].counts["failed"] == 33_000


async def test_a_clock_that_is_years_behind_makes_nothing_damaged(store, order, claim, hand):
    """A machine that has not set its clock yet must not give up everybody whom it finds in its table."""
    await order(["a", "b"])
    await claim(1)
    hand.pass_(-20 * 365 * 86_400)
    assert await damage.mark(store, LABELS) == damage.Marked()


@pytest.mark.parametrize(("assignment", "what"), [*ON_BOTH, *ON_SQLITE])
async def test_a_damaged_task_fails_alone_and_is_named(store, order, claim, assignment, what):
    """Whatever its row holds: it is marked, the others are claimed, and everything can be looked at throughout."""
    skip_unless_kept(store, on_sqlite=(assignment, what) in ON_SQLITE)
    batch_id = await order(["a", "b", "c"])
    await harm(store, "task", assignment, "user_ref = 'b'")
    await batches.find(store)
    found = await damage.mark(store, LABELS)
    assert list(found.tasks.values()) == [what]
    assert [one.user_ref for one in (await claim()).claims] == ["a", "c"]
    shown = await batches.get(store, batch_id)
    assert (shown.counts["failed"], shown.counts["running"], shown.damaged) == (1, 2, 1)
    async with store.read() as conn:
        assert await damage.batches_with(conn) == [batch_id]
        [named] = await damage.tasks_of(conn, [batch_id])
    assert what in named.message
    assert (await damage.mark(store, LABELS)).tasks == {}


@pytest.mark.parametrize(("assignment", "what"), [*ON_BOTH[1:], *ON_SQLITE])
async def test_a_claim_that_meets_damage_takes_the_rest_or_says_that_it_failed(
    store, order, claim, assignment, what
):
    """Where a row is damaged while a worker runs, no other error comes of it, and the next look puts it aside."""
    skip_unless_kept(store, on_sqlite=(assignment, what) in ON_SQLITE)
    await order(["a", "b", "c"])
    await harm(store, "task", assignment, "user_ref = 'b'")
    try:
        claimed = {one.user_ref for one in (await claim()).claims}
    except StoreError:
        claimed = set()
    assert claimed <= {"a", "b", "c"}
    await damage.mark(store, LABELS)
    claimed |= {one.user_ref for one in (await claim()).claims}
    assert claimed >= {"a", "c"}


async def test_a_task_whose_attempts_are_ahead_of_it_fails_and_can_be_ordered_again(store, order, claim):
    """Its next attempt would be one that is on record already; a retry begins behind all of them."""
    batch_id = await order(["a", "b"])
    await claim()
    await harm(store, "task", "state = 'pending', attempt = 0, lease_until = NULL, worker = NULL")
    assert len((await damage.mark(store, LABELS)).tasks) == 2
    assert await lifecycle.retry(store, batch_id, "tester", outcomes=(), fresh_key=lambda: "key") == 2
    assert {one.n for one in (await claim()).claims} == {2}
    assert (await batches.get(store, batch_id)).damaged == 0


async def test_a_task_without_the_end_of_its_lease_is_rescued(store, order, claim):
    """Nobody would ever take it for lost."""
    batch_id = await order(["a"])
    await claim()
    await harm(store, "task", "lease_until = NULL, worker = NULL")
    assert await results.rescue(store) == 1
    assert (await batches.get(store, batch_id)).counts["pending"] == 1


async def test_sessions_that_wait_for_a_damaged_password_are_not_waited_for(store, order):
    """The second task of a user ends with the first, and fails where the first is gone."""
    batch_id = await order(["a", "b", "c"], options=Options(revoke_sessions=True))
    await harm(store, "task", "label = 'heavy'", "user_ref = 'a' AND action = 'set_password'")
    await change(store, "DELETE FROM task WHERE user_ref = 'b' AND action = 'set_password'")
    found = await damage.mark(store, LABELS)
    assert list(found.tasks.values()) == ["label", "the task that it waits for has ended or is gone"]
    assert found.gone == {batch_id: 1}
    shown = await batches.get(store, batch_id)
    assert (shown.sessions["skipped"], shown.sessions["failed"], shown.sessions["pending"]) == (1, 1, 1)
    assert (shown.state, "1 of its users are gone" in shown.state_reason) == (BatchState.HALTED, True)


async def test_users_whose_rows_are_gone_halt_their_batch_once(store, order, claim):
    """Somebody looks, and may go on without them; they never count as done."""
    batch_id = await order(["a", "b", "c"])
    await change(store, "DELETE FROM task WHERE user_ref = 'b'")
    await damage.mark(store, LABELS)
    assert (await batches.get(store, batch_id)).state is BatchState.HALTED
    await lifecycle.resume(store, batch_id, "tester")
    await damage.mark(store, LABELS)
    shown = await batches.get(store, batch_id)
    assert (shown.state, shown.damaged) == (BatchState.OPEN, 1)
    assert len((await claim()).claims) == 2


@pytest.mark.parametrize(
    ("assignment", "on_sqlite"),
    [
        ("state = 'gone'", False),
        ("wave = 9", False),
        ("account = 'zo0m'", False),
        ("wave = 'x'", True),
        ("not_before = 'soon'", True),
        ("not_before = ''", True),
        ("started_at = 'x'", True),
        ("total = 'x'", True),
        ("wrapped_key = x'ff'", True),
        ("policy = x'ff'", True),
        ("options = x'ff'", True),
        ("incident = x'ff'", True),
    ],
)
async def test_a_damaged_batch_halts_alone_and_is_named(store, order, claim, assignment, on_sqlite):
    """Everybody can be looked at before and after it is marked, and the next batch of the account goes on."""
    skip_unless_kept(store, on_sqlite=on_sqlite)
    damaged, whole = await order(["a"]), await order(["b"])
    await harm(store, "batch", assignment, f"id = {damaged}")
    assert len(await batches.find(store)) == 2
    with suppress(StoreError):
        claimed = {one.batch_id for one in (await claim(1)).claims}
        assert claimed <= {whole} or assignment in (
            "total = 'x'",
            "incident = x'ff'",
        )  # nothing is decided by these
    assert list((await damage.mark(store, LABELS)).batches) == [damaged]
    shown = {one.id: one for one in await batches.find(store, unfinished=True)}
    assert shown[damaged].state is BatchState.HALTED
    assert "damaged" in shown[damaged].state_reason
    assert whole not in (await damage.mark(store, LABELS)).batches
    assert (await batches.get(store, whole)).state is BatchState.OPEN


async def test_bytes_that_are_no_text_are_looked_at_like_all_others(store, order):
    """A bit that has flipped in one row keeps nobody from reading the rest: SQLite does not look at them."""
    if not store.sqlite:
        pytest.skip("PostgreSQL keeps text only")
    batch_id = await order(["a"])
    await harm(store, "batch", "incident = CAST(x'494eff' AS TEXT)")
    assert (await batches.get(store, batch_id)).incident == "IN\ufffd"


@pytest.mark.parametrize(
    ("assignment", "on_sqlite"),
    [
        ("used_today = -3", False),
        ("tat = '2199-01-01 00:00:00'", False),
        ("tat = 'x'", True),
        ("paused_until = 'x'", True),
        ("day = 'x'", True),
        ("used_today = 'x'", True),
        ("interval = 'x'", True),
    ],
)
async def test_a_damaged_limit_halts_its_account_alone(store, order, claim, assignment, on_sqlite):
    """What was sent cannot be told any more: its row is put right on the safe side, and somebody must look."""
    skip_unless_kept(store, on_sqlite=on_sqlite)
    damaged = await order(["a", "b"])
    assert len((await claim(1, daily=10)).claims) == 1
    await harm(store, "quota", assignment)
    assert [one.account for one in (await status(store)).accounts] == ["zoom"]
    assert list((await damage.mark(store, LABELS)).quotas) == [QUOTA]
    async with store.read() as conn:
        assert "damaged" in (await quotas.halts(conn))["zoom"]
    await lifecycle.resume(store, damaged, "tester")
    assert (await claim(daily=10)).claims == []  # a window passes first
    assert (await damage.mark(store, LABELS)).quotas == {}


async def test_a_count_that_was_damaged_is_counted_anew_from_the_attempts(store, order, claim, hand):
    """What may have left today counts, whatever is known of it; what is given back later is taken out of that."""
    await order(list("abcdef"))
    sent, unknown, unsent, late = (await claim(4, daily=10)).claims
    ends = [(sent, Outcome.OK, TaskState.SUCCEEDED), (unsent, Outcome.RELEASED, TaskState.PENDING)]
    await results.record(
        store, Ledger([closing(one, outcome, state, hand.now, due_at=hand.now) for one, outcome, state in ends])
    )
    await harm(store, "quota", "used_today = -3")
    await damage.mark(store, LABELS)
    counted = "SELECT used_today FROM quota"
    assert await rows(store, counted) == [(3,)]
    await results.rescue(store, all_running=True)
    end = closing(late, Outcome.RELEASED, TaskState.PENDING, hand.now, due_at=hand.now)
    await results.record(store, Ledger([end]))
    assert await rows(store, counted) == [(2,)]
    assert await rows(store, f"SELECT outcome FROM attempt WHERE task_id = {unknown.task_id}") == [("unknown",)]


async def test_an_order_by_sql_of_an_unknown_state_is_refused_by_name(store):
    """Nobody would ever take it up, and nobody would see it."""
    order = "INSERT INTO batch_request (account, incident, reason, requested_by) VALUES ('zoom', 'I', 'r', 'x')"
    await change(store, order)
    await harm(store, "batch_request", "state = 'redy'")
    assert list((await damage.mark(store, LABELS)).requests.values()) == ["state"]
    async with store.read() as conn:
        row = (await conn.execute(text("SELECT state, message FROM batch_request"))).one()
    assert (row.state, "damaged" in row.message) == ("refused", True)

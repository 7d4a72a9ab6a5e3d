"""What holds at PostgreSQL only: many writers at once, a pooler in between, time limits, the server's clock."""

import asyncio
import random
import re
from contextlib import suppress
from datetime import datetime, timedelta

import pytest
from closings import closing
from databases import ask
from one_line import one_line
from postgres_rounds import a_round, claim_from, place_order, succeed
from sqlalchemy import event, text

from bulkreset.errors import StoreError, UsageError
from bulkreset.limits.quota import Spacing
from bulkreset.limits.rates import SECOND, Rate
from bulkreset.model import Outcome, Quota, TaskState
from bulkreset.store import batches, claims, engine, lifecycle, quotas, results
from bulkreset.store.engine import Bounds
from bulkreset.store.quotas import Halt, Pause
from bulkreset.store.results import Ledger

FAST = Spacing.of(Rate(100_000, SECOND))


@pytest.fixture
def database_url(postgres_server):
    """The shared fixtures are run on PostgreSQL only."""
    return postgres_server.fresh()


# Many at once.


ACCOUNTS = [f"a{n}" for n in range(4)]
# A cancel would end its batch for good, so it is seldom.
ACTS = ["pause", "resume", "resume", "retry", "policy", "finish", "rescue"] * 4 + ["cancel"]


class Crowd:
    """Claims, records and operates on the same batches in many tasks at once."""

    def __init__(self, ids, hand):
        self.ids = ids
        self.hand = hand
        self.held = []
        self.handed = []
        self.recorded = []
        self.dice = random.Random(7)

    async def claiming(self, store, account):
        for _ in range(12):
            found = await claim_from(store, account, 4)
            self.handed += [(c.task_id, c.n) for c in found]
            self.held += found
            self.hand.pass_(0.2)

    async def recording(self, store):
        for _ in range(25):
            self.dice.shuffle(self.held)
            taken = [self.held.pop() for _ in range(min(6, len(self.held)))]
            late = self.dice.sample(self.recorded, min(12, len(self.recorded)))  # said twice, to meet others' rows
            self.recorded += taken
            ledger = Ledger([self.answer(claim) for claim in [*taken, *late]])
            until = self.hand.now + timedelta(seconds=0.1)
            ledger.pauses = [Pause(Quota(name, "medium"), until, "429") for name in self.dice.sample(ACCOUNTS, 3)]
            ledger.halts = [Halt(Quota(name, "medium"), "401") for name in self.dice.sample(ACCOUNTS, 2)[::2]]
            ledger.batch_halts = dict.fromkeys(self.dice.sample(self.ids, self.dice.randint(0, 2)), "refused")
            await results.record(store, ledger)

    def answer(self, claim):
        outcome = self.dice.choice([Outcome.OK, Outcome.UNREACHABLE, Outcome.UNEXPECTED])
        state = {Outcome.OK: TaskState.SUCCEEDED, Outcome.UNEXPECTED: TaskState.FAILED}.get(outcome)
        due_at = None if state else self.hand.now
        return closing(
            claim, outcome, state or TaskState.PENDING, self.hand.now, due_at=due_at, keep=due_at is not None
        )

    async def operating(self, store):
        for _ in range(40):
            with suppress(UsageError):
                await self.operate(store, self.dice.choice(ACTS), self.dice.choice(self.ids))

    async def operate(self, store, act, batch_id):
        match act:
            case "retry":
                await lifecycle.retry(store, batch_id, "t", outcomes=[], fresh_key=lambda: "key2")
            case "policy":
                await batches.set_policy(store, self.dice.choice(ACCOUNTS), f"p{self.dice.randint(0, 9)}")
            case "finish":
                await lifecycle.finish(store)
            case "rescue":
                await results.rescue(store, all_running=self.dice.random() < 0.3)
            case _:
                await getattr(lifecycle, act)(store, batch_id, "t")

    async def wind_up(self, store):
        await results.rescue(store, all_running=True)
        for _ in range(20):
            self.hand.pass_(60)
            for batch_id in self.ids:
                with suppress(UsageError):
                    await lifecycle.resume(store, batch_id, "t")
            for account in ACCOUNTS:
                await results.record(store, succeed(await claim_from(store, account, 100), self.hand.now))
            await lifecycle.finish(store)


async def test_whatever_many_workers_and_operators_do_at_once_nobody_deadlocks_and_nothing_is_lost(
    opened, database_url, hand
):
    """Claims, results with findings of several accounts, and operators: no deadlock, and every row ends."""
    stores = [await opened(database_url, clock=hand, connections=8) for _ in range(2)]
    rosters = [[f"u{n:02}" for n in range(first, first + 30)] for first in (0, 20)]  # some users are in both
    ids = [await place_order(stores[0], users, account) for account in ACCOUNTS for users in rosters]
    crowd, before = Crowd(ids, hand), deadlocks(database_url)
    await asyncio.gather(
        *(crowd.claiming(store, account) for store in stores for account in ACCOUNTS),
        *(crowd.recording(store) for store in stores * 2),
        *(crowd.operating(store) for store in stores * 2),
    )
    assert len(crowd.handed) > 80
    assert len(crowd.handed) == len(set(crowd.handed)), "an attempt was handed out twice"
    await crowd.wind_up(stores[0])
    for store in stores:
        await store.close()  # a server process tells what it counted when it ends, at the latest
    assert deadlocks(database_url) == before
    rest = "SELECT count(*) FROM task WHERE state IN ('pending', 'running') OR sealed IS NOT NULL"
    assert ask(database_url, None, rest) == [(0,)]
    assert ask(database_url, None, "SELECT count(*) FROM attempt WHERE closed_at IS NULL") == [(0,)]
    assert ask(database_url, None, "SELECT count(*), count(wrapped_key) FROM batch") == [(len(ids), 0)]
    [(tasks, numbers, attempts)] = ask(
        database_url, None, "SELECT count(*), sum(attempt), (SELECT count(*) FROM attempt) FROM task"
    )
    assert (tasks, numbers) == (30 * len(ids), attempts)
    slots = "SELECT count(DISTINCT (account, slot_at)) FROM attempt JOIN task ON task.id = task_id"
    assert ask(database_url, None, slots) == [(attempts,)], "a slot was handed out twice"


def deadlocks(url):
    return ask(url, None, "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")[0][0]


async def test_orders_at_once_of_the_same_users_make_each_active_once(opened, database_url):
    """Two orders of one account that cross: a user is open in one of them and `skipped` in the other."""
    stores = [await opened(database_url) for _ in range(2)]
    users = [f"u{n:03}" for n in range(200)]
    ids = await asyncio.gather(
        place_order(stores[0], users[:150]),
        place_order(stores[1], users[50:]),
        place_order(stores[0], list(reversed(users)), "other"),
        place_order(stores[1], users),
    )
    counted = {batch.id: batch.counts for batch in await batches.find(stores[0], ids=ids)}
    assert counted[ids[2]]["pending"] == 200
    at_zoom = [counted[ids[n]] for n in (0, 1, 3)]
    assert sum(counts["pending"] for counts in at_zoom) == 200
    assert sum(counts["skipped"] for counts in at_zoom) == 300
    twice = "SELECT count(*) FROM task WHERE state = 'pending' GROUP BY account, user_ref HAVING count(*) > 1"
    assert ask(database_url, None, twice) == []


# A pooler in between.


def forget_between_transactions(store):
    """Do to the session what a transaction pooler's next server connection would be like."""

    @event.listens_for(store.engine.sync_engine, "checkout")
    def forget(connection, record, proxy):
        connection.run_async(lambda driver: driver.execute("DISCARD ALL"))


async def test_behind_a_transaction_pooler_nothing_leans_on_the_session(opened, database_url):
    """With `pooled`, all works though the session forgets everything between two transactions."""
    store = await opened(database_url, pooled=True)
    forget_between_transactions(store)
    assert [line.state for line in await a_round(store)] == ["succeeded"] * 6


async def test_a_session_that_forgets_is_noticed_where_statements_stay_prepared(opened, database_url):
    """The test above can fail: without `pooled`, nothing works in a session that forgets."""
    store = await opened(database_url)
    await store.close()
    forget_between_transactions(store)
    with pytest.raises(StoreError, match="set pooled = true"):
        await a_round(store)


async def test_without_pooled_statements_stay_prepared(opened, database_url):
    """Where no pooler is, a statement is parsed and planned once a session, and not at every use."""
    store = await opened(database_url)
    await a_round(store)
    async with store.read() as conn:
        assert (await conn.execute(text("SELECT count(*) FROM pg_prepared_statements"))).scalar_one() > 0


@pytest.mark.parametrize("pooled", [True, False])
async def test_no_statement_leaves_anything_in_the_session(opened, database_url, pooled):
    """Nothing is SET, listened for or locked beyond the end of its transaction."""
    said = []
    store = await opened(database_url, pooled=pooled)
    await store.close()

    @event.listens_for(store.engine.sync_engine, "connect")
    def listen(connection, _):
        connection._connection.add_query_logger(lambda query: said.append(query.query))

    await a_round(store)
    assert any(statement.startswith("BEGIN") for statement in said)
    assert any("set_config" in statement for statement in said)
    lasting = re.compile(
        r"^\s*(SET|RESET|LISTEN|UNLISTEN|PREPARE|LOAD|DECLARE|CREATE)\b|pg_(try_)?advisory_lock|"
        r"set_config\([^()]*,\s*false\)",
        re.IGNORECASE,
    )
    inside = False
    for statement in said:
        inside = statement.startswith("BEGIN") or (inside and not statement.startswith(("COMMIT", "ROLLBACK")))
        # The driver puts this one off and on again by itself, while it asks what a type is.
        assert not lasting.search(statement) or (inside and "set_config('jit'" in " ".join(statement.split()))


# Time limits.


async def test_every_write_is_bounded_and_its_bounds_end_with_it(store):
    """Inside, the server ends a statement, a wait for a lock and a stand-still; afterwards nothing of it stays."""
    names = ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout")

    async def shown(conn):
        pid = (await conn.execute(text("SELECT pg_backend_pid()"))).scalar_one()
        return pid, [(await conn.execute(text(f"SHOW {name}"))).scalar_one() for name in names]

    async with store.engine.connect() as conn:
        _, before = await shown(conn)
    async with store.write() as conn:
        inside = await shown(conn)
    async with store.engine.connect() as conn:
        await conn.execution_options(isolation_level="AUTOCOMMIT")
        after = await shown(conn)
    assert inside[1] == ["15s", "5s", "5s"]
    assert after == (inside[0], before)


async def test_a_lock_that_is_not_given_ends_the_wait_in_one_line(store, order):
    """Who waits for a row longer than its bound is told so, and changed nothing."""
    batch_id = await order(["a"])
    quick = Bounds(timedelta(seconds=20), timedelta(seconds=10), timedelta(milliseconds=20))
    change = text("UPDATE batch SET state_reason = 'x' WHERE id = :id")
    async with store.write() as holding:
        await holding.execute(change, {"id": batch_id})
        with pytest.raises(StoreError) as caught:
            async with store.write(quick) as waiting:
                await waiting.execute(change, {"id": batch_id})
    one_line(caught, "kept a row locked by another worker")


async def test_a_worker_that_stands_still_in_a_transaction_gives_its_rows_back(store, order):
    """The server ends a transaction in which nothing happens, so that a stopped worker holds up nobody."""
    batch_id = await order(["a"])
    still = Bounds(timedelta(seconds=20), timedelta(seconds=10), timedelta(milliseconds=200))
    change = text("UPDATE batch SET state_reason = 'x' WHERE id = :id")

    async def stand_still():
        async with store.write(still) as stopped:
            await stopped.execute(change, {"id": batch_id})
            await lifecycle.pause(store, batch_id, "tester")  # waits until the server has ended the other
            await stopped.execute(change, {"id": batch_id})

    with pytest.raises(StoreError) as caught:
        await stand_still()
    one_line(caught, "lost the connection")
    assert (await batches.get(store, batch_id)).state_reason == "paused by tester"


# The clock.


class _OfAnyDatetime(type):
    def __instancecheck__(cls, value):
        return isinstance(value, datetime)


class Wrong(datetime, metaclass=_OfAnyDatetime):
    """The time of a machine whose clock is seven hours ahead."""

    @classmethod
    def now(cls, tz=None):
        return datetime.now(tz) + timedelta(hours=7)


async def test_slots_are_counted_by_the_servers_clock_whatever_this_machine_says(
    opened, database_url, monkeypatch
):
    """A machine whose clock is hours wrong claims the same slots as any other."""
    store = await opened(database_url)
    await place_order(store, [f"u{n}" for n in range(6)])

    first = await claim_from(store, most=3)
    for module in (engine, claims, quotas):
        monkeypatch.setattr(module, "datetime", Wrong)
    second = await claim_from(store, most=3)
    [(now,)] = ask(database_url, None, "SELECT clock_timestamp()")
    slots = [c.slot_at for c in first + second]
    assert len(slots) == 6
    assert slots == sorted(slots)
    assert all(abs(slot - now) < timedelta(minutes=30) for slot in slots)
    opened_at = ask(database_url, None, "SELECT max(opened_at) FROM attempt")[0][0]
    assert abs(opened_at - now) < timedelta(minutes=30)

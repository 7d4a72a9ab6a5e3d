"""Everything the store does to tasks, in any order and two at a time, held against a model of plain Python.

BULKRESET_TEST_EXAMPLES=n plays n random games in place of the few that are the same on every run.
"""

import asyncio
import copy
import os
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import select, text
from store_model import (
    ACCOUNTS,
    ACTIVE,
    LIMIT,
    MOST_BATCHES,
    SPACINGS,
    USERS,
    YIELDING,
    Batch,
    Claim,
    Finish,
    Model,
    Order,
    Pot,
    Record,
    Rescue,
    Retry,
    SetPolicy,
    Switch,
    Task,
)

from bulkreset.limits.rates import SECOND
from bulkreset.model import Outcome
from bulkreset.settings import DatabaseSettings
from bulkreset.store import audit
from bulkreset.store.engine import open_store
from bulkreset.store.migrate import upgrade
from bulkreset.store.place import place_of

EXAMPLES = int(os.environ.get("BULKRESET_TEST_EXAMPLES", "0"))
# Two writers at once wait for each other in SQLite's own sleeps, so it gets fewer games.
GAMES = {"sqlite": 10, "postgresql": 18}


class Games(RuleBasedStateMachine):
    """Plays on one database through two stores that share nothing but it."""

    def __init__(self, run, stores, hand):
        super().__init__()
        self.run_async, self.stores, self.hand = run, stores, hand
        self.model = Model()
        self.seen = copy.deepcopy(self.model)
        self.held = []  # every claim that a worker was ever given
        self.handed = set()
        self.now = hand.now
        self.run_async(empty(stores[0]))

    # What two at once may be made of; each entry turns drawn numbers into an operation.

    def make(self, kind, draw):  # noqa: PLR0911  (one return for each operation)
        """Build an operation from six small numbers."""
        a, b, c, d, e, f = draw
        account = ACCOUNTS[a % 2]
        batch_id = sorted(self.model.batches)[b % len(self.model.batches)] if self.model.batches else None
        match kind:
            case "order":
                users = tuple(user for n, user in enumerate(USERS) if (b * 8 + c) >> n & 1) or USERS[:1]
                return Order(account, users, frozenset(users[:1] if d == 0 else ()))
            case "claim":
                return Claim(account, b + 1)
            case "record":
                return self._record(a, c, d, e, f if b < 4 else None)
            case "rescue":
                return Rescue(all_running=a < 4)
            case "finish":
                return Finish()
            case "set_policy":
                return SetPolicy(account, f"p{b % 2}")
            case "retry":
                return Retry(batch_id, [*[None] * 4, *Outcome][c + 8 * (d % 2)])
            case _:
                return Switch(kind, batch_id)

    def _record(self, start, most, pick, step, finding):
        # Half the time what is in flight just now, else whatever was ever claimed: late, or recorded before.
        pool = self.held
        if pick % 2:
            pool = [
                c
                for c in self.held
                if (t := self.model.tasks[c.batch_id, c.user_ref]).state == "running" and t.attempt == c.n
            ]
        chosen = (pool * 2)[start : start + min(most % 4 + 1, len(pool))]
        outcomes = list(Outcome)
        answers = [
            (claim, outcomes[(pick * 3 + step * n + step) % len(outcomes)]) for n, claim in enumerate(chosen)
        ]
        record = Record(answers, self.now)
        accounts = sorted({self.model.batches[c.batch_id].account for c in chosen}, reverse=step % 2 == 0)
        if finding == 0:
            record.pauses = [(account, self.now + timedelta(seconds=step)) for account in accounts]
        elif finding == 1:
            record.halts = accounts
        elif finding == 2:
            record.halt_batches = True
        return record

    def playable(self, kind):
        if kind == "order":
            return len(self.model.batches) < MOST_BATCHES
        if kind == "record":
            return bool(self.held)
        return bool(self.model.batches) or kind not in ("pause", "resume", "cancel", "retry")

    numbers = st.tuples(*[st.integers(0, 7)] * 6)
    kinds = st.sampled_from(
        ["claim", "record", "rescue"] * 3
        + ["retry", "resume", "finish"] * 2
        + ["pause", "order", "cancel", "set_policy"]
    )

    @initialize(draw=numbers)
    def begin(self, draw):
        for n in range(2):
            self.play(self.make("order", (n, 7, 7, 1, 0, 0)), 0)

    @rule(store=st.integers(0, 1), draw=numbers, answers=numbers)
    def claim(self, store, draw, answers):
        """Give a worker something to do, and have some of it answered at once."""
        self.wait(0.2 * draw[5] if draw[4] % 2 else self.until_due(ACCOUNTS[draw[0] % 2]))
        self.play(self.make("claim", draw), store)
        if self.held and answers[0] % 2:
            self.play(self.make("record", answers), store)

    @rule(store=st.integers(0, 1), draw=numbers)
    def record(self, store, draw):
        if self.held:
            self.play(self.make("record", draw), store)

    # No preconditions: which of two at once is first may change what is there, and then no game could be replayed.

    @rule(store=st.integers(0, 1), draw=numbers)
    def resume(self, store, draw):
        for batch_id in self.stuck()[: draw[0] % 3 + 1]:
            self.play(Switch("resume", batch_id), store)

    @rule(store=st.integers(0, 1), draw=numbers)
    def retry(self, store, draw):
        failed = sorted({key[0] for key, task in self.model.tasks.items() if task.state == "failed"})
        for batch_id in failed[: draw[0] % 2 + 1]:
            self.play(Retry(batch_id, None), store)

    @rule(store=st.integers(0, 1), draw=numbers)
    def rescue(self, store, draw):
        self.play(self.make("rescue", draw), store)

    @rule(account=st.sampled_from(ACCOUNTS), draws=st.tuples(numbers, numbers))
    def two_claims(self, account, draws):
        """Two workers ask for the same slots and the same tasks."""
        self.wait(self.until_due(account))
        self.play_both(Claim(account, draws[0][1] + 1), Claim(account, draws[1][1] + 1))

    @rule(store=st.integers(0, 1), kind=kinds, draw=numbers)
    def anything(self, store, kind, draw):
        if self.playable(kind):
            self.play(self.make(kind, draw), store)

    @rule(first=kinds, second=kinds, draws=st.tuples(numbers, numbers), same=st.booleans())
    def two_at_once(self, first, second, draws, same):
        if not (self.playable(first) and self.playable(second)):
            return
        if first == second == "order" and len(self.model.batches) + 2 > MOST_BATCHES:
            return
        # Often at the same account and batch, where it matters.
        other = (*draws[0][:2], *draws[1][2:]) if same else draws[1]
        self.wait(0.2 * draws[0][5])
        self.play_both(self.make(first, draws[0]), self.make(second, other))

    @rule(seconds=st.sampled_from([0.1, 0.6, 1.5, 8, 31, 45, 300, 90_000]))
    def time_passes(self, seconds):
        self.wait(seconds)

    def wait(self, seconds):
        self.hand.now += timedelta(seconds=seconds)
        self.now = self.hand.now

    def until_due(self, account):
        """Return the seconds until something of an account can be claimed."""
        times = [
            max(task.due_at, self.model.pots[account].paused_until or task.due_at)
            for (batch_id, _), task in self.model.tasks.items()
            if task.state == "pending" and self.model.batches[batch_id].account == account
        ]
        return max(1.0, (min(times, default=self.now) - self.now).total_seconds())

    def stuck(self):
        """Return the batches that an operator would resume."""
        return [
            batch_id
            for batch_id, batch in sorted(self.model.batches.items())
            if batch.state in ("paused", "halted")
            or (batch.state == "open" and self.model.pots[batch.account].halted)
        ]

    # How an operation is played.

    def play(self, operation, store):
        result = self.run_async(operation.run(self.stores[store]))
        operation.apply(self.model, result, self.now, alone=True)
        self.take(operation, result)

    def play_both(self, first, second):
        async def both():
            return await asyncio.gather(first.run(self.stores[0]), second.run(self.stores[1]))

        done = self.run_async(both())
        for operation, result in zip((first, second), done, strict=True):
            self.take(operation, result)
        seen = self.run_async(look(self.stores[0]))
        if first.name in YIELDING or second.name in YIELDING:
            self.model = seen.model
            return
        serial = [(first, done[0]), (second, done[1])]
        why = []
        for order in (serial, serial[::-1]):
            model = copy.deepcopy(self.model)
            try:
                for operation, result in order:
                    operation.apply(model, result, self.now, alone=False)
                assert model == seen.model
            except AssertionError as error:
                why.append(str(error))
            else:
                self.model = model
                return
        raise AssertionError(f"{first} and {second} did not come out as one after the other:\n" + "\n".join(why))

    def take(self, operation, result):
        if operation.name == "claim":
            for claim in result.claims:
                assert (claim.task_id, claim.n) not in self.handed, "an attempt was handed out twice"
                self.handed.add((claim.task_id, claim.n))
                self.held.append(claim)

    # What must hold after every step.

    @invariant()
    def books_agree(self):
        found = self.run_async(look(self.stores[1]))
        now = found.model
        assert now == self.model
        for batch_id, total in found.totals.items():
            assert len(now.of(batch_id)) == total
        running = {(*key, task.attempt) for key, task in now.tasks.items() if task.state == "running"}
        assert {key for key, outcome in now.attempts.items() if outcome is None} == running
        for key, task in now.tasks.items():
            assert sum(1 for attempt in now.attempts if attempt[:2] == key) == task.attempt
            assert (task.lease_until is not None) == (task.state == "running")
            if task.state not in ACTIVE:
                assert task.sealed is None, "a final task holds a sealed password"
            before = self.seen.tasks.get(key)
            if before is not None:
                assert task.attempt >= before.attempt
                assert task.password_no >= before.password_no
                if task.password_no == before.password_no and before.attempt and task.sealed is not None:
                    assert task.sealed == before.sealed, "a password changed under its number"
        for batch_id, batch in now.batches.items():
            active = any(task.state in ACTIVE for task in now.of(batch_id).values())
            assert batch.key is not None or not active
            if batch.state == "done":
                assert (batch.key, active) == (None, False)
        for account in ACCOUNTS:
            held = [user for user in found.active if user[0] == account]
            assert len(held) == len(set(held)), "a user has two tasks open"
            slots = sorted(slot for name, slot in found.slots if name == account)
            assert len(slots) == len(set(slots)), "a slot was handed out twice"
            for first, beyond in zip(slots, slots[LIMIT:], strict=False):
                assert beyond - first >= SECOND
        days_are_counted(found)
        assert found.whole, "an audit chain is broken"
        self.seen = copy.deepcopy(now)


def days_are_counted(found):
    """Hold the days' counts against the attempts: more would waste calls, and less break the limit."""
    for account, (day, used) in found.days.items():
        calls = Counter(
            at.date() for name, at, outcome in found.opened if name == account and outcome != "released"
        )
        assert used == calls[day], "the day's count is not of its calls"
        daily = SPACINGS[account].daily
        assert daily is None or max(calls.values(), default=0) <= daily, "more than a day's calls"


@dataclass
class Found:
    """What the database holds."""

    model: Model
    totals: dict[int, int]
    active: list
    slots: list
    opened: list  # the account, time and outcome of each attempt
    days: dict  # the day that each account's limit counts, and its count
    whole: bool


async def empty(store):
    async with store.write() as conn:
        if store.sqlite:
            for table in ("event", "attempt", "task", "batch", "quota", "sqlite_sequence"):
                await conn.execute(text(f"DELETE FROM {table}"))
        else:
            await conn.execute(text("TRUNCATE event, attempt, task, batch, quota RESTART IDENTITY CASCADE"))


async def look(store):
    """Read everything on one snapshot."""
    async with store.read() as conn:

        async def rows(table, order):
            query = select(TABLES[table]).order_by(*(TABLES[table].c[name] for name in order))
            return (await conn.execute(query)).all()

        model = Model()
        totals, keys, accounts, active = {}, {}, {}, []
        for row in await rows("batch", ["id"]):
            model.batches[row.id] = Batch(row.account, row.state, row.policy, row.wrapped_key)
            totals[row.id] = row.total
        for row in await rows("task", ["id"]):
            keys[row.id], accounts[row.id] = (row.batch_id, row.user_ref), row.account
            values = {name: getattr(row, name) for name in Task.__dataclass_fields__}
            model.tasks[keys[row.id]] = Task(**values)
            if row.state in ACTIVE:
                active.append((row.account, row.user_ref))
        slots, opened, days = [], [], {}
        for row in await rows("attempt", ["task_id", "n"]):
            assert (row.outcome is None) == (row.closed_at is None)
            model.attempts[*keys[row.task_id], row.n] = row.outcome
            slots.append((accounts[row.task_id], row.slot_at))
            opened.append((accounts[row.task_id], row.opened_at, row.outcome))
        for row in await rows("quota", ["account"]):
            model.pots[row.account] = Pot(row.paused_until, row.halted_reason)
            days[row.account] = row.day, row.used_today
        events = [dict(row._mapping) for row in await rows("event", ["batch_id", "seq"])]
        whole = all(entry["hash"] == audit.link(entry) for entry in events)
        whole &= {entry["batch_id"] for entry in events} == set(totals)
        for before, entry in pairwise([{"batch_id": None, "hash": "", "seq": 0}, *events]):
            follows = entry["batch_id"] == before["batch_id"]
            whole &= entry["prev_hash"] == (before["hash"] if follows else audit.GENESIS)
            whole &= entry["seq"] == (before["seq"] + 1 if follows else 1)
    return Found(model, totals, active, slots, opened, days, whole)


TABLES = audit.event.metadata.tables


@pytest.fixture
def table(database_url, tmp_path):
    """A runner of coroutines, and two stores on one empty database under one clock."""

    class Clock:
        now = datetime(2026, 1, 31, 12, tzinfo=UTC)

        def __call__(self):
            return self.now

    place = DatabaseSettings(url=database_url)
    hand = Clock()

    async def both():
        await upgrade(place_of(place, tmp_path))
        return [await open_store(place, tmp_path, clock=hand) for _ in range(2)]

    with asyncio.Runner() as runner:
        stores = runner.run(both())
        yield runner.run, stores, hand
        for store in stores:
            runner.run(store.close())


def test_whatever_is_done_and_in_whatever_order_the_table_agrees_with_the_model(table):
    """Claims, results, rescues and operators, one by one and two at once, leave exactly what a model foresees."""
    run, stores, hand = table
    began = hand.now

    def game():
        hand.now = began
        return Games(run, stores, hand)

    how = settings(
        max_examples=EXAMPLES or GAMES["sqlite" if stores[0].sqlite else "postgresql"],
        stateful_step_count=60,
        derandomize=not EXAMPLES,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(game, settings=how)

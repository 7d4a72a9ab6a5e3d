"""What the store should do, in plain Python: rows, and for each operation what it leaves of them."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from bulkreset.errors import UsageError
from bulkreset.limits.quota import Spacing
from bulkreset.limits.rates import SECOND, Rate
from bulkreset.model import UNCLEAR_LIMIT, Outcome, Quota, Result, Verdict
from bulkreset.runner.decide import decide
from bulkreset.secret import Secret
from bulkreset.store import batches, claims, lifecycle, results
from bulkreset.store.batches import NewBatch
from bulkreset.store.quotas import Halt, Pause, Window
from bulkreset.store.results import Closing, Ledger
from bulkreset.store.rosters import RosterEntry

ACCOUNTS = ("zoom", "zendesk")
USERS = ("ada", "bob", "eve", "kim", "lou", "max")
ACTIVE = ("pending", "running")
LIMIT = 6
SPACINGS = {"zoom": Spacing.of(Rate(LIMIT, SECOND)), "zendesk": Spacing.of(Rate(LIMIT, SECOND, daily=12))}
HORIZON = timedelta(seconds=1)
LEASE = timedelta(seconds=30)
MOST_BATCHES = 8

# What these leave to whoever holds a row is not foreseen; all else must come out as one after the other.
YIELDING = ("rescue", "finish")


@dataclass
class Task:
    """What a task row should say."""

    state: str
    due_at: datetime
    outcome: str | None = None
    attempt: int = 0
    tries: int = 0
    unclear: int = 0
    renewals: int = 0
    password_no: int = 0
    maybe_landed: bool = False
    sealed: str | None = None
    lease_until: datetime | None = None


@dataclass
class Batch:
    """What a batch row should say."""

    account: str
    state: str
    policy: str
    key: str | None


@dataclass
class Pot:
    """What a quota row should say of pauses and halts."""

    paused_until: datetime | None = None
    halted: str | None = None


@dataclass
class Model:
    """The whole table in plain Python; tasks are known by batch and user, attempts by their number too."""

    batches: dict[int, Batch] = field(default_factory=dict)
    tasks: dict[tuple[int, str], Task] = field(default_factory=dict)
    attempts: dict[tuple[int, str, int], str | None] = field(default_factory=dict)
    pots: dict[str, Pot] = field(default_factory=lambda: {name: Pot() for name in ACCOUNTS})

    def of(self, batch_id):
        return {key: task for key, task in self.tasks.items() if key[0] == batch_id}

    def active_users(self, account):
        return {
            user
            for (batch_id, user), task in self.tasks.items()
            if task.state in ACTIVE and self.batches[batch_id].account == account
        }

    def due(self, account, now):
        return {
            key
            for key, task in self.tasks.items()
            if self.batches[key[0]].account == account
            and self.batches[key[0]].state == "open"
            and task.state == "pending"
            and task.due_at <= now
        }


class Sealer:
    """Sealed passwords that tests can read: policy, batch, user and number."""

    def obstacle(self, of):
        return None

    def fresh(self, of, *, task_id, password_no, display):
        sealed = f"{of.policy}/{of.id}/{display}/{password_no}"
        return Secret(sealed), sealed

    def open(self, of, *, task_id, password_no, sealed):
        assert sealed.split("/")[1::2] == [str(of.id), str(password_no)]
        return Secret(sealed)


@dataclass
class Order:
    """Create a batch; `unlisted` users have no account at the provider."""

    account: str
    users: tuple[str, ...]
    unlisted: frozenset[str]
    name = "order"

    async def run(self, store):
        new = NewBatch(
            self.account, "medium", "INC-1", "a test", "tester", None, "0" * 64, len(self.users), 0, 0, "p0", "key"
        )

        async def roster():
            yield [RosterEntry(user, user, user not in self.unlisted) for user in self.users]

        async with store.write() as conn:
            return await batches.create(conn, new, roster(), now=await store.now(conn))

    def apply(self, model, batch_id, now, *, alone):
        taken = model.active_users(self.account)
        model.batches[batch_id] = Batch(self.account, "open", "p0", "key")
        for user in self.users:
            if user in self.unlisted:
                row = Task("failed", now, "user_not_found")
            else:
                row = Task("skipped" if user in taken else "pending", now)
            model.tasks[batch_id, user] = row


@dataclass
class Claim:
    """Claim up to `most` tasks of an account."""

    account: str
    most: int
    name = "claim"

    async def run(self, store):
        return await claims.claim(
            store,
            Quota(self.account, "medium"),
            SPACINGS[self.account],
            sealer=Sealer(),
            worker="w",
            window=Window(timedelta(0), HORIZON),
            most=self.most,
            lease=LEASE,
        )

    def apply(self, model, claimed, now, *, alone):
        pot = model.pots[self.account]
        due = model.due(self.account, now)
        held = claimed.claims
        if pot.halted:
            assert (held, claimed.offer.halted_reason) == ([], pot.halted)
        assert {(c.batch_id, c.user_ref) for c in held} <= due
        assert len(held) <= min(self.most, len(claimed.offer.slots))
        if alone:
            assert len(held) == min(len(due), len(claimed.offer.slots))
        for claim in held:
            assert now <= claim.slot_at < now + HORIZON
            assert pot.paused_until is None or claim.slot_at >= pot.paused_until
            task = model.tasks[claim.batch_id, claim.user_ref]
            if task.sealed is None:
                task.password_no += 1
                task.maybe_landed = False
                policy = model.batches[claim.batch_id].policy
                task.sealed = f"{policy}/{claim.batch_id}/{claim.user_ref}/{task.password_no}"
            task.attempt += 1
            task.state, task.lease_until = "running", claim.slot_at + LEASE
            assert (claim.n, claim.password_no, claim.password.reveal(), claim.maybe_landed) == (
                task.attempt,
                task.password_no,
                task.sealed,
                task.maybe_landed,
            )
            assert (claim.tries, claim.unclear, claim.renewals) == (task.tries, task.unclear, task.renewals)
            model.attempts[claim.batch_id, claim.user_ref, claim.n] = None
        if held:
            pot.paused_until = None


@dataclass
class Record:
    """Record what came of claims, on time or late or again, with findings about their accounts and batches."""

    answers: list
    at: datetime
    pauses: list = field(default_factory=list)
    halts: list = field(default_factory=list)
    halt_batches: bool = False
    name = "record"

    def __post_init__(self):
        self.closings = [
            Closing(
                Result(claim, Verdict(outcome), None if outcome is Outcome.RELEASED else self.at, self.at, 5),
                decide(claim, Verdict(outcome), now=self.at, jitter=0.0),
            )
            for claim, outcome in self.answers
        ]

    async def run(self, store):
        halted = {c.result.claim.batch_id: "refused" for c in self.closings} if self.halt_batches else {}
        pauses = [Pause(Quota(account, "medium"), until, "429") for account, until in self.pauses]
        halts = [Halt(Quota(account, "medium"), "401") for account in self.halts]
        return await results.record(store, Ledger(self.closings, pauses, halts, halted))

    def apply(self, model, moved, now, *, alone):
        for account, until in self.pauses:
            pot = model.pots[account]
            pot.paused_until = max(until, pot.paused_until or until)
        for account in self.halts:
            model.pots[account].halted = "401"
        count = 0
        for closing in self.closings:
            claim, decision = closing.result.claim, closing.decision
            if self.halt_batches and model.batches[claim.batch_id].state == "open":
                model.batches[claim.batch_id].state = "halted"
            attempt = (claim.batch_id, claim.user_ref, claim.n)
            if model.attempts[attempt] in (None, "unknown"):
                model.attempts[attempt] = decision.outcome.value
            task = model.tasks[attempt[:2]]
            if (task.state, task.attempt) != ("running", claim.n):
                continue
            count += 1
            task.state, task.outcome = decision.state.value, decision.outcome.value
            task.tries, task.unclear, task.renewals = decision.tries, decision.unclear, decision.renewals
            task.maybe_landed, task.lease_until = decision.maybe_landed, None
            task.due_at = decision.due_at or task.due_at
            if decision.state.final or not decision.keep_password:
                task.sealed = None
        assert moved == count


@dataclass
class Rescue:
    """Give back what no worker will answer for."""

    all_running: bool
    name = "rescue"

    async def run(self, store):
        return await results.rescue(store, all_running=self.all_running)

    def apply(self, model, count, now, *, alone):
        gone = [
            (key, task)
            for key, task in model.tasks.items()
            if task.state == "running" and (self.all_running or task.lease_until < now)
        ]
        assert count == len(gone)
        for key, task in gone:
            if model.attempts[*key, task.attempt] is None:
                model.attempts[*key, task.attempt] = "unknown"
            task.unclear += 1
            task.state = "failed" if task.unclear >= UNCLEAR_LIMIT else "pending"
            task.outcome, task.maybe_landed, task.due_at, task.lease_until = "unknown", True, now, None
            if task.state == "failed":
                task.sealed = None


@dataclass
class Switch:
    """Pause, resume or cancel a batch."""

    kind: str
    batch_id: int

    @property
    def name(self):
        return self.kind

    async def run(self, store):
        try:
            await getattr(lifecycle, self.kind)(store, self.batch_id, "tester")
        except UsageError:
            return False
        return True

    def apply(self, model, done, now, *, alone):
        batch = model.batches[self.batch_id]
        pot = model.pots[batch.account]
        allowed = {
            "pause": {"open"},
            "resume": {"paused", "halted"} | ({"open"} if pot.halted else set()),
            "cancel": {"open", "paused", "halted"},
        }[self.kind]
        assert done == (batch.state in allowed)
        if not done:
            return
        batch.state = {"pause": "paused", "resume": "open", "cancel": "cancelled"}[self.kind]
        if self.kind == "resume":
            pot.halted = None
        if self.kind == "cancel":
            sweep(model, self.batch_id)


def sweep(model, batch_id):
    for task in model.of(batch_id).values():
        if task.state == "pending":
            task.state, task.sealed = "cancelled", None


@dataclass
class Retry:
    """Make failed tasks due again, all or those of one outcome."""

    batch_id: int
    outcome: Outcome | None
    name = "retry"

    async def run(self, store):
        outcomes = [] if self.outcome is None else [self.outcome]
        try:
            return await lifecycle.retry(
                store, self.batch_id, "tester", outcomes=outcomes, fresh_key=lambda: "new key"
            )
        except UsageError:
            return 0

    def apply(self, model, count, now, *, alone):
        batch = model.batches[self.batch_id]
        active = model.active_users(batch.account)
        chosen = [
            task
            for (_, user), task in model.of(self.batch_id).items()
            if user not in active
            and (
                task.state == "failed"
                if self.outcome is None
                else task.state in ("failed", "skipped") and task.outcome == self.outcome
            )
        ]
        if batch.state == "cancelled":
            chosen = []
        assert count == len(chosen)
        if not chosen:
            return
        batch.state = "open" if batch.state == "done" else batch.state
        batch.key = batch.key or "new key"
        for task in chosen:
            task.state, task.due_at, task.sealed, task.maybe_landed = "pending", now, None, False
            task.tries = task.unclear = task.renewals = 0


@dataclass
class Finish:
    """Close what has nothing left to do."""

    name = "finish"

    async def run(self, store):
        return await lifecycle.finish(store)

    def apply(self, model, done, now, *, alone):
        expected = []
        for batch_id, batch in model.batches.items():
            if batch.state == "cancelled" and batch.key:
                sweep(model, batch_id)
            if any(task.state in ACTIVE for task in model.of(batch_id).values()):
                continue
            if batch.state in ("open", "paused", "halted"):
                batch.state = "done"
                expected.append(batch_id)
            if batch.state in ("cancelled", "done"):
                batch.key = None
        assert sorted(done) == sorted(expected)


@dataclass
class SetPolicy:
    """Replace the password policy of an account."""

    account: str
    policy: str
    name = "set_policy"

    async def run(self, store):
        await batches.set_policy(store, self.account, self.policy)

    def apply(self, model, _, now, *, alone):
        for batch_id, batch in model.batches.items():
            going_on = batch.account == self.account and batch.state not in ("cancelled", "done")
            if not going_on or batch.policy == self.policy:
                continue
            batch.policy = self.policy
            for task in model.of(batch_id).values():
                if task.state == "pending" and not task.maybe_landed:
                    task.sealed = None

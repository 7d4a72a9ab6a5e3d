"""The parts of a lane without a database, a network, or a clock of their own."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

from bulkreset.errors import ProviderRefused, ProviderUnavailable
from bulkreset.limits.rates import SECOND, Rate
from bulkreset.model import Action, Claim, Quota
from bulkreset.options import Options
from bulkreset.passwords.policy import STRONGEST, Wishes
from bulkreset.providers.base import Answer, Call
from bulkreset.runner import claimer, completions, database_clock, dispatcher, sender, standing
from bulkreset.runner.context import Context
from bulkreset.runner.parts import Parts
from bulkreset.runner.valve import Valve
from bulkreset.secret import Secret
from bulkreset.store import claims
from bulkreset.store.claims import Claimed
from bulkreset.store.due import OpenBatch
from bulkreset.store.quotas import Offer

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
QUOTA = Quota("acme", "medium")
BATCH = OpenBatch(1, "", None, Options(), 0, True, NOW)


class Clock:
    """A monotonic clock that moves only when it is told to; NOW is what it begins at."""

    def __init__(self, monkeypatch):
        self.now = self.began = 1_000.0
        for module in (claimer, completions, database_clock, dispatcher, sender, standing):
            monkeypatch.setattr(module, "monotonic", self)

    def __call__(self):
        return self.now

    def moment(self):
        return NOW + timedelta(seconds=self.now - self.began)


class Notes:
    """A recorder that keeps what it is given; `save` is when it reaches the tables."""

    def __init__(self):
        self.ready = True
        self.saved = self.number = 0
        self.closings, self.pauses, self.halts, self.batch_halts = [], [], [], []

    def put(self, closing=None, *, pause=None, halt=None, batch_halt=None):
        self.number += 1
        for given, kept in (
            (closing, self.closings),
            (pause, self.pauses),
            (halt, self.halts),
            (batch_halt, self.batch_halts),
        ):
            if given is not None:
                kept.append(given)
        return self.number

    def save(self):
        self.saved = self.number

    @property
    def outcomes(self):
        return [(closing.result.claim.task_id, str(closing.decision.outcome)) for closing in self.closings]


class Seat:
    """A reserved connection."""

    def __init__(self):
        self.given_back = 0

    def give_back(self):
        self.given_back += 1


class Way:
    """A way out whose calls are answered when a test says so."""

    def __init__(self):
        self.connected = True
        self.slots, self.asked_for, self.left, self.did_not_leave, self.seats = [], [], [], [], []
        self.before_reserved = None  # called while a connection is waited for
        self.none_left = False
        self.answers = {}  # by task: the answer, or a future of it

    def ready(self):
        return self.connected

    def take(self, slots):
        self.slots += slots

    def overdue(self):
        return 0

    def beside(self, workers):
        pass

    def keep_to(self, pace):
        self.kept = pace.rate

    async def reserve(self, slot):
        self.asked_for.append(slot)
        if self.before_reserved is not None:
            self.before_reserved()
        if self.none_left:
            return None
        self.seats.append(Seat())
        return self.seats[-1]

    def sent(self, claim, reserved, slot):
        self.left.append(claim.task_id)

    def unsent(self, claim):
        self.did_not_leave.append(claim.task_id)

    async def exchange(self, claim, call, headers, reserved):
        answer = self.answers[claim.task_id]
        return await answer if asyncio.isfuture(answer) else answer

    async def close(self):
        pass


class Auth:
    """Credentials that are away or refused for as long as a test says."""

    advice = "make a new token"

    def __init__(self):
        self.generation = 0
        self.fault = None
        self.asked = 0

    async def prepare(self):
        self.asked += 1
        if self.fault is not None:
            raise self.fault

    def invalidate(self, generation):
        self.generation += 1

    def headers(self):
        return {}

    def secrets(self):
        return ()


AWAY = ProviderUnavailable("the login does not answer")
REFUSED = ProviderRefused("the login is refused")


class Provider:
    """A provider whose answers are verdicts already."""

    account = "acme"
    base_url = "http://127.0.0.1:1"
    tells_limit = False

    def __init__(self):
        self.auth = Auth()
        self.told = None
        self.policies_read = 0

    def told_rate(self, label):
        return self.told

    def set_password(self, user_ref, password):
        return Call("PUT", f"/{user_ref}")

    def classify(self, answer, *, now, mask=()):
        return answer.verdict

    async def policy(self, pace):
        self.policies_read += 1
        return STRONGEST


def answer(verdict):
    """Return an answer that means this."""
    return SimpleNamespace(verdict=verdict, spec=Answer)


def parts_of(clock, *, concurrency=50, guard=lambda *_: False, rate=None, store=None, **more):
    """Make the parts of one lane, at a clock."""
    context = Context(
        store=store,
        transport=None,
        recorder=Notes(),
        sealer=None,
        guard=guard,
        worker="w",
        http_timeout=timedelta(seconds=30),
        poll_interval=2.0,
        concurrency=concurrency,
        wishes=Wishes(),
        **more,
    )
    valve = Valve("acme", context.recorder)
    parts = replace(
        Parts.of(context, QUOTA, Provider(), rate or Rate(20, SECOND), valve, share=1.0), way_out=Way()
    )
    parts.clock.set(clock.moment(), clock.now)
    parts.handling.know({1: BATCH})
    return parts


def claim_of(number, slot_in_s=0.0, **more):
    """Make the first claim of a task, with a slot so many seconds after NOW."""
    values = {
        "task_id": number,
        "batch_id": 1,
        "n": 1,
        "user_ref": str(number),
        "action": Action.SET_PASSWORD,
        "slot_at": NOW + timedelta(seconds=slot_in_s),
        "tries": 0,
        "unclear": 0,
        "renewals": 0,
        "password_no": 1,
        "maybe_landed": False,
        "password": Secret("a password"),
    }
    return Claim(**(values | more))


class Tables:
    """What a claimer claims from; `claims` is what it gets next, and `meanwhile` is called while it waits."""

    def __init__(self, clock, monkeypatch):
        monkeypatch.setattr(claims, "claim", self.claim)
        self.clock = clock
        self.claims = []
        self.offer = Offer(range(0))
        self.doubt_s = 0.0
        self.meanwhile = None
        self.fault = None
        self.asked_for = []
        self.unusable = {}

    async def claim(self, store, which, spacing, *, most, **_):
        self.asked_for.append(most)
        if self.meanwhile is not None:
            self.meanwhile()
        if self.fault is not None:
            raise self.fault
        claimed, self.claims = self.claims[:most], self.claims[most:]
        return Claimed(
            claimed,
            self.offer,
            self.clock.moment(),
            self.clock.now,
            self.doubt_s,
            {1: BATCH},
            unusable=self.unusable,
        )

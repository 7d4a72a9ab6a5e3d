"""Very many accounts at once, on paper: what do they ask of the databases and workers, and what gives way first?

`python -m benchmarks.simulation` draws accounts with the providers' real limits and heavy-tailed numbers of users,
spreads them by name over 1, 2, 4 … databases, and follows each database from event to event: an account is done,
a daily limit is reached, a day begins. Between two events everything flows at a constant rate, so time is computed
and not waited for. Accounts of one plan that share a database are treated alike and progress alike.

- A lane claims every half second, or once a slot where slots lie further apart, and each claim is a transaction.
  It takes the slots of one horizon. Where the database has no transaction free, the claims of all lanes queue for
  the same time, which costs nothing until a claim comes later than the slots of the one before it.
- A worker writes the results of all its accounts together, in one transaction for each time it gathers.
- A lane without due tasks, or with its daily limit used up, looks once a poll.
- Calls that the workers cannot send, or whose rows the database cannot write, are taken from all lanes alike.
"""

import argparse
import math
import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import accumulate
from typing import Final

from bulkreset.limits.quota import US, Spacing
from bulkreset.limits.rates import Rate
from bulkreset.providers.zendesk.settings import PLANS as ZENDESK
from bulkreset.providers.zoom.settings import PLANS as ZOOM

# What one database and one worker carry, from the table of `python -m benchmarks` in docs/scaling.md.
TASKS_PER_S: Final = 7_000.0  # claimed and recorded by one database
TRANSACTIONS_PER_S: Final = 2_300.0  # small ones, committed by one database
TRANSACTION_S: Final = 0.005  # for which one of them holds a connection
CONNECTIONS: Final = 100  # of one database
CONNECTIONS_PER_WORKER: Final = 5
SENDS_PER_S: Final = 2_400.0  # calls of one worker, on one core

# How the runner works; see bulkreset/runner.
_HORIZON_S: Final = 1.0
_GATHER_S: Final = 0.1
_GATHERED_MOST: Final = 250
_POLL_S: Final = 2.0
_CHORES: Final = 3  # transactions of a worker's poll

_DAY_S: Final = 86_400.0
# A guess at who comes: the part of the accounts on each plan, and the fewest and most users that one of them has.
_MIX: Final[dict[str, tuple[float, int, int]]] = {
    "zoom free": (0.10, 5, 1_500),
    "zoom pro": (0.25, 50, 20_000),
    "zoom business": (0.15, 300, 100_000),
    "zendesk essential": (0.05, 3, 200),
    "zendesk team": (0.15, 5, 2_000),
    "zendesk growth": (0.10, 15, 5_000),
    "zendesk professional": (0.10, 30, 10_000),
    "zendesk enterprise": (0.07, 150, 50_000),
    "zendesk enterprise_plus": (0.02, 500, 100_000),
    "zendesk high_volume": (0.01, 500, 100_000),
}
_TAIL: Final = 1.1  # Pareto: the lower, the more of all users belong to a few accounts
_RESOURCES: Final = ("provider", "rows", "workers", "transactions", "connections")


@dataclass(frozen=True, slots=True)
class Account:
    """One account with a batch; `rate` is the part of its provider's limit that it may use."""

    name: str
    plan: str
    rate: Rate
    users: int


@dataclass(frozen=True, slots=True)
class Capacity:
    """What one database and the workers at it carry; `lanes` workers serve each account."""

    workers: int = 8
    lanes: int = 1
    tasks_per_s: float = TASKS_PER_S
    transactions_per_s: float = TRANSACTIONS_PER_S
    sends_per_s: float = SENDS_PER_S
    connections: int = CONNECTIONS

    @property
    def connected(self) -> int:
        """How many transactions can run side by side."""
        return min(self.connections, self.workers * CONNECTIONS_PER_WORKER)


@dataclass(frozen=True, slots=True)
class Flow:
    """What flows in one database while nothing ends: calls a second of each pot, and the share used of each."""

    calls: tuple[float, ...]
    asked: float
    used: dict[str, float]

    @property
    def bottleneck(self) -> str:
        """What holds the calls back: the providers, where all that they allow is sent."""
        if self.used["provider"] > 0.999:
            return "provider"
        # Waiting claims fill the transactions up even where calls are held back by what stands before them here.
        return max(_RESOURCES[1:], key=lambda name: round(self.used[name], 3))


@dataclass(slots=True)
class Pot:
    """The accounts of one plan in one database, the smallest first; those before `done` need nothing more."""

    accounts: list[Account]
    calls_per_s: float  # that the limit leaves to one account
    daily: int | None
    done: int = 0
    sent: float = 0.0  # calls of each account that is not done
    allowance: float = math.inf  # what `sent` may reach today

    @classmethod
    def of(cls, accounts: Sequence[Account]) -> "Pot":
        """Gather accounts that have the same rate."""
        spacing = Spacing.of(accounts[0].rate)
        pot = cls(sorted(accounts, key=lambda a: (a.users, a.name)), US / spacing.interval_us, spacing.daily)
        pot.begin_day()
        return pot

    def begin_day(self) -> None:
        """Count the daily limit from nothing."""
        if self.daily is not None:
            self.allowance = self.sent + self.daily

    @property
    def active(self) -> int:
        """How many of its accounts may call now."""
        return 0 if self.sent >= self.allowance else len(self.accounts) - self.done

    @property
    def next_stop(self) -> float:
        """What `sent` will be when the next account is done or the daily limit reached."""
        return min(self.accounts[self.done].users, self.allowance)


@dataclass(frozen=True, slots=True)
class Run:
    """What became of all accounts: when each was done, the calls sent, and each database's first moment."""

    done_at: dict[str, float]
    sent: float
    starts: tuple[Flow, ...]

    def done_after(self, share: float) -> float:
        """Return the seconds until that share of the accounts was done."""
        times = sorted(self.done_at.values())
        return times[math.ceil(len(times) * share) - 1]


def draw(count: int, rng: random.Random, *, share: float = 0.9) -> list[Account]:
    """Draw accounts: a plan each from the mix, and users from a Pareto distribution."""
    plans = list(_MIX)
    bounds = list(accumulate(part for part, _, _ in _MIX.values()))
    accounts = []
    for number in range(count):
        plan = rng.choices(plans, cum_weights=bounds)[0]
        _, fewest, most = _MIX[plan]
        users = min(most, int(fewest * rng.paretovariate(_TAIL)))
        accounts.append(Account(f"account-{number:05d}", plan, limit(plan).shared(share), users))
    return accounts


def limit(plan: str) -> Rate:
    """Return what the provider allows for setting passwords."""
    provider, _, name = plan.partition(" ")
    return ZOOM[name]["medium"] if provider == "zoom" else ZENDESK[name]


def simulate(accounts: Sequence[Account], databases: int, capacity: Capacity) -> Run:
    """Run all accounts to their end, each in the database that its name leads to."""
    shards: defaultdict[int, list[Account]] = defaultdict(list)
    for account in accounts:
        shards[int.from_bytes(sha256(account.name.encode()).digest()[:8]) % databases].append(account)
    runs = [_run(shard, capacity) for shard in shards.values()]
    done_at = {name: at for run in runs for name, at in run.done_at.items()}
    return Run(done_at, sum(run.sent for run in runs), tuple(run.starts[0] for run in runs))


def flow(pots: Sequence[Pot], capacity: Capacity) -> Flow:
    """Find the rates at which every pot's accounts, the workers and the database are in balance."""
    limit_ = min(capacity.transactions_per_s, capacity.connected / TRANSACTION_S)
    low, high = 0.0, 1.0
    calls = _calls(pots, capacity, low)
    transactions = _transactions(pots, calls, capacity, low)
    if transactions > limit_:
        while _transactions(pots, _calls(pots, capacity, high), capacity, high) > limit_ and high < _DAY_S:
            high *= 2
        while high - low > 1e-6 * high:
            wait = (low + high) / 2
            enough = _transactions(pots, _calls(pots, capacity, wait), capacity, wait) <= limit_
            low, high = (low, wait) if enough else (wait, high)
        calls = _calls(pots, capacity, high)
        transactions = _transactions(pots, calls, capacity, high)
    asked = sum(pot.active * pot.calls_per_s for pot in pots)
    total = sum(pot.active * each for pot, each in zip(pots, calls, strict=True))
    used = {
        "provider": total / asked if asked else 1.0,
        "workers": total / (capacity.workers * capacity.sends_per_s),
        "transactions": transactions / capacity.transactions_per_s,
        "rows": total / capacity.tasks_per_s,
        "connections": transactions * TRANSACTION_S / capacity.connected,
    }
    return Flow(tuple(calls), asked, used)


def _calls(pots: Sequence[Pot], capacity: Capacity, wait: float) -> list[float]:
    """Return the calls a second of one account of each pot, where a claim waits so long for the database."""
    calls = [
        min(pot.calls_per_s, capacity.lanes * max(1.0, pot.calls_per_s * _HORIZON_S) / (_pause(pot) + wait))
        for pot in pots
    ]
    total = sum(pot.active * each for pot, each in zip(pots, calls, strict=True))
    most = min(capacity.tasks_per_s, capacity.workers * capacity.sends_per_s)
    return [each * min(1.0, most / total) for each in calls] if total else calls


def _pause(pot: Pot) -> float:
    """Return the seconds for which a lane with work leaves the database alone after a claim."""
    return max(_HORIZON_S / 2, 1 / pot.calls_per_s)


def _transactions(pots: Sequence[Pot], calls: Sequence[float], capacity: Capacity, wait: float) -> float:
    claims = sum(pot.active / (_pause(pot) + wait) for pot in pots) * capacity.lanes
    looks = sum(len(pot.accounts) - pot.active for pot in pots) / (_POLL_S + wait) * capacity.lanes
    total = sum(pot.active * each for pot, each in zip(pots, calls, strict=True)) / capacity.workers
    records = 1 / (1 / total + min(_GATHER_S, _GATHERED_MOST / total)) if total else 0.0
    return claims + looks + capacity.workers * (records + _CHORES / _POLL_S)


def _run(accounts: Sequence[Account], capacity: Capacity) -> Run:
    by_plan: defaultdict[str, list[Account]] = defaultdict(list)
    for account in accounts:
        by_plan[account.plan].append(account)
    pots = [Pot.of(by_plan[plan]) for plan in sorted(by_plan)]
    done_at: dict[str, float] = {}
    now, sent, midnight = 0.0, 0.0, _DAY_S
    first = found = flow(pots, capacity)
    while len(done_at) < len(accounts):
        moving = [(pot, each) for pot, each in zip(pots, found.calls, strict=True) if pot.active]
        ahead = [(pot.next_stop - pot.sent) / each for pot, each in moving]
        step = min([*ahead, midnight - now])
        now += step
        for (pot, each), needs in zip(moving, ahead, strict=True):
            # What stops now stops exactly there, so that no rest of a call is left by rounding.
            reached = pot.next_stop if needs <= step * (1 + 1e-12) else pot.sent + each * step
            sent += (reached - pot.sent) * pot.active
            pot.sent = reached
            while pot.done < len(pot.accounts) and pot.accounts[pot.done].users <= pot.sent:
                done_at[pot.accounts[pot.done].name] = now
                pot.done += 1
        if now >= midnight:
            midnight += _DAY_S
            for pot in pots:
                pot.begin_day()
        found = flow(pots, capacity)
    return Run(done_at, sent, (first,))


def main() -> None:
    """Print one line for each number of databases."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.simulation", description="Accounts on paper.")
    parser.add_argument("--accounts", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--share", type=float, default=0.9, help="part of each provider's limit that is ours")
    parser.add_argument("--databases", type=int, nargs="+", default=[1, 2, 4, 8, 16, 32])
    parser.add_argument("--workers", type=int, default=Capacity().workers, help="at each database")
    parser.add_argument(
        "--lanes",
        type=int,
        help="workers that serve one account (default: all at its database, as by plain `run`)",
    )
    parser.add_argument("--tasks-per-s", type=float, default=TASKS_PER_S, help="of one database")
    parser.add_argument("--transactions-per-s", type=float, default=TRANSACTIONS_PER_S, help="of one database")
    parser.add_argument("--sends-per-s", type=float, default=SENDS_PER_S, help="of one worker")
    parser.add_argument("--connections", type=int, default=CONNECTIONS, help="of one database")
    options = parser.parse_args()
    capacity = Capacity(
        options.workers,
        min(options.lanes or options.workers, options.workers),
        options.tasks_per_s,
        options.transactions_per_s,
        options.sends_per_s,
        options.connections,
    )
    accounts = draw(options.accounts, random.Random(options.seed), share=options.share)
    print(_describe(accounts, capacity))
    heading = ("databases", *_RESOURCES, "calls/s", "bottleneck", "50 % done", "99 % done", "all done")
    rows: list[tuple[str, ...]] = [heading]
    rows += [_row(count, simulate(accounts, count, capacity)) for count in options.databases]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        print("  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)))


def _describe(accounts: Sequence[Account], capacity: Capacity) -> str:
    asked = sum(US / Spacing.of(account.rate).interval_us for account in accounts)
    users = sum(account.users for account in accounts)
    return (
        f"{len(accounts):,} accounts with {users:,} users ask for {asked:,.0f} calls/s; "
        f"workers at each database: {capacity.workers}, for each account: {capacity.lanes}.\n"
        "Shares used at the start, while all accounts are at work, in the busiest database:\n"
    )


def _row(databases: int, run: Run) -> tuple[str, ...]:
    # The one that is furthest behind what its accounts may send, and of several such the one with most of it.
    busiest = min(run.starts, key=lambda start: (round(start.used["provider"], 3), -start.used["transactions"]))
    calls = sum(start.asked * start.used["provider"] for start in run.starts)
    return (
        str(databases),
        *(f"{100 * busiest.used[name]:.0f} %" for name in _RESOURCES),
        f"{calls:,.0f}",
        busiest.bottleneck,
        *(_duration(run.done_after(share)) for share in (0.5, 0.99, 1.0)),
    )


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7_200 else f"{seconds / 3_600:.1f} h"


if __name__ == "__main__":
    main()

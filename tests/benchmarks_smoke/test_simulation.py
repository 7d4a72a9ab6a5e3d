"""The simulation of many accounts keeps to the arithmetic that it stands for."""

import random
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.simulation import Account, Capacity, draw, limit, simulate
from bulkreset.providers.zoom.settings import PLANS as ZOOM

SCARCE = Capacity(workers=2, tasks_per_s=300, transactions_per_s=200, sends_per_s=200)
AMPLE = Capacity(workers=1_000, tasks_per_s=1e9, transactions_per_s=1e9, sends_per_s=1e9, connections=10_000_000)

capacities = st.builds(
    Capacity,
    workers=st.integers(1, 20),
    lanes=st.integers(1, 3),
    tasks_per_s=st.floats(50, 20_000),
    transactions_per_s=st.floats(100, 20_000),
    sends_per_s=st.floats(50, 5_000),
    connections=st.integers(1, 200),
)
seeds = st.integers(0, 1_000)
property_of_runs = settings(max_examples=25)


def accounts_of(seed, count=60):
    return draw(count, random.Random(seed))


@property_of_runs
@given(seeds, capacities, st.integers(1, 4))
def test_every_account_is_done_and_every_user_is_sent_once(seed, capacity, databases):
    """The calls that flowed add up to the users, and each account ends."""
    accounts = accounts_of(seed)
    run = simulate(accounts, databases, capacity)
    assert run.done_at.keys() == {account.name for account in accounts}
    assert run.sent == pytest.approx(sum(account.users for account in accounts))


@property_of_runs
@given(seeds, capacities)
def test_no_account_is_faster_than_its_provider_allows(seed, capacity):
    """Nothing makes an account end before its users divided by its limit."""
    accounts = accounts_of(seed)
    run = simulate(accounts, 2, capacity)
    for account in accounts:
        whole = limit(account.plan)
        assert run.done_at[account.name] >= account.users / whole.calls * whole.window.total_seconds()


@property_of_runs
@given(seeds, capacities, st.sampled_from([1, 2, 3]))
def test_twice_the_databases_make_no_account_slower(seed, capacity, databases):
    """Each database is split in two, and whoever shares one with fewer accounts is done no later."""
    accounts = accounts_of(seed)
    before = simulate(accounts, databases, capacity)
    after = simulate(accounts, 2 * databases, capacity)
    for name, at in before.done_at.items():
        assert after.done_at[name] <= at * (1 + 1e-4)


def test_a_seed_always_draws_the_same():
    """A table can be made again."""
    first, second = (simulate(accounts_of(7), 2, SCARCE) for _ in range(2))
    assert first == second
    assert first != simulate(accounts_of(8), 2, SCARCE)


def test_with_nothing_scarce_the_providers_alone_decide():
    """All that the limits allow is sent, and the limits are what is used up."""
    start = simulate(accounts_of(1), 1, AMPLE).starts[0]
    assert start.bottleneck == "provider"
    assert start.used["provider"] == pytest.approx(1)


@pytest.mark.parametrize(
    ("scarce", "name"),
    [
        ({"tasks_per_s": 10}, "rows"),
        ({"sends_per_s": 0.01}, "workers"),
        ({"transactions_per_s": 1_540}, "transactions"),
        ({"connections": 8}, "connections"),
    ],
)
def test_what_is_scarce_is_named(scarce, name):
    """The bottleneck is the one resource that there is too little of."""
    start = simulate(accounts_of(1), 1, replace(AMPLE, **scarce)).starts[0]
    assert start.bottleneck == name
    assert start.used[name] == pytest.approx(1, abs=1e-3)
    assert start.used["provider"] < 0.999


def test_a_daily_limit_makes_an_account_wait_for_the_next_day():
    """What is over the day's calls goes out after midnight, at the limit of a second."""
    rate = ZOOM["free"]["medium"]
    assert rate.daily is not None
    run = simulate([Account("a", "zoom free", rate, 2 * rate.daily + 10)], 1, AMPLE)
    two_days = timedelta(days=2).total_seconds()
    assert two_days + 10 / rate.calls <= run.done_at["a"] < two_days + 20

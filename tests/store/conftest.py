import hashlib
from datetime import UTC, datetime, timedelta

import pytest
from plain_sealer import PlainSealer

from bulkreset.limits.quota import Spacing
from bulkreset.limits.rates import SECOND, Rate
from bulkreset.model import Quota
from bulkreset.options import Options
from bulkreset.settings import DatabaseSettings
from bulkreset.store import batches, claims
from bulkreset.store.batches import NewBatch
from bulkreset.store.engine import open_store
from bulkreset.store.migrate import upgrade
from bulkreset.store.place import place_of
from bulkreset.store.quotas import Window
from bulkreset.store.rosters import RosterEntry

QUOTA = Quota("zoom", "medium")


class Hand:
    """A clock that moves only when it is told to."""

    def __init__(self):
        self.now = datetime(2026, 1, 31, 12, tzinfo=UTC)

    def __call__(self):
        return self.now

    def pass_(self, seconds):
        self.now += timedelta(seconds=seconds)


@pytest.fixture
def hand():
    return Hand()


@pytest.fixture
async def store(tmp_path, hand, database_url):
    """A store under a clock of ours; every test that uses it runs on both databases."""
    settings = DatabaseSettings(url=database_url)
    await upgrade(place_of(settings, tmp_path))
    store = await open_store(settings, tmp_path, clock=hand)
    yield store
    await store.close()


@pytest.fixture
def order(store):
    async def make(
        users, *, account="zoom", not_before=None, options=None, planned=None, requested_by="tester", **more
    ):
        """Order a batch of these users, or of the planned entries that stand for them."""
        entries = sorted(planned or (RosterEntry(u, u) for u in users))
        users = [entry.user_ref for entry in entries]
        options = options or Options()
        new = NewBatch(
            account=account,
            label="medium",
            incident="INC-1",
            reason="a test",
            requested_by=requested_by,
            not_before=not_before,
            roster_sha256=hashlib.sha256("".join(f"{u}\n" for u in users).encode()).hexdigest(),
            total=len(users),
            excluded=0,
            duplicates=0,
            policy="{}",
            wrapped_key="key",
            options=options.as_json(),
            planned=planned is not None,
            revoke_label="light" if options.revoke_sessions else None,
            **more,
        )

        async def roster():
            yield entries

        async with store.write() as conn:
            return await batches.create(conn, new, roster(), now=await store.now(conn))

    return make


@pytest.fixture
def claim(store):
    async def make(most=100, *, rate=1000, daily=None, which=QUOTA, lease=30.0, sealer=None, clock=None):
        return await claims.claim(
            store,
            which,
            Spacing.of(Rate(rate, SECOND, daily)),
            sealer=sealer or PlainSealer(),
            worker="w1",
            window=Window(timedelta(0), timedelta(seconds=1)),
            most=most,
            lease=timedelta(seconds=lease),
            clock=clock,
        )

    return make


@pytest.fixture
async def opened(tmp_path):
    """Open stores; they are closed at the end."""
    stores = []

    async def one(url, **options):
        clock = options.pop("clock", None)
        store = await open_store(DatabaseSettings(url=url, **options), tmp_path, clock=clock)
        stores.append(store)
        return store

    yield one
    for store in stores:
        await store.close()

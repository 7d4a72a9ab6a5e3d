"""Small jobs on a PostgreSQL store, shared by the tests that run there only."""

from contextlib import suppress
from datetime import timedelta

from closings import succeeded

from bulkreset.errors import UsageError
from bulkreset.limits.quota import Spacing
from bulkreset.limits.rates import SECOND, Rate
from bulkreset.model import Quota
from bulkreset.report import queries
from bulkreset.secret import Secret
from bulkreset.store import batches, claims, lifecycle, results
from bulkreset.store.batches import NewBatch
from bulkreset.store.quotas import Pause, Window
from bulkreset.store.results import Ledger
from bulkreset.store.rosters import RosterEntry

FAST = Spacing.of(Rate(100_000, SECOND))


class Sealer:
    """Passwords that cost nothing."""

    def obstacle(self, of):
        return None

    def fresh(self, of, *, task_id, password_no, display):
        return Secret(f"{task_id}-{password_no}"), f"{task_id}-{password_no}"

    def open(self, of, *, task_id, password_no, sealed):
        return Secret(sealed)


async def place_order(store, users, account="zoom"):
    new = NewBatch(account, "medium", "I", "r", "t", None, "0" * 64, len(users), 0, 0, "{}", "key")

    async def roster():
        yield [RosterEntry(user, user) for user in users]

    async with store.write() as conn:
        return await batches.create(conn, new, roster(), now=await store.now(conn))


async def claim_from(store, account="zoom", most=10):
    claimed = await claims.claim(
        store,
        Quota(account, "medium"),
        FAST,
        sealer=Sealer(),
        worker="w",
        window=Window(timedelta(0), timedelta(seconds=1)),
        most=most,
        lease=timedelta(seconds=30),
    )
    return claimed.claims


def succeed(held, now):
    return Ledger([succeeded(claim, now) for claim in held])


async def a_round(store):
    """Use every part of the store once; return how many tasks succeeded."""
    batch_id = await place_order(store, [f"u{n}" for n in range(6)])
    for _ in range(2):
        held = await claim_from(store, most=3)
        async with store.read() as conn:
            now = await store.now(conn)
        ledger = succeed(held, now)
        ledger.pauses.append(Pause(Quota("zoom", "medium"), now - timedelta(seconds=1), "429"))
        assert await results.record(store, ledger) == 3
    await results.rescue(store)
    await lifecycle.pause(store, batch_id, "t")
    await lifecycle.resume(store, batch_id, "t")
    await batches.set_policy(store, "zoom", "other")
    assert await lifecycle.finish(store) == [batch_id]
    with suppress(UsageError):
        await lifecycle.retry(store, batch_id, "t", outcomes=[], fresh_key=lambda: "k")
    return [line async for line in queries.tasks(store, batch_id)]

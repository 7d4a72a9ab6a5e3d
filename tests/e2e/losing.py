"""A worker that is lost in this process: its calls went out, and nobody wrote down what became of them."""

import asyncio

import pytest

from bulkreset.errors import StoreError
from bulkreset.runner import worker as workers
from bulkreset.store import results


async def lose_a_worker(installation, monkeypatch):
    """Run a worker that is lost when its first calls were answered, with nothing recorded of any."""
    answered = asyncio.Event()

    async def away(store, ledger, **_more):
        if any(closing.result.sent_at is not None for closing in ledger.closings):
            answered.set()
        raise StoreError("the database is away")

    async def lose(worker):
        await answered.wait()
        worker.stop()

    with monkeypatch.context() as patch:
        patch.setattr(results, "record", away)
        patch.setattr(workers, "_FLUSH_BOUND_S", 0)
        async with asyncio.timeout(30):
            with pytest.raises(StoreError, match="could not be saved"):
                await installation.run(once=False, meanwhile=lose)
    assert installation.query("SELECT DISTINCT outcome FROM attempt") == [(None,)]

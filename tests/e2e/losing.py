"""A worker that is lost in this process: its calls went out, and nobody wrote down what became of them."""

import pytest
from installation import calls_reach

from bulkreset.errors import StoreError
from bulkreset.runner import worker as workers
from bulkreset.store import results


async def lose_a_worker(installation, tenant, monkeypatch, *, calls):
    """Run a worker that has sent so many calls when it is lost, with nothing recorded of any."""

    async def away(store, ledger):
        raise StoreError("the database is away")

    async def lose(worker):
        await calls_reach(tenant, tenant.log.total + calls)
        worker.stop()

    with monkeypatch.context() as patch:
        patch.setattr(results, "record", away)
        patch.setattr(workers, "_FLUSH_BOUND_S", 0)
        with pytest.raises(StoreError, match="could not be saved"):
            await installation.run(once=False, meanwhile=lose)
    assert installation.query("SELECT DISTINCT outcome FROM attempt") == [(None,)]

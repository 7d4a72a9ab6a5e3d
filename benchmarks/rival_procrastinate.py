"""A job for each user in procrastinate, done by one worker.

`python -m benchmarks.rival_procrastinate DATABASE_URL SERVER_URL USERS CONCURRENCY [plain]` prints the seconds
from the start of the first job until the statement is committed that ends the last one in `procrastinate_jobs`.
The worker's own call of that statement is watched, so nothing polls beside it.

`plain` is a worker as its documentation starts one, which keeps finished jobs as the record of what was done.
Without it: the fastest configuration of those tried with version 3.10. `concurrency=CONCURRENCY` (jobs are fetched
one by one whatever it is); finished jobs are deleted, which is at least as quick as keeping them and leaves less
of a record; connections commit by themselves, which saves two round trips a statement, and the pool does not test
a connection before each use, which saves one; it does not listen for news, since all jobs are there. More
connections than four made it no faster.
"""

import asyncio
import json
import sys
from time import monotonic
from typing import Any, Final

from procrastinate import App, PsycopgConnector
from procrastinate.jobs import Job, Status
from procrastinate.manager import JobManager
from procrastinate.types import JSONDict
from psycopg_pool import AsyncConnectionPool

from benchmarks.rivals import Calls

_CONNECTIONS: Final = 4
_PUT_AT_ONCE: Final = 1_000


class _Watched(JobManager):
    """Its job manager, with the moment when the latest end of a job was committed, and how many were."""

    recorded_at = 0.0
    succeeded = 0

    async def finish_job(self, job: Job, status: Status, delete_job: bool) -> None:
        await super().finish_job(job, status, delete_job)
        self.recorded_at = monotonic()
        self.succeeded += status is Status.SUCCEEDED


async def work(database: str, url: str, users: int, concurrency: int, *, plain: bool) -> float:
    """Put the jobs in, do them all, and return the seconds that doing them took."""
    connector = PsycopgConnector(conninfo=database) if plain else _tuned(database)
    app = App(connector=connector)
    app.job_manager = watched = _Watched(connector)
    async with app.open_async(), Calls(url, concurrency) as calls:
        await app.schema_manager.apply_schema_async()

        @app.task(name="reset")
        async def reset(number: int) -> None:
            await calls.send(number)

        for first in range(1, users + 1, _PUT_AT_ONCE):
            numbers = range(first, min(first + _PUT_AT_ONCE, users + 1))
            await reset.batch_defer_async(*[_arguments(number) for number in numbers])
        await connector.execute_query_async("ANALYZE")
        await app.run_worker_async(
            concurrency=concurrency,
            wait=False,
            delete_jobs="never" if plain else "successful",
            listen_notify=plain,
            install_signal_handlers=False,
        )
        left = await connector.execute_query_one_async(
            "SELECT count(*) AS jobs FROM procrastinate_jobs WHERE status <> 'succeeded'"
        )
        if (watched.succeeded, left["jobs"]) != (users, 0):
            raise SystemExit(f"{watched.succeeded} of {users} jobs succeeded, {left['jobs']} are left")
        return calls.seconds_until(watched.recorded_at)


def _arguments(number: int) -> JSONDict:
    return {"number": number}


def _tuned(database: str) -> PsycopgConnector:
    return PsycopgConnector(
        conninfo=database,
        min_size=_CONNECTIONS,
        max_size=_CONNECTIONS,
        kwargs={"autocommit": True},
        pool_factory=_untested,
    )


def _untested(**settings: Any) -> AsyncConnectionPool:
    """Make the pool without the test of a connection that the connector asks for."""
    return AsyncConnectionPool(**{**settings, "check": None})


if __name__ == "__main__":
    seconds = asyncio.run(
        work(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), plain=sys.argv[5:] == ["plain"])
    )
    print(json.dumps({"seconds": seconds}))

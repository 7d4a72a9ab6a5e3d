"""A job for each user in pgqueuer, done by one worker.

`python -m benchmarks.rival_pgqueuer DATABASE_URL SERVER_URL USERS CONCURRENCY` prints the seconds from the start
of the first job until the statement is committed that deletes the last job from `pgqueuer` and adds its end to
`pgqueuer_log`. The worker's own call of that statement is watched, so nothing polls beside it.

Configuration, the fastest of those tried with version 1.6: batches of 250, which are claimed and logged with one
statement each, and as many as two batches in the worker, the least it allows for that size. That is more than may
be sent at a time, so the shared session holds the calls to CONCURRENCY connections; a limit of CONCURRENCY jobs
would leave the connections idle at each change of batches. Tables are logged (`durable`, its default), queries go
through a pool of asyncpg connections. Heartbeats stay at their default.
"""

import asyncio
import json
import sys
from datetime import timedelta
from time import monotonic
from typing import Final

import asyncpg
from pgqueuer.adapters.drivers.asyncpg import AsyncpgPoolDriver
from pgqueuer.adapters.persistence.queries import Queries
from pgqueuer.core.qm import QueueManager
from pgqueuer.domain.models import Job, TracebackRecord
from pgqueuer.domain.types import JOB_STATUS, QueueExecutionMode

from benchmarks.rivals import Calls

_BATCH: Final = 250
_CONNECTIONS: Final = 4
_PUT_AT_ONCE: Final = 5_000
# How long the worker waits for news of an empty queue before it looks again; only its end depends on it.
_PATIENCE: Final = timedelta(seconds=0.1)


class _Watched(Queries):
    """Its queries, with the moment when the latest ends of jobs were committed."""

    recorded_at = 0.0

    async def log_jobs(self, job_status: list[tuple[Job, JOB_STATUS, TracebackRecord | None]]) -> None:
        await super().log_jobs(job_status)
        self.recorded_at = monotonic()


async def work(database: str, url: str, users: int, concurrency: int) -> float:
    """Put the jobs in, do them all, and return the seconds that doing them took."""
    async with (
        asyncpg.create_pool(database, min_size=_CONNECTIONS, max_size=_CONNECTIONS) as pool,
        Calls(url, concurrency) as calls,
    ):
        queries = _Watched(AsyncpgPoolDriver(pool))
        await queries.install()
        for first in range(1, users + 1, _PUT_AT_ONCE):
            numbers = range(first, min(first + _PUT_AT_ONCE, users + 1))
            payloads: list[bytes | None] = [str(number).encode() for number in numbers]
            await queries.enqueue(["reset"] * len(payloads), payloads, [0] * len(payloads))
        await pool.execute("ANALYZE")
        manager = QueueManager(queries)

        @manager.entrypoint("reset")
        async def reset(job: Job) -> None:
            assert job.payload is not None
            await calls.send(int(job.payload))

        await manager.run(
            batch_size=_BATCH,
            max_concurrent_tasks=2 * _BATCH,
            mode=QueueExecutionMode.drain,
            dequeue_timeout=_PATIENCE,
        )
        done = await pool.fetchval("SELECT count(*) FROM pgqueuer_log WHERE status = 'successful'")
        left = await pool.fetchval("SELECT count(*) FROM pgqueuer")
        if (done, left) != (users, 0):
            raise SystemExit(f"{done} of {users} jobs succeeded, {left} are left")
        return calls.seconds_until(queries.recorded_at)


if __name__ == "__main__":
    seconds = asyncio.run(work(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))
    print(json.dumps({"seconds": seconds}))

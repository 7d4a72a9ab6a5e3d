"""The same calls as one job each in two general job queues, side by side with bulkreset, on one PostgreSQL.

Each queue works in a process of its own and says how long it took, from the start of its first job until the end
of its last one is committed in its tables; putting the jobs in is not timed. Every program sends `CONCURRENCY`
calls at a time, over as many connections, and runs on the stock event loop. The database syncs every commit.
"""

import json
import secrets
from collections.abc import Callable
from time import monotonic
from types import TracebackType
from typing import Final, Self

import aiohttp

from benchmarks.cluster import Cluster
from benchmarks.measure import Measure, ratios
from benchmarks.processes import python, run, serving

CONCURRENCY: Final = 50
_PAIRS: Final = 4
_USERS: Final = 20_000
_USERS_OF_SLOW: Final = 4_000  # rates are compared, and the slow one would take a minute for all of them

Ours = Callable[[str, str, int, int], float]
"""Reset so many users, so many at a time: (database URL, server URL, users, concurrency) to seconds."""


def queues(ours: Ours, *, quick: bool) -> list[Measure]:
    """Run the bare loop, ours and each queue in turn, several times over, each on a database of its own."""
    users, users_of_slow = (200, 100) if quick else (_USERS, _USERS_OF_SLOW)
    bare: list[float] = []
    bulkreset: list[float] = []
    pgqueuer: list[float] = []
    procrastinate: list[float] = []
    tuned: list[float] = []
    with Cluster(durable=True) as cluster, serving(python("-m", "benchmarks.answerer")) as url:
        for number in range(1 if quick else _PAIRS):
            bare.append(users / _seconds("bare", url, users, CONCURRENCY))
            database = cluster.create(f"bulkreset_{number}")
            bulkreset.append(users / ours(database, f"{url}/{users}", users, CONCURRENCY))
            database = cluster.create(f"pgqueuer_{number}")
            pgqueuer.append(users / _seconds("rival_pgqueuer", database, url, users, CONCURRENCY))
            database = cluster.create(f"procrastinate_{number}")
            took = _seconds("rival_procrastinate", database, url, users_of_slow, CONCURRENCY, "plain")
            procrastinate.append(users_of_slow / took)
            database = cluster.create(f"procrastinate_tuned_{number}")
            tuned.append(
                users_of_slow / _seconds("rival_procrastinate", database, url, users_of_slow, CONCURRENCY)
            )
    return [
        Measure("queues", "bare aiohttp loop", tuple(bare), "users/s"),
        Measure("queues", "bulkreset, every call on record", tuple(bulkreset), "users/s"),
        Measure("queues", "pgqueuer, a job for each user", tuple(pgqueuer), "users/s"),
        Measure("queues", "procrastinate, a job for each user", tuple(procrastinate), "users/s"),
        Measure("queues", "procrastinate, tuned, finished jobs deleted", tuple(tuned), "users/s"),
        Measure("queues", "bulkreset over pgqueuer", ratios(bulkreset, pgqueuer), at_least=1.2, headline=True),
        Measure(
            "queues", "bulkreset over procrastinate", ratios(bulkreset, procrastinate), at_least=15, headline=True
        ),
        Measure("queues", "bulkreset over procrastinate, tuned", ratios(bulkreset, tuned)),
    ]


def _seconds(module: str, *arguments: object) -> float:
    seconds: float = run(python("-m", f"benchmarks.{module}", *arguments), within_s=300).json()["seconds"]
    return seconds


class Calls:
    """The calls of the bare loop, for the jobs of a queue: one session and one login, shared by all of them."""

    def __init__(self, url: str, concurrency: int) -> None:
        self.first_at: float | None = None
        self._url = url
        self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=concurrency))
        self._headers: dict[str, str] = {}

    async def send(self, number: int) -> None:
        """Send the call for one user. Raises RuntimeError where it is not answered as it should be."""
        if self.first_at is None:
            self.first_at = monotonic()
        body = json.dumps({"password": f"Aa1!{secrets.token_urlsafe(15)}"}).encode()
        target = f"{self._url}/v2/users/user{number:05d}%40example.com/password"
        async with self._session.put(target, data=body, headers=self._headers) as answer:
            await answer.read()
            if answer.status != 204:
                raise RuntimeError(f"HTTP {answer.status}: {await answer.text()}")

    def seconds_until(self, ended_at: float) -> float:
        """Return the seconds from the first call of `send` to then."""
        assert self.first_at is not None
        return ended_at - self.first_at

    async def __aenter__(self) -> Self:
        login = aiohttp.BasicAuth("sandbox-client-id", "sandbox-client-secret")
        form = {"grant_type": "account_credentials", "account_id": "sandbox-account-id"}
        async with self._session.post(f"{self._url}/oauth/token", auth=login, data=form) as answer:
            token = (await answer.json())["access_token"]
        self._headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()

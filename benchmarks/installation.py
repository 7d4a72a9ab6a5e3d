"""A throw-away folder as `bulkreset init` makes it, with one Zoom account at a server on loopback."""

import asyncio
import json
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from itertools import count
from pathlib import Path
from sqlite3 import connect
from typing import Any, Final
from urllib.request import urlopen

from benchmarks.cluster import Cluster, execute, fetch
from benchmarks.processes import Ended, python, run, serving

TENANT: Final = "tenant"
SQLITE: Final = "sqlite:///bulkreset.db"
KINDS: Final = ("SQLite", "PostgreSQL")
_SECRET: Final = {"zoom": "sandbox-client-secret", "zendesk": "sandbox-api-token"}

_CONFIG: Final = """\
[database]
url = "{database}"

[passwords]
key = {{ file = "{key}" }}

[runner]
concurrency = {concurrency}

[http]
{http}
[accounts.tenant]
share = {share}
"""
_ACCOUNT: Final = {
    "zoom": """\
provider = "zoom"
requests_per_second = {rate}
account_id = "sandbox-account-id"
client_id = "sandbox-client-id"
client_secret = {{ file = "tenant.secret" }}
api_url = "{url}/v2"
oauth_url = "{url}/oauth/token"
""",
    "zendesk": """\
provider = "zendesk"
requests_per_minute = {rate}
email = "admin@example.com"
api_token = {{ file = "tenant.secret" }}
api_url = "{url}"
""",
}

_FINISH_TASKS: Final = """
UPDATE task SET state = 'succeeded', outcome = 'ok', attempt = 1, password_no = 1, finished_at = due_at
WHERE id <= {last}
"""
_FINISH_ATTEMPTS: Final = """
INSERT INTO attempt (task_id, n, worker, password_no, slot_at, opened_at, sent_at, closed_at, outcome, http_status,
                     latency_ms)
SELECT id, 1, 'benchmark', 1, due_at, due_at, due_at, due_at, 'ok', 204, 12 FROM task WHERE id <= {last}
"""
# What goes on while a batch is worked on, and may not have come round yet after statements as large as these.
_UPKEEP: Final = ("VACUUM ANALYZE task", "VACUUM ANALYZE attempt")


class Installation:
    """The folder and the commands run in it, each as its own process; `url` is the tenant's.

    The database is the embedded default, or the one of `database_url`; the key is its own, or that of another.
    """

    def __init__(
        self,
        folder: Path,
        url: str,
        rate: float,
        database_url: str = SQLITE,
        *,
        provider: str = "zoom",
        concurrency: int = 500,
        share: float = 1.0,
        http: str = "",
        key: Path | None = None,
    ) -> None:
        self.config = folder / "config.toml"
        self._database_url = database_url
        self._file = folder / "bulkreset.db"
        secret = folder / "tenant.secret"
        secret.touch(mode=0o600)
        secret.write_text(_SECRET[provider])
        text = _CONFIG.format(
            database=database_url, concurrency=concurrency, share=share, http=http, key=key or "bulkreset.key"
        )
        self.config.write_text(text + _ACCOUNT[provider].format(url=url, rate=rate))
        run(python("-m", "bulkreset", "init", folder), within_s=60)

    def command(
        self, *arguments: object, within_s: float = 60, meanwhile: Callable[[int], None] | None = None
    ) -> Ended:
        """Run `bulkreset` with this configuration; work that is left or that failed is an error here."""
        line = python("-m", "bulkreset", "--config", self.config, *arguments)
        return run(line, within_s=within_s, meanwhile=meanwhile)

    def order(self, users: Path, *, within_s: float = 120) -> Ended:
        """Order a batch of the users in a file."""
        return self.command(
            *("batch", "create", "--account", TENANT, "--users", users, "--incident", "benchmark"),
            *("--reason", "a measurement", "--yes", "--json"),
            within_s=within_s,
        )

    def work(self, *, within_s: float, meanwhile: Callable[[int], None] | None = None) -> Ended:
        """Run the runner until nothing is due."""
        return self.command("run", "--once", "--json", within_s=within_s, meanwhile=meanwhile)

    def work_together(self, workers: int, *, within_s: float) -> None:
        """Let several runners work at once until nothing is due."""
        with ThreadPoolExecutor(workers) as pool:
            for running in [pool.submit(self.work, within_s=within_s) for _ in range(workers)]:
                running.result()

    def ask(self, sql: str) -> list[tuple[Any, ...]]:
        """Ask the database directly."""
        if self._database_url != SQLITE:
            return asyncio.run(fetch(self._database_url, sql))
        with closing(connect(self._file)) as connection:
            return connection.execute(sql).fetchall()

    def finish_first(self, tasks: int) -> None:
        """Make the first tasks of the table look as a run would leave them: done, with an attempt each."""
        statements = [statement.format(last=tasks) for statement in (_FINISH_TASKS, _FINISH_ATTEMPTS)]
        if self._database_url != SQLITE:
            asyncio.run(execute(self._database_url, *statements, *_UPKEEP))
            return
        with closing(connect(self._file)) as connection, connection:
            for statement in statements:
                connection.execute(statement)
        with closing(connect(self._file)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


@contextmanager
def databases(kind: str) -> Iterator[Callable[[], str]]:
    """Yield what gives the address of a new, empty database: `SQLite` or `PostgreSQL`, both durable."""
    if kind == "SQLite":
        yield lambda: SQLITE
        return
    names = count(1)
    with Cluster(durable=True) as cluster:
        yield lambda: cluster.create(f"benchmark_{next(names)}")


@contextmanager
def folder() -> Iterator[Path]:
    """Make a folder on a real disk, where a commit costs what it costs, and remove it afterwards."""
    with tempfile.TemporaryDirectory(prefix="bulkreset-benchmark-") as name:
        yield Path(name)


@contextmanager
def sandbox(users: int, limit: int | None, *, keep_calls: int = 0, provider: str = "zoom") -> Iterator[str]:
    """Serve a tenant with that many users; yield the sandbox's address."""
    tenant = {
        "name": TENANT,
        "provider": provider,
        "limit": limit,
        "keep_calls": keep_calls,
        "generate": {"count": users},
    }
    with folder() as place:
        spec = place / "tenant.json"
        spec.write_text(json.dumps(tenant))
        with serving(python("-m", "bulkreset.sandbox", "--spec", spec), punctual=limit is not None) as url:
            yield url


def pace(sandbox_url: str) -> dict[str, Any]:
    """Return how the sandbox saw its limit being used."""
    with urlopen(f"{sandbox_url}/_sandbox/tenants/{TENANT}/pace", timeout=10) as answer:
        found: dict[str, Any] = json.load(answer)
    return found


def write_roster(path: Path, users: int) -> Path:
    """Write the addresses of the sandbox's generated users, one a line, in no helpful order."""
    # A step that shares no factor with the count visits every user once, far from the one before.
    step = 7_919 if users % 7_919 else 7_907
    with path.open("w", encoding="ascii") as file:
        file.writelines(f"user{index * step % users + 1:05d}@example.com\n" for index in range(users))
    return path

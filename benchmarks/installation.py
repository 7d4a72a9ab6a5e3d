"""A throw-away folder as `bulkreset init` makes it, with one Zoom account at a server on loopback."""

import json
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from sqlite3 import connect
from typing import Any, Final
from urllib.request import urlopen

from benchmarks.processes import Ended, python, run, serving

TENANT: Final = "zoom"
_SECRET: Final = "sandbox-client-secret"

_CONFIG: Final = """\
[database]
url = "sqlite:///bulkreset.db"

[passwords]
key = {{ file = "bulkreset.key" }}

[accounts.zoom]
provider = "zoom"
share = 1.0
requests_per_second = {rate}
account_id = "sandbox-account-id"
client_id = "sandbox-client-id"
client_secret = {{ file = "zoom.secret" }}
api_url = "{url}/v2"
oauth_url = "{url}/oauth/token"
"""

_NOW: Final = "strftime('%Y-%m-%d %H:%M:%f000', 'now')"
_FINISH_TASKS: Final = f"""
UPDATE task SET state = 'succeeded', outcome = 'ok', attempt = 1, password_no = 1, finished_at = {_NOW}
WHERE id <= :last
"""
_FINISH_ATTEMPTS: Final = f"""
INSERT INTO attempt (task_id, n, worker, password_no, slot_at, opened_at, sent_at, closed_at, outcome, http_status,
                     latency_ms)
SELECT id, 1, 'benchmark', 1, {_NOW}, {_NOW}, {_NOW}, {_NOW}, 'ok', 204, 12 FROM task WHERE id <= :last
"""


class Installation:
    """The folder and the commands run in it, each as its own process; `url` is the tenant's."""

    def __init__(self, folder: Path, url: str, rate: float) -> None:
        self.config = folder / "config.toml"
        self.database = folder / "bulkreset.db"
        secret = folder / "zoom.secret"
        secret.touch(mode=0o600)
        secret.write_text(_SECRET)
        self.config.write_text(_CONFIG.format(url=url, rate=rate))
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
            *("batch", "create", "--account", "zoom", "--users", users, "--incident", "benchmark"),
            *("--reason", "a measurement", "--json"),
            within_s=within_s,
        )

    def work(self, *, within_s: float, meanwhile: Callable[[int], None] | None = None) -> Ended:
        """Run the runner until nothing is due."""
        return self.command("run", "--once", "--json", within_s=within_s, meanwhile=meanwhile)

    def ask(self, sql: str) -> list[tuple[Any, ...]]:
        """Ask the database file directly."""
        with closing(connect(self.database)) as connection:
            return connection.execute(sql).fetchall()

    def finish_first(self, count: int) -> None:
        """Make the first tasks of the table look as a run would leave them: done, with an attempt each."""
        with closing(connect(self.database)) as connection, connection:
            connection.execute(_FINISH_TASKS, {"last": count})
            connection.execute(_FINISH_ATTEMPTS, {"last": count})
        with closing(connect(self.database)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


@contextmanager
def folder() -> Iterator[Path]:
    """Make a folder on a real disk, where a commit costs what it costs, and remove it afterwards."""
    with tempfile.TemporaryDirectory(prefix="bulkreset-benchmark-") as name:
        yield Path(name)


@contextmanager
def sandbox(users: int, limit: int | None, *, keep_calls: int = 0) -> Iterator[str]:
    """Serve a Zoom tenant with that many users; yield the sandbox's address."""
    tenant = {
        "name": TENANT,
        "provider": "zoom",
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


def write_roster(path: Path, count: int) -> Path:
    """Write the addresses of the sandbox's generated users, one a line, in no helpful order."""
    # A step that shares no factor with the count visits every user once, far from the one before.
    step = 7_919 if count % 7_919 else 7_907
    with path.open("w", encoding="ascii") as file:
        file.writelines(f"user{index * step % count + 1:05d}@example.com\n" for index in range(count))
    return path

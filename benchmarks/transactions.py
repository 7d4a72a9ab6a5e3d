"""How many claims of nothing one PostgreSQL commits: what very many accounts with little to do cost it."""

import re
from pathlib import Path
from typing import Final

from benchmarks.cluster import Cluster
from benchmarks.installation import Installation, folder
from benchmarks.measure import Measure
from benchmarks.processes import run

_ACCOUNTS: Final = 1_000
_CLIENTS: Final = 8
# What a claim says to the server where no task is due, and one that moves the line of time.
_FILL: Final = f"""
INSERT INTO quota (account, label, interval, tat)
SELECT 'account' || n, 'medium', 0.05, now() FROM generate_series(1, {_ACCOUNTS}) AS n;
"""
_CLAIM: Final = f"""
\\set n random(1, {_ACCOUNTS})
BEGIN;
SELECT set_config('statement_timeout', '15000ms', true), set_config('lock_timeout', '5000ms', true),
       set_config('idle_in_transaction_session_timeout', '5000ms', true);
SELECT * FROM quota WHERE account = 'account' || :n AND label = 'medium' FOR UPDATE;
SELECT clock_timestamp();
UPDATE quota SET tat = now() WHERE account = 'account' || :n AND label = 'medium';
COMMIT;
"""


def small(*, quick: bool) -> list[Measure]:
    """Let eight clients of the server's own load program claim for a thousand accounts."""
    with Cluster(durable=True) as cluster, folder() as place:
        database = cluster.create("transactions")
        Installation(place, "http://127.0.0.1:9", 60, database)
        _play(cluster, database, place, "fill", _FILL, "-t", "1", "-c", "1")
        seconds = 1 if quick else 5
        rates = tuple(
            _play(cluster, database, place, "claim", _CLAIM, "-T", seconds, "-c", _CLIENTS, "-j", 2)
            for _ in range(1 if quick else 5)
        )
    return [Measure("transactions", f"claims of nothing, {_CLIENTS} at a time, PostgreSQL", rates, "/s")]


def _play(cluster: Cluster, database: str, place: Path, name: str, script: str, *options: object) -> float:
    path = place / f"{name}.sql"
    path.write_text(script)
    line = [str(cluster.program("pgbench")), "-n", "-f", str(path), *map(str, options), database]
    said = run(line, within_s=120).stdout
    found = re.search(r"tps = ([\d.]+)", said)
    assert found is not None, said
    return float(found[1])

"""How fast the runner is where no provider holds it back, against a bare loop that keeps no record."""

import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Final

from benchmarks.installation import SQLITE, TENANT, Installation, databases, folder, sandbox, write_roster
from benchmarks.measure import Measure, ratios
from benchmarks.processes import python, run, serving

CONCURRENCY: Final = 500  # the runner's default
_PAIRS: Final = 4
_AT_LEAST: Final = {"SQLite": 0.7, "PostgreSQL": 0.6}


def against_sandbox(*, quick: bool) -> list[Measure]:
    """Run against the sandbox, which does about as much for a call as the runner does."""
    users = _users(quick=quick)
    return _compare("uncapped", lambda: sandbox(users, None), f"/{TENANT}", users, quick=quick)


def against_answerer(*, quick: bool) -> list[Measure]:
    """Run against a server that costs next to nothing, so that all of our own cost shows."""
    users = _users(quick=quick)
    server = python("-m", "benchmarks.answerer")
    return _compare("uncapped-204", lambda: serving(server), "/0", users, quick=quick)


def reset(database_url: str, url: str, users: int, concurrency: int) -> float:
    """Reset so many users; return the seconds from the first claim until every result is on the disk."""
    with folder() as place:
        installation = Installation(place, url, 1_000_000, database_url, concurrency=concurrency)
        installation.order(write_roster(place / "users.txt", users))
        installation.work(within_s=300)
        began, ended = installation.ask("SELECT started_at, finished_at FROM batch")[0]
        outcomes = installation.ask("SELECT outcome, count(*) FROM task GROUP BY outcome")
    if outcomes != [("ok", users)]:
        sys.exit(f"not every user was reset: {outcomes}")
    return (_time(ended) - _time(began)).total_seconds()


def _users(*, quick: bool) -> int:
    return 500 if quick else 20_000


def _compare(
    name: str, server: Callable[[], AbstractContextManager[str]], path: str, users: int, *, quick: bool
) -> list[Measure]:
    bare: list[float] = []
    ours: dict[str, list[float]] = {kind: [] for kind in _AT_LEAST}
    with server() as origin, databases("PostgreSQL") as at_postgres:
        for _ in range(1 if quick else _PAIRS):
            bare.append(users / _bare(origin + path, users))
            ours["SQLite"].append(users / reset(SQLITE, origin + path, users, CONCURRENCY))
            ours["PostgreSQL"].append(users / reset(at_postgres(), origin + path, users, CONCURRENCY))
    measures = [Measure(name, "bare aiohttp loop", tuple(bare), "users/s")]
    for kind, bound in _AT_LEAST.items():
        measures += [
            Measure(name, f"bulkreset, every call on record, {kind}", tuple(ours[kind]), "users/s"),
            Measure(name, f"bulkreset over bare, {kind}", ratios(ours[kind], bare), at_least=bound, headline=True),
        ]
    return measures


def _bare(url: str, users: int) -> float:
    seconds: float = run(python("-m", "benchmarks.bare", url, users, CONCURRENCY), within_s=300).json()["seconds"]
    return seconds


def _time(value: str | datetime) -> datetime:
    return datetime.fromisoformat(value) if isinstance(value, str) else value

"""How fast the runner is where no provider holds it back, against a bare loop that keeps no record."""

import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Final

from benchmarks.installation import TENANT, Installation, folder, sandbox, write_roster
from benchmarks.measure import Measure, ratios
from benchmarks.processes import python, run, serving

CONCURRENCY: Final = 500  # the runner's default
_PAIRS: Final = 5


def against_sandbox(*, quick: bool) -> list[Measure]:
    """Run against the sandbox, which does about as much for a call as the runner does."""
    users = _users(quick=quick)
    return _compare("uncapped", lambda: sandbox(users, None), f"/{TENANT}", users, quick=quick)


def against_answerer(*, quick: bool) -> list[Measure]:
    """Run against a server that costs next to nothing, so that all of our own cost shows."""
    server = python("-m", "benchmarks.answerer")
    return _compare("uncapped-204", lambda: serving(server), "", _users(quick=quick), quick=quick)


def _users(*, quick: bool) -> int:
    return 500 if quick else 20_000


def _compare(
    name: str, server: Callable[[], AbstractContextManager[str]], path: str, users: int, *, quick: bool
) -> list[Measure]:
    ours: list[float] = []
    theirs: list[float] = []
    with server() as origin:
        for _ in range(1 if quick else _PAIRS):
            theirs.append(users / _bare(origin + path, users))
            ours.append(users / _bulkreset(origin + path, users))
    return [
        Measure(name, "bare aiohttp loop", tuple(theirs), "users/s"),
        Measure(name, "bulkreset, every call on record", tuple(ours), "users/s"),
        Measure(name, "ratio", ratios(ours, theirs), at_least=0.5),
    ]


def _bare(url: str, users: int) -> float:
    seconds: float = run(python("-m", "benchmarks.bare", url, users, CONCURRENCY), within_s=300).json()["seconds"]
    return seconds


def _bulkreset(url: str, users: int) -> float:
    """Return the seconds from the first claim until the batch is done, every result on the disk."""
    with folder() as place:
        installation = Installation(place, url, 1_000_000)
        installation.order(write_roster(place / "users.txt", users))
        installation.work(within_s=300)
        batch = installation.ask("SELECT started_at, finished_at FROM batch")[0]
        outcomes = installation.ask("SELECT outcome, count(*) FROM task GROUP BY outcome")
    if outcomes != [("ok", users)]:
        sys.exit(f"not every user was reset: {outcomes}")
    began, ended = (datetime.fromisoformat(text) for text in batch)
    return (ended - began).total_seconds()

"""How long a killed worker is missed: from `kill -9` of the only one, and its restart, to full rate."""

import json
import os
import signal
import subprocess
from pathlib import Path
from time import monotonic, sleep
from typing import Final
from urllib.request import urlopen

from benchmarks.installation import KINDS, TENANT, Installation, databases, folder, sandbox, write_roster
from benchmarks.measure import Measure
from benchmarks.processes import CHECKOUT, environment, python

_CALLS: Final = 60
_USERS: Final = 3_000
_RUNS_S: Final = 6.0
# A full second of the limit, but for what one late call takes out of it.
_FULL: Final = 0.95
# A second of slots ahead, the time a call may take, and a margin; see bulkreset/runner/claimer.py.
_LEASE_S: Final = 1.0 + 30.0 + 10.0


def recovery(*, quick: bool) -> list[Measure]:
    """Kill the only worker in mid-run, start another, and wait for a second at the full rate."""
    measures = []
    for kind in KINDS:
        with databases(kind) as new:
            seconds = tuple(_recover(new(), quick=quick) for _ in range(1 if quick else 3))
        name = f"from kill -9 and restart to full rate, {kind}"
        measures.append(Measure("recovery", name, seconds, "s", at_most=_LEASE_S + 5, headline=True))
    return measures


def _recover(database_url: str, *, quick: bool) -> float:
    users = 600 if quick else _USERS
    with folder() as place, sandbox(users, _CALLS, keep_calls=1_000_000) as url:
        installation = Installation(place, f"{url}/{TENANT}", _CALLS, database_url)
        installation.order(write_roster(place / "users.txt", users))
        first = _start(installation.config)
        sleep(2.0 if quick else _RUNS_S)
        killed_at = monotonic()
        os.kill(first.pid, signal.SIGKILL)
        first.wait()
        before = len(_arrivals(url))
        second = _start(installation.config)
        try:
            while True:
                sleep(0.1)
                since = _arrivals(url)[before:]
                if (full := _first_full_second(since)) is not None:
                    # The sandbox's clock runs alike; the last arrival stands for now, within the look's own time.
                    return monotonic() - killed_at - (since[-1] - full)
                if monotonic() - killed_at > _LEASE_S + 60:
                    raise TimeoutError("the rate never came back")
        finally:
            second.kill()
            second.wait()


def _start(config: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(python("-m", "bulkreset", "--config", config, "run"), cwd=CHECKOUT, env=environment())


def _arrivals(url: str) -> list[float]:
    with urlopen(f"{url}/_sandbox/tenants/{TENANT}/calls", timeout=10) as answer:
        calls = [json.loads(line) for line in answer]
    return [
        call["t"] for call in calls if call["method"] in ("PUT", "POST") and call["path"].endswith("/password")
    ]


def _first_full_second(arrivals: list[float]) -> float | None:
    """Return when the first second at the full rate began."""
    enough = int(_CALLS * _FULL)
    for first, last in zip(arrivals, arrivals[enough - 1 :], strict=False):
        if last - first <= 1.0:
            return first
    return None

"""What a million users cost: to take in, to work on, to report, to claim from.

A real account's listing is as slow as its provider allows, so what it costs us is measured once, beside an order
at an account that lists nobody; all else is measured on such orders.
"""

import signal
from collections.abc import Callable
from contextlib import suppress
from os import kill
from pathlib import Path
from statistics import median
from time import monotonic, sleep
from typing import Final

from benchmarks.installation import KINDS, Installation, databases, folder, write_roster
from benchmarks.measure import Measure
from benchmarks.processes import Ended, python, run, serving

_MIB: Final = 2**20
_RATE: Final = 1_000_000  # the listing of the account is not to wait for a limit
_UNLISTED: Final = 0  # users of an account at which an order takes everybody's word for who they are
_MEMORY_MIB: Final = 150
_WORK_S: Final = 20.0
_START_S: Final = 60.0


def intake(*, quick: bool) -> list[Measure]:
    """Freeze a roster of 1,000,000 addresses as a batch, and once more where the account lists them all."""
    many, few = (20_000, 1_000) if quick else (1_000_000, 10_000)
    measures: list[Measure] = []
    for kind in KINDS:
        rates: dict[str, list[float]] = {}
        peaks: list[float] = []
        small: list[float] = []
        with serving(python("-m", "benchmarks.answerer")) as url, databases(kind) as new:
            for row, listed in (("", False), ("", False), (", all listed", True)):
                small.append(_order(f"{url}/{few if listed else _UNLISTED}", new(), few).peak_bytes / _MIB)
                ended = _order(f"{url}/{many if listed else _UNLISTED}", new(), many)
                rates.setdefault(row, []).append(many / ended.elapsed_s)
                peaks.append(ended.peak_bytes / _MIB)
        for row, found in rates.items():
            name = f"roster of {many:,}{row}, process start included, {kind}"
            bound = None if row else 50_000
            measures.append(Measure("import", name, tuple(found), "rows/s", at_least=bound, headline=not row))
        measures += _memory("import", kind, many, max(peaks), few, min(small))
    return measures


def _order(url: str, database_url: str, users: int) -> Ended:
    with folder() as place:
        return Installation(place, url, _RATE, database_url).order(
            write_roster(place / "users.txt", users), within_s=300
        )


def working(*, quick: bool) -> list[Measure]:
    """Run for a while, as fast as it goes, on a batch of 1,000,000 and on one of 10,000."""
    many, few = (20_000, 1_000) if quick else (1_000_000, 10_000)
    measures: list[Measure] = []
    for kind in KINDS:
        with serving(python("-m", "benchmarks.answerer")) as url, databases(kind) as new:
            peaks = {users: _work_for_a_while(url, new(), users, quick=quick) for users in (few, many)}
        measures += _memory("run", kind, many, peaks[many], few, peaks[few])
    return measures


def _work_for_a_while(url: str, database_url: str, users: int, *, quick: bool) -> float:
    def stop(pid: int) -> None:
        deadline = monotonic() + _START_S
        while not installation.ask("SELECT 1 FROM attempt LIMIT 1") and monotonic() < deadline:
            sleep(0.1)
        sleep(1.0 if quick else _WORK_S)
        with suppress(ProcessLookupError):
            kill(pid, signal.SIGTERM)

    with folder() as place:
        installation = Installation(place, f"{url}/{_UNLISTED}", _RATE, database_url)
        installation.order(write_roster(place / "users.txt", users), within_s=600)
        line = python("-m", "bulkreset", "--config", installation.config, "run", "--once")
        return run(line, within_s=120, allowed=frozenset({0, 4}), meanwhile=stop).peak_bytes / _MIB


def report(*, quick: bool) -> list[Measure]:
    """Write the JSON report of 1,000,000 users."""
    many, few = (20_000, 1_000) if quick else (1_000_000, 10_000)
    measures: list[Measure] = []
    for kind in KINDS:
        peaks: dict[int, float] = {}
        seconds: dict[int, float] = {}
        with serving(python("-m", "benchmarks.answerer")) as url, databases(kind) as new:
            for users in (few, many):
                with folder() as place:
                    installation = Installation(place, f"{url}/{_UNLISTED}", _RATE, new())
                    installation.order(write_roster(place / "users.txt", users), within_s=300)
                    installation.finish_first(users)
                    output = place / "report.json"
                    ended = installation.command("report", 1, "--format", "json", "--output", output, within_s=600)
                    peaks[users], seconds[users] = ended.peak_bytes / _MIB, ended.elapsed_s
        measures += [
            Measure("report", f"JSON of {many:,} users, {kind}", (many / seconds[many],), "rows/s"),
            *_memory("report", kind, many, peaks[many], few, peaks[few]),
        ]
    return measures


def queue(*, quick: bool) -> list[Measure]:
    """Claim and record alone, with no call between them, on a table that is large and half finished."""
    pending, finished, few = (20_000, 18_000, 1_000) if quick else (1_000_000, 900_000, 1_000)
    measures: list[Measure] = []
    for kind in KINDS:
        measured: dict[int, dict[str, list[float]]] = {}
        with serving(python("-m", "benchmarks.answerer")) as url, databases(kind) as new:
            for done, left in ((0, few), (finished, pending)):
                with folder() as place:
                    measured[left] = _queue(place, url, new, done, left)
        slow, fast = measured[pending]["claim_s"], measured[few]["claim_s"]
        name = f"claim + record, {pending:,} pending, {kind}"
        measures += [
            Measure(
                "queue", name, tuple(measured[pending]["tasks_per_s"]), "tasks/s", at_least=8_000, headline=True
            ),
            Measure("queue", f"claim of 100, {pending:,} pending, {kind}", tuple(1000 * s for s in slow), "ms"),
            Measure("queue", f"claim of 100, {few:,} pending, {kind}", tuple(1000 * s for s in fast), "ms"),
            Measure(
                "queue",
                f"claim median, large over small, {kind}",
                (median(slow) / median(fast),),
                at_most=1.5,
                headline=True,
            ),
        ]
    return measures


def _queue(place: Path, url: str, new: Callable[[], str], done: int, left: int) -> dict[str, list[float]]:
    installation = Installation(place, f"{url}/{_UNLISTED}", _RATE, new())
    installation.order(write_roster(place / "users.txt", done + left), within_s=600)
    installation.finish_first(done)
    found: dict[str, list[float]] = run(
        python("-m", "benchmarks.claiming", installation.config), within_s=600
    ).json()
    return found


def _memory(name: str, kind: str, many: int, peak: float, few: int, small: float) -> list[Measure]:
    return [
        Measure(name, f"peak memory at {many:,}, {kind}", (peak,), "MiB", at_most=_MEMORY_MIB, headline=True),
        Measure(name, f"peak memory, over that at {few:,}, {kind}", (peak / small,), at_most=1.3, headline=True),
    ]

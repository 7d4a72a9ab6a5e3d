"""What a million users cost: to take in, to report, to claim from."""

from statistics import median
from typing import Final

from benchmarks.installation import Installation, folder, write_roster
from benchmarks.measure import Measure
from benchmarks.processes import python, run, serving

_MIB: Final = 2**20
_MEMORY_MIB: Final = 150


def intake(*, quick: bool) -> list[Measure]:
    """Freeze a roster of 1,000,000 addresses as a batch."""
    many, few = (20_000, 1_000) if quick else (1_000_000, 10_000)
    rates: list[float] = []
    peaks: list[float] = []
    small: list[float] = []
    with serving(python("-m", "benchmarks.answerer")) as url:
        for _ in range(1 if quick else 3):
            with folder() as place:
                ended = Installation(place, url, 60).order(write_roster(place / "few.txt", few))
                small.append(ended.peak_bytes / _MIB)
            with folder() as place:
                ended = Installation(place, url, 60).order(write_roster(place / "many.txt", many), within_s=300)
                rates.append(many / ended.elapsed_s)
                peaks.append(ended.peak_bytes / _MIB)
    return [
        Measure("import", f"roster of {many:,}, process start included", tuple(rates), "rows/s", at_least=50_000),
        Measure("import", f"peak memory at {many:,}", tuple(peaks), "MiB", at_most=_MEMORY_MIB),
        Measure("import", f"peak memory, over that at {few:,}", (max(peaks) / min(small),), at_most=1.3),
    ]


def report(*, quick: bool) -> list[Measure]:
    """Write the JSON report of 1,000,000 users."""
    many, few = (20_000, 1_000) if quick else (1_000_000, 1_000)
    peaks: dict[int, float] = {}
    seconds: dict[int, float] = {}
    with serving(python("-m", "benchmarks.answerer")) as url:
        for users in (few, many):
            with folder() as place:
                installation = Installation(place, url, 60)
                installation.order(write_roster(place / "users.txt", users), within_s=300)
                installation.finish_first(users)
                output = place / "report.json"
                ended = installation.command("report", 1, "--format", "json", "--output", output, within_s=600)
                peaks[users], seconds[users] = ended.peak_bytes / _MIB, ended.elapsed_s
    return [
        Measure("report", f"JSON of {many:,} users", (many / seconds[many],), "rows/s"),
        Measure("report", f"peak memory at {many:,}", (peaks[many],), "MiB", at_most=_MEMORY_MIB),
        Measure("report", f"peak memory, over that at {few:,}", (peaks[many] / peaks[few],), at_most=1.3),
    ]


def queue(*, quick: bool) -> list[Measure]:
    """Claim and record alone, with no call between them, on a table that is large and half finished."""
    pending, finished, few = (20_000, 18_000, 1_000) if quick else (1_000_000, 900_000, 1_000)
    measured: dict[int, dict[str, list[float]]] = {}
    with serving(python("-m", "benchmarks.answerer")) as url:
        for done, left in ((0, few), (finished, pending)):
            with folder() as place:
                installation = Installation(place, url, 60)
                installation.order(write_roster(place / "users.txt", done + left), within_s=600)
                installation.finish_first(done)
                ended = run(python("-m", "benchmarks.claiming", installation.config), within_s=600)
                measured[left] = ended.json()
    slow, fast = measured[pending]["claim_s"], measured[few]["claim_s"]
    return [
        Measure(
            "queue",
            f"claim + record, {pending:,} pending",
            tuple(measured[pending]["tasks_per_s"]),
            "tasks/s",
            at_least=8_000,
        ),
        Measure("queue", f"claim of 100, {pending:,} pending", tuple(1000 * s for s in slow), "ms"),
        Measure("queue", f"claim of 100, {few:,} pending", tuple(1000 * s for s in fast), "ms"),
        Measure("queue", "claim median, large over small", (median(slow) / median(fast),), at_most=1.5),
    ]

"""Measure everything, print one table, and keep the raw samples as CSV; exit 1 where a bound is missed.

What was measured last, in this run or an earlier one, goes into the tables of the README and the docs as well.
"""

import argparse
import csv
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Final

from benchmarks import crash, disturbance, limit, million, readme, rivals, startup, transactions, uncapped
from benchmarks.machine import describe
from benchmarks.measure import Measure, number
from benchmarks.processes import RunFailed

RESULTS: Final = Path(__file__).resolve().parent / "results" / "figures.csv"

BENCHMARKS: Final[dict[str, Callable[..., list[Measure]]]] = {
    "help": startup.help_text,
    "limit-20": partial(limit.limit, limit.Strict("zoom", 20, users=400)),
    "limit-60": partial(limit.limit, limit.Strict("zoom", 60, users=1_000)),
    "limit-700": partial(limit.limit, limit.Strict("zendesk", 700, users=860)),
    **{f"limit-{one.name}": partial(disturbance.kept, one) for one in disturbance.DISTURBANCES},
    "cpu": limit.cpu,
    "uncapped": uncapped.against_sandbox,
    "uncapped-204": uncapped.against_answerer,
    "queues": partial(rivals.queues, uncapped.reset),
    "recovery": crash.recovery,
    "import": million.intake,
    "run": million.working,
    "report": million.report,
    "queue": million.queue,
    "transactions": transactions.small,
}


def main(arguments: list[str] | None = None) -> int:
    """Run the benchmarks that were asked for, all by default."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--only", nargs="+", choices=BENCHMARKS, default=list(BENCHMARKS), metavar="NAME")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to see that it works; judges nothing")
    parser.add_argument(
        "--results", type=Path, help=f"CSV to append to (default: {RESULTS.name}; none with --quick)"
    )
    options = parser.parse_args(arguments)
    machine = describe()
    print(machine, file=sys.stderr)
    results = options.results or (None if options.quick else RESULTS)
    measures: list[Measure] = []
    failed = False
    for name in options.only:
        print(f"measuring {name} …", file=sys.stderr, flush=True)
        try:
            found = BENCHMARKS[name](quick=options.quick)
        except RunFailed as error:
            failed = True
            print(f"{name}: {error}", file=sys.stderr)
            continue
        measures += found
        # At once: all of them take an hour, and one that is broken off keeps what it has measured.
        if results is not None:
            _append(results, found, machine)
        if results == RESULTS:
            readme.write(results)
    _print_table(measures, judged=not options.quick)
    missed = not options.quick and any(measure.met is False for measure in measures)
    return 1 if failed or missed else 0


def _print_table(measures: list[Measure], *, judged: bool) -> None:
    rows = [("benchmark", "measure", "median", "range", "bound", "")]
    for measure in measures:
        low, high = min(measure.samples), max(measure.samples)
        spread = f"{number(low)} … {number(high)}" if len(measure.samples) > 1 else ""
        verdict = {True: "met", False: "MISSED", None: ""}[measure.met] if judged else ""
        value = f"{number(measure.value)} {measure.unit}".strip()
        rows.append((measure.benchmark, measure.name, value, spread, measure.bound, verdict))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _append(path: Path, measures: list[Measure], machine: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    is_new = not path.exists()
    at = datetime.now(UTC).isoformat(timespec="seconds")
    with path.open("a", encoding="utf-8", newline="") as file:
        write = csv.writer(file, lineterminator="\n")
        if is_new:
            write.writerow(["at", "machine", "benchmark", "measure", "unit", "sample", "bound", "headline"])
        for measure in measures:
            told = [at, machine, measure.benchmark, measure.name, measure.unit]
            for sample in measure.samples:
                write.writerow([*told, f"{sample:.6g}", measure.bound, int(measure.headline)])


if __name__ == "__main__":
    sys.exit(main())

"""Writes the newest figures where people read them, so that none is ever typed by hand.

Four of them answer an operator's questions in the README; all go into docs/scaling.md, and the throughput into a
picture beside it.
"""

import csv
import re
from pathlib import Path
from typing import Final

from benchmarks import chart
from benchmarks.installation import KINDS
from benchmarks.measure import Measure, number

_CHECKOUT: Final = Path(__file__).resolve().parent.parent
_README: Final = _CHECKOUT / "README.md"
_SCALING: Final = _CHECKOUT / "docs" / "scaling.md"
_CHART: Final = _CHECKOUT / "docs" / "throughput.svg"
_BEGIN: Final = "<!-- figures: written by `python -m benchmarks` -->"
_END: Final = "<!-- end of figures -->"


def write(results: Path) -> None:
    """Replace what stands between the markers by tables of the newest samples, and draw the picture anew."""
    measures, machine = _newest(results)
    _put(_README, _answers({(measure.benchmark, measure.name): measure.value for measure in measures}))
    _put(_SCALING, _table(measures, machine))
    _CHART.write_text(chart.draw([m for m in measures if m.benchmark == "queues" and m.unit]), encoding="utf-8")


def _newest(results: Path) -> tuple[list[Measure], str]:
    """Return each measure with the samples of the last run that took it, and the machine of the last of all."""
    with results.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    last = {(row["benchmark"], row["measure"]): row["at"] for row in rows}
    kept: dict[tuple[str, str], list[dict[str, str]]] = {key: [] for key in last}
    for row in rows:
        key = (row["benchmark"], row["measure"])
        if row["at"] == last[key]:
            kept[key].append(row)
    return [_measure(key, found) for key, found in kept.items()], rows[-1]["machine"]


def _measure(key: tuple[str, str], rows: list[dict[str, str]]) -> Measure:
    bounds = {
        sign: float(text.replace(",", "")) for sign, text in re.findall(r"([≥≤]) ([\d.,]+)", rows[0]["bound"])
    }
    return Measure(
        *key,
        tuple(float(row["sample"]) for row in rows),
        rows[0]["unit"],
        at_least=bounds.get("≥"),
        at_most=bounds.get("≤"),
        headline=rows[0]["headline"] == "1",
    )


def _put(path: Path, table: str) -> None:
    text = path.read_text(encoding="utf-8")
    before, rest = text.split(_BEGIN)
    _, after = rest.split(_END)
    path.write_text(f"{before}{_BEGIN}\n{table}\n{_END}{after}", encoding="utf-8")


def _answers(values: dict[tuple[str, str], float]) -> str:
    """Answer what an operator asks, a line each; a figure that was never measured is an error."""
    limits = [f"limit {limit}" for limit in ("20/s", "60/s", "700/min")]
    least = min(values[limit, "least share used, 1, 2 and 4 workers"] for limit in limits)
    refused = sum(values[limit, "refused in all these runs"] for limit in limits)
    sends = min(values["uncapped-204", f"bulkreset, every call on record, {kind}"] for kind in KINDS)
    back = max(values["recovery", f"from kill -9 and restart to full rate, {kind}"] for kind in KINDS)
    cpu = max(values["cpu", f"share of a core at 60/s, {kind}"] for kind in KINDS)
    memory = max(values["run", f"peak memory at 1,000,000, {kind}"] for kind in KINDS)
    answers = {
        "How much of the limit is used?": f"At least {least:.1%} of it by 1, 2 and 4 workers, where all of it is "
        f"ours (`share = 1.0`); {number(refused)} calls were refused.",
        "How many calls can one worker send?": f"{number(round(sends, -2))} a second, if no provider limits it.",
        "What does it need?": f"{number(round(memory))} MiB of memory for 1,000,000 users, and {cpu:.0%} of a "
        "core at 60 calls a second.",
        "What does a crash cost?": f"{back:.1f} s from `kill -9` and a restart to the full rate.",
    }
    return "\n".join(f"- **{question}** {answer}" for question, answer in answers.items())


def _table(measures: list[Measure], machine: str) -> str:
    lines = [f"Measured on: {machine}. Medians; ratios are of pairs measured side by side.", ""]
    lines += ["| benchmark | measure | median | range | must reach |", "|---|---|---|---|---|"]
    for measure in measures:
        missed = " **(missed)**" if measure.met is False else ""
        value = f"{number(measure.value)} {measure.unit}".strip()
        low, high = min(measure.samples), max(measure.samples)
        spread = f"{number(low)} … {number(high)}" if len(measure.samples) > 1 else ""
        lines.append(f"| {measure.benchmark} | {measure.name} | {value}{missed} | {spread} | {measure.bound} |")
    return "\n".join(lines)

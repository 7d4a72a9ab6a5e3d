"""Writes the figures of a full run where people read them, so that none is ever typed by hand.

The headlines go into the README, all of them into docs/scaling.md, and the throughput into a picture beside it.
"""

from pathlib import Path
from typing import Final

from benchmarks import chart
from benchmarks.measure import Measure, number

_CHECKOUT: Final = Path(__file__).resolve().parent.parent
_README: Final = _CHECKOUT / "README.md"
_SCALING: Final = _CHECKOUT / "docs" / "scaling.md"
_CHART: Final = _CHECKOUT / "docs" / "throughput.svg"
_BEGIN: Final = "<!-- figures: written by `python -m benchmarks` -->"
_END: Final = "<!-- end of figures -->"


def write(measures: list[Measure], machine: str) -> None:
    """Replace what stands between the markers by tables of these measures, and draw the picture anew."""
    _put(_README, _table([measure for measure in measures if measure.headline], machine))
    _put(_SCALING, _table(measures, machine))
    _CHART.write_text(chart.draw([m for m in measures if m.benchmark == "queues" and m.unit]), encoding="utf-8")


def _put(path: Path, table: str) -> None:
    text = path.read_text(encoding="utf-8")
    before, rest = text.split(_BEGIN)
    _, after = rest.split(_END)
    path.write_text(f"{before}{_BEGIN}\n{table}\n{_END}{after}", encoding="utf-8")


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

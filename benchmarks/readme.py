"""Writes the figures of a full run into the README, between two markers, so that none is ever typed by hand."""

from pathlib import Path
from typing import Final

from benchmarks.measure import Measure, number

README: Final = Path(__file__).resolve().parent.parent / "README.md"
_BEGIN: Final = "<!-- figures: written by `python -m benchmarks` -->"
_END: Final = "<!-- end of figures -->"


def write(measures: list[Measure], machine: str) -> None:
    """Replace what stands between the markers by a table of these measures."""
    text = README.read_text(encoding="utf-8")
    before, rest = text.split(_BEGIN)
    _, after = rest.split(_END)
    README.write_text(f"{before}{_BEGIN}\n{_table(measures, machine)}\n{_END}{after}", encoding="utf-8")


def _table(measures: list[Measure], machine: str) -> str:
    lines = [f"Measured on: {machine}. Medians; ratios are of pairs measured side by side.", ""]
    lines += ["| benchmark | measure | median | must reach |", "|---|---|---|---|"]
    for measure in measures:
        missed = " (missed)" if measure.met is False else ""
        value = f"{number(measure.value)} {measure.unit}".strip()
        lines.append(f"| {measure.benchmark} | {measure.name} | {value}{missed} | {measure.bound} |")
    return "\n".join(lines)

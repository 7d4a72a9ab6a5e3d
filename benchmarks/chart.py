"""A picture of how many users a second each program resets: one bar each, its median and its range."""

from html import escape
from typing import Final

from benchmarks.measure import Measure, number

_ROW: Final = 44
_LEFT: Final = 320
_WIDTH: Final = 880
_BAR: Final = _WIDTH - _LEFT - 110
_TOP: Final = 46


def draw(measures: list[Measure]) -> str:
    """Return an SVG that reads on light and on dark pages."""
    most = max(max(measure.samples) for measure in measures)
    height = _TOP + _ROW * len(measures) + 16
    rows = "".join(_row(measure, _TOP + _ROW * place, most) for place, measure in enumerate(measures))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" role="img" '
        'font-family="system-ui, sans-serif" font-size="14">\n'
        "<title>Users reset in a second, 50 calls at a time</title>\n"
        f'<rect width="{_WIDTH}" height="{height}" fill="#ffffff"/>\n'
        '<text x="16" y="28" font-size="16" font-weight="600" fill="#1f2328">'
        "Users reset in a second, 50 calls at a time, one PostgreSQL</text>\n"
        f"{rows}</svg>\n"
    )


def _row(measure: Measure, top: int, most: float) -> str:
    def at(value: float) -> float:
        return round(_LEFT + _BAR * value / most, 1)

    middle = top + _ROW // 2
    low, high = at(min(measure.samples)), at(max(measure.samples))
    fill = "#0969da" if measure.name.startswith("bulkreset") else "#8c959f"
    return (
        f'<text x="{_LEFT - 12}" y="{middle + 5}" text-anchor="end" fill="#1f2328">{escape(measure.name)}</text>\n'
        f'<rect x="{_LEFT}" y="{top + 8}" width="{at(measure.value) - _LEFT:.1f}" height="{_ROW - 16}" rx="3" '
        f'fill="{fill}"/>\n'
        f'<path d="M{low} {middle}H{high}M{low} {middle - 5}v10M{high} {middle - 5}v10" stroke="#1f2328" '
        'fill="none"/>\n'
        f'<text x="{high + 10}" y="{middle + 5}" fill="#1f2328">{number(measure.value)}/s</text>\n'
    )

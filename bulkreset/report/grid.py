"""Tables as plain text that fit a terminal: less important columns are dropped, notes stand beneath a row."""

import textwrap
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

_GAP: Final = "  "
_NOTE_INDENT: Final = "    "
_NARROWEST: Final = 8
_UNBROKEN: Final = "\u00a0"  # a blank at which no line is folded


@dataclass(frozen=True, slots=True)
class Column:
    """A column. The one with the highest `rank` goes first where there is no room; 0 always stays."""

    name: str
    right: bool = False
    rank: int = 0
    gives: bool = False  # may be cut where dropping others is not enough


@dataclass(frozen=True, slots=True)
class Row:
    """The cells of a row, one a column, and what is said beneath it."""

    cells: tuple[str, ...]
    notes: tuple[str, ...] = ()


def lines(columns: Sequence[Column], rows: Sequence[Row], width: int | None) -> Iterator[str]:
    """Yield a table's lines, none wider than `width`; None is as wide as it needs."""
    sizes = [max([len(column.name), *(len(row.cells[n]) for row in rows)]) for n, column in enumerate(columns)]
    kept = list(range(len(columns)))
    while width is not None and _wide(kept, sizes) > width:
        droppable = [n for n in kept if columns[n].rank]
        if not droppable:
            break
        kept.remove(max(droppable, key=lambda n: columns[n].rank))
    for n in kept:
        if width is not None and columns[n].gives and (over := _wide(kept, sizes) - width) > 0:
            sizes[n] = max(_NARROWEST, sizes[n] - over)
    yield _line(columns, kept, sizes, [column.name for column in columns])
    for row in rows:
        yield _line(columns, kept, sizes, row.cells)
        for note in row.notes:
            yield from folded(note, width, _NOTE_INDENT)


def folded(text: str, width: int | None, indent: str = "", rest: str | None = None) -> list[str]:
    """Return a text in lines that fit, each behind an indent; `rest` is that of all but the first."""
    if width is None:
        return [indent + text]
    more = indent if rest is None else rest
    return textwrap.wrap(
        text, max(width, len(more) + 10), initial_indent=indent, subsequent_indent=more, break_on_hyphens=False
    ) or [indent.rstrip()]


def joined(facts: Iterable[str], width: int | None, *, between: str = " · ", rest: str = "  ") -> list[str]:
    """Return facts side by side in lines that fit; a line ends between two of them wherever one fits in a line."""
    whole = (fact.replace(" ", _UNBROKEN) for fact in facts)
    return [line.replace(_UNBROKEN, " ") for line in folded(between.join(whole), width, rest=rest)]


def cut(text: str, width: int) -> str:
    """Return a text that is no longer than this; what is left out shows as an ellipsis."""
    return text if len(text) <= width else text[: width - 1] + "…"


def _wide(kept: Sequence[int], sizes: Sequence[int]) -> int:
    return sum(sizes[n] for n in kept) + len(_GAP) * (len(kept) - 1)


def _line(columns: Sequence[Column], kept: Sequence[int], sizes: Sequence[int], cells: Sequence[str]) -> str:
    shown = [
        cut(cells[n], sizes[n]).rjust(sizes[n]) if columns[n].right else cut(cells[n], sizes[n]).ljust(sizes[n])
        for n in kept
    ]
    return _GAP.join(shown).rstrip()

"""Tables as plain text that fit a terminal: less important columns are dropped, notes stand beneath a row."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from rich.cells import cell_len, chop_cells, set_cell_size

_GAP: Final = "  "
_NOTE_INDENT: Final = "    "
_NARROWEST: Final = 8
_UNBROKEN: Final = "\u00a0"  # a blank at which no line is folded
_COMMAND: Final = re.compile(r"`[^`]+`")
_WORD: Final = re.compile(r"([ \t\n\r\f\v]*)([^ \t\n\r\f\v]+)")


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
    sizes = [
        max(map(cell_len, [column.name, *(row.cells[n] for row in rows)])) for n, column in enumerate(columns)
    ]
    # A column that may be dropped and holds nothing is only a heading to wonder at.
    told = {n for n, column in enumerate(columns) if not column.rank or any(row.cells[n] for row in rows)}
    kept = list(range(len(columns))) if width is None else sorted(told)
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
            yield from folded(note, width, _NOTE_INDENT, _NOTE_INDENT + "  ")


def folded(text: str, width: int | None, indent: str = "", rest: str | None = None) -> list[str]:
    """Return a text in lines that fit, each behind an indent; `rest` is that of all but the first."""
    if width is None:
        return [indent + text]
    more = indent if rest is None else rest
    room = max(width, cell_len(more) + 10)
    # A command goes on in one line wherever it fits in one, so that it can be copied.
    text = _COMMAND.sub(lambda found: _whole(found[0], room - cell_len(more)), text)
    done: list[str] = []
    line, is_empty = indent, True
    for blanks, word in _WORD.findall(text):
        gap = "" if is_empty and done else " " * len(blanks)
        left = word
        if cell_len(line + gap + left) <= room:
            line, is_empty = line + gap + left, False
            continue
        if not is_empty and cell_len(more + left) <= room:
            done.append(line)
            line, left = more + left, ""
        elif cell_len(line + gap) < room - 1:
            line += gap
        else:
            done.append(line)
            line = more
        while left:  # a word that no line has room for
            piece = chop_cells(left, room - cell_len(line))[0]
            line, left = line + piece, left[len(piece) :]
            if left:
                done.append(line)
                line = more
        is_empty = False
    return [one.replace(_UNBROKEN, " ").rstrip(" ") for one in [*done, line]]


def joined(facts: Iterable[str], width: int | None, *, between: str = " · ", rest: str = "  ") -> list[str]:
    """Return facts side by side in lines that fit; a line ends between two of them wherever one fits in a line."""
    if width is None:
        return [between.join(facts)]
    return folded(between.join(fact.replace(" ", _UNBROKEN) for fact in facts), width, rest=rest)


def cut(text: str, width: int) -> str:
    """Return a text that takes no more cells of a terminal than this; what is left out shows as an ellipsis."""
    return text if cell_len(text) <= width else set_cell_size(text, width - 1).rstrip(" ") + "…"


def padded(text: str, width: int, *, right: bool = False) -> str:
    """Return a text that takes just so many cells of a terminal, in which a wide character takes two."""
    text = cut(text, width)
    blanks = " " * (width - cell_len(text))
    return blanks + text if right else text + blanks


def _whole(text: str, room: int) -> str:
    return text.replace(" ", _UNBROKEN) if cell_len(text) <= room else text


def _wide(kept: Sequence[int], sizes: Sequence[int]) -> int:
    return sum(sizes[n] for n in kept) + len(_GAP) * (len(kept) - 1)


def _line(columns: Sequence[Column], kept: Sequence[int], sizes: Sequence[int], cells: Sequence[str]) -> str:
    return _GAP.join(padded(cells[n], sizes[n], right=columns[n].right) for n in kept).rstrip()

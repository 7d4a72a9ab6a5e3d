"""Text on a terminal: whatever it holds, no line is wider than the screen and nothing is lost."""

from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from bulkreset.report.grid import Column, Row, cut, folded, lines, padded

WIDTHS = [60, 80, 100, 140]
TEXTS = st.text("ab` 漢한é.e\u0301", max_size=300)


@given(text=TEXTS, width=st.sampled_from(WIDTHS), indent=st.sampled_from(["", "    "]))
def test_every_line_fits_in_cells_and_no_character_is_lost(text, width, indent):
    """A wide character takes two cells, a combining one none; only blanks are left out where a line ends."""
    found = folded(text, width, indent, indent + "  ")
    assert max(map(cell_len, found)) <= width
    assert "".join("".join(found).split()) == "".join(text.split())


@given(words=st.lists(st.text("ab漢", min_size=1, max_size=20), max_size=30), width=st.sampled_from(WIDTHS))
def test_a_word_that_fits_in_a_line_is_never_broken(words, width):
    """Only what no line has room for goes on in the next one."""
    assert " ".join(folded(" ".join(words), width, rest="  ")).split() == words


def test_a_command_stays_in_one_line():
    """Whoever copies a command from the screen gets all of it."""
    text = (
        "0 of 20 canaries failed; look with `bulkreset report 1`, then `bulkreset batch resume 1 --config c.toml`"
    )
    for width in WIDTHS:
        found = folded(text, width)
        assert any("`bulkreset report 1`" in line for line in found)
        assert any("`bulkreset batch resume 1 --config c.toml`" in line for line in found)


def test_where_nothing_limits_the_width_a_text_is_one_line():
    """A program that reads it gets the text as it is."""
    assert folded("a  b " * 100, None) == ["a  b " * 100]


@given(text=TEXTS, width=st.integers(4, 30), right=st.booleans())
def test_a_cell_takes_just_its_width(text, width, right):
    """What is cut shows that it was, and what stands behind it is aligned."""
    assert cell_len(padded(text, width, right=right)) == width
    assert cut(text, width) == text or cut(text, width).endswith("…")


def test_columns_are_aligned_behind_wide_characters():
    """The second column begins in the same cell in every row."""
    table = list(lines([Column("name"), Column("n")], [Row(("東京本社", "1")), Row(("paris", "2"))], 60))
    assert {cell_len(line[: line.rindex(last)]) for line, last in zip(table, "n12", strict=True)} == {10}


def test_a_column_that_holds_nothing_is_left_out_of_a_screen():
    """Of those that may be dropped; a program finds each column where it was."""
    columns = (Column("id"), Column("note"), Column("finish", rank=1))
    rows = [Row(("1", "", "")), Row(("2", "", ""))]
    assert next(lines(columns, rows, 80)) == "id  note"
    assert next(lines(columns, rows, None)) == "id  note  finish"

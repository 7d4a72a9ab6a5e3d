"""What counts as the same output: how two lines are compared, and where a document may leave something out."""

import pytest
from console_block import blocks
from printed import alike, first_difference


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("created 2026-11-22 12:21:22 UTC", "created 2027-01-02 01:02:03 UTC"),
        ("about 1 min 5 s at this limit", "about 11 s at this limit"),
        ("last minute 1.5/s", "last minute 1,204/s"),
        ("sha256 " + "0a" * 32, "sha256 " + "f3" * 32),
        ("vm:28135  0.1.0  a second ago", "host-2:7  0.1.0  46 s ago"),
        ("batch 1 ━━━━╸━━  40 % 1", "batch 1 ━━╸   20 % 1"),
        ("wrote /tmp/one/two.db  (0600)", "wrote /srv/three.db (0600)"),
        ("on http://127.0.0.1:8765/zoom", "on http://127.0.0.1:40579/zoom"),
    ],
)
def test_what_differs_between_two_runs_is_alike(one, other):
    """Times, durations, rates, hashes, workers, bars, paths and ports are compared as what they are."""
    assert alike(one) == alike(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("598 succeeded, 1 failed", "599 succeeded, 1 failed"),
        ("outcomes 598 ok", "outcomes 598 confirmed"),
        ("batch 1 at zoom: open", "batch 1 at zoom: draft"),
        ("user00300@example.com: failed", "user00301@example.com: failed"),
        ("not resent", "resent"),
    ],
)
def test_what_matters_is_never_alike(one, other):
    """Counts, states, outcomes and names must be right to the letter."""
    assert alike(one) != alike(other)


def test_a_line_of_dots_stands_for_any_lines_and_dots_in_a_line_for_any_words():
    """What a document leaves out may be anything; what it shows must be there, in its order."""
    printed = ["one", "two words here", "three"]
    assert first_difference(["one", "…", "three"], printed) is None
    assert first_difference(["one", "two …", "three"], printed) is None
    assert first_difference(["three", "…"], printed) == "three"
    assert first_difference(["one", "three"], printed) == "three"


def test_lines_that_are_not_shown_are_a_difference():
    """Output after the last line shown, or where none is shown, is noticed; a redrawn view may say more."""
    assert first_difference(["one"], ["one", "two"]) == "(the end)"
    assert first_difference([], ["a warning"]) == "(the end)"
    assert first_difference(["one", "three"], ["zero", "one", "two", "three", "four"], in_between=True) is None
    assert first_difference(["two", "one"], ["one", "two"], in_between=True) == "one"


def test_a_block_is_taken_apart_into_commands_and_what_they_print():
    """Prompts, continued lines, texts fed to a command and the marker above a block are understood."""
    [first, second] = blocks(
        "```console\nada$ one \\\n    more\nout\n\nbob$ cat > f <<'END'\n$ text\nEND\n```\n"
        "<!-- not run: needs root -->\n```console\n$ two\n```\n"
    )
    assert [(step.person, step.command, step.shown) for step in first.steps()] == [
        ("ada", "one \\\n    more", ("out",)),
        ("bob", "cat > f <<'END'\n$ text\nEND", ()),
    ]
    assert (first.not_run, second.not_run) == (None, "needs root")

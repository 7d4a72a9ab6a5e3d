"""What commands print, at every width of a screen and into a file."""

import io
import sys
from datetime import UTC, datetime

import pytest
from rich.cells import cell_len

from bulkreset.cli import app, closing, order, stopping
from bulkreset.cli.output import say
from bulkreset.errors import UsageError
from bulkreset.intake.closeout import Found, Part, Person
from bulkreset.intake.order import Order, Ordered
from bulkreset.model import BatchState
from bulkreset.options import Options
from bulkreset.store.batches import Batch
from bulkreset.store.stops import Outcome

NOW = datetime(2026, 1, 31, 22, tzinfo=UTC)
WIDTHS = [60, 80, 100, 140]
LONG = "an.unusually.long.address.of.somebody@department.of.a.subsidiary.example.com"
WIDE = "山田太郎@東京本社.example.com"


class Terminal(io.StringIO):
    """A screen of a width, while it is entered: standard output and standard error both."""

    width = 80

    def isatty(self):
        return True

    def __enter__(self):
        self.outputs = sys.stdout, sys.stderr
        sys.stdout = sys.stderr = self
        return self

    def __exit__(self, *_):
        sys.stdout, sys.stderr = self.outputs


@pytest.fixture(params=WIDTHS)
def screen(request, monkeypatch):
    """A screen of each width."""
    monkeypatch.setenv("COLUMNS", str(request.param))
    terminal = Terminal()
    terminal.width = request.param
    return terminal


def words_on(screen):
    """Return the text of a screen of which no line is wider than the screen."""
    lines = screen.getvalue().splitlines()
    assert max(map(cell_len, lines)) <= screen.width, lines
    return " ".join(screen.getvalue().split())


def test_an_order_fits(screen):
    """How many users, who is skipped, who is nobody, how long, and the command of the next person, whole."""
    placed = Ordered(
        7,
        "zoom",
        12_345,
        3,
        1,
        "bca3e661709b" + "5" * 52,
        437.0,
        calls=24_690,
        skipped={"protected": 10, "already_open": 2},
        warnings=("a warning of many words, " * 6,),
        listed=12_345,
        missing=17,
        canaries=20,
        approvals_needed=1,
        not_listed=2,
        not_listed_first=(LONG, WIDE),
    )
    with screen:
        order.show(placed, Order("zoom", "INC-1", "why", "ada"))
    said = words_on(screen).replace(" ", "")  # an address may go on in the next line
    for fact in (
        "batch 7: 12,345 users at zoom",
        "skipped 12: 10 protected, 2 already open",
        LONG,
        WIDE,
        "24,690 calls",
        "`bulkreset batch approve 7 --roster bca3e661709b`",
    ):
        assert "".join(fact.split()) in said


def test_a_reconciliation_fits(screen):
    """Each count stands with what it counts, and what comes next is said."""
    people = (Person("1", LONG, None), Person("2", WIDE, "failed"))
    parts = {part: Found(1_234, people) for part in Part}
    with screen:
        closing.show(closing.Closed(ended(), 12_345, 17, parts, None))
    said = words_on(screen).replace(" ", "")  # an address may go on in the next line
    for fact in (
        "12,345 users listed, 4 in the batch",
        "1,234 were added since the list was frozen",
        "1,234 existed when the list was frozen and are not on it",
        "1,234 were called and have been removed since",
        "run it again with --top-up",
        LONG,
        WIDE,
    ):
        assert "".join(fact.split()) in said


def test_an_error_is_folded_between_words(screen, monkeypatch):
    """On a screen no word of an error is broken; the command that helps is whole."""
    error = UsageError(
        "batch 77 is not there: " + "a reason of many words, " * 9 + "see `bulkreset batch list --state done`"
    )
    monkeypatch.setattr(app, "app", lambda *_, **__: (_ for _ in ()).throw(error))
    monkeypatch.setattr(app, "repair_streams", lambda: None)
    monkeypatch.setattr(app, "harden", lambda: None)
    monkeypatch.setattr(sys, "argv", ["bulkreset", "batch", "show", "77"])
    with screen, pytest.raises(SystemExit):
        app.main()
    assert words_on(screen) == f"bulkreset: {error}"
    assert "`bulkreset batch list --state done`" in screen.getvalue()


def test_a_stop_fits(screen):
    """How many calls left meanwhile, in lines that fit."""
    with screen:
        say(f"  {stopping.describe(Outcome(1_234, 56, ()))}", rest=" " * 13)
    assert "1,234 calls left meanwhile, 56 were on their way" in words_on(screen)


def test_into_a_file_a_text_is_one_line(monkeypatch):
    """What is no screen has no width, whatever COLUMNS says, and gets no control character."""
    monkeypatch.setenv("COLUMNS", "60")
    file = io.StringIO()
    say("word " * 50, out=file)
    assert file.getvalue() == "word " * 50 + "\n"


def ended():
    """Return a batch that has ended."""
    return Batch(
        id=7,
        account="zoom",
        incident="INC-1",
        reason="why",
        requested_by="ada",
        created_at=NOW,
        not_before=None,
        state=BatchState.DONE,
        state_reason=None,
        started_at=NOW,
        finished_at=NOW,
        roster_sha256="00",
        total=4,
        excluded=0,
        duplicates=0,
        options=Options(),
        options_sha256=Options().sha256,
        approvals_needed=0,
        wave=1,
        closed_at=NOW,
        counts={},
        outcomes={},
        sessions={},
    )

"""What commands print, at every width of a screen and into a file."""

import io
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
import typer
from rich.cells import cell_len
from rich.text import Text

from bulkreset.cli import app, closing, order, status, stopping
from bulkreset.cli.output import ask, say
from bulkreset.errors import UsageError
from bulkreset.intake.closeout import Found, Part, Person
from bulkreset.intake.order import Order, Ordered
from bulkreset.limits.rates import MINUTE, SECOND, Rate
from bulkreset.model import BatchState, TaskState
from bulkreset.options import Options
from bulkreset.report.status import AccountStatus, BatchStatus, Status, WorkerStatus
from bulkreset.store.batches import Batch
from bulkreset.store.stops import Outcome
from bulkreset.store.workers import Seen

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
    text = Text.from_ansi(screen.getvalue()).plain
    lines = text.splitlines()
    assert max(map(cell_len, lines)) <= screen.width, lines
    return " ".join(text.split())


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


def test_how_things_stand_fits(screen):
    """Rows of one account are told apart, a halt and a lost worker are seen, and each command is whole."""
    batches = (
        BatchStatus(replace(ended(), state=BatchState.OPEN, counts=counted(pending=712), total=1_000), 48_000.0),
        BatchStatus(
            replace(ended(), id=8, account="zoom-day", state=BatchState.OPEN, counts=counted(pending=712)),
            48_000.0,
            next_due_at=NOW + timedelta(days=1),
        ),
        BatchStatus(
            replace(ended(), id=9, state=BatchState.HALTED, state_reason="21 failed", counts=counted(failed=21)),
            None,
        ),
    )
    found = Status(
        now=NOW,
        accounts=(
            account("zoom", "light", Rate(72, SECOND), halted_reason="account 'zoom': the login is refused"),
            account("zoom", "medium", Rate(54, SECOND), seen_s=36.0),
            account("zoom-day", "medium", Rate(54, SECOND), paused_until=NOW + timedelta(hours=2)),
            account("zendesk-support", "default", Rate(630, MINUTE), seen_s=36.0),
        ),
        batches=batches,
        workers=(
            WorkerStatus(Seen("host:7027", "0.1.0", NOW, NOW, None), 554),
            WorkerStatus(Seen("host:7028", "0.1.0", NOW, NOW - timedelta(minutes=2, seconds=9), None), 0),
        ),
    )
    with screen:
        screen.write("\n".join(status.shown(found, screen.width, {"eu": "no account_id"})))
    said = words_on(screen)
    for fact in (
        "zoom light 72/s",
        "zoom medium 54/s",
        "halted: the login is refused; fix the cause",
        "7 zoom account halted" if screen.width == 60 else "7 zoom INC-1 account halted",
        "paused until 2026-02-01 00:00 UTC",
        "21 failed; look at `bulkreset report 9 --state failed`, then go on with `bulkreset batch resume 9`",
        "host:7028 0.1.0 2 min 9 s ago",
        "→ seems to be gone: killed, stopped or cut off",
        "→ account 'eu' cannot be used: no account_id",
    ):
        assert fact in said, said
    assert ("INC-1" in said, "calls left" in said) == (screen.width > 60, screen.width > 80)
    assert ("time left" in said) == (screen.width > 80)


def test_nobody_is_told_an_end_that_nobody_works_for():
    """Without a worker there is no finish, only how long it would take."""
    one = BatchStatus(replace(ended(), state=BatchState.OPEN, counts=counted(pending=712)), 55.0)
    idle = Status(NOW, (), (one,), ())
    busy = replace(idle, workers=(WorkerStatus(Seen("host:1", "0.1.0", NOW, NOW, None), 1),))
    assert "22:00:55" in "\n".join(status.shown(busy, 80, {}))
    said = "\n".join(status.shown(idle, 80, {}))
    assert "22:00:55" not in said
    assert "55 s" in said


@pytest.mark.parametrize("words", [("batch", "create"), ("batch", "close"), ("run",), ("escrow", "export"), ()])
def test_help_cuts_no_name(screen, words):
    """Every option and command of the help can be typed as it is shown."""
    command = typer.main.get_command(app.app)
    for word in words:
        command = command.commands[word]
    with screen:
        app.app([*words, "--help"], prog_name="bulkreset", standalone_mode=False)
    shown = words_on(screen)
    for name in [*(name for one in command.params for name in one.opts), *getattr(command, "commands", ())]:
        assert name in shown or not name.startswith("-"), shown


def test_a_question_fits(screen, monkeypatch):
    """What is asked is folded, and leaves room for the answer."""
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
    with screen:
        assert ask("1,199 of the 1,199 who would be called were reset by batch 2, a minute ago. " * 2 + "Go on?")
    assert words_on(screen).endswith("Go on? [y/N]:")


def test_a_key_and_a_folder_fit(screen, monkeypatch, tmp_path):
    """What `init` and `key new` wrote is said in whole words; the database is named as the folder was."""
    monkeypatch.chdir(tmp_path)
    with screen:
        for words in (["init", "an-incident-of-2026"], ["key", "new", "second.key"]):
            app.app(words, prog_name="bulkreset", standalone_mode=False)
    said = words_on(screen)
    for fact in (
        "made an-incident-of-2026/bulkreset.db (tables at revision",
        "keep a copy in your vault)",
        "run `bulkreset --config an-incident-of-2026/config.toml check ACCOUNT`",
        "wrote second.key (0600, fingerprint",
    ):
        assert fact in said


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


def counted(**numbers):
    """Return how many tasks are in which state."""
    return {str(state): 0 for state in TaskState} | numbers


def account(name, label, limit, **changes):
    """Return a quota that was called in the last minute."""
    values = {"paused_until": None, "pause_reason": None, "halted_reason": None, "used_today": 2_811, **changes}
    return AccountStatus(name, label, 50.0, 50.0, limit=limit, share=0.9, last_minute_calls=3_000, **values)


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
        counts=counted(),
        outcomes={},
        sessions=counted(),
    )

"""What a person sees of batches: at every width the numbers add up and no fact is lost."""

from datetime import UTC, datetime

import pytest
from cli_program import emails, refused
from hypothesis import given
from hypothesis import strategies as st

from bulkreset.cli.batch_view import Seen, described, listed
from bulkreset.model import BatchState, TaskState
from bulkreset.options import Options
from bulkreset.report.grid import joined
from bulkreset.store.batches import Batch

AT = datetime(2026, 3, 1, 2, 0, tzinfo=UTC)
NONE = {str(state): 0 for state in TaskState}
WIDTHS = (60, 80, 100, 140)


def batch(number: int = 1, **told: object) -> Batch:
    counts = NONE | {"succeeded": 1_037, "failed": 70, "skipped": 1, "cancelled": 92}
    values: dict[str, object] = {
        "id": number,
        "account": "zoom-prod",
        "incident": "INC-2026-0815",
        "reason": "credentials were phished",
        "requested_by": "ada",
        "created_at": AT,
        "not_before": None,
        "state": BatchState.CANCELLED,
        "state_reason": "cancelled by ada",
        "started_at": AT,
        "finished_at": AT,
        "roster_sha256": "ab" * 32,
        "total": 1_200,
        "excluded": 0,
        "duplicates": 0,
        "options": Options(),
        "options_sha256": "cd" * 32,
        "approvals_needed": 0,
        "wave": 1,
        "closed_at": None,
        "counts": counts,
        "outcomes": {"ok": 1_037, "unexpected": 70},
        "sessions": NONE,
    }
    return Batch(**(values | told))  # type: ignore[arg-type]


@pytest.mark.parametrize("width", [*WIDTHS, None])
def test_every_end_of_a_batch_is_in_the_list_at_every_width(width):
    """Whoever was cancelled is counted too, and what a column has no room for is said beneath the row."""
    told = "\n".join(listed([batch()], width))
    for fact in ("zoom-prod", "INC-2026-0815", "cancelled", "1,200", "1,037", "70", "92", "not reconciled"):
        assert fact in told, told
    assert width is None or max(map(len, told.split("\n"))) <= width, told


def test_the_numbers_of_a_row_add_up_with_sessions_too():
    """Users are what the columns count; sessions that are still to end are said beneath."""
    open_ = NONE | {"succeeded": 3, "pending": 2, "running": 1}
    one = batch(state=BatchState.OPEN, total=6, counts=open_, sessions=NONE | {"pending": 6}, state_reason=None)
    _, row, note = listed([one], None)
    assert row.split()[-6:] == ["6", "3", "0", "0", "0", "3"]
    assert note.split() == ["sessions", "of", "6", "users", "still", "to", "end"]


@given(
    names=st.lists(st.tuples(st.text("abé-", min_size=1, max_size=70), st.text("INC-9 ", min_size=1)), min_size=1),
    width=st.integers(60, 200),
)
def test_no_line_of_a_list_is_wider_than_the_terminal(names, width):
    """However long accounts and incidents are called, every row stays in one line."""
    shown = [
        batch(number, account=account, incident=incident) for number, (account, incident) in enumerate(names, 1)
    ]
    assert max(map(len, listed(shown, width))) <= width


@pytest.mark.parametrize("width", WIDTHS)
def test_what_was_accepted_and_who_is_in_doubt_is_shown_with_a_batch(width):
    """A person who looks at a batch sees what its requester accepted, and of whom nothing is certain."""
    options = Options(accepted={"again": 1_131, "listing": 3, "of_a_later_release": 1})
    lines = described(Seen(batch(options=options, maybe_changed={"failed": 2}), (), None), width)
    told = " ".join(" ".join(lines).split())
    assert "accepted users who were reset within 24 hours before: 1,131" in told
    assert "accepted users whom the provider counts and does not list: 3" in told
    assert "accepted of_a_later_release: 1" in told
    assert "in doubt 2 users whose password an earlier call may have changed (2 failed)" in told
    assert max(map(len, lines)) <= width


@pytest.mark.parametrize(
    ("state", "counts", "commands"),
    [
        (BatchState.DONE, {"succeeded": 9}, ["batch close 1"]),
        (BatchState.DONE, {"succeeded": 8, "failed": 1}, ["report 1 --state failed", "batch close 1"]),
        (BatchState.PAUSED, {"pending": 9}, ["batch resume 1"]),
        (BatchState.OPEN, {"pending": 9}, []),
    ],
)
def test_a_batch_is_shown_with_the_commands_that_come_next(state, counts, commands):
    """Whoever looks at one batch need not look into the guide."""
    lines = described(Seen(batch(state=state, counts=NONE | counts, closed_at=None), (), None), 80)
    assert [line.split(None, 1)[1] for line in lines if line.split()[:1] == ["next"]] == [
        f"`bulkreset {command}`" for command in commands
    ]


def test_the_list_can_be_narrowed_and_turned_round(folder, zoom, zendesk):
    """Filters narrow the list together, a repeated one lets any of its values through; JSON obeys them too."""
    folder.create("zoom", emails(1))
    folder.create("zendesk", emails(1))
    folder.create("zoom", emails(2))
    assert folder.run("batch", "cancel", "3").code == 0

    def ids(*options: str) -> list[int]:
        return [one["id"] for one in folder.run("batch", "list", "--json", *options).json]

    assert ids() == [1, 2, 3]
    assert ids("--newest-first") == [3, 2, 1]
    assert ids("--account", "zoom") == [1, 3]
    assert ids("--account", "zoom", "--account", "zendesk", "--state", "open") == [1, 2]
    assert ids("--state", "cancelled") == [3]
    assert ids("--incident", "INC-1") == [1, 2, 3]
    assert ids("--incident", "INC-2") == []
    head, row = folder.run("batch", "list", "--state", "cancelled").out.splitlines()
    assert row.split()[0] == "3"
    assert head.split()[-2:] == ["cancelled", "left"]
    assert "no batch matches" in folder.run("batch", "list", "--incident", "INC-2").out
    refused(folder.run("batch", "list", "--state", "ended"), "'ended'", "cancelled")


@given(
    facts=st.lists(st.from_regex(r"[ab9]{1,9}( [ab9]{1,9})?", fullmatch=True), min_size=1),
    width=st.integers(30, 120),
)
def test_a_line_ends_between_two_facts(facts, width):
    """A number is never parted from what it counts, and nothing is lost."""
    lines = joined(facts, width)
    assert " ".join(line.strip() for line in lines) == " · ".join(facts)
    assert all(len(line) <= width for line in lines)
    assert [fact for line in lines for fact in line.strip().strip("·").strip().split(" · ")] == facts


@pytest.mark.parametrize("width", WIDTHS)
def test_what_was_not_sent_is_no_outcome_of_a_batch(width):
    """Whoever was only released waits again, and is counted as pending."""
    lines = described(Seen(batch(outcomes={"ok": 607, "released": 10}), (), None), width)
    assert "  outcomes   607 ok" in lines
    assert "released" not in " ".join(lines)


def test_a_draft_names_the_command_of_the_approver():
    """Bound to the user list that was looked at, as the order said it."""
    draft = batch(state=BatchState.DRAFT, roster_sha256="94e747ee1833" + "0" * 52)
    assert "  next       `bulkreset batch approve 1 --roster 94e747ee1833`" in described(Seen(draft, (), None), 80)

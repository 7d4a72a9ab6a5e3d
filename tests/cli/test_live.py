"""The live view: frames of a fixed width that fit and say what a person asks at night."""

import io
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from rich.console import Console

from bulkreset.cli.frame import Scene, after, frame
from bulkreset.cli.live import folded_lines
from bulkreset.cli.notices import Notices, in_words
from bulkreset.limits.rates import MINUTE, SECOND, Rate
from bulkreset.model import BatchState, TaskState
from bulkreset.options import Options
from bulkreset.report.failures import Failure
from bulkreset.report.status import AccountStatus, BatchStatus, Status, WorkerStatus
from bulkreset.store.batches import Batch
from bulkreset.store.workers import Seen

NOW = datetime(2026, 1, 31, 21, 43, 5, tzinfo=UTC)
WIDTHS = [60, 80, 100, 140]


def batch(number=9, *, done=658, total=1_200, failed=70, sessions=0, **changes):
    """Return a batch of which so many users are done."""
    counts = {str(state): 0 for state in TaskState}
    counts |= {"succeeded": done - failed, "failed": failed, "pending": total - done}
    second = {str(state): 0 for state in TaskState} | {"succeeded": sessions}
    options = Options()
    values = {
        "id": number,
        "account": "zoom",
        "incident": "INC-1",
        "reason": "why",
        "requested_by": "ada",
        "created_at": NOW,
        "not_before": None,
        "state": BatchState.OPEN,
        "state_reason": None,
        "started_at": NOW,
        "finished_at": None,
        "roster_sha256": "00",
        "total": total,
        "excluded": 0,
        "duplicates": 0,
        "options": options,
        "options_sha256": options.sha256,
        "approvals_needed": 0,
        "wave": 1,
        "closed_at": None,
        "counts": counts,
        "outcomes": {"ok": done - failed, "unexpected": failed},
        "sessions": second,
    }
    return Batch(**{**values, **changes})


def account(name="zoom", label="medium", limit=None, share=0.9, **changes):
    values = {
        "limit_per_s": 52.7,
        "last_minute_per_s": 51.3,
        "paused_until": None,
        "pause_reason": None,
        "halted_reason": None,
        "used_today": 700,
        "limit": limit or Rate(54, SECOND),
        "share": share,
        "last_minute_calls": 3_078,
        "seen_s": 60.0,
    }
    return AccountStatus(name, label, **{**values, **changes})


def scene(*batches, accounts=(), **changes):
    """Return what a frame shows: one batch ten seconds before its end, unless others are given."""
    found = Status(
        now=NOW,
        accounts=tuple(accounts) or (account(),),
        batches=tuple(BatchStatus(one, 10.0) for one in batches or [batch()]),
        workers=(WorkerStatus(Seen("w", "0.1", NOW, NOW, None), 1),),
    )
    values = {"failures": {}, "failed_lately": {}, "elapsed_s": 63.0, **changes}
    return Scene(found, **values)


def drawn(shown, width, height=24, **how):
    """Return the lines of a frame."""
    console = Console(width=width, height=height, file=io.StringIO(), color_system=None, legacy_windows=False)
    console.print(frame(shown, width, height, **how))
    return console.file.getvalue().splitlines()


def full(**changes):
    """Return a scene in which everything is there to be said."""
    wrong = {9: [Failure("unexpected", 70, "Something that nobody has ever seen before, " * 4)]}
    paused = account(
        "zendesk", "default", Rate(630, MINUTE), paused_until=NOW + timedelta(minutes=2), pause_reason="429"
    )
    return scene(
        batch(),
        batch(
            10, account="zendesk", total=100_000, done=12_345, failed=0, outcomes={"ok": 12_345}, sessions=11_000
        ),
        accounts=(account(), paused),
        failures=wrong,
        failed_lately={9: (7, 100)},
        notices=["21:43:05 account paused: zendesk: 429 " * 5],
        away_since=NOW,
        unsaved=16,
        **changes,
    )


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("final", [True, False])
def test_no_line_is_wider_and_no_frame_higher_than_the_terminal(width, final):
    """Whatever there is to say, nothing wraps; but for its last frame the view leaves no scrolled lines behind."""
    lines = drawn(full(), width, final=final)
    assert max(len(line.rstrip()) for line in lines) <= width
    assert final or len(lines) < 24


@pytest.mark.parametrize("width", WIDTHS)
def test_the_view_answers_an_incident_commander(width):
    """How far, how fast beside the limit, until when, what fails, how far from the halt, why it waits."""
    text = "\n".join(drawn(full(), width, height=30))
    for words in (
        "658 of 1,200 users",
        "12,345 of 100,000 users",
        "ends about 21:43:15 UTC",
        "51.3/s",
        "our limit 54/s",
        "588 ok",
        "70 unexpected",
        "such as: Something",
        "7 of the last 100 users failed; above 20 in 100 it halts",
        "paused until 21:45:05 UTC",
        "database away since 21:43:05 UTC, 16 results kept",
        "Ctrl-C stops cleanly",
        "running 1 min 3 s",
    ):
        assert words in text, text


def test_the_limit_is_said_in_the_unit_of_the_provider():
    """Zoom's is by the second, Zendesk's by the minute; both say what share of the provider's limit that is."""
    at_zendesk = account("zendesk", "default", Rate(630, MINUTE), last_minute_per_s=10.2)
    lines = drawn(scene(batch(account="zendesk"), accounts=(at_zendesk,)), 80)
    assert lines[1] == "zendesk default  612.0/min · our limit 630/min (90 % of 700/min)"
    assert drawn(scene(), 80)[1] == "zoom medium  51.3/s in the last minute · our limit 54/s (90 % of 60/s)"


@pytest.mark.parametrize("width", WIDTHS)
def test_every_outcome_is_said_whole(width):
    """What went well, then what did not, then what is tried again; the line is folded between two of them."""
    outcomes = {
        "confirmed": 5,
        "not_resettable": 4,
        "ok": 288,
        "released": 9,
        "same_password": 2,
        "unexpected": 1,
    }
    lines = drawn(scene(batch(outcomes=outcomes, failed=1, sessions=250)), width)
    at = next(number for number, line in enumerate(lines) if "288 ok" in line)
    said = " ".join(lines[at : at + 2])
    facts = ("288 ok", "5 confirmed", "1 unexpected", "4 not_resettable", "2 same_password", "250 signed out")
    assert sorted(facts, key=said.index) == list(facts)
    assert "released" not in said


def test_where_there_is_no_room_each_batch_still_shows_how_far_it_is():
    """A dead login, a used-up day and a halt have much to say; the batch at work is on the screen all the same."""
    halted = account("support", "default", halted_reason="account 'support': the login is refused, " * 9)
    shown = scene(
        batch(1, state=BatchState.HALTED, state_reason="21 of the last 100 users failed"),
        batch(2, account="support"),
        batch(3, account="zoom-eu", done=77, failed=0, outcomes={"ok": 77}),
        accounts=(
            account(),
            halted,
            account("zoom-eu", paused_until=NOW + timedelta(days=1), pause_reason="429 " * 60),
        ),
        failures={1: [Failure("unexpected", 70, "Something odd.")]},
        notices=[f"21:43:0{n} account paused: zoom-eu" for n in range(5)],
    )
    lines = drawn(shown, 60)
    text = "\n".join(lines)
    assert len(lines) < 24
    for words in (
        "658 of 1,200 users · halted",
        "batch 2 support",
        "77 of 1,200 users",
        "halted: the login is refused",
        "`bulkreset report 1 --state failed`",
        "`bulkreset batch resume 1`",
        "`bulkreset batch resume 2`",
    ):
        assert words in text, text
    assert "Something odd." not in text
    assert "Ctrl-C" in lines[-1]
    assert "Something odd." in "\n".join(drawn(shown, 60, height=60))


def test_a_pause_until_another_day_names_the_day():
    """Midnight alone would be read as the one that has gone."""
    paused = account(paused_until=NOW + timedelta(hours=3), pause_reason="the daily limit")
    assert "paused until 2026-02-01 00:43 UTC: the daily limit" in "\n".join(drawn(scene(accounts=(paused,)), 80))


def test_what_waits_for_a_clock_says_so_once():
    """The end of the batch's line says when it goes on; no second line repeats it."""
    found = scene()
    waiting = replace(found.status.batches[0], next_due_at=NOW + timedelta(hours=1))
    text = "\n".join(drawn(replace(found, status=replace(found.status, batches=(waiting,))), 80))
    assert "next due 22:43:05 UTC" in text
    assert text.count("22:43:05") == 1


def test_a_run_that_has_ended_foretells_nothing():
    """Its last frame says how many users are left, not when a run that goes on would end."""
    line = next(line for line in drawn(scene(), 80, final=True) if "of 1,200 users" in line)
    assert line.rstrip().endswith("658 of 1,200 users · 542 left")


def test_a_retry_is_no_alarm():
    """What the last attempt came to is red only where somebody has failed for good."""

    def colours(failed):
        console = Console(width=80, file=io.StringIO(), force_terminal=True, color_system="standard")
        console.print(frame(scene(batch(failed=failed, outcomes={"ok": 600, "provider_error": 5})), 80, 24))
        return console.file.getvalue()

    assert "\x1b[33m5 provider_error" in colours(0)
    assert "\x1b[31m5 provider_error" in colours(5)


def test_a_halted_batch_is_an_alarm():
    """Its state and its reason are red: nothing goes on before somebody acts."""
    console = Console(width=80, file=io.StringIO(), force_terminal=True, color_system="standard")
    halted = batch(state=BatchState.HALTED, state_reason="20 users in a row ended unexpected")
    console.print(frame(scene(halted), 80, 24))
    assert "\x1b[1;31mhalted" in console.file.getvalue()
    assert "\x1b[1;31m  → 20 users in a row" in console.file.getvalue()


def test_a_frame_that_a_narrower_terminal_has_folded_is_more_lines():
    """So many lines more must be taken away: one for each time that a line was folded."""
    assert folded_lines([80, 80, 60, 0, 121], 80) == 1
    assert folded_lines([80, 80, 60, 0, 121], 60) == 1 + 1 + 2
    assert folded_lines([], 60) == 0


@pytest.mark.parametrize("height", [8, 12, 24])
def test_more_batches_than_lines_are_counted(height):
    """Forty batches on a small terminal: as many as fit, the rest as a number, the hint still there."""
    lines = drawn(scene(*(batch(n) for n in range(1, 41))), 80, height)
    assert len(lines) < height
    assert "more: `bulkreset status`" in lines[-2]
    assert "Ctrl-C" in lines[-1]


def test_a_halt_says_what_to_do():
    """The reason stands beside the account, the command beside the batch."""
    text = "\n".join(drawn(scene(accounts=(account(halted_reason="no permission"),)), 80))
    assert "halted: no permission" in text
    assert "fix the cause, then `bulkreset batch resume 9`" in text


@pytest.mark.parametrize("width", WIDTHS)
def test_a_command_is_never_cut(width):
    """What a batch needs goes on in the next line where it is long, its command whole."""
    look = "look with `bulkreset report 9 --state succeeded`"
    reason = f"0 of 20 canaries failed; {look}, then `bulkreset batch resume 9`"
    lines = drawn(scene(batch(state=BatchState.PAUSED, state_reason=reason)), width)
    assert reason in " ".join(" ".join(lines).split())


def test_a_run_that_begins_never_says_that_no_worker_is_running():
    """The first frame may be drawn before the database knows the worker that draws it."""
    found = scene()
    text = "\n".join(drawn(replace(found, status=replace(found.status, workers=())), 80))
    assert "no worker" not in text


def test_an_account_that_was_not_called_says_so():
    """No rate is shown where nothing was sent in the last minute, as in `status`."""
    assert drawn(scene(accounts=(account(last_minute_calls=0),)), 80)[1].startswith("zoom medium  no calls in the")


def test_a_stop_says_what_it_waits_for():
    """After the first Ctrl-C: how many calls, and what a second one does."""
    said = "stopping: 30 calls on their way, up to 30 s; Ctrl-C again ends at once"
    assert drawn(scene(stopping=said), 80)[-1] == said


def test_users_with_both_steps_are_done_when_their_sessions_are():
    """A thousand passwords and four hundred ended sessions are four hundred users done."""
    two = batch(done=1_000, failed=0, total=1_000)
    two.sessions["succeeded"], two.sessions["pending"] = 400, 600
    assert "400 of 1,000 users" in "\n".join(drawn(scene(two), 80))


def test_the_bar_is_no_alarm():
    """Progress is cyan and green; red is for what failed."""
    console = Console(width=80, file=io.StringIO(), force_terminal=True, color_system="standard")
    console.print(frame(scene(batch(failed=0, outcomes={"ok": 658})), 80, 24))
    shown = console.file.getvalue()
    assert "\x1b[36m━" in shown
    assert "\x1b[31m" not in shown


def test_at_the_end_the_next_commands_are_named():
    """Failed users lead to the report, a finished batch to its close, a halted one to `resume`."""
    ended = batch(done=1_200, state=BatchState.DONE)
    assert after([ended]) == ["next:", "  bulkreset report 9 --state failed", "  bulkreset batch close 9"]
    assert after([batch(failed=0, state=BatchState.HALTED)]) == ["next:", "  bulkreset batch resume 9"]
    halted = ["next:", "  bulkreset report 9 --state failed", "  bulkreset batch resume 9"]
    assert after([batch(state=BatchState.HALTED)]) == halted
    draft = batch(failed=0, state=BatchState.DRAFT, roster_sha256="8005c78dd2f1" + "0" * 52)
    assert after([draft]) == ["next:", "  bulkreset batch approve 9 --roster 8005c78dd2f1"]
    assert after([batch(failed=0), batch(10, failed=0)]) == ["next:", "  bulkreset run"]
    assert after([batch(done=1_200, failed=0, closed_at=NOW, state=BatchState.DONE)]) == []


def test_a_log_line_is_said_in_words_and_once():
    """The same event again is counted; the database being away is left to the view itself."""
    notices = Notices(lambda: NOW)
    event = {
        "event": "account_paused",
        "level": "warning",
        "account": "zoom",
        "reason": "429:\x1b[31m no",
    }
    for minute in (44, 46, 45):
        notices({**event, "until": f"2026-01-31T21:{minute}:00+00:00"})
    notices({"event": "database_away", "reason": "gone"})
    assert list(notices) == ["21:43:05 (3 times) account paused: zoom: until 21:45:00 UTC: 429:\\u001b[31m no"]
    notices({**event, "until": "2026-02-01T00:00:00+00:00", "reason": "the daily limit"})
    assert list(notices)[1] == "21:43:05 account paused: zoom: until 2026-02-01 00:00 UTC: the daily limit"
    refused = {"event": "request_refused", "request": 4, "reason": "no users"}
    assert in_words(refused, NOW) == "request refused: request 4: no users"

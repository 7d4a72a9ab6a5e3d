"""What becomes of a task: every path ends, and nothing is guessed."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkreset.model import UNCLEAR_LIMIT, Action, Claim, Outcome, TaskState, Verdict
from bulkreset.runner.decide import CHANGES_WAIT, RENEWALS, TRIES, backoff, decide
from bulkreset.secret import Secret

NOW = datetime(2026, 1, 31, 22, tzinfo=UTC)
# The provider itself asks to wait, or nothing was sent: these may go on for as long as the provider says so.
UNBOUNDED = {Outcome.RATE_LIMITED, Outcome.RELEASED, Outcome.TOO_MANY_CHANGES}


def claim(**changes):
    values = {
        "task_id": 1,
        "batch_id": 1,
        "n": 1,
        "user_ref": "ada@example.com",
        "action": Action.SET_PASSWORD,
        "slot_at": NOW,
        "tries": 0,
        "unclear": 0,
        "renewals": 0,
        "password_no": 1,
        "maybe_landed": False,
        "password": Secret("x"),
    }
    return Claim(**{**values, **changes})


@given(st.lists(st.sampled_from(sorted(set(Outcome) - UNBOUNDED)), min_size=60, max_size=60), st.floats(0, 0.999))
def test_every_task_ends(outcomes, jitter):
    """Whatever the answers, a task is final before its sixtieth counted attempt."""
    held, now = claim(), NOW
    for outcome in outcomes:
        decided = decide(held, Verdict(outcome), now=now, jitter=jitter)
        if decided.state.final:
            assert decided.due_at is None
            assert not decided.keep_password
            return
        assert decided.state is TaskState.PENDING
        assert decided.due_at >= now
        now = decided.due_at
        held = claim(
            tries=decided.tries,
            unclear=decided.unclear,
            renewals=decided.renewals,
            maybe_landed=decided.maybe_landed and decided.keep_password,
        )
    raise AssertionError("the task never ended")


@given(
    st.sampled_from(Outcome),
    st.integers(0, TRIES - 1),
    st.integers(0, UNCLEAR_LIMIT - 1),
    st.integers(0, RENEWALS),
    st.booleans(),
)
def test_success_is_only_what_the_provider_proved(outcome, tries, unclear, renewals, maybe_landed):
    """A task succeeds on `ok`, and on the same-password refusal only where an earlier attempt may have landed."""
    held = claim(tries=tries, unclear=unclear, renewals=renewals, maybe_landed=maybe_landed)
    decided = decide(held, Verdict(outcome), now=NOW, jitter=0.5)
    proved = outcome in {Outcome.OK, Outcome.CONFIRMED} or (outcome is Outcome.SAME_PASSWORD and maybe_landed)
    assert (decided.state is TaskState.SUCCEEDED) == proved


@given(st.sampled_from(Outcome), st.booleans())
def test_a_password_changes_only_after_a_refusal_of_it(outcome, maybe_landed):
    """An unclear end, an outage or a wait never leads to another password."""
    decided = decide(claim(maybe_landed=maybe_landed), Verdict(outcome), now=NOW, jitter=0.5)
    if decided.state is TaskState.PENDING and not decided.keep_password:
        assert outcome in {Outcome.SAME_PASSWORD, Outcome.POLICY_REJECTED}
        assert decided.renewals == 1


@pytest.mark.parametrize("outcome", sorted(UNBOUNDED))
def test_waiting_for_the_provider_spends_nothing(outcome):
    """A limit, a release or the 24-hour rule leave every counter and the password as they were."""
    held = claim(tries=2, unclear=3, renewals=1, maybe_landed=True)
    decided = decide(held, Verdict(outcome, pauses_quota=True), now=NOW, jitter=0.5)
    assert (decided.state, decided.tries, decided.unclear, decided.renewals) == (TaskState.PENDING, 2, 3, 1)
    assert decided.keep_password
    assert decided.maybe_landed


@pytest.mark.parametrize("outcome", [Outcome.UNKNOWN, Outcome.PROVIDER_ERROR])
def test_what_may_have_landed_is_remembered(outcome):
    """After a lost answer or a failed one the write may stand."""
    assert decide(claim(), Verdict(outcome), now=NOW, jitter=0.5).maybe_landed


@given(st.lists(st.sampled_from(Outcome), min_size=1, max_size=60), st.floats(0, 0.999))
def test_a_call_that_may_have_changed_a_user_is_never_forgotten(outcomes, jitter):
    """Whatever comes after it, a new password or another refusal, only a success ends the doubt."""
    held, doubt = claim(), False
    for outcome in outcomes:
        decided = decide(held, Verdict(outcome), now=NOW, jitter=jitter)
        doubt = doubt or outcome in (Outcome.UNKNOWN, Outcome.PROVIDER_ERROR)
        assert decided.maybe_changed == (doubt and decided.state is not TaskState.SUCCEEDED)
        if decided.state.final:
            return
        held = claim(
            tries=decided.tries,
            unclear=decided.unclear,
            renewals=decided.renewals,
            maybe_landed=decided.maybe_landed and decided.keep_password,
            maybe_changed=decided.maybe_changed,
        )


@pytest.mark.parametrize(
    "outcome",
    [
        Outcome.UNEXPECTED,
        Outcome.USER_NOT_FOUND,
        Outcome.NOT_RESETTABLE,
        Outcome.POLICY_REJECTED,
        Outcome.UNREACHABLE,
        Outcome.FORBIDDEN,
        Outcome.UNKNOWN,
        Outcome.PROVIDER_ERROR,
    ],
)
def test_every_end_tells_of_an_earlier_call_that_may_have_landed(outcome):
    """Failed or skipped, for whatever reason and even under another password: the doubt is in the decision."""
    spent = {"tries": TRIES - 1, "unclear": UNCLEAR_LIMIT - 1, "renewals": RENEWALS}
    decided = decide(claim(**spent, maybe_changed=True), Verdict(outcome), now=NOW, jitter=0.5)
    assert decided.state in (TaskState.FAILED, TaskState.SKIPPED)
    assert decided.maybe_changed


def test_what_never_left_cannot_have_landed():
    """A call that failed before it was sent says nothing about the password in force."""
    assert not decide(claim(), Verdict(Outcome.UNREACHABLE), now=NOW, jitter=0.5).maybe_landed


def test_the_daily_rule_of_a_user_waits_a_day():
    """Too many changes: due in 24 hours."""
    assert decide(claim(), Verdict(Outcome.TOO_MANY_CHANGES), now=NOW, jitter=0.9).due_at == NOW + CHANGES_WAIT


def test_a_providers_wish_outlasts_the_backoff():
    """Retry-After later than the backoff is obeyed."""
    later = NOW + timedelta(minutes=10)
    assert decide(claim(), Verdict(Outcome.PROVIDER_ERROR, retry_at=later), now=NOW, jitter=0.0).due_at == later


@given(st.integers(0, 10_000), st.floats(0, 0.999))
def test_backoff_is_bounded_and_spread(spent, jitter):
    """Between one second and five minutes, never longer, whatever was spent."""
    assert timedelta(seconds=1) <= backoff(spent, jitter) <= timedelta(seconds=300)

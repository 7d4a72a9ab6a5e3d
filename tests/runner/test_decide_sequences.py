"""Decisions over whole lives of tasks, with everything a verdict may carry."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from bulkreset.model import UNCLEAR_LIMIT, Action, Claim, Outcome, TaskState, Verdict
from bulkreset.runner.decide import CHANGES_WAIT, RENEWALS, TRIES, decide
from bulkreset.secret import Secret

NOW = datetime(2026, 1, 31, 22, tzinfo=UTC)
# The provider itself asks to wait, or nothing was sent.
FREE = {Outcome.RATE_LIMITED, Outcome.RELEASED, Outcome.TOO_MANY_CHANGES}
# So many answers that cost something end any task: the last try, renewal or unclear attempt of each kind.
MOST_ANSWERS = TRIES + RENEWALS + UNCLEAR_LIMIT

verdicts = st.builds(
    Verdict,
    st.sampled_from(Outcome),
    retry_at=st.none() | st.integers(-3600, 7200).map(lambda s: NOW + timedelta(seconds=s)),
    pauses_quota=st.booleans(),
)


def free(verdict):
    return verdict.outcome in FREE or (verdict.outcome is Outcome.PROVIDER_ERROR and verdict.pauses_quota)


def live(answers, jitter):
    """Yield (claim, verdict, decision, now) for each attempt of one task until it ends."""
    held = Claim(1, 1, 1, "ada", Action.SET_PASSWORD, NOW, 0, 0, 0, 1, maybe_landed=False, password=Secret("1"))
    now = NOW
    for verdict in answers:
        decided = decide(held, verdict, now=now, jitter=jitter)
        yield held, verdict, decided, now
        if decided.state.final:
            return
        now = decided.due_at
        number = held.password_no + (not decided.keep_password)
        held = Claim(
            1, 1, held.n + 1, "ada", Action.SET_PASSWORD, now,
            decided.tries, decided.unclear, decided.renewals, number,
            maybe_landed=decided.maybe_landed and decided.keep_password, password=Secret(str(number)),
        )  # fmt: skip


@given(st.lists(verdicts, max_size=120), st.floats(0, 0.999))
def test_whatever_comes_in_between_a_task_ends_with_its_counted_answers(answers, jitter):
    """Waits that the provider asks for are free, each other answer brings the end nearer, and an end is an end."""
    counted = 0
    for held, verdict, decided, _ in live(answers, jitter):
        before = held.tries + held.unclear + held.renewals
        after = decided.tries + decided.unclear + decided.renewals
        if decided.state.final:
            assert decided.due_at is None
            assert not decided.keep_password
        else:
            counted += not free(verdict)
            assert after == before + (not free(verdict))
        assert decided.tries >= held.tries
        assert decided.unclear >= held.unclear
        assert decided.renewals >= held.renewals
    assert counted < MOST_ANSWERS


@given(st.lists(verdicts, max_size=60), st.floats(0, 0.999))
def test_nothing_is_due_in_the_past_or_before_the_provider_wishes_or_after_a_day(answers, jitter):
    """A wait is never negative; a wish for one user is kept; without a wish it is at most the 24-hour rule."""
    for _, verdict, decided, now in live(answers, jitter):
        if decided.due_at is None:
            continue
        assert decided.due_at >= now
        wished = verdict.retry_at
        if verdict.outcome is Outcome.RATE_LIMITED and wished and not verdict.pauses_quota:
            assert decided.due_at >= wished
        assert decided.due_at <= max(now + CHANGES_WAIT, wished or now)


@given(st.lists(verdicts, max_size=80), st.floats(0, 0.999))
def test_a_password_that_may_be_in_force_is_never_given_up_without_a_refusal_of_it(answers, jitter):
    """Once a write may stand, the doubt stays until the password is refused; `confirmed` needs that doubt."""
    doubt = False
    for held, verdict, decided, _ in live(answers, jitter):
        assert held.maybe_landed == doubt
        if decided.outcome is Outcome.CONFIRMED and verdict.outcome is not Outcome.CONFIRMED:
            assert doubt
        if decided.state is not TaskState.PENDING:
            return
        refused = verdict.outcome in (Outcome.SAME_PASSWORD, Outcome.POLICY_REJECTED)
        assert decided.keep_password == (not refused)
        doubt = not refused and (doubt or verdict.outcome in (Outcome.UNKNOWN, Outcome.PROVIDER_ERROR))

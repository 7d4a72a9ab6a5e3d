"""What a run of answers does to an account."""

from datetime import UTC, datetime, timedelta

import pytest

from bulkreset.model import Outcome, Verdict
from bulkreset.runner.watch import Watch

NOW = datetime(2026, 1, 31, 22, tzinfo=UTC)
SECOND = timedelta(seconds=1)


@pytest.fixture
def watch():
    return Watch(SECOND)


def see(watch, outcome, *, at=0.0, sent=None, batch_id=1, stale=False, asked_for="", **verdict):
    now = NOW + timedelta(seconds=at)
    sent_at = now if sent is None else NOW + timedelta(seconds=sent)
    said = Verdict(outcome, **verdict)
    return watch.see(said, batch_id=batch_id, sent_at=sent_at, now=now, stale=stale, asked_for=asked_for)


def test_ten_failures_in_a_row_open_the_breaker_and_each_probe_doubles_the_wait(watch):
    """The first pause is 5 s; a probe that fails makes it 10, then 20; one answer closes it again."""
    asked = [see(watch, Outcome.UNKNOWN, at=n) for n in range(10)]
    assert [a.pause_until is not None for a in asked] == [False] * 9 + [True]
    assert asked[-1].pause_until == NOW + timedelta(seconds=9 + 5)
    assert watch.probing
    assert see(watch, Outcome.PROVIDER_ERROR, at=20).pause_until == NOW + timedelta(seconds=20 + 10)
    assert see(watch, Outcome.UNREACHABLE, at=40).pause_until == NOW + timedelta(seconds=40 + 20)
    assert see(watch, Outcome.OK, at=70).pause_until is None
    assert not watch.probing


def test_five_answers_that_cannot_be_read_are_enough(watch):
    """Each such call may have changed a password, so it is a handful; the reason says what is wrong with them."""
    said = "a header is too long"
    asked = [see(watch, Outcome.UNKNOWN, at=n, unreadable=True, message=said) for n in range(5)]
    assert [a.pause_until is not None for a in asked] == [False] * 4 + [True]
    assert asked[-1].reason == f"the answers cannot be read: {said}"
    assert watch.probing
    late = [see(watch, Outcome.UNKNOWN, at=6, sent=3, unreadable=True) for _ in range(500)]
    assert all(a.pause_until is None for a in late)
    assert see(watch, Outcome.UNKNOWN, at=20, unreadable=True).pause_until == NOW + timedelta(seconds=20 + 10)


def test_one_readable_answer_among_them_is_no_reason_to_pause(watch):
    """Where the account does answer, the odd page of a gateway holds up nobody."""
    for _ in range(5):
        assert all(see(watch, Outcome.UNKNOWN, unreadable=True).pause_until is None for _ in range(4))
        see(watch, Outcome.OK)


def test_a_refusal_of_one_user_alone_counts_for_nobody_else(watch):
    """Users with a fault of their own, however many, halt no batch, nor do they hide a run of others."""
    mine = {"only_this_user": True, "message": "Email: cannot be blank"}
    assert all(see(watch, Outcome.UNEXPECTED, **mine).halt_batch is None for _ in range(100))
    asked = []
    for _ in range(20):
        see(watch, Outcome.UNEXPECTED, **mine)
        asked.append(see(watch, Outcome.POLICY_REJECTED).halt_batch)
    assert asked[:19] == [None] * 19
    assert asked[19] is not None


def test_one_answer_between_failures_keeps_the_breaker_closed(watch):
    """Nine failures and an answer, again and again, are users, not an outage."""
    for _ in range(5):
        assert all(see(watch, Outcome.UNKNOWN).pause_until is None for _ in range(9))
        see(watch, Outcome.USER_NOT_FOUND)


def test_calls_sent_before_the_breaker_opened_do_not_open_it_further(watch):
    """What was in flight when it opened fails too, and is no news."""
    for _ in range(10):
        see(watch, Outcome.UNKNOWN)
    assert all(see(watch, Outcome.UNKNOWN, at=1, sent=-1).pause_until is None for _ in range(50))


def test_a_429_without_a_time_waits_one_window_then_doubles_up_to_a_minute(watch):
    """Each new refusal doubles the wait; those that left before the first was known count once."""
    first = see(watch, Outcome.RATE_LIMITED, pauses_quota=True)
    assert first.pause_until == NOW + SECOND
    assert see(watch, Outcome.RATE_LIMITED, at=0.1, sent=-0.1, pauses_quota=True).pause_until is None
    assert see(watch, Outcome.RATE_LIMITED, at=2, pauses_quota=True).pause_until == NOW + timedelta(seconds=4)
    for n in range(3, 20):
        asked = see(watch, Outcome.RATE_LIMITED, at=100 * n, pauses_quota=True)
    assert asked.pause_until == NOW + timedelta(seconds=1900 + 60)


def test_a_429_with_a_time_waits_for_it(watch):
    """The provider's own time is taken as it is."""
    later = NOW + timedelta(hours=5)
    assert see(watch, Outcome.RATE_LIMITED, pauses_quota=True, retry_at=later).pause_until == later


def test_a_429_of_one_user_pauses_nobody_else(watch):
    """The lock of a single user is that user's alone."""
    assert see(watch, Outcome.RATE_LIMITED, pauses_quota=False).pause_until is None


def test_a_401_is_forgiven_once_and_then_halts(watch):
    """One refresh and one more attempt; the next refusal halts."""
    assert see(watch, Outcome.UNAUTHORIZED).halt_account is None
    assert see(watch, Outcome.UNAUTHORIZED, stale=True).halt_account is None
    assert "refuses the login" in see(watch, Outcome.UNAUTHORIZED).halt_account


def test_a_success_between_two_401s_means_two_expired_tokens(watch):
    """A token that worked and then ended is renewed again, hour after hour."""
    for _ in range(5):
        assert see(watch, Outcome.UNAUTHORIZED).halt_account is None
        see(watch, Outcome.OK)


def test_the_first_403_halts(watch):
    """No ten thousand refused calls."""
    asked = see(watch, Outcome.FORBIDDEN, http_status=403, message="No permission.")
    assert "No permission." in asked.halt_account


def test_twenty_same_refusals_in_a_row_halt_their_batch_only(watch):
    """The twentieth halts; a different answer for the same batch starts the count anew."""
    for _ in range(19):
        assert see(watch, Outcome.POLICY_REJECTED).halt_batch is None
        see(watch, Outcome.OK, batch_id=2)
    assert "20 users in a row" in see(watch, Outcome.POLICY_REJECTED, message="too short").halt_batch
    for _ in range(19):
        see(watch, Outcome.UNEXPECTED)
    see(watch, Outcome.OK)
    assert see(watch, Outcome.UNEXPECTED).halt_batch is None


def test_more_failures_than_the_share_among_the_last_hundred_stop_a_batch(watch):
    """Twenty of a hundred may fail at 20 %, the twenty-first stops it; older ones are forgotten."""
    ended = {"halt_at": 0.2}
    assert [watch.ended(1, failed=True, **ended) for _ in range(20)] == [None] * 20
    assert watch.ended(2, failed=True, **ended) is None
    reason = watch.ended(1, failed=True, **ended)
    assert reason == "21 of the last 21 users failed; --halt-at allows 20 in 100"
    for _ in range(20):  # after a resume it is counted anew
        assert watch.ended(1, failed=True, **ended) is None
    for _ in range(100):
        assert watch.ended(1, failed=False, **ended) is None
    assert [watch.ended(1, failed=True, **ended) for _ in range(20)] == [None] * 20


def test_a_few_failures_of_a_few_users_stop_nothing(watch):
    """The share is of a hundred, so that one strange user among three does not look like a disaster."""
    assert [watch.ended(1, failed=True, halt_at=0.2) for _ in range(3)] == [None] * 3
    assert [watch.ended(2, failed=True, halt_at=0.01) for _ in range(2)] == [
        None,
        "2 of the last 2 users failed; --halt-at allows 1 in 100",
    ]


def test_refused_revocations_are_not_hidden_by_passwords_that_are_set_in_between(watch):
    """Both go through one lane where a provider has one pot: twenty in a row of one kind halt the batch."""
    asked = []
    for _ in range(20):
        see(watch, Outcome.OK, asked_for="set_password")
        asked.append(see(watch, Outcome.UNEXPECTED, asked_for="revoke_sessions"))
    assert [one.halt_batch is not None for one in asked] == [False] * 19 + [True]

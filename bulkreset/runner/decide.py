"""What becomes of a task after an attempt. Pure: the claim, the verdict, the time and a random number decide."""

from datetime import datetime, timedelta
from typing import Final

from bulkreset.model import UNCLEAR_LIMIT, Claim, Decision, Outcome, TaskState, Verdict

TRIES: Final = 8
"""Failure tries of a task before it fails, some four minutes; what the provider asks to wait for spends none."""

RENEWALS: Final = 3
"""New passwords made for a task after refusals."""

CHANGES_WAIT: Final = timedelta(hours=24)
_BACKOFF_FIRST_S: Final = 2.0
_BACKOFF_CEILING_S: Final = 300.0

_FINAL: Final = {
    Outcome.OK: TaskState.SUCCEEDED,
    Outcome.CONFIRMED: TaskState.SUCCEEDED,
    Outcome.USER_NOT_FOUND: TaskState.FAILED,
    Outcome.NOT_RESETTABLE: TaskState.SKIPPED,
    Outcome.UNEXPECTED: TaskState.FAILED,
}


def decide(  # noqa: C901, PLR0911, PLR0912  (one case for each outcome; splitting it would hide the list)
    claim: Claim, verdict: Verdict, *, now: datetime, jitter: float
) -> Decision:
    """Return the task's next state; `jitter` in [0, 1) spreads the waiting times.

    Once a call may have changed the user that is never forgotten but by a success: a later refusal, of whatever
    kind, speaks of its own call alone.

    Every path ends: each outcome that sends a task round again spends a try, a renewal or an unclear attempt,
    but for those where the provider itself asks to wait and those that never left.
    """
    outcome = verdict.outcome
    if outcome is Outcome.SAME_PASSWORD and claim.maybe_landed:
        # Refused as the password in force: the attempt whose end was not known did land.
        outcome = Outcome.CONFIRMED
    if outcome in _FINAL:
        return _ended(claim, outcome, _FINAL[outcome])
    match outcome:
        case Outcome.SAME_PASSWORD | Outcome.POLICY_REJECTED:
            if claim.renewals >= RENEWALS:
                return _ended(claim, outcome, TaskState.FAILED)
            return _again(
                claim, outcome, now, renewals=claim.renewals + 1, keep_password=False, maybe_landed=False
            )
        case Outcome.PROVIDER_ERROR if verdict.pauses_quota:
            # A 503 with Retry-After: everybody waits as for a 429, but the write may stand behind it.
            return _again(claim, outcome, now, maybe_landed=True)
        case Outcome.PROVIDER_ERROR | Outcome.UNREACHABLE:
            if claim.tries + 1 >= TRIES:
                return _ended(claim, outcome, TaskState.FAILED)
            due_at = max(now + backoff(claim.tries, jitter), _wished(verdict, now))
            landed = claim.maybe_landed or outcome is Outcome.PROVIDER_ERROR
            return _again(claim, outcome, due_at, tries=claim.tries + 1, maybe_landed=landed)
        case Outcome.UNKNOWN:
            if claim.unclear + 1 >= UNCLEAR_LIMIT:
                return _ended(claim, outcome, TaskState.FAILED)
            due_at = now + backoff(claim.unclear, jitter)
            return _again(claim, outcome, due_at, unclear=claim.unclear + 1, maybe_landed=True)
        case Outcome.FORBIDDEN | Outcome.UNAUTHORIZED:
            # The account's matter; this user goes back, but one that is refused alone must not halt it for ever.
            if claim.tries + 1 >= TRIES:
                return _ended(claim, outcome, TaskState.FAILED)
            return _again(claim, outcome, now, tries=claim.tries + 1)
        case Outcome.TOO_MANY_CHANGES:
            return _again(claim, outcome, now + CHANGES_WAIT)
        case Outcome.RATE_LIMITED:
            return _again(claim, outcome, now if verdict.pauses_quota else _wished(verdict, now))
        case Outcome.RELEASED:
            return _again(claim, outcome, now)
        case _:  # pragma: no cover
            raise AssertionError(f"no decision for {outcome}")


def backoff(spent: int, jitter: float) -> timedelta:
    """Return how long to wait after `spent` earlier failures: doubling, capped, spread over its upper half."""
    ceiling = min(_BACKOFF_FIRST_S * 2.0 ** min(spent, 30), _BACKOFF_CEILING_S)
    return timedelta(seconds=ceiling * (0.5 + 0.5 * jitter))


def _ended(claim: Claim, outcome: Outcome, state: TaskState) -> Decision:
    return Decision(
        state=state,
        outcome=outcome,
        tries=claim.tries,
        unclear=claim.unclear,
        renewals=claim.renewals,
        maybe_landed=claim.maybe_landed,
        maybe_changed=state is not TaskState.SUCCEEDED and (claim.maybe_changed or outcome.may_have_landed),
    )


def _again(
    claim: Claim,
    outcome: Outcome,
    due_at: datetime,
    *,
    tries: int | None = None,
    unclear: int | None = None,
    renewals: int | None = None,
    maybe_landed: bool | None = None,
    keep_password: bool = True,
) -> Decision:
    return Decision(
        state=TaskState.PENDING,
        outcome=outcome,
        due_at=due_at,
        keep_password=keep_password,
        tries=claim.tries if tries is None else tries,
        unclear=claim.unclear if unclear is None else unclear,
        renewals=claim.renewals if renewals is None else renewals,
        maybe_landed=claim.maybe_landed if maybe_landed is None else maybe_landed,
        maybe_changed=claim.maybe_changed or outcome.may_have_landed,
    )


def _wished(verdict: Verdict, now: datetime) -> datetime:
    return now if verdict.retry_at is None else max(now, verdict.retry_at)

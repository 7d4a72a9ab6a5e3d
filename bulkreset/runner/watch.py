"""What a run of answers says about an account: pause it, halt it, or halt the batch. Pure state, no I/O."""

from collections import deque
from dataclasses import dataclass, field, fields
from datetime import datetime, timedelta
from typing import Final

from bulkreset.model import Outcome, Verdict
from bulkreset.options import too_many

# Ten failures with no answer between them are an outage, not ten unlucky users.
_OUTAGE_RUN: Final = 10
# Answers come and none can be read: each call may change a password that nobody will know to be changed.
_UNREADABLE_RUN: Final = 5
# The same refusal for twenty users in a row is a rule that we do not know, not twenty odd users.
_REFUSAL_RUN: Final = 20
_LATELY: Final = 100
_BREAKER_FIRST_S: Final = 5.0
_BREAKER_CEILING_S: Final = 300.0
_LIMITED_CEILING_S: Final = 60.0

_OUTAGE: Final = {Outcome.PROVIDER_ERROR, Outcome.UNREACHABLE, Outcome.UNKNOWN}
_REFUSAL: Final = {Outcome.POLICY_REJECTED, Outcome.UNEXPECTED}
# These say nothing about the provider's health, good or bad.
_SILENT: Final = {Outcome.RELEASED, Outcome.RATE_LIMITED, Outcome.UNAUTHORIZED}


@dataclass(frozen=True, slots=True)
class Action:
    """What an answer asks for beyond its own task; all fields None most of the time."""

    pause_until: datetime | None = None
    halt_account: str | None = None
    halt_batch: str | None = None
    reason: str | None = None


NOTHING: Final = Action()


@dataclass(slots=True)
class Watch:
    """Follow one account's answers in the order they come.

    `window` is the provider's rate window: how long to wait where a 429 names no time.
    """

    window: timedelta
    trusted: bool = True  # the current credentials have not been refused
    probing: bool = False  # the breaker is half open: one call at a time until one is answered
    _failures: int = 0
    _unreadable: int = 0
    _trips: int = 0
    _limited: int = 0
    _limited_at: datetime | None = None
    _deaf_until: datetime | None = None
    _ended: dict[int, deque[bool]] = field(default_factory=dict)
    _refusals: dict[tuple[int, str], tuple[Outcome, int]] = field(default_factory=dict)

    def see(
        self,
        verdict: Verdict,
        *,
        batch_id: int,
        sent_at: datetime | None,
        now: datetime,
        stale: bool,
        asked_for: str = "",
    ) -> Action:
        """Take in one answer. `stale` marks a call that carried credentials replaced since.

        Refusals are counted by what was asked for: where passwords and sessions take turns, each would hide the
        other's.
        """
        outcome = verdict.outcome
        refusal = self._refused((batch_id, asked_for), verdict)
        if outcome is Outcome.RATE_LIMITED:
            return self._rate_limited(verdict, sent_at, now)
        if outcome is Outcome.UNAUTHORIZED:
            return self._unauthorized(verdict, stale=stale)
        if outcome is Outcome.FORBIDDEN:
            return Action(halt_account=f"the provider refuses these credentials: {_said(verdict)}")
        if outcome in _OUTAGE:
            return self._failed(verdict, sent_at, now)
        if outcome not in _SILENT:
            self._failures = self._unreadable = self._trips = self._limited = 0
            self.probing = False
            if not stale:
                self.trusted = True
        return refusal

    def ended(self, batch_id: int, *, failed: bool, halt_at: float) -> str | None:
        """Take in one task that is final; tell why its batch must stop, where too many failed lately.

        The share is always of a hundred: one failure of three users is no sign of anything.
        """
        last = self._ended.setdefault(batch_id, deque(maxlen=_LATELY))
        last.append(failed)
        failures = sum(last)
        if not too_many(failures, _LATELY, halt_at):
            return None
        self._ended.pop(batch_id)
        return (
            f"{failures} of the last {len(last)} users failed; --halt-at allows {halt_at * _LATELY:g} in {_LATELY}"
        )

    def reset(self) -> None:
        """Begin anew, as if there had been no answer yet."""
        fresh = Watch(self.window)
        for part in fields(Watch):
            setattr(self, part.name, getattr(fresh, part.name))

    def failed_lately(self, batch_id: int) -> tuple[int, int]:
        """Return how many of a batch's last users failed, and of how many."""
        last = self._ended.get(batch_id, ())
        return sum(last), len(last)

    def _rate_limited(self, verdict: Verdict, sent_at: datetime | None, now: datetime) -> Action:
        if not verdict.pauses_quota:
            return NOTHING
        if self._limited_at is not None and (sent_at or now) < self._limited_at:
            return NOTHING  # left before the first of these refusals was known: one finding, not many
        self._limited_at = now
        if verdict.retry_at is not None:
            return Action(pause_until=max(verdict.retry_at, now + self.window / 60), reason=_said(verdict))
        wait = min(self.window.total_seconds() * 2**self._limited, _LIMITED_CEILING_S)
        self._limited = min(self._limited + 1, 10)
        return Action(pause_until=now + timedelta(seconds=wait), reason=_said(verdict))

    def _unauthorized(self, verdict: Verdict, *, stale: bool) -> Action:
        if stale:
            return NOTHING
        if self.trusted:
            self.trusted = False  # one refresh and one more attempt
            return NOTHING
        return Action(halt_account=f"the provider refuses the login: {_said(verdict)}")

    def _failed(self, verdict: Verdict, sent_at: datetime | None, now: datetime) -> Action:
        if verdict.pauses_quota and verdict.retry_at is not None:
            return Action(pause_until=verdict.retry_at, reason=f"the provider asks to wait: {_said(verdict)}")
        if self._deaf_until is not None and (sent_at or now) < self._deaf_until:
            return NOTHING  # sent before the breaker opened; it knows already
        self._failures += 1
        self._unreadable += verdict.unreadable
        over = self._failures >= _OUTAGE_RUN or self._unreadable >= _UNREADABLE_RUN
        if not over and not self.probing:
            return NOTHING
        wait = min(_BREAKER_FIRST_S * 2**self._trips, _BREAKER_CEILING_S)
        self._failures, self._unreadable, self._trips, self.probing = 0, 0, min(self._trips + 1, 10), True
        self._deaf_until = now + timedelta(seconds=wait)
        what = "the answers cannot be read" if verdict.unreadable else "calls fail one after another"
        return Action(pause_until=self._deaf_until, reason=f"{what}: {_said(verdict)}")

    def _refused(self, of: tuple[int, str], verdict: Verdict) -> Action:
        """Count the same refusal for one user after another, by batch and by what was asked for."""
        if verdict.outcome in _SILENT or verdict.outcome in _OUTAGE or verdict.only_this_user:
            return NOTHING
        if verdict.outcome not in _REFUSAL:
            self._refusals.pop(of, None)
            return NOTHING
        known, run = self._refusals.get(of, (verdict.outcome, 0))
        run = run + 1 if known is verdict.outcome else 1
        self._refusals[of] = (verdict.outcome, run)
        if run < _REFUSAL_RUN:
            return NOTHING
        self._refusals.pop(of)
        return Action(halt_batch=f"{run} users in a row ended {verdict.outcome}: {_said(verdict)}")


def _said(verdict: Verdict) -> str:
    """Say an answer: `HTTP 400 code 300: …`, `HTTP 403 Forbidden: …`, without a code that repeats the status."""
    status = f"HTTP {verdict.http_status}" if verdict.http_status else ""
    code = verdict.code if verdict.code and verdict.code != str(verdict.http_status) else ""
    answer = " ".join(filter(None, (status, f"code {code}" if code.isdigit() else code)))
    return ": ".join(filter(None, (answer, verdict.message))) or str(verdict.outcome)

"""What becomes of a claim on its way through a lane: the call that is sent for it, the verdict, the closing."""

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Protocol

from bulkreset.model import Action, Claim, Decision, Outcome, Result, Skip, TaskState, Verdict
from bulkreset.options import Options
from bulkreset.passwords.escrow import kept_until, recipients
from bulkreset.providers.base import Answer, Call, Provider
from bulkreset.runner.decide import decide
from bulkreset.runner.watch import Watch
from bulkreset.store.due import OpenBatch
from bulkreset.store.results import Closing, Escrowed


class Guard(Protocol):
    """Knows who is never reset, by lists that may change while a worker runs."""

    def __call__(self, account: str, *names: str | None) -> bool:
        """Tell whether a user who is known by these names is protected by any of them."""

    def digest(self, account: str) -> str:
        """Say what an account's list is, so that equal lists say the same."""


PROTECTED: Final = Verdict(
    Outcome.NOT_RESETTABLE, code=Skip.PROTECTED, message="protected by the configuration; nothing was sent"
)


@dataclass(slots=True)
class Handling:
    """The claims of one account; `batches` are those that they belong to, as they were when last claimed from."""

    provider: Provider
    guard: Guard
    batches: dict[int, OpenBatch] = field(default_factory=dict)

    def know(self, batches: Mapping[int, OpenBatch]) -> None:
        """Take in the batches of a claim; before anything else is done with its claims."""
        self.batches |= batches

    def call(self, claim: Claim) -> Call | None:
        """Build the call of a claim; None where its user must not be touched, whatever the roster says.

        Raises ValueError for a reference that cannot be one of the provider's.
        """
        if self.guard(self.provider.account, claim.user_ref, claim.display, claim.user_id):
            return None
        if claim.action is Action.REVOKE_SESSIONS:
            return self.provider.revoke_sessions(claim.user_ref)
        if claim.password is None:
            raise ValueError(
                "its sealed password does not open: the row was altered or damaged; give it a new one with "
                f"`bulkreset batch retry {claim.batch_id}`"
            )
        return self.provider.set_password(claim.user_ref, claim.password)

    def classify(self, claim: Claim, answer: Answer, now: datetime) -> Verdict:
        """Say what an answer to the call of a claim means."""
        mask = tuple(self.provider.auth.secrets())
        if claim.password is None:
            return self.provider.classify_revocation(answer, now=now, mask=mask)
        return self.provider.classify(answer, now=now, mask=(claim.password.reveal(), *mask))

    def close(
        self, claim: Claim, verdict: Verdict, sent_at: datetime | None, closed_at: datetime, latency_ms: int | None
    ) -> Closing:
        """Decide what becomes of the task; a password that is in force is sealed to the escrow at once."""
        decision = decide(claim, verdict, now=closed_at, jitter=random.random())  # noqa: S311
        return Closing(
            Result(claim, verdict, sent_at, closed_at, latency_ms),
            decision,
            chained=self._chained(claim),
            escrowed=self._escrowed(claim, decision, closed_at),
        )

    def too_many_failed(self, watch: Watch, closed: Closing) -> str | None:
        """Tell why a batch must stop, where the share of failures among its last results is too large."""
        claim = closed.result.claim
        if claim.action is not Action.SET_PASSWORD or not closed.decision.state.final:
            return None
        failed = closed.decision.state is TaskState.FAILED
        return watch.ended(claim.batch_id, failed=failed, halt_at=self._options(claim).halt_at)

    def _options(self, claim: Claim) -> Options:
        return self.batches[claim.batch_id].options

    def _chained(self, claim: Claim) -> bool:
        return claim.action is Action.SET_PASSWORD and self._options(claim).revoke_sessions

    def _escrowed(self, claim: Claim, decision: Decision, closed_at: datetime) -> Escrowed | None:
        options = self._options(claim)
        if claim.password is None or not options.escrow_to or decision.state is not TaskState.SUCCEEDED:
            return None
        sealed = recipients(options.escrow_to).seal(claim.password)
        return Escrowed(sealed, kept_until(closed_at, options.escrow_days))

"""The words of the product as values: states, outcomes, and what crosses from one layer to the next."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from bulkreset.secret import Secret


class Action(StrEnum):
    """What a task does to its user."""

    SET_PASSWORD = "set_password"  # noqa: S105  (the name of an action, not a password)
    REVOKE_SESSIONS = "revoke_sessions"


class TaskState(StrEnum):
    """Where a task stands; every roster row ends in exactly one of the last four."""

    PENDING = "pending"  # waits for its due_at; → running by a claim, → cancelled with its batch
    RUNNING = "running"  # claimed; → pending by retry, release or rescue, → a final state by its result
    SUCCEEDED = "succeeded"
    FAILED = "failed"  # → pending only by `batch retry`
    SKIPPED = "skipped"  # not resettable, or already open in another batch
    CANCELLED = "cancelled"

    @property
    def final(self) -> bool:
        """Whether nothing more will be sent for a task in this state."""
        return self not in (TaskState.PENDING, TaskState.RUNNING)


class Skip(StrEnum):
    """Why somebody on a roster is not called at all; it stands as the code of the skipped task."""

    PROTECTED = "protected"  # named in the account's configuration
    SELF = "self"  # the identity that bulkreset itself runs as
    OWNER = "owner"  # the account's owner
    ADMIN = "admin"  # unless admins were asked for
    NOT_LISTED = "not_listed"  # named by an id or address that the listing lacks: nothing is known of them
    UNREADABLE = "unreadable"  # the listing's own names for them cannot be shown, or cannot be called
    SSO = "sso"  # signs in elsewhere only; sessions may be ended all the same
    LOGIN = "login"  # signs in with Google, Facebook, Apple … : there is no password here
    SUSPENDED = "suspended"
    INACTIVE = "inactive"
    PENDING = "pending_invitation"
    BOT = "bot"
    RECENT = "recently_reset"  # by another batch, since the time that was given
    NO_PASSWORD = "no_password"  # noqa: S105  (sessions are left alone where no new password is known to be set)
    OPEN_ELSEWHERE = "open_elsewhere"  # in another batch that is not finished


class BatchState(StrEnum):
    """Where a batch stands."""

    DRAFT = "draft"  # waits for its approvals; → open by the last of them
    OPEN = "open"  # its due tasks are claimed; → done when the last task is final
    PAUSED = "paused"  # by an operator; → open by `batch resume`
    HALTED = "halted"  # by the runner, which says why; → open by `batch resume`
    CANCELLED = "cancelled"  # no task is claimed any more; calls in flight still end and are recorded
    DONE = "done"  # → open only by `batch retry`

    @classmethod
    def stored(cls, word: str) -> "BatchState":
        """Read a state from its row; a word that is none was put there by damage, and stands for a halt."""
        try:
            return cls(word)
        except ValueError:
            return cls.HALTED

    @property
    def final(self) -> bool:
        """Whether nothing goes on in a batch in this state, unless somebody retries its failed tasks."""
        return self in (BatchState.CANCELLED, BatchState.DONE)


DAMAGED: Final = "damaged"
"""The code of a failed task whose row was not as it was written: nothing was sent for it since."""


UNCLEAR_LIMIT: Final = 20
"""After so many attempts whose end is not known a task fails, with outcome `unknown`."""


class Outcome(StrEnum):
    """What one attempt came to. The list is closed: anything new is `unexpected` until it is understood."""

    OK = "ok"
    CONFIRMED = "confirmed"
    SAME_PASSWORD = "same_password"  # noqa: S105
    POLICY_REJECTED = "policy_rejected"
    TOO_MANY_CHANGES = "too_many_changes"
    USER_NOT_FOUND = "user_not_found"
    NOT_RESETTABLE = "not_resettable"
    RATE_LIMITED = "rate_limited"
    UNAUTHORIZED = "unauthorized"
    FORBIDDEN = "forbidden"
    PROVIDER_ERROR = "provider_error"
    UNREACHABLE = "unreachable"
    UNKNOWN = "unknown"
    RELEASED = "released"
    UNEXPECTED = "unexpected"

    @property
    def may_have_landed(self) -> bool:
        """Whether the change may stand although this is no success: the write was sent and not surely refused."""
        return self in (Outcome.UNKNOWN, Outcome.PROVIDER_ERROR)


@dataclass(frozen=True, slots=True, order=True)
class Quota:
    """One pot of calls: an account's label, shared by every process that calls there."""

    account: str
    label: str


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to send one call: attempt `n` of a task, at `slot_at`, with this password.

    `tries`, `unclear`, `renewals`, `maybe_landed` and `maybe_changed` are the task's values *before* this attempt;
    they cannot change while the claim is held, so its result can be decided without reading the task again.
    `maybe_landed` is about this password, `maybe_changed` about any that was sent before.
    """

    task_id: int
    batch_id: int
    n: int
    user_ref: str
    action: Action
    slot_at: datetime
    tries: int
    unclear: int
    renewals: int
    password_no: int
    maybe_landed: bool
    password: Secret | None  # None where the action needs none
    display: str = ""
    user_id: str | None = None
    maybe_changed: bool = False


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a provider's answer means, before the task's own history is taken into account.

    `retry_at` is the provider's own wish for the next call: of the whole quota where `pauses_quota`,
    else of this one user. `code` and `message` are the provider's, sanitised. `unreadable` where an answer came
    that is none of the provider's; `only_this_user` where a refusal says nothing about the next user.
    """

    outcome: Outcome
    http_status: int | None = None
    code: str | None = None
    message: str | None = None
    request_id: str | None = None
    retry_at: datetime | None = None
    pauses_quota: bool = False
    elsewhere: bool = False  # the user signs in elsewhere: there is no password here, but there are sessions
    unreadable: bool = False
    only_this_user: bool = False


@dataclass(frozen=True, slots=True)
class Decision:
    """What becomes of a task after an attempt: its next state and the counters that go with it.

    `due_at` is set exactly where the state is pending. `keep_password` tells whether the next attempt sends
    the same password; a final state never keeps it.
    """

    state: TaskState
    outcome: Outcome
    due_at: datetime | None = None
    keep_password: bool = False
    tries: int = 0
    unclear: int = 0
    renewals: int = 0
    maybe_landed: bool = False
    maybe_changed: bool = False


@dataclass(frozen=True, slots=True)
class Result:
    """A claim with what came of it; `sent_at` is None where the request surely never left."""

    claim: Claim
    verdict: Verdict
    sent_at: datetime | None
    closed_at: datetime
    latency_ms: int | None

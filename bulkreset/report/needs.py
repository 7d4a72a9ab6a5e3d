"""What a batch or an account waits for, and the command that goes on with it."""

from typing import TYPE_CHECKING, Final

from bulkreset.model import BatchState, TaskState
from bulkreset.report.words import clock
from bulkreset.store.agreement import LEASE
from bulkreset.store.batches import Batch

if TYPE_CHECKING:
    from datetime import datetime

    from bulkreset.report.status import AccountStatus, BatchStatus, RequestStatus, Status, WorkerStatus

_NAMED: Final = 5
_HASH_SHOWN: Final = 12  # as many digits of a roster's hash as tell it from another

SILENT_AFTER: Final = LEASE
"""A worker that has told nothing for so long was stopped or cut off."""


def need(one: "BatchStatus", found: "Status", *, working: bool = False) -> str | None:
    """Say what an unfinished batch needs from a person; None where it goes on by itself.

    `working` says that the asking process is itself a worker, which its database may not know yet, and that it
    says itself when the next call is due.
    """
    batch = one.batch
    match batch.state:
        case BatchState.DRAFT:
            missing = max(1, batch.approvals_needed - one.approvals)
            return f"needs {missing} approval{'s' * (missing > 1)}: `bulkreset batch approve {batch.id}`"
        case BatchState.HALTED | BatchState.PAUSED:
            reason, resume = batch.state_reason or str(batch.state), f"`bulkreset batch resume {batch.id}`"
            if resume in reason:
                return reason
            look = f"look at `bulkreset report {batch.id} --state failed`, then "
            first = look if batch.state is BatchState.HALTED and batch.counts[TaskState.FAILED] else ""
            return f"{reason.rstrip('.')}; {first}go on with {resume}"
        case BatchState.OPEN:
            return _wait(one, found, working=working)
    return None


def harm(one: "BatchStatus") -> str | None:
    """Name the damaged tasks of a batch, and say what to do about them; None where there are none."""
    if not one.batch.is_damaged:
        return None
    named = "; ".join(f"{each.user}: {each.message}" for each in one.damaged[:_NAMED])
    more = one.batch.damaged - min(len(one.damaged), _NAMED)
    rest = f"{named} and {more:,} more" if named and more else named or "their rows are gone"
    return (
        f"{one.batch.damaged:,} damaged ({rest}): look into it, then `bulkreset batch retry {one.batch.id}`, or "
        f"`bulkreset batch close {one.batch.id}` and order them again"
    )


def next_steps(batch: Batch) -> list[str]:
    """Return the commands that come next for a batch that a run has left as it is."""
    steps = []
    if batch.state is BatchState.DRAFT:
        steps.append(f"bulkreset batch approve {batch.id} --roster {batch.roster_sha256[:_HASH_SHOWN]}")
    if batch.counts["failed"] or batch.sessions["failed"]:
        steps.append(f"bulkreset report {batch.id} --state failed")
    if batch.state in (BatchState.HALTED, BatchState.PAUSED):
        steps.append(f"bulkreset batch resume {batch.id}")
    if batch.state is BatchState.DONE and batch.closed_at is None:
        steps.append(f"bulkreset batch close {batch.id}")
    return steps


def account_wait(one: "AccountStatus", now: "datetime") -> str | None:
    """Say why nothing is sent to an account now, and until when; None where it can be called."""
    if one.halted_reason:
        # What a login failed of names its account first, which stands beside this already.
        return f"halted: {one.halted_reason.removeprefix(f'account {one.account!r}: ')}"
    if one.paused_until:
        return f"paused until {clock(one.paused_until, now)} UTC: {one.pause_reason or 'no reason given'}"
    return None


def request_need(one: "RequestStatus") -> str:
    """Say what an order by SQL waits for."""
    if one.state == "refused":
        return f"{one.message or 'no reason given'}; correct it and insert a new request"
    return one.message or "a running worker takes it up"


def is_halted(account: str, found: "Status") -> bool:
    """Whether an account is called again only when a person has acted."""
    return any(one.halted_reason for one in found.accounts if one.account == account)


def is_alive(one: "WorkerStatus", found: "Status") -> bool:
    """Whether a worker has told lately that it is there."""
    return one.seen.ended_at is None and found.now - one.seen.seen_at <= SILENT_AFTER


def _wait(one: "BatchStatus", found: "Status", *, working: bool) -> str | None:
    """Say what an open batch waits for, and until when."""
    batch = one.batch
    if is_halted(batch.account, found):
        return f"its account is halted; fix the cause, then `bulkreset batch resume {batch.id}`"
    if batch.state_reason:  # a worker cannot use its account
        return batch.state_reason
    if batch.not_before is not None and batch.not_before > found.now:
        return f"starts {batch.not_before:%Y-%m-%d %H:%M} UTC"
    if working:
        return None
    waits = [] if one.next_due_at is None else [f"nothing is due before {one.next_due_at:%Y-%m-%d %H:%M:%S} UTC"]
    if batch.left and not any(is_alive(worker, found) for worker in found.workers):
        waits.append("no worker is running: start one with `bulkreset run`")
    return "; ".join(waits) or None

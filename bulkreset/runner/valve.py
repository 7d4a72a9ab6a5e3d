"""The valve of one account: the pauses and halts that all of its lanes obey."""

from datetime import datetime
from typing import Protocol

from bulkreset.logs import logger
from bulkreset.model import Quota
from bulkreset.runner.recorder import Recorder
from bulkreset.store.quotas import Halt, Pause


class Member(Protocol):
    """A lane, as its valve knows it."""

    quota: Quota

    def drop(self, batch_id: int | None = None, why: str = "") -> None:
        """Send nothing of a batch, or of any, that has not left."""

    def reopened(self) -> None:
        """Count refusals from nothing again: somebody has lifted the halt."""


class Valve:
    """Shuts at once, and has the reason written down.

    A pause is of one quota and ends by itself; a halt is of the account, and a person ends it. What was found here
    may not be in the tables yet: until `settled` a quota row says less than is known.
    """

    def __init__(self, account: str, recorder: Recorder) -> None:
        self.account = account
        self.halted: str | None = None
        self._recorder = recorder
        self._finding = 0  # the recorder's number of the last one
        self._pauses: dict[Quota, datetime] = {}
        self._members: list[Member] = []

    def join(self, member: Member) -> None:
        """Have one more lane obey."""
        self._members.append(member)

    def leave(self, member: Member) -> None:
        """Forget a lane that has ended."""
        self._members.remove(member)

    @property
    def settled(self) -> bool:
        """Whether all that was found here is saved."""
        return self._finding <= self._recorder.saved

    def paused_until(self, which: Quota) -> datetime | None:
        """Return until when nothing leaves under a quota; None where it may."""
        return self._pauses.get(which)

    def note_pause(self, which: Quota, until: datetime | None) -> None:
        """Take in what a quota row or the login says; nothing is dropped for it."""
        if until is None:
            self._pauses.pop(which, None)
        else:
            self._pauses[which] = until

    def note_halt(self, reason: str) -> None:
        """Take in that the account is halted already."""
        if self.halted != reason:
            self.halted = reason
            logger().error("account_halted", account=self.account, reason=reason)

    def pause(self, which: Quota, until: datetime, reason: str) -> None:
        """Let nothing leave under this quota before then."""
        logger().warning("account_paused", account=self.account, until=until.isoformat(), reason=reason)
        self._finding = self._recorder.put(pause=Pause(which, until, reason))
        for member in self._members:
            if member.quota == which:
                member.drop(why="its account was paused")
        self._pauses[which] = until

    def halt(self, which: Quota, reason: str) -> None:
        """Let nothing leave from any lane before somebody has acted; `which` is where it was found."""
        if self.halted is None:
            logger().error("account_halted", account=self.account, reason=reason)
        self.halted = reason
        self._finding = self._recorder.put(halt=Halt(which, reason))
        for member in self._members:
            member.drop(why="its account was halted")

    def halt_batch(self, batch_id: int, reason: str) -> None:
        """Let nothing of this batch leave before somebody has acted; the account's other batches go on."""
        self._finding = self._recorder.put(batch_halt=(batch_id, reason))
        for member in self._members:
            member.drop(batch_id, why="its batch was halted")

    def drop(self, why: str) -> None:
        """Send nothing that has not left."""
        for member in self._members:
            member.drop(why=why)

    def lift(self) -> None:
        """Open again: the halt is gone from the tables."""
        self.halted = None
        for member in self._members:
            member.reopened()

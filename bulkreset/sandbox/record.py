"""The record of every call that reached a tenant: what the product's own audit is held against."""

from collections import deque
from dataclasses import asdict, dataclass


@dataclass(slots=True)
class CallRecord:
    """One call; `status` is None while it is open and where the connection was dropped without an answer."""

    seq: int
    t: float
    label: str | None
    method: str
    path: str
    user: str | None
    ref: str | None
    request_id: str | None
    user_agent: str | None
    status: int | None = None
    code: str | int | None = None
    fault: str | None = None
    applied: bool = False
    password_sha256: str | None = None
    open: bool = True

    def as_dict(self) -> dict[str, object]:
        """Return the call as one JSON object."""
        return asdict(self)


class CallLog:
    """The last `keep` calls in the order of their arrival; with 0 they are only counted."""

    __slots__ = ("_calls", "total")

    def __init__(self, keep: int) -> None:
        self.total = 0
        self._calls: deque[CallRecord] = deque(maxlen=keep)

    @property
    def calls(self) -> list[CallRecord]:
        """The calls still kept, oldest first."""
        return list(self._calls)

    def add(self, call: CallRecord) -> None:
        """Append a call; the oldest falls out where the log is full."""
        self.total += 1
        self._calls.append(call)

    def resize(self, keep: int) -> None:
        """Keep so many calls from now on."""
        if keep != self._calls.maxlen:
            self._calls = deque(self._calls, maxlen=keep)

    def clear(self) -> None:
        """Forget the calls; their numbers go on."""
        self._calls.clear()

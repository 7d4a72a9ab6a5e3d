"""The log beneath a live view: the last lines that need a person, in words, each once."""

from collections import deque
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from bulkreset.unsafe import escaped

_KEPT: Final = 4
_FIRST: Final = ("account", "batch", "request")
_HIDDEN: Final = frozenset({"event", "level", "timestamp", "exception", "reason"})
# The view says these itself, at its own place.
_IN_VIEW: Final = frozenset({"database_away", "results_waiting", "results_saved", "claim_failed", "halt_not_read"})


class Notices:
    """Takes log events and keeps the last as lines; one that comes again is counted, not repeated."""

    def __init__(self, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._now = now
        self._lines: deque[tuple[str, str, int]] = deque(maxlen=_KEPT)

    def __call__(self, event: Mapping[str, Any]) -> None:
        """Take in one event."""
        if event.get("event") in _IN_VIEW:
            return
        text, at, known = in_words(event), f"{self._now():%H:%M:%S}", 0
        for line in list(self._lines):
            if line[1] == text:
                known = line[2]
                self._lines.remove(line)
        self._lines.append((at, text, known + 1))

    def __iter__(self) -> Any:
        """Yield the lines, the oldest first."""
        for at, text, count in self._lines:
            yield f"{at} {text}{f' ({count} times)' if count > 1 else ''}"


def in_words(event: Mapping[str, Any]) -> str:
    """Say an event to a person: `account halted: zoom: the provider refuses …`."""
    parts = [str(event.get("event", "")).replace("_", " ")]
    parts += [f"{'' if name == 'account' else f'{name} '}{event[name]}" for name in _FIRST if name in event]
    if "reason" in event:
        parts.append(str(event["reason"]))
    rest = [f"{name} {value}" for name, value in event.items() if name not in _HIDDEN and name not in _FIRST]
    return escaped(" ".join(": ".join([*parts, *([", ".join(rest)] if rest else [])]).split()))

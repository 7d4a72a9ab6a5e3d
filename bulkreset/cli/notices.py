"""The log beneath a live view: the last lines that need a person, in words, each once."""

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from bulkreset.report.words import clock
from bulkreset.unsafe import escaped

_KEPT: Final = 4
_FIRST: Final = ("account", "batch", "request")
_UNTIL: Final = "until"
_HIDDEN: Final = frozenset({"event", "level", "timestamp", "exception", "reason"})
# The view says these itself, at its own place.
_IN_VIEW: Final = frozenset({"database_away", "results_waiting", "results_saved", "claim_failed", "halt_not_read"})


@dataclass(frozen=True, slots=True)
class _Line:
    at: str
    same: str  # what lines have in common that are one line
    text: str
    times: int


class Notices:
    """Takes log events and keeps the last as lines; one that comes again is counted, not repeated."""

    def __init__(self, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._now = now
        self._lines: deque[_Line] = deque(maxlen=_KEPT)

    def __call__(self, event: Mapping[str, Any]) -> None:
        """Take in one event."""
        if event.get("event") in _IN_VIEW:
            return
        now, known = self._now(), 0
        # A pause that is asked for again differs by its end alone: it is the same one, and the last end counts.
        same = in_words({name: value for name, value in event.items() if name != _UNTIL}, now)
        for line in list(self._lines):
            if line.same == same:
                known = line.times
                self._lines.remove(line)
        self._lines.append(_Line(f"{now:%H:%M:%S}", same, in_words(event, now), known + 1))

    def __iter__(self) -> Any:
        """Yield the lines, the oldest first."""
        for line in self._lines:
            yield f"{line.at} {f'({line.times} times) ' if line.times > 1 else ''}{line.text}"


def in_words(event: Mapping[str, Any], now: datetime) -> str:
    """Say an event to a person: `account paused: staff: until 21:45:05 UTC: HTTP 429: …`."""
    parts = [str(event.get("event", "")).replace("_", " ")]
    parts += [f"{'' if name == 'account' else f'{name} '}{event[name]}" for name in _FIRST if name in event]
    if _UNTIL in event:
        parts.append(f"until {clock(datetime.fromisoformat(event[_UNTIL]), now)} UTC")
    if "reason" in event:
        parts.append(str(event["reason"]))
    said = {*_HIDDEN, *_FIRST, _UNTIL}
    rest = [f"{name} {value}" for name, value in event.items() if name not in said]
    return escaped(" ".join(": ".join([*parts, *([", ".join(rest)] if rest else [])]).split()))

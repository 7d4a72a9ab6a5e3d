"""Logging: structured JSON lines on standard error, for our own events and for the libraries' alike.

What may be logged is decided where it is logged: events carry named, harmless fields. The libraries below us
are held at WARNING whatever the level, because their debug lines show headers, parameters and statements.
"""

import logging
import sys
from collections.abc import Callable, Sequence
from typing import Final

import structlog
from structlog.typing import EventDict, FilteringBoundLogger, WrappedLogger

from bulkreset.secret import MASK, Secret

LEVELS: Final = ("debug", "info", "warning", "error")
_NEVER: Final = frozenset(
    {
        "password",
        "authorization",
        "token",
        "access_token",
        "client_secret",
        "api_token",
        "key",
        "body",
        "headers",
    }
)


Sink = Callable[[EventDict], None]
"""What takes the events of a log that is shown rather than written."""


def configure(level: str = "info", sink: Sink | None = None) -> None:
    """Send log lines of this level and above to standard error, one JSON object a line; or all to a sink."""
    number = getattr(logging, level.upper())
    shared: list[structlog.typing.Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        drop_secrets,
        structlog.processors.format_exc_info,
    ]
    structlog.configure(
        processors=[*shared, structlog.processors.JSONRenderer(default=str) if sink is None else _into(sink)],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )
    root = logging.getLogger()
    root.handlers[:] = [_written(shared) if sink is None else _Shown(sink)]
    root.setLevel(max(number, logging.WARNING))


def logger() -> FilteringBoundLogger:
    """Return the logger of the product."""
    log: FilteringBoundLogger = structlog.get_logger()
    return log


def _into(sink: Sink) -> structlog.typing.Processor:
    def show(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
        sink(event)
        raise structlog.DropEvent

    return show


def _written(shared: Sequence[structlog.typing.Processor]) -> logging.Handler:
    """Return what writes the lines of libraries in the form of our own."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(default=str),
            ],
        )
    )
    return handler


class _Shown(logging.Handler):
    """Hands the lines of libraries to a sink."""

    def __init__(self, sink: Sink) -> None:
        super().__init__()
        self._sink = sink

    def emit(self, record: logging.LogRecord) -> None:
        """Pass one line on, without its traceback."""
        self._sink({"event": record.getMessage(), "level": record.levelname.lower()})


def drop_secrets(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Mask every field whose name or type says that it must not be shown; the last net, not the first."""
    for name, value in event.items():
        if name.lower() in _NEVER or isinstance(value, Secret):
            event[name] = MASK
    return event

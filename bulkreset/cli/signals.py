"""How a run is stopped from outside: SIGTERM, Ctrl-C, and the hang-up of a terminal that is closed."""

import asyncio
import os
import signal
import sys
from typing import TYPE_CHECKING, Final, TextIO

from bulkreset.cli.output import say

if TYPE_CHECKING:
    from bulkreset.config import Settings
    from bulkreset.runner.worker import Worker

_SHOW_CURSOR: Final = "\x1b[?25h"  # DECTCEM, which a live view resets
_STANDARD_STREAMS: Final = (0, 1, 2)


def obey_signals(worker: "Worker", settings: "Settings") -> None:
    """Stop the worker cleanly at the first signal, and end the process at once at a further SIGTERM or SIGINT.

    A hang-up never ends it at once: a closing terminal may send several. One that was ignored from the start, as
    `nohup` has it, stays ignored.
    """
    loop = asyncio.get_running_loop()

    def obey(number: signal.Signals) -> None:
        if worker.stopping and number != signal.SIGHUP:
            try:
                if sys.__stderr__ is not None and sys.__stderr__.isatty():
                    _leave_view(worker, sys.__stderr__)  # what is written to sys.stderr goes through the view
            finally:
                os._exit(128 + number)  # the crash case: open attempts are rescued at the next start
        if number == signal.SIGHUP:
            _leave_terminal()
        if not worker.stopping:
            worker.stop(signal=number.name, message=describe(worker, settings))

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
            loop.add_signal_handler(number, obey, number)


def describe(worker: "Worker", settings: "Settings") -> str:
    """Say what a stopping worker waits for."""
    waiting = worker.on_their_way
    if not waiting:
        return "stopping: no call is on its way; saving the results"
    calls = f"{waiting:,} call{'' if waiting == 1 else 's'} on {'its' if waiting == 1 else 'their'} way"
    return f"stopping: {calls}, up to {settings.http.total_timeout:g} s; Ctrl-C again ends at once"


def _leave_view(worker: "Worker", out: TextIO) -> None:
    """Say beneath a live view what an end at once leaves, and give the terminal its cursor back."""
    waiting = worker.on_their_way
    calls = f"{waiting:,} call{' was' if waiting == 1 else 's were'} on {'its' if waiting == 1 else 'their'} way"
    out.write(_SHOW_CURSOR + "\n")
    say(f"bulkreset: ended at once; {calls}, and the next run sees to that", rest="  ", out=out)


def _leave_terminal() -> None:
    """Let nothing fail that is still written to a terminal which has gone."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in (sys.stdout, sys.stderr):
        if stream is not None and stream.isatty():
            stream.flush()
    for descriptor in _STANDARD_STREAMS:
        if os.isatty(descriptor):
            os.dup2(nowhere, descriptor)
    os.close(nowhere)

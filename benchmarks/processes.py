"""Child processes: started, measured, bounded in time, and ended by their own id whatever happens.

The parent imports nothing heavy: a child's peak memory as the system counts it includes what the parent held
when it started the child, so it must stay well below any program measured here.
"""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Timer
from time import monotonic
from typing import Any, Final

CHECKOUT: Final = Path(__file__).resolve().parent.parent
_END_S: Final = 10.0


class RunFailed(Exception):  # noqa: N818  (named for what happened)
    """A program did not do its work; the text ends with what it said."""


@dataclass(frozen=True, slots=True)
class Ended:
    """What a program said and what it took; `cpu_s` and `peak_bytes` are its own, without its parent's."""

    stdout: str
    elapsed_s: float
    cpu_s: float
    peak_bytes: int

    def json(self) -> Any:
        """Read its last line as JSON."""
        return json.loads(self.stdout.strip().splitlines()[-1])


def python(*arguments: object) -> list[str]:
    """Return a command for this Python."""
    return [sys.executable, *map(str, arguments)]


def run(
    command: Sequence[str],
    *,
    within_s: float,
    allowed: frozenset[int] = frozenset({0}),
    env: Mapping[str, str] | None = None,
    meanwhile: Callable[[int], None] | None = None,
) -> Ended:
    """Run a program to its end; `meanwhile` is called with its id. Raises RunFailed."""
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as errors:
        started = monotonic()
        child = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=out, stderr=errors, cwd=CHECKOUT, env=environment(env)
        )
        timer = Timer(within_s, child.kill)
        timer.start()
        try:
            if meanwhile is not None:
                meanwhile(child.pid)
            _, status, usage = os.wait4(child.pid, 0)
            child.returncode = os.waitstatus_to_exitcode(status)
            elapsed = monotonic() - started
        finally:
            timer.cancel()
            if child.returncode is None:
                child.kill()
                child.wait()
        out.seek(0)
        errors.seek(0)
        if child.returncode not in allowed:
            raise RunFailed(
                f"{' '.join(command[1:4])} … ended with {child.returncode} after {elapsed:.1f} s: "
                f"{errors.read()[-1500:].strip()}"
            )
        return Ended(out.read(), elapsed, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024)


@contextmanager
def serving(command: Sequence[str], *, punctual: bool = False) -> Iterator[str]:
    """Start a server that prints `{"url": …}` when it listens; yield its address and end it afterwards.

    A `punctual` one stands for a machine of its own: where the system lets us, it does not queue for a
    processor behind the programs that it times.
    """
    child = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, cwd=CHECKOUT, env=environment(), text=True
    )
    timer = Timer(_END_S * 3, child.kill)  # a server that never gets ready must not keep us waiting
    timer.start()
    try:
        assert child.stdout is not None
        line = child.stdout.readline()
        timer.cancel()
        if punctual:
            with contextlib.suppress(PermissionError):
                os.setpriority(os.PRIO_PROCESS, child.pid, -15)
        if not line:
            raise RunFailed(f"{' '.join(command[1:4])} did not start")
        yield json.loads(line)["url"]
    finally:
        timer.cancel()
        child.terminate()
        try:
            child.wait(_END_S)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
        if child.stdout is not None:
            child.stdout.close()


def cpu_s(pid: int) -> float:
    """Return the processor time that a running process and its threads have used so far."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def environment(more: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment for a child: quiet, without settings of bulkreset's own, and compiled only once."""
    quiet = {name: value for name, value in os.environ.items() if not name.startswith("BULKRESET_")}
    quiet.pop("PYTHONDONTWRITEBYTECODE", None)  # a start would be timed that no installed program has
    return {**quiet, "BULKRESET_LOG_LEVEL": "error", **(more or {})}

"""A document's console blocks, played one after the other in one folder, as a reader would type them.

`python tests/docs/story.py DOCUMENT` plays its story and writes what is printed now wherever the document differs.
"""

import fcntl
import os
import pty
import re
import select
import shlex
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import termios
from contextlib import suppress
from pathlib import Path
from time import monotonic

from console_block import blocks
from printed import first_difference

ROOT = Path(__file__).resolve().parents[2]
PERSON = "ada"
"""Who gives a command whose prompt names nobody."""

COLUMNS, ROWS = 100, 40
_PATIENCE_S = 60
_PASSING = "listing the account"  # overwritten on a terminal when it is done
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_DRAWN_AGAIN = re.compile(r"\x1b\[[0-9]*A|\r(?!\n)")

# The program as two people would call it: a test has one login only, so it is told whose this is.
_PROGRAM = """#!{python}
import dataclasses, os, sys
from bulkreset.cli import identity
if person := os.environ.get("STORY_PERSON"):
    real = identity.surroundings
    identity.surroundings = lambda: dataclasses.replace(real(), user=person, login_uid=None, environment={{}})
from bulkreset.cli.app import main
sys.exit(main())
"""

_SHELL = """
cd "$(cat {state}/folder)"; [ -e {state}/exported ] && . {state}/exported
export STORY_PERSON={person}
{command}
code=$?
export -p > {state}/exported; pwd > {state}/folder; exit $code
"""


class Story:
    """One folder, in which commands follow each other; what they start ends with it."""

    def __init__(self, folder, environment=None):
        self.folder = folder / "story"
        self._state = folder / "state"
        programs = folder / "bin"
        for made in (self.folder, self._state, programs):
            made.mkdir()
        (self._state / "folder").write_text(str(self.folder))
        (programs / "bulkreset").write_text(_PROGRAM.format(python=sys.executable))
        (programs / "bulkreset").chmod(0o755)
        self._environment = {
            **{name: os.environ[name] for name in ("HOME", "TMPDIR", "LANG") if name in os.environ},
            "PATH": f"{programs}:{Path(sys.executable).parent}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "TERM": "xterm",
            "NO_COLOR": "1",
            "LC_ALL": "C.UTF-8",
            **(environment or {}),
        }
        self._port = _free_port()
        self._servers = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for server in self._servers:
            with suppress(ProcessLookupError):
                os.killpg(server.pid, signal.SIGTERM)
            server.wait(30)

    def play(self, step):
        """Give one command; return its exit code and the lines it printed on its terminal."""
        command = step.command.replace("bulkreset sandbox", f"bulkreset sandbox --port {self._port}")
        command = command.replace("127.0.0.1:8765", f"127.0.0.1:{self._port}")
        if command.rstrip().endswith("&"):
            self._serve(command.rstrip().removesuffix("&"))
            return 0, []
        script = _SHELL.format(state=shlex.quote(str(self._state)), command=command, person=step.person or PERSON)
        code, text = self._at_terminal(script)
        text = text.replace(f"127.0.0.1:{self._port}", "127.0.0.1:8765").replace(str(self.folder), "…")
        lines = _ESCAPES.sub("", _DRAWN_AGAIN.sub("\n", text)).splitlines()
        return code, [line.rstrip() for line in lines if line.strip() and not line.startswith(_PASSING)]

    def _at_terminal(self, script):
        terminal, end = pty.openpty()
        fcntl.ioctl(end, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
        shell = subprocess.Popen(
            ["bash", "-c", script],
            stdin=end,
            stdout=end,
            stderr=end,
            env=self._environment,
            start_new_session=True,
        )
        os.close(end)
        printed, until = bytearray(), monotonic() + _PATIENCE_S
        try:
            while True:
                ended = shell.poll() is not None
                if select.select([terminal], [], [], 0 if ended else 0.05)[0]:
                    try:
                        printed += os.read(terminal, 65536)
                        continue
                    except OSError:  # nobody holds the other side any more
                        break
                if ended:
                    break
                assert monotonic() < until, f"it does not end, and printed only: {bytes(printed)!r}"
            shell.wait(10)
        finally:
            if shell.poll() is None:
                os.killpg(shell.pid, signal.SIGKILL)
                shell.wait()
            os.close(terminal)
        return shell.returncode, printed.decode()

    def _serve(self, command):
        """Start mock servers, and wait until they are up, as a reader does by typing slowly."""
        quiet = subprocess.DEVNULL
        server = subprocess.Popen(
            ["bash", "-c", command],
            cwd=(self._state / "folder").read_text("utf-8").strip(),
            stdin=quiet,
            stdout=quiet,
            stderr=quiet,
            env=self._environment,
            start_new_session=True,
        )
        self._servers.append(server)
        file = Path((self._state / "folder").read_text("utf-8").strip(), re.search(r"> *(\S+)", command)[1])
        until = monotonic() + _PATIENCE_S
        while "# serving" not in (file.read_text("utf-8") if file.exists() else ""):
            assert server.poll() is None, f"it has ended with {server.returncode}: {command}"
            assert monotonic() < until, f"nothing serves: {command}"
            select.select([], [], [], 0.05)


def _free_port():
    with socket.socket() as chosen:
        chosen.bind(("127.0.0.1", 0))
        return chosen.getsockname()[1]


def differs(step, code, printed):
    """Return what a document shows otherwise than it was printed, or None."""
    if step.shown is None:
        return None if code == 0 else f"it ended with {code}: {printed}"
    if is_redrawn(step) and not step.shown:
        return "(nothing)"
    return first_difference(step.shown, printed, in_between=is_redrawn(step))


def is_redrawn(step):
    """Tell whether a command shows a view that is drawn again and again."""
    return step.command.startswith("bulkreset run") and "--dry-run" not in step.command


def _record(document):
    text = document.read_text("utf-8").splitlines()
    with tempfile.TemporaryDirectory() as folder, Story(Path(folder)) as story:
        found = []
        for block in blocks(document):
            if block.language == "console" and not block.not_run:
                found += [(step, *story.play(step)) for step in block.steps()]
    for step, code, printed in reversed(found):
        if (line := differs(step, code, printed)) is None:
            continue
        sys.stdout.write(f"{document}:{step.line}: {step.command}: {line}\n")
        if step.shown is None:
            continue
        last = max((number for number, one in enumerate(printed) if one.startswith("ran ")), default=0)
        begin = step.line - 1 + step.command.count("\n") + 1
        end = begin
        while not re.match(r" *```|\w*\$ ", text[end]):
            end += 1
        blank = [""] if text[end - 1] == "" and not text[end].startswith("```") else []
        text[begin:end] = [*printed[last if is_redrawn(step) else 0 :], *blank]
    document.write_text("\n".join(text) + "\n", "utf-8")


if __name__ == "__main__":
    _record(Path(sys.argv[1]))

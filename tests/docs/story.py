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
from contextlib import contextmanager, suppress
from pathlib import Path
from time import monotonic

from console_block import blocks
from printed import first_difference

ROOT = Path(__file__).resolve().parents[2]
PERSON = "ada"
"""Who gives a command whose prompt names nobody."""

DATABASE = "postgresql://postgres@127.0.0.1/bulkreset"
"""The empty database that a document names; a story that is given another one is played there."""

COLUMNS, ROWS = 100, 40
_PATIENCE_S = 60
_COMES_ABOUT_S = 40
_LOOKS = ("bulkreset status", "bulkreset batch show", "bulkreset batch list")
_PASTED = "# paste the secret"
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
"""
_AFTERWARDS = """
code=$?
export -p > {state}/exported; pwd > {state}/folder; exit $code
"""


class Story:
    """One folder, in which commands follow each other; what they start ends with it."""

    def __init__(self, folder, database=None):
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
        }
        self._port = _free_port()
        self._database = database
        self._servers = []
        self._works = False  # a worker, in the background

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for server in reversed(self._servers):
            with suppress(ProcessLookupError):
                os.killpg(server.pid, signal.SIGTERM)
            server.wait(30)

    def follow(self, step):
        """Give a command; return its exit code, what it printed, and what the document shows otherwise, or None.

        Beside a worker in the background one looks again until it has come so far.
        """
        until = monotonic() + _COMES_ABOUT_S
        while True:
            code, printed = self.play(step)
            wrong = differs(step, code, printed)
            awaited = self._works and step.command.startswith(_LOOKS)
            if wrong is None or not awaited or monotonic() > until:
                return code, printed, wrong
            select.select([], [], [], 0.2)

    def play(self, step):
        """Give one command; return its exit code and the lines it printed on its terminal."""
        command = step.command.replace("bulkreset sandbox", f"bulkreset sandbox --port {self._port}")
        command = command.replace("127.0.0.1:8765", f"127.0.0.1:{self._port}")
        if self._database:
            command = command.replace(DATABASE, self._database)
        if self._servers:
            command = command.replace("$!", str(self._servers[-1].pid))
        begun = _SHELL.format(state=shlex.quote(str(self._state)), person=step.person or PERSON)
        if command.endswith("&"):
            self._begin(f"{begun}\nexec {command.removesuffix('&')}", command)
            return 0, []
        code, text = self._at_terminal(
            f"{begun}\n{command}\n{_AFTERWARDS.format(state=shlex.quote(str(self._state)))}"
        )
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
        if _PASTED in script:
            os.write(terminal, b"sandbox-client-secret\n\x04")
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

    def _begin(self, script, command):
        """Start what stays in the background; mock servers are up when this returns."""
        quiet = subprocess.DEVNULL
        server = subprocess.Popen(
            ["bash", "-c", script],
            stdin=quiet,
            stdout=quiet,
            stderr=quiet,
            env=self._environment,
            start_new_session=True,
        )
        self._servers.append(server)
        if not command.startswith("bulkreset sandbox"):
            self._works = True
            return
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
    return step.command.startswith("bulkreset run") and "--dry-run" not in step.command and step.command[-1] != "&"


def _record(document):
    text = document.read_text("utf-8").splitlines()
    played = [block for block in blocks(document) if block.language == "console" and not block.not_run]
    with (
        _database_of(played) as database,
        tempfile.TemporaryDirectory() as folder,
        Story(Path(folder), database) as story,
    ):
        found = [(step, *story.follow(step)) for block in played for step in block.steps()]
    for step, _, printed, line in reversed(found):
        if line is None:
            continue
        sys.stdout.write(f"{document}:{step.line}: {step.command}: {line}\n")
        if step.shown is None:
            continue
        last = max((number for number, one in enumerate(printed) if one.startswith("ran ")), default=0)
        begin = step.line - 1 + step.command.count("\n") + 1
        end = begin
        while not re.match(r" *(```|\w*\$ )", text[end]):
            end += 1
        blank = [""] if text[end - 1] == "" and not text[end].lstrip().startswith("```") else []
        indent = re.match(" *", text[step.line - 1])[0]
        text[begin:end] = [*(indent + one for one in printed[last if is_redrawn(step) else 0 :]), *blank]
    document.write_text("\n".join(text) + "\n", "utf-8")


@contextmanager
def _database_of(played):
    """Start a PostgreSQL where a story needs one."""
    if not any(DATABASE in block.text for block in played):
        yield None
        return
    sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
    from databases import Server

    server = Server()
    try:
        yield server.fresh(tables=False)
    finally:
        server.close()


if __name__ == "__main__":
    _record(Path(sys.argv[1]))

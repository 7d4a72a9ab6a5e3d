"""Workers as real processes, each one started again when it ends and always ended by its own id."""

import asyncio
import contextlib
import os
import signal
import sys
from pathlib import Path

PROGRAM = Path(__file__).with_name("hooked_runner.py")
# Words that no end of the database, of the provider or of a process may ever bring up.
INTERNAL = (
    "Traceback",
    "unexpected error",
    "result_not_understood",
    "call_broke_off",
    "was never retrieved",
    "KeyMismatch",
    "InvalidTag",
)


class Worker:
    """One place in the fleet: a process at a time, begun anew until `end`."""

    def __init__(self, name, config, folder, journal, *, lease_margin=None):
        self.name = name
        self.folder = folder / name
        self.folder.mkdir()
        self.ends = []
        self.process = None
        self.stopped = False
        self.told = folder / f"{name}.stderr"
        self._signals = set()
        self._ending = False
        self._keeping = None
        self._command = [sys.executable, str(PROGRAM), str(journal), "--config", str(config), "run"]
        self._environment = {
            **os.environ,
            "BULKRESET_LOG_LEVEL": "error",
            "BULKRESET_CHAOS_FOLDER": str(self.folder),
        }
        if lease_margin is not None:
            self._environment["BULKRESET_CHAOS_LEASE_MARGIN"] = str(lease_margin)

    @property
    def alive(self):
        """Whether a process is there and not stopped."""
        return self.process is not None and self.process.returncode is None and not self.stopped

    @property
    def pid(self):
        """The process's id, as it stands behind the host's name in `attempt.worker`."""
        return self.process.pid

    async def start(self, *, keep=True):
        """Start the process, and with `keep` another one whenever it ends."""
        await self._start()
        if keep:
            self._keeping = asyncio.create_task(self._keep())

    def send(self, number):
        """Send a signal to the process; False where there is none."""
        if self.process is None or self.process.returncode is not None:
            return False
        self._signals.add(number)
        self.process.send_signal(number)
        return True

    async def stop_for(self, seconds):
        """SIGSTOP, and SIGCONT after so long; True where it was stopped."""
        process = self.process
        if self.stopped or not self.send(signal.SIGSTOP):
            return False
        self.stopped = True
        try:
            await asyncio.sleep(seconds)
        finally:
            self.stopped = False
            if process.returncode is None:
                process.send_signal(signal.SIGCONT)
        return True

    async def end(self, *, patience=35):
        """End the process: SIGTERM, and SIGKILL where it takes too long or patience is 0."""
        self._ending = True
        if self.process is None:
            return
        if self.process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self.process.send_signal(signal.SIGCONT)
                self._signals.add(signal.SIGTERM)
                self.process.send_signal(signal.SIGTERM if patience else signal.SIGKILL)
            try:
                async with asyncio.timeout(patience or 5):
                    await self.process.wait()
            except TimeoutError:
                self.process.kill()
                self.ends.append("it did not end within its bound")
        if self._keeping is not None:
            await self._keeping
        else:
            await self.process.wait()

    def faults(self):
        """What this worker did or said that nothing which happens outside of it can explain."""
        said = self.told.read_text(errors="replace") if self.told.exists() else ""
        words = [f"{self.name} said {word!r}" for word in INTERNAL if word in said]
        return words + [f"{self.name}: {end}" for end in self.ends]

    async def _start(self):
        self._signals = set()
        with self.told.open("ab") as told:
            self.process = await asyncio.create_subprocess_exec(
                *self._command,
                env=self._environment,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=told,
            )

    async def _keep(self):
        while True:
            code = await self.process.wait()
            if not self._explained(code):
                self.ends.append(f"ended with {code} after {sorted(self._signals)}: {self._last_words()}")
            if self._ending:
                return
            await asyncio.sleep(0.3 if code == 1 else 0.05)
            if self._ending:
                return
            await self._start()
            if self._ending:  # told while it was starting
                self.send(signal.SIGKILL)

    def _explained(self, code):
        if code < 0:
            return signal.Signals(-code) in self._signals
        if code in (0, 3, 4, 128 + signal.SIGTERM):  # the last one is told twice
            return signal.SIGTERM in self._signals
        # Exit 1 is one line about the database, which is what these tests take away.
        return code == 1 and ("the database " in self._last_words() or "could not be saved" in self._last_words())

    def _last_words(self):
        lines = self.told.read_text(errors="replace").splitlines() if self.told.exists() else []
        return lines[-1][:300] if lines else ""

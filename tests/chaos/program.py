"""The program as a process of its own."""

import asyncio
import os
import signal
import sys


async def start(config, *words):
    """Start a command. It ignores no hang-up and no Ctrl-C, though what started the tests may: `nohup`, or `&`."""
    before = {number: signal.signal(number, signal.SIG_DFL) for number in (signal.SIGHUP, signal.SIGINT)}
    try:
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "bulkreset", "--config", str(config), *words),
            env={**os.environ, "BULKRESET_LOG_LEVEL": "info"},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


async def ended(process, within_s=60):
    """Wait for the end of a process; return its code and what it wrote."""
    async with asyncio.timeout(within_s):
        out, err = await process.communicate()
    return process.returncode, out.decode(), err.decode()


async def said_of(process, word, within_s=60):
    """Return the first line of a process's log that holds a word."""
    async with asyncio.timeout(within_s):
        async for line in process.stderr:
            if word in line.decode():
                return line.decode()
    raise AssertionError(f"{word} was never said")

"""The machine that the numbers are true of, in one line that names neither it nor any path on it."""

import os
import platform
import sqlite3
import statistics
import tempfile
from pathlib import Path
from time import perf_counter


def describe() -> str:
    """Return processor, cores, memory, system, Python, SQLite, and what a durable write costs."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return ", ".join(
        [
            _processor(),
            f"{os.cpu_count()} cores",
            f"{memory:.0f} GiB",
            f"{platform.system()} {platform.release().split('-')[0]}",
            f"Python {platform.python_version()}",
            f"SQLite {sqlite3.sqlite_version}",
            f"fsync {1000 * _fsync_s():.2g} ms",
        ]
    )


def _processor() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.machine()
    names = [line.partition(":")[2].strip() for line in text.splitlines() if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _fsync_s() -> float:
    times = []
    with tempfile.TemporaryFile() as file:
        for _ in range(20):
            file.write(b"x" * 4096)
            file.flush()
            began = perf_counter()
            os.fsync(file.fileno())
            times.append(perf_counter() - began)
    return statistics.median(times)

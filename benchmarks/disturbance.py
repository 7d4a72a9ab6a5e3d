"""Whether a limit is kept at the provider's door while networks, handshakes, workers and clocks misbehave."""

import asyncio
import os
import random
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep
from typing import Any, Final

from benchmarks.cluster import execute
from benchmarks.door import Door, fullest
from benchmarks.installation import Installation, databases, folder
from benchmarks.measure import Measure
from benchmarks.processes import RunFailed

LIMIT: Final = 60  # of the provider, a second
_SHARE: Final = 0.9
_USERS: Final = 300
_WITHIN_S: Final = 120.0
_STOOD_S: Final = 3.0
# A clock in a schema of our own, found before the system's, can be set for this database alone.
_CLOCK: Final = (
    "CREATE SCHEMA stepped",
    "CREATE TABLE stepped.step (by interval NOT NULL)",
    "INSERT INTO stepped.step VALUES ('0')",
    """CREATE FUNCTION stepped.clock_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE AS
    'SELECT pg_catalog.clock_timestamp() + (SELECT by FROM stepped.step)'""",
)

Meanwhile = Callable[[Door, int, str], None]
"""What happens while the first worker runs; called with the door, its process and the database's address."""


@dataclass(frozen=True, slots=True)
class Disturbance:
    """One thing that goes wrong. `split` gives each worker a way of its own, of which only the first stalls."""

    name: str
    told: str
    stall_s: float = 0.0
    tls: bool = False
    handshake_s: tuple[float, float] = (0.0, 0.0)
    answers: int | None = None
    workers: int = 1
    split: bool = False
    clock: bool = False
    meanwhile: Meanwhile | None = None


def kept(what: Disturbance, *, quick: bool) -> list[Measure]:
    """Reset users through one disturbance, at nine tenths of the limit, and look at what arrived when."""
    users = [f"user{nth:05d}@example.com" for nth in range(60 if quick else _USERS)]
    with ExitStack() as stack:
        place = stack.enter_context(folder())
        new = stack.enter_context(databases("PostgreSQL" if what.workers > 1 or what.clock else "SQLite"))
        url = new()
        if what.clock:
            path = f'ALTER DATABASE "{url.rpartition("/")[2]}" SET search_path = stepped, pg_catalog, public'
            asyncio.run(execute(url, *_CLOCK, path))
        door, http = _door(what, users, place)
        stack.enter_context(door.opened_apart())
        installations = [_installation(what, place, door, url, way, http) for way in range(what.workers)]
        roster = place / "users.txt"
        roster.write_text("\n".join(users), encoding="ascii")
        installations[0].order(roster)
        _work(what, installations, door, url)
        [(wrong,)] = installations[0].ask("SELECT count(*) FROM task WHERE outcome <> 'ok' OR outcome IS NULL")
    benchmark = f"limit {LIMIT}/s disturbed"
    used = fullest(sorted(door.arrivals)) / LIMIT
    return [
        Measure(benchmark, f"fullest window / limit: {what.told}", (used,), at_most=1.0),
        Measure(benchmark, f"refused: {what.told}", (door.refused,), at_most=0),
        Measure(benchmark, f"users not reset: {what.told}", (wrong,), at_most=0),
    ]


def _door(what: Disturbance, users: list[str], place: Path) -> tuple[Door, str]:
    """Return the door, and what a configuration says of the way to it."""
    tls, http = None, "total_timeout = 15.0\nconnect_timeout = 5.0\n"
    if what.tls:
        # Here, as it is large: a child's peak memory includes what its parent held when it was started.
        from benchmarks.certificates import self_signed, server_context

        files = self_signed(place)
        tls, http = server_context(files), f'{http}ca_file = "{files[0]}"\n'
    spread = random.Random(7)
    door = Door(
        users,
        ways=what.workers if what.split else 1,
        limit=LIMIT,
        stall_after=len(users) // 3 if what.stall_s else None,
        stall_s=what.stall_s,
        stalled=frozenset({0}),
        tls=tls,
        handshake=lambda: spread.uniform(*what.handshake_s),
        answers=what.answers,
    )
    return door, http


def _installation(what: Disturbance, place: Path, door: Door, url: str, way: int, http: str) -> Installation:
    scheme, port = "https" if what.tls else "http", door.ports[way if what.split else 0]
    own = place / f"worker{way}"
    own.mkdir()
    # The key seals what all of them open, so it is the first one's.
    key = place / "worker0" / "bulkreset.key" if way else None
    return Installation(own, f"{scheme}://127.0.0.1:{port}", LIMIT, url, share=_SHARE, http=http, key=key)


def _work(what: Disturbance, installations: list[Installation], door: Door, url: str) -> None:
    def work(way: int, installation: Installation) -> None:
        disturb = what.meanwhile if way == 0 else None
        installation.work(
            within_s=_WITHIN_S, meanwhile=None if disturb is None else lambda pid: disturb(door, pid, url)
        )

    with ThreadPoolExecutor(len(installations)) as pool:
        for running in [pool.submit(work, way, one) for way, one in enumerate(installations)]:
            running.result()


def _await_arrivals(door: Door, number: int) -> None:
    until = monotonic() + _WITHIN_S
    while len(door.arrivals) < number:
        if monotonic() > until:
            raise RunFailed(f"only {len(door.arrivals)} of {number} calls arrived")
        sleep(0.01)


def _stop_and_continue(door: Door, pid: int, _: str) -> None:
    _await_arrivals(door, 20)
    os.kill(pid, signal.SIGSTOP)
    sleep(_STOOD_S)
    os.kill(pid, signal.SIGCONT)


def _step_clock(by: str) -> Meanwhile:
    def step(door: Door, _: int, url: str) -> None:
        _await_arrivals(door, 20)
        asyncio.run(execute(url, f"UPDATE stepped.step SET by = '{by}'"))

    return step


_HANDSHAKE: Final[dict[str, Any]] = {"tls": True, "handshake_s": (0.1, 0.7)}
DISTURBANCES: Final = (
    *(Disturbance(f"stall-{s}", f"a stall of {s} s", stall_s=s) for s in (1, 3, 10)),
    Disturbance("tls", "TLS", tls=True),
    *(
        Disturbance(f"handshake-{n}", f"handshakes of 0.1 to 0.7 s, closed after {n}", answers=n, **_HANDSHAKE)
        for n in (1, 3, 100)
    ),
    Disturbance("together", "2 workers, a stall of 3 s", workers=2, stall_s=3.0),
    Disturbance("one-of-two", "2 workers, a stall of 3 s at one", workers=2, stall_s=3.0, split=True),
    Disturbance("stopped", "SIGSTOP for 3 s", meanwhile=_stop_and_continue),
    Disturbance("stopped-of-two", "SIGSTOP of one of 2 workers for 3 s", workers=2, meanwhile=_stop_and_continue),
    Disturbance("clock-forward", "the database's clock 5 s ahead", clock=True, meanwhile=_step_clock("5 s")),
    Disturbance("clock-back", "the database's clock 5 s back", clock=True, meanwhile=_step_clock("-5 s")),
)

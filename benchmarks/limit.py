"""How exactly a strict limit is used, and what the runner costs while it sends."""

from dataclasses import dataclass
from time import monotonic, sleep
from typing import Final

from benchmarks.installation import KINDS, TENANT, Installation, databases, folder, pace, sandbox, write_roster
from benchmarks.measure import Measure
from benchmarks.processes import cpu_s

_WARM_UP_S: Final = 4.0


@dataclass(frozen=True, slots=True)
class Strict:
    """A limit as strict as can be: so many calls in any window. `users` make a run of several windows."""

    provider: str
    calls: int
    users: int

    @property
    def name(self) -> str:
        """What the limit is called: 20/s, 700/min."""
        return f"{self.calls}/{'s' if self.provider == 'zoom' else 'min'}"


# What a run with several workers must show in any number of windows, a minute's included.
_TEAMS: Final = (("SQLite", 1), ("PostgreSQL", 1), ("PostgreSQL", 2), ("PostgreSQL", 4))


def limit(strict: Strict, *, quick: bool) -> list[Measure]:
    """Reset users against a strict limit, all of it ours, by one runner and by several that share it."""
    measures: list[Measure] = []
    for kind, workers in _TEAMS:
        with databases(kind) as new:
            measures += _limit(strict, new(), kind, workers, quick=quick)
    used = [measure.value for measure in measures if measure.name.startswith("share used")]
    refused = [measure.value for measure in measures if measure.name.startswith("refused")]
    name = f"limit {strict.name}"
    return [
        *measures,
        Measure(name, "least share used, 1, 2 and 4 workers", (min(used),), at_least=0.97, headline=True),
        Measure(name, "refused in all these runs", (sum(refused),), at_most=0, headline=True),
    ]


def _limit(strict: Strict, database_url: str, kind: str, workers: int, *, quick: bool) -> list[Measure]:
    users = 40 if quick else strict.users
    with folder() as place, sandbox(users, strict.calls, provider=strict.provider) as url:
        installation = Installation(place, f"{url}/{TENANT}", strict.calls, database_url, provider=strict.provider)
        installation.order(write_roster(place / "users.txt", users))
        installation.work_together(workers, within_s=300)
        seen = pace(url)
        [(wrong,)] = installation.ask("SELECT count(*) FROM task WHERE outcome <> 'ok' OR outcome IS NULL")
        [(released,)] = installation.ask("SELECT count(*) FROM attempt WHERE outcome = 'released'")
    team = f"{kind}, {workers} worker{'s' if workers > 1 else ''}"
    return [
        Measure(f"limit {strict.name}", f"share used: {team}", (seen["writes"]["used_share"],), at_least=0.97),
        Measure(f"limit {strict.name}", f"refused: {team}", (seen["refused"],), at_most=0),
        Measure(
            f"limit {strict.name}",
            f"most calls in any window: {team}",
            (seen["max_arrived_in_window"],),
            at_most=strict.calls,
        ),
        Measure(f"limit {strict.name}", f"slots given back unused: {team}", (released,)),
        Measure(f"limit {strict.name}", f"users not reset: {team}", (wrong,), at_most=0),
    ]


def cpu(*, quick: bool) -> list[Measure]:
    """Take the processor time of a runner that sends 60 calls a second, start and end left out."""
    seconds = 2.0 if quick else 20.0
    users = round(60 * (seconds + 2 * _WARM_UP_S))
    measures = []
    for kind in KINDS:
        with databases(kind) as new:
            shares = _cpu(new(), seconds, users, quick=quick)
        measures.append(Measure("cpu", f"share of a core at 60/s, {kind}", shares, at_most=0.15, headline=True))
    return measures


def _cpu(database_url: str, seconds: float, users: int, *, quick: bool) -> tuple[float, ...]:
    shares: list[float] = []

    def watch(pid: int) -> None:
        sleep(_WARM_UP_S)
        for _ in range(2 if quick else 4):
            began, used = monotonic(), cpu_s(pid)
            sleep(seconds / 4)
            shares.append((cpu_s(pid) - used) / (monotonic() - began))

    with folder() as place, sandbox(users, 60) as url:
        installation = Installation(place, f"{url}/{TENANT}", 60, database_url)
        installation.order(write_roster(place / "users.txt", users))
        installation.work(within_s=120, meanwhile=watch)
    return tuple(shares)

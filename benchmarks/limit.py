"""How exactly a strict limit is used, and what the runner costs while it sends."""

from time import monotonic, sleep
from typing import Final

from benchmarks.installation import TENANT, Installation, folder, pace, sandbox, write_roster
from benchmarks.measure import Measure
from benchmarks.processes import cpu_s

_WARM_UP_S: Final = 4.0


def limit(calls: int, *, quick: bool) -> list[Measure]:
    """Reset 1,000 users against a strict sliding window of so many calls a second, all of it ours."""
    users = 40 if quick else 1_000
    with folder() as place, sandbox(users, calls) as url:
        installation = Installation(place, f"{url}/{TENANT}", calls)
        installation.order(write_roster(place / "users.txt", users))
        installation.work(within_s=60 + 3 * users / calls)
        seen = pace(url)
        released = installation.ask("SELECT count(*) FROM attempt WHERE outcome = 'released'")[0][0]
        wrong = installation.ask("SELECT count(*) FROM task WHERE outcome IS NOT 'ok'")[0][0]
    name = f"limit-{calls}"
    return [
        Measure(name, f"share of {calls}/s used", (seen["writes"]["used_share"],), at_least=0.95),
        Measure(name, "calls refused by the provider", (seen["refused"],), at_most=0),
        Measure(name, "most calls in any second", (seen["max_arrived_in_window"],), at_most=calls),
        Measure(name, "slots given back unused", (released,)),
        Measure(name, "users not reset", (wrong,), at_most=0),
    ]


def cpu(*, quick: bool) -> list[Measure]:
    """Take the processor time of a runner that sends 60 calls a second, start and end left out."""
    seconds = 2.0 if quick else 20.0
    users = round(60 * (seconds + 2 * _WARM_UP_S))
    shares: list[float] = []

    def watch(pid: int) -> None:
        sleep(_WARM_UP_S)
        for _ in range(2 if quick else 4):
            began, used = monotonic(), cpu_s(pid)
            sleep(seconds / 4)
            shares.append((cpu_s(pid) - used) / (monotonic() - began))

    with folder() as place, sandbox(users, 60) as url:
        installation = Installation(place, f"{url}/{TENANT}", 60)
        installation.order(write_roster(place / "users.txt", users))
        installation.work(within_s=120, meanwhile=watch)
    return [Measure("cpu", "share of a core at 60/s", tuple(shares), at_most=0.15)]

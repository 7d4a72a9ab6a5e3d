"""A storm over a whole installation: workers, database, network, disk, clock and provider fail at random.

    python tests/chaos/storm.py --database postgresql --minutes 10 --seed 7 [--users N] [--json FILE]

Everything is real but the provider: processes, signals, a PostgreSQL that is killed, a proxy in between. A full
disk is SQLite's own page limit, and a clock is stepped inside of the worker. At the end all is healed, the work is
finished, and the books are checked (`books.py`). Exit code 0 means that every promise held.
"""

import argparse
import asyncio
import contextlib
import gc
import json
import random
import shutil
import signal
import sys
import tempfile
import traceback
from collections import Counter
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import monotonic

if __name__ == "__main__":
    sys.path[:0] = [str(Path(__file__).parents[2]), str(Path(__file__).parents[1])]

from books import Books, fullest_window
from databases import run_apart
from faultkinds import FAULTS
from fleet import Worker
from host import Host
from installation import Installation
from proxy import Proxy

from benchmarks.cluster import Cluster, execute
from bulkreset.sandbox import FaultRule, Sandbox, generated_user, parse_rule

EVENTS = {
    "postgresql": ("kills", "stops", "terms", "database_restarts", "cuts", "stalls", "refusals", "clock_steps"),
    "sqlite": ("kills", "stops", "terms", "disk_full", "clock_steps"),
}
OPERATORS = ("batch_pauses", "cancels", "account_halts", "bursts_of_429")
LIMITS = {"zoom": 60, "zendesk": 1_200}  # per second, and per minute
SHARE = 0.9
KINDS = {"admin": 4, "sso": 4, "pending": 3, "missing": 3}
REFUSAL = {"kind": "answer", "status": 400, "body": '{"code":1124,"message":"Password too short."}', "share": 0.02}


@dataclass(frozen=True, slots=True)
class Weather:
    """How long a storm blows, and how hard: pauses between events, and the longest stop or stall, in seconds."""

    seconds: float
    gap: tuple[float, float] = (1.0, 4.0)
    longest: float = 8.0
    drain: float = 420.0


SHORT = Weather(seconds=12, gap=(0.6, 0.9), longest=1.5, drain=75)


class Storm:
    """One storm over one installation. `run` returns the summary; every process that it starts it also ends."""

    def __init__(self, database, seed, weather, *, folder, cluster=None, users=None):
        self.database = database
        self.seed = seed
        self.weather = weather
        self.counts = Counter()
        self.latest = 0.0
        self._folder = folder
        self._cluster = cluster
        self._users = users or int(weather.seconds * 70) + 600
        self._rng = random.Random(seed)
        self._fate = random.Random(seed + 1)  # the provider's faults, drawn apart so that events keep their order
        self._ordered = Counter()
        self._busy = asyncio.Lock()  # of the database server: one restart at a time
        self._offset = 0.0
        self._tasks = set()

    async def run(self):
        """Blow, heal, finish, and reckon."""
        async with contextlib.AsyncExitStack() as stack:
            await self._build(stack)
            began = monotonic()
            watching = asyncio.create_task(self._watch_the_loop())
            try:
                await self._blow()
                healed = monotonic()
                await self._heal()
                left = await self._drain()
            finally:
                for task in self._tasks:
                    task.cancel()
                await asyncio.gather(*self._tasks, return_exceptions=True)
                await asyncio.gather(*(worker.end() for worker in self.workers))
                watching.cancel()
            summary = self._reckon(left)
            summary["seconds"] = {"storm": round(healed - began, 1), "drain": round(monotonic() - healed, 1)}
            return summary

    async def _build(self, stack):
        sandbox = Sandbox()
        await sandbox.start()
        stack.push_async_callback(sandbox.stop)
        self.tenants = {
            name: sandbox.add(
                {
                    "name": name,
                    "provider": name,
                    "seed": self.seed,
                    "latency_ms": 20,
                    "limit": LIMITS[name],
                    "generate": {"count": self._users, "kinds": KINDS if name == "zoom" else {"missing": 3}},
                }
            )
            for name in LIMITS
        }
        url = "sqlite:///bulkreset.db"
        if self.database == "postgresql":
            name = f"storm_{self.seed}"
            await execute(self._cluster.url("postgres"), f'CREATE DATABASE "{name}"')
            url = self._cluster.url(name)
        self.installation = Installation(self._folder, sandbox.url, url)
        self.installation.http = "total_timeout = 0.8\nconnect_timeout = 0.5"
        self.installation.zoom(requests_per_second=LIMITS["zoom"], share=SHARE)
        self.installation.zendesk(requests_per_minute=LIMITS["zendesk"], share=SHARE)
        config = self.installation.config
        if self.database == "postgresql":
            self.proxy = await stack.enter_async_context(Proxy(self._cluster.port))
            config = self._folder / "behind_the_proxy.toml"
            direct = self.installation.config.read_text()
            config.write_text(direct.replace(f":{self._cluster.port}/", f":{self.proxy.port}/"))
        self.journal = self._folder / "journal"
        self.workers = [
            Worker(f"worker{number}", config, self._folder, self.journal)
            for number in range(1, 4 if self.database == "postgresql" else 2)
        ]
        self.host = await stack.enter_async_context(
            Host(self.installation.config, self._clock if self.database == "sqlite" else None)
        )
        gc.collect()
        gc.freeze()  # a full collection here would hold up the clock that calls are stamped by

    async def _blow(self):
        for name in self.tenants:
            await self._order(name, 150)
        await asyncio.gather(*(worker.start() for worker in self.workers))
        ends_at = monotonic() + self.weather.seconds
        for loop in (self._feed, self._spoil):
            self._spawn(self._until(ends_at, loop))
        rng, kinds = self._rng, [*EVENTS[self.database], *OPERATORS]
        deck = []
        while monotonic() < ends_at or self._missing(kinds):
            if monotonic() > ends_at + 15:
                break
            await asyncio.sleep(rng.uniform(*self.weather.gap))
            # Every kind comes up once before any comes up again.
            deck = deck or rng.sample(kinds, len(kinds))
            kind = deck.pop()
            if monotonic() >= ends_at and self.counts[kind]:
                continue
            self._spawn(self._happen(kind, getattr(self, f"_do_{kind}")))
        pending = [task for task in self._tasks if not task.done()]
        if pending:
            await asyncio.wait(pending, timeout=60)

    def _missing(self, kinds):
        return any(not self.counts[kind] for kind in kinds)

    async def _happen(self, kind, act):
        if await act():
            self.counts[kind] += 1

    def _spawn(self, work):
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task):
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self.counts["broken_events"] += 1
            traceback.print_exception(task.exception())

    async def _until(self, ends_at, loop):
        while monotonic() < ends_at:
            await loop()

    # Work, and the provider's own trouble.

    async def _order(self, account, count):
        """Order a batch of users that no batch has had; None where there are none left."""
        first = self._ordered[account] + 1
        count = min(count, self._users - first + 1)
        if count <= 0:
            return None
        self._ordered[account] += count
        users = [generated_user(account, number) for number in range(first, first + count)]
        refs = [user.email if account == "zoom" else user.id for user in users]
        return await self.host.order(account, refs, f"INC-{account}-{first}")

    async def _feed(self):
        """Keep a few seconds of work waiting at each account, in batches of every size."""
        for account, enough in (("zoom", 250), ("zendesk", 100)):
            if await self.host.waiting(account) < enough:
                await self._order(account, self._fate.randint(5, enough))
        await asyncio.sleep(0.5)

    async def _spoil(self):
        """Let each provider fail in other ways for a while."""
        fate = self._fate
        for tenant in self.tenants.values():
            due = _not_fired(tenant.faults)
            tenant.faults.clear()
            tenant.faults.add(due)
            rules = [*FAULTS, {"kind": "503_retry_after", "retry_after": 1, "share": 0.01}]
            rules += [REFUSAL] if tenant.spec.provider == "zoom" else []
            strength = 1.0
            if self.counts["weathers"]:
                rules = fate.sample(rules, fate.randint(3, len(rules)))
                strength = fate.uniform(0.3, 1.5)
            tenant.faults.add([parse_rule({**rule, "share": rule["share"] * strength}) for rule in rules])
        self.counts["weathers"] += 1
        await asyncio.sleep(fate.uniform(1, 4))

    async def _do_bursts_of_429(self):
        name = self._rng.choice(list(self.tenants))
        rule = {"kind": "429", "times": self._rng.randint(1, 8), "on": "writes"}
        if name == "zendesk":
            rule["retry_after"] = self._rng.randint(1, 3)
        self.tenants[name].faults.add([parse_rule(rule)])
        return True

    # What happens to workers.

    async def _somebody(self):
        """A worker that is alive, soon."""
        for _ in range(50):
            alive = [worker for worker in self.workers if worker.alive]
            if alive:
                return self._rng.choice(alive)
            await asyncio.sleep(0.1)
        return None

    async def _do_kills(self):
        worker = await self._somebody()
        return worker is not None and worker.send(signal.SIGKILL)

    async def _do_terms(self):
        worker = await self._somebody()
        return worker is not None and worker.send(signal.SIGTERM)

    async def _do_stops(self):
        worker = await self._somebody()
        return worker is not None and await worker.stop_for(self._rng.uniform(0.5, min(6.0, self.weather.longest)))

    async def _do_clock_steps(self):
        """Set a clock forward for good, or back for a while: what it put off must not wait for hours."""
        size = self._rng.choice((60, 600, 3_600, 5 * 3_600)) * self._rng.uniform(0.5, 1)
        back = self._rng.random() < 0.5 or not self.counts["steps_back"]
        worker = self.workers[0] if self.database == "sqlite" else self._rng.choice(self.workers)
        before = self._offset
        self._step(worker, before - size if back else before + size)
        if back:
            await asyncio.sleep(self._rng.uniform(0.5, self.weather.longest / 2))
            self._step(worker, max(before, self._offset))
        self.counts["steps_back" if back else "steps_forward"] += 1
        return True

    def _step(self, worker, seconds):
        written = worker.folder / "clock.new"
        written.write_text(str(seconds))
        written.replace(worker.folder / "clock")
        self._offset = seconds

    def _clock(self):
        # The machine's clock is the database's: whoever opens the file on it goes by the same one.
        return datetime.now(UTC) + timedelta(seconds=self._offset)

    async def _do_disk_full(self):
        sign = self.workers[0].folder / "disk_full"
        sign.touch()
        await asyncio.sleep(self._rng.uniform(0.5, self.weather.longest))
        sign.unlink(missing_ok=True)
        return True

    # What happens to PostgreSQL and the way to it.

    async def _do_database_restarts(self):
        async with self._busy:
            await asyncio.to_thread(self._cluster.stop, "immediate")
            await asyncio.sleep(self._rng.uniform(0, min(3.0, self.weather.longest)))
            await asyncio.to_thread(self._cluster.start)
        return True

    async def _do_cuts(self):
        for _ in range(50):
            if self.proxy.cut():
                return True
            await asyncio.sleep(0.1)
        return False

    async def _do_stalls(self):
        seconds = self._rng.uniform(0.5, self.weather.longest)
        await self.proxy.stall(seconds, then_cut=self._rng.random() < 0.5)
        return True

    async def _do_refusals(self):
        await self.proxy.refuse(self._rng.uniform(0.2, self.weather.longest / 2))
        return True

    # What operators do, from another host.

    async def _do_batch_pauses(self):
        batch_id = await self.host.some_open(self._rng)
        if batch_id is None or not await self.host.pause(batch_id):
            return False
        await asyncio.sleep(self._rng.uniform(0.3, self.weather.longest / 2))
        await self.host.resume(batch_id)
        return True

    async def _do_cancels(self):
        batch_id = await self._order("zoom", 40)
        if batch_id is None:
            return False
        await asyncio.sleep(self._rng.uniform(0.1, 0.8))
        return await self.host.cancel(batch_id)

    async def _do_account_halts(self):
        """One refused login halts Zendesk; Zoom's calls must not mind."""
        zoom, zendesk = self.tenants["zoom"], self.tenants["zendesk"]
        zendesk.faults.add([parse_rule({"kind": "403", "times": 1})])
        for _ in range(60):
            if await self.host.halted("zendesk"):
                break
            await asyncio.sleep(0.1)
        else:
            return False
        before, beside = zendesk.log.total, zoom.log.total
        await asyncio.sleep(1)
        self.counts["zoom_calls_beside_halts"] += zoom.log.total - beside
        self.counts["zendesk_calls_in_halts"] += zendesk.log.total - before
        await self.host.lift("zendesk")
        return True

    # The end.

    async def _heal(self):
        for tenant in self.tenants.values():
            tenant.faults.clear()
        if self.database == "postgresql":
            self.proxy.flow()
        for worker in self.workers:
            (worker.folder / "disk_full").unlink(missing_ok=True)

    async def _drain(self):
        """Wait until all is done; return how many tasks are left when patience ends."""
        ends_at = monotonic() + self.weather.drain
        while True:
            await self.host.resume_all()
            left = await self.host.unfinished()
            if left == 0 or monotonic() > ends_at:
                return left
            await asyncio.sleep(0.3)

    def _reckon(self, left):
        books = Books(self.installation.query, self.journal)
        violations = books.check(self.tenants)
        violations += [fault for worker in self.workers for fault in worker.faults()]
        violations += [f"batch {batch_id}: {why}" for batch_id, why in run_apart(self.host.breaks())]
        if left:
            violations.append(f"{left} batches were not finished in {self.weather.drain} s")
        if self.counts["broken_events"]:
            violations.append("an event of the storm itself broke; see above")
        figures = books.figures(self.tenants)
        windows = {name: fullest_window(tenant).most for name, tenant in self.tenants.items()}
        return {
            "database": self.database,
            "seed": self.seed,
            "minutes": round(self.weather.seconds / 60, 2),
            "events": {kind: self.counts[kind] for kind in (*EVENTS[self.database], *OPERATORS)},
            "clock_forward_and_back": [self.counts["steps_forward"], self.counts["steps_back"]],
            "zoom_calls_beside_halts": self.counts["zoom_calls_beside_halts"],
            "zendesk_calls_in_halts": self.counts["zendesk_calls_in_halts"],
            **figures,
            "fullest_window": {name: f"{most} of {LIMITS[name]}" for name, most in windows.items()},
            "latest_stamp_ms": round(self.latest * 1000, 1),
            "violations": violations,
        }

    async def _watch_the_loop(self):
        """Note when this process itself was late, for its own lateness is in the arrival times."""
        while True:
            due = monotonic() + 0.01
            await asyncio.sleep(0.01)
            self.latest = max(self.latest, monotonic() - due)


def _not_fired(script):
    """The rules that were to hit a few calls only and have not hit all of them yet."""
    known = [field.name for field in fields(FaultRule)]
    return [
        FaultRule(**{**{key: line[key] for key in known}, "times": line["times"] - line["fired"]})
        for line in script.as_list()
        if line["times"] is not None and line["fired"] < line["times"]
    ]


def as_markdown(summary):
    """Write a summary as a table."""
    lines = ["| what | how much |", "|---|---|"]
    for name, value in summary.items():
        told = str(len(value)) if name == "violations" else value
        if isinstance(value, dict):
            told = ", ".join(f"{key} {number}" for key, number in value.items()) or "none"
        lines.append(f"| {name.replace('_', ' ')} | {told} |")
    return "\n".join(lines)


def main():
    """Run one long storm from the command line; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--database", choices=sorted(EVENTS), required=True)
    parser.add_argument("--minutes", type=float, default=2.0)
    parser.add_argument("--seed", type=int, default=random.randrange(1, 10**6))
    parser.add_argument("--users", type=int, help="the users that each account has (default: enough)")
    parser.add_argument("--json", type=Path, help="write the summary to this file too")
    parser.add_argument("--keep", type=Path, help="work in this new folder, and leave it behind")
    options = parser.parse_args()
    folder = options.keep or Path(tempfile.mkdtemp(prefix="bulkreset-storm-"))
    folder.mkdir(exist_ok=True)
    sys.stderr.write(f"seed {options.seed}\n")
    weather = Weather(seconds=options.minutes * 60)
    try:
        with Cluster() if options.database == "postgresql" else contextlib.nullcontext() as cluster:
            storm = Storm(
                options.database, options.seed, weather, folder=folder, cluster=cluster, users=options.users
            )
            summary = asyncio.run(storm.run())
    finally:
        if options.keep is None:
            shutil.rmtree(folder, ignore_errors=True)
    told = json.dumps(summary, indent=2)
    if options.json:
        options.json.write_text(told + "\n")
    sys.stdout.write(f"{told}\n\n{as_markdown(summary)}\n")
    return 1 if summary["violations"] else 0


if __name__ == "__main__":
    sys.exit(main())

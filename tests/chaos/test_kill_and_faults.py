"""Real processes, real signals, every fault: whatever happens, the books agree with the truth.

The seed of a failed run is in its report (`--junit-xml`, and the assertion's captured text); give it back as
BULKRESET_CHAOS_SEED to kill and fail at the same points, and more kills as BULKRESET_CHAOS_KILLS.
"""

import asyncio
import contextlib
import os
import random
import signal
import sys
from base64 import b64decode
from collections import defaultdict
from hashlib import sha256
from pathlib import Path

import pyrage
from faultkinds import FAULTS
from installation import Installation, calls_reach, check_books

from bulkreset.options import Options
from bulkreset.sandbox import generated_user, parse_rule

KILLS = int(os.environ.get("BULKRESET_CHAOS_KILLS", "50"))
SEED = int(os.environ.get("BULKRESET_CHAOS_SEED", "0")) or random.randrange(1, 10**6)
USERS = 1_500
KINDS = {"admin": 10, "sso": 10, "pending": 5, "missing": 5}


class Runner:
    """The hooked program as a process; always ended by its own id."""

    def __init__(self, installation, *arguments, log_level="error"):
        self._log_level = log_level
        self.journal = installation.folder / "journal"
        self._command = [
            sys.executable,
            str(Path(__file__).with_name("hooked_runner.py")),
            str(self.journal),
            "--config",
            str(installation.config),
            "run",
            *arguments,
        ]
        self.process = None

    async def __aenter__(self):
        environment = {**os.environ, "BULKRESET_LOG_LEVEL": self._log_level}
        self.process = await asyncio.create_subprocess_exec(
            *self._command, env=environment, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE
        )
        return self

    async def __aexit__(self, *_):
        if self.process.returncode is None:
            self.process.kill()
        self.errors = (await self.process.stderr.read()).decode()
        await self.process.wait()


async def live_and_die(installation, tenant, rng, *, first_call):
    """Kill a runner at a random moment, after its first call where that is to be waited for."""
    before = calls_in(tenant)
    async with Runner(installation) as runner:
        if first_call:
            with contextlib.suppress(TimeoutError):  # all that is left may be due later
                async with asyncio.timeout(10):
                    await calls_reach(tenant, before + 1)
        await asyncio.sleep(rng.uniform(0, 0.6))
        runner.process.send_signal(signal.SIGKILL)
    assert runner.process.returncode == -signal.SIGKILL, runner.errors


async def run_to_the_end(installation, *, within_s):
    """Let a runner do what is left; some users cannot be reset."""
    async with Runner(installation, "--once") as runner, asyncio.timeout(within_s):
        await runner.process.wait()
    assert runner.process.returncode == 3, runner.errors
    return runner


def calls_in(tenant):
    return len(tenant.log.calls)


async def test_fifty_kills_under_every_fault_lose_nothing(tmp_path, sandbox, record_property):
    """Killed at random moments with each fault on 5 % of calls: every user ends right, once, with one password."""
    record_property("seed", SEED)
    sys.stderr.write(f"BULKRESET_CHAOS_SEED={SEED}\n")  # shown where the test fails
    rng = random.Random(SEED)
    tenant = sandbox.add(
        {
            "name": "zoom",
            "provider": "zoom",
            "seed": SEED,
            "latency_ms": 20,
            "generate": {"count": USERS, "kinds": KINDS},
        }
    )
    tenant.faults.add([parse_rule(rule) for rule in FAULTS])
    installation = Installation(tmp_path, sandbox.url)
    installation.http = "total_timeout = 0.8\nconnect_timeout = 0.5"
    installation.zoom("zoom", requests_per_second=120)
    placed = await installation.order("zoom", [generated_user("zoom", n).email for n in range(1, USERS + 1)])

    for _ in range(KILLS):
        # From before the first call of this life to well into its sending and recording.
        await live_and_die(installation, tenant, rng, first_call=rng.random() < 0.8)

    tenant.faults.clear()
    runner = await run_to_the_end(installation, within_s=180)

    tasks = check_books(installation, tenant)
    batch = await installation.batch(placed.id)
    assert batch.state == "done"
    assert batch.counts["succeeded"] + batch.counts["failed"] + batch.counts["skipped"] == USERS
    expected = {
        "admin": "skipped",
        "sso": "skipped",
        "pending": "skipped",
        "missing": "failed",
        "normal": "succeeded",
    }
    index = 0
    for kind, count in [*KINDS.items(), ("normal", USERS - sum(KINDS.values()))]:
        for _ in range(count):
            index += 1
            email = generated_user("zoom", index).email
            assert tasks[email][2] == expected[kind], (email, kind, tasks[email])

    journal = dict(line.split() for line in runner.journal.read_text().splitlines())
    made = defaultdict(set)
    for call in tenant.log.calls:
        if call.password_sha256:
            made[call.ref].add(call.password_sha256)
    for user in tenant.users:
        if tasks[user.email][2] != "succeeded":
            continue
        # Nothing was refused in this run, so a second password could only come from an unclear end.
        assert made[user.email] == {user.password_sha256}, (
            f"{user.email} was given {len(made[user.email])} passwords"
        )
        assert user.password_sha256 in journal.values()
    kills = installation.query("SELECT count(*) FROM attempt WHERE message LIKE 'the runner was lost%'")[0][0]
    confirmed = batch.outcomes.get("confirmed", 0)
    assert kills > 0
    assert confirmed > 0


async def test_kills_lose_no_session_and_no_escrowed_password(tmp_path, sandbox, record_property):
    """Killed at random moments under faults of both kinds of calls: all are signed out, all passwords are kept."""
    record_property("seed", SEED)
    sys.stderr.write(f"BULKRESET_CHAOS_SEED={SEED}\n")
    rng, users = random.Random(SEED), 400
    spec = {"name": "zoom", "provider": "zoom", "seed": SEED, "latency_ms": 20}
    tenant = sandbox.add({**spec, "generate": {"count": users, "kinds": {"sso": 5, "missing": 5}}})
    identity = pyrage.x25519.Identity.generate()
    installation = Installation(tmp_path, sandbox.url)
    installation.http = "total_timeout = 0.8\nconnect_timeout = 0.5"
    installation.zoom("zoom", requests_per_second=120, plan="business")
    options = Options(revoke_sessions=True, escrow_to=(str(identity.to_public()),), halt_at=1.0)
    emails = [generated_user("zoom", n).email for n in range(1, users + 1)]
    placed = await installation.order("zoom", emails, options=options)
    tenant.faults.add(
        [parse_rule({**rule, "on": scope}) for rule in FAULTS for scope in ("writes", "revocations")]
    )

    for _ in range(max(KILLS // 5, 3)):
        await live_and_die(installation, tenant, rng, first_call=True)
    tenant.faults.clear()
    await run_to_the_end(installation, within_s=120)

    check_books(installation, tenant)
    batch = await installation.batch(placed.id)
    assert (batch.state, batch.left) == ("done", 0)
    assert (batch.counts["succeeded"], batch.sessions["succeeded"]) == (users - 10, users - 5)
    assert all(user.sessions == (user.kind == "missing") for user in tenant.users)
    rows = installation.query("SELECT t.display, e.sealed FROM escrow e JOIN task t ON t.id = e.task_id")
    opened = {user: sha256(pyrage.decrypt(b64decode(sealed), [identity])).hexdigest() for user, sealed in rows}
    assert opened == {user.email: user.password_sha256 for user in tenant.users if user.applied}
    assert len(rows) == users - 10


async def test_the_second_signal_ends_at_once_and_loses_nothing(tmp_path, sandbox):
    """SIGTERM twice while calls hang: the process is gone at once, and the next run finishes the work."""
    tenant = sandbox.add({"name": "zoom", "provider": "zoom", "generate": {"count": 60}})
    tenant.faults.add([parse_rule({"kind": "hang", "applied": True})])
    installation = Installation(tmp_path, sandbox.url)
    installation.http = "total_timeout = 60\nconnect_timeout = 0.5"
    installation.zoom("zoom", requests_per_second=200)
    placed = await installation.order("zoom", [generated_user("zoom", n).email for n in range(1, 61)])
    async with Runner(installation, log_level="info") as runner:
        await calls_reach(tenant, 30)
        runner.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(60):  # two signals that come before it looks are one
            while b"run_stopping" not in await runner.process.stderr.readline():
                pass
        assert runner.process.returncode is None
        runner.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(30):  # half of what its calls may take
            await runner.process.wait()
    assert runner.process.returncode == 128 + signal.SIGTERM
    tenant.faults.clear()
    async with Runner(installation, "--once") as runner:
        async with asyncio.timeout(60):
            await runner.process.wait()
    batch = await installation.batch(placed.id)
    assert batch.counts["succeeded"] == 60
    assert batch.outcomes["confirmed"] >= 20
    check_books(installation, tenant)


async def test_one_signal_ends_gracefully_with_nothing_unknown(tmp_path, sandbox):
    """SIGTERM in mid-run: exit 4, nothing running, no attempt open or unknown."""
    tenant = sandbox.add({"name": "zoom", "provider": "zoom", "latency_ms": 100, "generate": {"count": 500}})
    installation = Installation(tmp_path, sandbox.url)
    installation.http = "total_timeout = 5"
    installation.zoom("zoom", requests_per_second=100)
    await installation.order("zoom", [generated_user("zoom", n).email for n in range(1, 501)])
    async with Runner(installation) as runner:
        await calls_reach(tenant, 50)
        runner.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(20):
            await runner.process.wait()
    assert runner.process.returncode == 4, runner.errors
    assert installation.query("SELECT count(*) FROM task WHERE state = 'running'") == [(0,)]
    assert installation.query("SELECT count(*) FROM attempt WHERE closed_at IS NULL OR outcome = 'unknown'") == [
        (0,)
    ]
    check_books(installation, tenant)

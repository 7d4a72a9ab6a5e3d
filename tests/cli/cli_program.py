"""What the tests of the command line share: the program as a process, its folder, a sandbox in a thread."""

import asyncio
import json
import os
import pty
import select
import shutil
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

from bulkreset.sandbox import Sandbox, generated_user, parse_rule

ROOT = Path(__file__).resolve().parents[2]
CLIENT_SECRET = "planted-client-secret-Xq7"
API_TOKEN = "planted-api-token-Zk3"


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self):
        return json.loads(self.out)


def refused(ended, *words, code=2):
    """Hold an error against the rule: one line on standard error that names the thing, and nothing else."""
    assert ended.code == code, (ended.code, ended.out, ended.err)
    assert ended.out == ""
    assert ended.err.count("\n") == 1, ended.err
    assert ended.err.endswith("\n")
    assert ended.err.startswith("bulkreset: "), ended.err
    assert len(ended.err) < 600, ended.err
    for word in words:
        assert word in ended.err, (word, ended.err)
    return ended.err


def emails(*indexes):
    """Return the addresses of a tenant's generated users."""
    return [generated_user("zoom", index).email for index in indexes]


class SandboxThread:
    """A sandbox in a thread of this process, so that tests look into its tenants directly."""

    def __init__(self):
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="sandbox")
        self._thread.start()
        self.sandbox = self.inside(self._new())
        self.url = self.sandbox.url

    def inside(self, work):
        """Run a coroutine in the sandbox's own loop."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    def add(self, name, provider, *, faults=(), count=20, secret=None, **spec):
        """Add a tenant, or replace the one of that name, and return it."""
        own = {"client_secret": CLIENT_SECRET} if provider == "zoom" else {"api_token": API_TOKEN}
        if "users" not in spec:
            spec["generate"] = {"count": count, "kinds": spec.pop("kinds", {})}

        async def act():
            tenant = self.sandbox.add({"name": name, "provider": provider, **own, **spec})
            tenant.faults.add([parse_rule(rule) for rule in faults])
            return tenant

        return self.inside(act())

    def close(self):
        self.inside(self.sandbox.stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _new(self):
        sandbox = Sandbox()
        await sandbox.start()
        return sandbox


class Zygote:
    """The process that the quick commands are forked from."""

    def __init__(self):
        self._process = subprocess.Popen(
            [sys.executable, Path(__file__).with_name("zygote.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            text=True,
        )

    def order(self, **order):
        """Start a command."""
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()

    def code(self):
        """Wait for the command to end."""
        return int(self._process.stdout.readline())

    def close(self):
        self._process.stdin.close()
        self._process.wait(30)
        self._process.stdout.close()


class Folder:
    """A folder made by `bulkreset init`, and the program called in it."""

    def __init__(self, path, zygote, url):
        self.path = path
        self.config = path / "config.toml"
        self.database = path / "bulkreset.db"
        self.key = path / "bulkreset.key"
        self.environment = {
            **{name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR", "LANG") if name in os.environ},
            "BULKRESET_CONFIG": str(self.config),
            "PYTHONPATH": str(ROOT),
            "COLUMNS": "200",
            "ZOOM_SECRET": CLIENT_SECRET,
            "ZENDESK_TOKEN": API_TOKEN,
        }
        self._zygote = zygote
        self._url = url

    def configure(self, *lines, zoom="requests_per_second = 1000", zendesk="requests_per_minute = 60000"):
        """Write the configuration: the two accounts, their rates, and further lines before them."""
        self.config.write_text(
            "\n".join(
                [
                    '[database]\nurl = "sqlite:///bulkreset.db"',
                    '[passwords]\nkey = { file = "bulkreset.key" }',
                    *lines,
                    f'[accounts.zoom]\nprovider = "zoom"\nshare = 1.0\n{zoom}',
                    'account_id = "sandbox-account-id"\nclient_id = "sandbox-client-id"',
                    'client_secret = { env = "ZOOM_SECRET" }',
                    f'api_url = "{self._url}/zoom/v2"\noauth_url = "{self._url}/zoom/oauth/token"',
                    f'[accounts.zendesk]\nprovider = "zendesk"\nshare = 1.0\n{zendesk}',
                    'email = "admin@example.com"\napi_token = { env = "ZENDESK_TOKEN" }',
                    f'api_url = "{self._url}/zendesk"\n',
                ]
            )
        )
        return self

    def run(self, *arguments, stdin=b"", environment=None, **how):
        """Call a command to its end; `how` are further keys of the zygote's order."""
        with self.started(*arguments, stdin=stdin, environment=environment, **how) as end:
            return end()

    @contextmanager
    def started(self, *arguments, stdin=b"", environment=None, **how):
        """Start a command; call what is given to wait for its end."""
        files = {name: self.path.parent / f"{self.path.name}.{name}" for name in ("stdin", "stdout", "stderr")}
        files["stdin"].write_bytes(stdin)
        for name in ("stdout", "stderr"):
            files[name].write_bytes(b"")
        self._zygote.order(
            **{name: str(path) for name, path in files.items()},
            arguments=[str(argument) for argument in arguments],
            environment={**self.environment, **(environment or {})},
            folder=str(self.path),
            **{
                "umask": 0o022,
                "obeys_modes": False,
                "largest_file": None,
                "terminal": None,
                "patience_s": 30,
                **how,
            },
        )
        ended = []

        def end():
            code = self._zygote.code()
            ended.append(Ended(code, files["stdout"].read_text("utf-8"), files["stderr"].read_text("utf-8")))
            return ended[0]

        try:
            yield end
        finally:
            if not ended:  # the test has failed; the next one must not get this answer
                self._zygote.code()

    def fresh(self, *arguments, environment=None):
        """Start a command in a process of its own, from nothing; the caller ends it."""
        return subprocess.Popen(
            [sys.executable, "-m", "bulkreset", *map(str, arguments)],
            env={**self.environment, **(environment or {})},
            cwd=self.path,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def create(self, account, users, *options):
        """Order a batch of these lines; return what `--json` says."""
        ended = self.run(*self.order(account), *options, "--json", stdin="\n".join(users).encode())
        assert ended.code == 0, ended.err
        return ended.json

    @staticmethod
    def order(account, users="-", incident="INC-1", reason="a drill"):
        """Return the arguments of `batch create`."""
        named = {"account": account, "users": users, "incident": incident, "reason": reason}
        return [
            "batch",
            "create",
            "--yes",
            *(word for name, value in named.items() for word in (f"--{name}", value)),
        ]

    def write(self, name, content):
        """Put a file into the folder, and return its name."""
        (self.path / name).write_bytes(content.encode() if isinstance(content, str) else content)
        return name

    def query(self, sql, *parameters):
        """Ask the database file directly, as another process would."""
        with closing(sqlite3.connect(self.database)) as connection, connection:
            return connection.execute(sql, parameters).fetchall()

    def dump(self):
        """Return the whole content of the database but for the quotas: calls that left count in any case."""
        with closing(sqlite3.connect(self.database)) as connection:
            return [line for line in connection.iterdump() if not line.startswith('INSERT INTO "quota"')]

    def copy(self, path):
        """Copy the folder, made once, for one test."""
        shutil.copytree(self.path, path)
        return Folder(path, self._zygote, self._url)


def meanwhile(runner, condition):
    """Wait until this holds while a process runs; fail where the process ends first or half a minute goes by."""
    until = monotonic() + 30
    while not condition():
        assert monotonic() < until
        with suppress(subprocess.TimeoutExpired):
            runner.wait(0.02)
            raise AssertionError(f"it has ended with {runner.returncode}: {runner.stderr.read()}")


def calls(tenant, *methods):
    """Return a tenant's calls with these methods, or all."""
    return [call for call in tenant.log.calls if not methods or call.method in methods]


def writes(tenant):
    """Return the calls that set a password."""
    return [call for call in calls(tenant, "PUT", "POST") if call.path.endswith("/password")]


class Terminal:
    """A pseudo-terminal: what the program shows there, and what a person types."""

    def __init__(self):
        self._master, self._slave = pty.openpty()
        self.name = os.ttyname(self._slave)
        self.shown = ""

    def wait_for(self, text):
        """Read on until the program has shown this."""
        while text not in self.shown:
            ready, _, _ = select.select([self._master], [], [], 20)
            assert ready, f"{text!r} was never shown, only: {self.shown!r}"
            self.shown += os.read(self._master, 65536).decode()

    def rest(self):
        """Read what is left when the program has ended, and return all that was ever shown."""
        while select.select([self._master], [], [], 0)[0]:
            self.shown += os.read(self._master, 65536).decode()
        return self.shown

    def type(self, line):
        os.write(self._master, line.encode() + b"\n")

    def close(self):
        os.close(self._master)
        os.close(self._slave)

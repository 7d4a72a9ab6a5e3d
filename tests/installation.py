"""A folder with a configuration, a key and a database, as `bulkreset init` makes it, for an in-process run."""

import asyncio
import json
from collections import Counter
from pathlib import Path

from databases import ask, run_apart

from bulkreset.cli.context import guard, master_key, transport
from bulkreset.config import load
from bulkreset.intake.concerns import Concern
from bulkreset.intake.order import Order, chunks, place
from bulkreset.intake.orders_by_sql import OrdersBySql
from bulkreset.intake.users_file import UserLine, user_line
from bulkreset.passwords.keyfile import write_key_file
from bulkreset.providers.http import ReadTransport, WriteTransport
from bulkreset.runner.worker import Worker
from bulkreset.sandbox import generated_user
from bulkreset.store import batches
from bulkreset.store.engine import open_store
from bulkreset.store.migrate import upgrade
from bulkreset.store.place import place_of


def addresses(count, provider="zoom"):
    """Return the addresses of the first users that a sandbox generates."""
    return [generated_user(provider, n).email for n in range(1, count + 1)]


async def calls_reach(tenant, count):
    """Wait until a tenant of an in-process sandbox has seen so many calls."""
    log, reached = tenant.log, asyncio.Event()
    add = type(log).add

    def watched(call):
        add(log, call)
        if log.total >= count:
            reached.set()

    if log.total < count:
        tenant.log = _Watched(log, watched)
        try:
            await reached.wait()
        finally:
            tenant.log = log


class _Watched:
    """A tenant's log that tells of every call."""

    def __init__(self, log, add):
        self._log = log
        self.add = add

    def __getattr__(self, name):
        return getattr(self._log, name)


_GRACE_S = 10.0


class Installation:
    """Where a test's runner lives; `url` is the sandbox's."""

    def __init__(self, folder: Path, url: str, database_url: str = "sqlite:///bulkreset.db") -> None:
        self.folder = folder
        self.url = url
        self.config = folder / "config.toml"
        self.database = folder / "bulkreset.db"
        self.database_url = database_url
        self._head = f'[database]\nurl = "{database_url}"\n[passwords]\nkey = {{ file = "bulkreset.key" }}\n'
        self._accounts: dict[str, str] = {}
        # As in operation: a busy machine answers late, and a call that was given up is another outcome.
        self.http = ""
        self.runner = "poll_interval = 0.2"
        self.write()
        write_key_file(folder / "bulkreset.key")
        settings = load(self.config)
        run_apart(upgrade(place_of(settings.database, settings.base)))

    def zoom(self, name="zoom", **keys):
        """Add an account at the Zoom tenant of the same name."""
        self._secret(f"{name}.secret", "sandbox-client-secret")
        self._accounts[name] = self._table(
            name,
            {
                "provider": "zoom",
                "share": 1.0,
                "account_id": "sandbox-account-id",
                "client_id": "sandbox-client-id",
                "api_url": f"{self.url}/{name}/v2",
                "oauth_url": f"{self.url}/{name}/oauth/token",
                **keys,
            },
            f'client_secret = {{ file = "{name}.secret" }}',
        )
        self.write()

    def zendesk(self, name="zendesk", *, login="api_token", **keys):
        """Add an account at the Zendesk tenant of the same name; `login` is the key that holds its secret."""
        self._secret(f"{name}.secret", _ZENDESK_SECRETS[login])
        keys |= {
            "api_token": {"email": "admin@example.com"},
            "client_secret": {"client_id": "sandbox-client-id"},
        }.get(login, {})
        self._accounts[name] = self._table(
            name,
            {
                "provider": "zendesk",
                "share": 1.0,
                "api_url": f"{self.url}/{name}",
                **keys,
            },
            f'{login} = {{ file = "{name}.secret" }}',
        )
        self.write()

    def write(self):
        """Write the configuration file."""
        self.config.write_text(
            "\n".join([self._head, "[http]", self.http, "[runner]", self.runner, *self._accounts.values()])
        )

    async def order(
        self,
        account,
        users=(),
        *,
        excluded=(),
        not_before=None,
        incident="INC-1",
        preflight=None,
        listed=False,
        dry_run=False,
        **more,
    ):
        """Order a batch, by default without a look at its users where that may be; return what was reported.

        `listed` is for an order that takes its users from the account itself.
        """
        settings = load(self.config)
        more.setdefault("accepts", frozenset(Concern))
        if preflight is None:
            preflight = settings.account(account).provider == "zendesk"
        store = await open_store(settings.database, settings.base)
        lines = [
            user if isinstance(user, UserLine) else user_line(user, n, "users") for n, user in enumerate(users, 1)
        ]
        out = [user_line(text, n, "excluded") for n, text in enumerate(excluded, 1)]
        try:
            async with transport(ReadTransport, settings) as way:
                return await place(
                    store,
                    settings,
                    way,
                    None if dry_run else master_key(settings),
                    Order(account, incident, "a test", "tester", not_before, preflight=preflight, **more),
                    users=None if listed else chunks(lines),
                    excluded=chunks(out),
                    dry_run=dry_run,
                )
        finally:
            await store.close()

    async def steer(self, act, batch_id, *arguments):
        """Do this to a batch, as another host would: `lifecycle.pause`, `control.approve` and the like."""
        return await self.with_store(lambda store: act(store, batch_id, *(arguments or ("tester",))))

    async def run(self, *, once=True, accounts=(), meanwhile=None):
        """Run a worker in this process to its end; `meanwhile` is a coroutine function given the worker."""
        settings = load(self.config)
        store = await open_store(settings.database, settings.base)
        try:
            async with transport(WriteTransport, settings) as way:
                master = master_key(settings)
                worker = Worker(
                    store,
                    settings,
                    way,
                    master,
                    name="test:1",
                    guard=guard(settings),
                    once=once,
                    accounts=accounts,
                    chores=[OrdersBySql(store, settings, way, master)],
                )
                if meanwhile is None:
                    return await worker.run()
                running = asyncio.create_task(worker.run())
                acting = asyncio.create_task(meanwhile(worker))
                await asyncio.wait([running, acting], return_when=asyncio.FIRST_COMPLETED)
                if running.done():  # what it waits for may never come now, and must not be waited for in vain
                    _, waiting = await asyncio.wait([acting], timeout=_GRACE_S)
                    acting.cancel()
                    assert not waiting, "the worker ended before what was waited for came about"
                await acting
                return await running
        finally:
            await store.close()

    async def batch(self, batch_id):
        """Return a batch as `batch show` has it."""
        settings = load(self.config)
        store = await open_store(settings.database, settings.base)
        try:
            return await batches.get(store, batch_id)
        finally:
            await store.close()

    async def with_store(self, act):
        """Call `act(store)` on the open database."""
        settings = load(self.config)
        store = await open_store(settings.database, settings.base)
        try:
            return await act(store)
        finally:
            await store.close()

    def query(self, sql, *parameters):
        """Ask the database directly, as an auditor would."""
        return ask(self.database_url, self.folder, sql, *parameters)

    def _table(self, name, keys, *lines):
        return "\n".join([f"[accounts.{name}]", *(f"{k} = {_toml(v)}" for k, v in keys.items()), *lines])

    def new_secret(self, name, text):
        """Put a new secret into an account's file."""
        self._secret(f"{name}.secret", text)

    def _secret(self, name, text):
        path = self.folder / name
        path.touch(mode=0o600)
        path.write_text(text)


_BESIDE_THE_SECRET = {
    "api_token": {"email": "admin@example.com"},
    "client_secret": {"client_id": "sandbox-client-id"},
}
_ZENDESK_SECRETS = {
    "api_token": "sandbox-api-token",
    "oauth_token": "sandbox-oauth-token",
    "client_secret": "sandbox-client-secret",
}


def _toml(value):
    """Write a value as TOML: JSON but for tables."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_toml(item)}" for key, item in value.items()) + " }"
    return json.dumps(value)


def check_books(installation, tenant):
    """Hold the database against the sandbox's own record: every call audited, counts that add up.

    Works on a `Tenant` of an in-process sandbox. Returns the tasks that set a password by user reference.
    """
    rows = installation.query("SELECT id, user_ref, state, outcome, attempt, sealed, action FROM task")
    attempts = set(installation.query("SELECT task_id, n FROM attempt"))
    seen = Counter()
    for call in writes(tenant):
        _, task_id, n = map(int, call.request_id.split("-"))
        seen[task_id, n] += 1
        assert (task_id, n) in attempts, f"call {call.request_id} has no attempt"
    assert max(seen.values(), default=1) == 1, "an attempt was sent twice"
    for row in rows:
        if row[2] not in ("pending", "running"):
            assert row[5] is None, "a final task still holds a sealed password"
    total = installation.query("SELECT sum(total) FROM batch")[0][0]
    first = [row for row in rows if row[6] == "set_password"]
    assert len(first) == total
    return {row[1]: row for row in first}


def writes(tenant):
    """Return the calls that changed anything, in the order of their arrival: all but logins and reads."""
    return [call for call in tenant.log.calls if call.method != "GET" and "/oauth/" not in call.path]


def resets(tenant):
    """Return the calls that set a password, in the order of their arrival."""
    return [call for call in writes(tenant) if call.path.endswith("/password")]


def revocations(tenant):
    """Return the calls that ended sessions, in the order of their arrival."""
    return [call for call in writes(tenant) if call.method == "DELETE"]

"""Planted markers: no password, token, client secret or key is anywhere in clear, whatever goes wrong."""

import base64
import json
import re
from pathlib import Path
from urllib.parse import quote

import pytest
from cli_program import API_TOKEN, CLIENT_SECRET, emails, meanwhile, writes

from bulkreset.sandbox import zendesk as zendesk_stand_in
from bulkreset.sandbox import zoom as zoom_stand_in

USERS = 60
ECHO = "@echo@"
PAGE = f"<html><body>{ECHO}</body></html>"
DETAILS = {"error": "RecordInvalid", "details": {"password": [{"description": ECHO}]}}
FAULTS = [
    {"kind": "hang", "applied": True},
    {"kind": "apply_drop"},
    {"kind": "reset"},
    {"kind": "malformed"},
    {"kind": "401"},
    {"kind": "answer", "status": 400, "body": json.dumps({"code": ECHO, "message": ECHO})},
    {"kind": "answer", "status": 400, "body": '{"code":300,"message":"' + ECHO},  # broken off
    {"kind": "answer", "status": 422, "body": json.dumps({"error": {"title": ECHO, "message": ECHO}})},
    {"kind": "answer", "status": 422, "body": json.dumps(DETAILS)},
    {"kind": "answer", "status": 404, "body": json.dumps({"code": 1001, "message": ECHO, "error": ECHO})},
    {"kind": "answer", "status": 500, "body": f"<html><body>{ECHO}</body></html>"},
    {"kind": "answer", "status": 200, "body": f"<html><body>{ECHO}</body></html>"},
    {"kind": "answer", "status": 418, "body": ECHO},
]
# One user in four meets a fault: never so many in a row that the account is paused.
SCRIPT = [{**rule, "users": emails(4 * n), "times": 1} for n, rule in enumerate(FAULTS, 1)]


class Ear:
    """Hears every password and credential that reaches the stand-ins, and has some faults say them back."""

    def __init__(self, patch):
        self.passwords = set()
        self.credentials = set()
        for module in (zoom_stand_in, zendesk_stand_in):
            patch.setattr(module, "digest_of", self._hearing(module.digest_of))
        for provider in (zoom_stand_in.Zoom, zendesk_stand_in.Zendesk):
            patch.setattr(provider, "fault_reply", self._echoing(provider.fault_reply))
            patch.setattr(provider, "authenticate", self._noting(provider.authenticate))

    def _hearing(self, digest_of):
        def heard(password):
            self.passwords.add(password)
            return digest_of(password)

        return heard

    def _noting(self, authenticate):
        def noted(api, incoming):
            self.credentials.add(incoming.headers.get("Authorization", "").partition(" ")[2])
            return authenticate(api, incoming)

        return noted

    def _echoing(self, fault_reply):
        def echoed(api, rule, incoming, now):
            reply = fault_reply(api, rule, incoming, now)
            given = json.loads(incoming.body or b"{}")
            self.passwords.update({given["password"]} if "password" in given else ())
            said = f"{incoming.body.decode()} {given.get('password')} {incoming.headers.get('Authorization')}"
            object.__setattr__(reply, "body", reply.body.replace(ECHO.encode(), _inside(said, reply.body)))
            object.__setattr__(reply, "headers", {**reply.headers, "X-Request-Id": said})
            return reply

        return echoed


def _inside(said, body):
    """Write it as the body's form wants: as JSON inside JSON, as it is elsewhere."""
    return (json.dumps(said)[1:-1] if body.startswith(b"{") else said).encode()


@pytest.fixture(scope="module")
def ear():
    with pytest.MonkeyPatch.context() as patch:
        yield Ear(patch)


@pytest.fixture(scope="module")
def aftermath(ear, made, stand_ins, tmp_path_factory):
    """One run through every fault at both providers with all logs on, stopped, looked at, and ended."""
    folder = made.copy(tmp_path_factory.mktemp("secrets") / "folder")
    folder.configure(
        "[http]\ntotal_timeout = 0.7\nconnect_timeout = 0.5",
        zoom="requests_per_second = 60",
        zendesk="requests_per_minute = 3600",
    )
    folder.environment |= {"BULKRESET_LOG_LEVEL": "debug", "PYTHONASYNCIODEBUG": "1"}
    tenants = [
        stand_ins.add("zoom", "zoom", count=USERS, faults=SCRIPT, kinds={"admin": 1, "missing": 1}),
        stand_ins.add("zendesk", "zendesk", count=USERS, faults=SCRIPT, kinds={"missing": 1}),
    ]
    ear.passwords.clear()
    seen = Seen(folder)
    for tenant in tenants:
        folder.create(tenant.spec.name, [user.email for user in tenant.users])
    runner = folder.fresh("--debug", "run", "--json")
    try:
        meanwhile(runner, lambda: all(len(writes(tenant)) > USERS * 0.9 for tenant in tenants))
        seen.add("command line", Path(f"/proc/{runner.pid}/cmdline").read_bytes())
        runner.terminate()
        seen.add("output of the run", *runner.communicate(timeout=30))
        seen.database("in mid-run")
        [(seen.sealed,)] = folder.query("SELECT count(*) FROM task WHERE sealed IS NOT NULL")
    finally:
        runner.kill()
        runner.communicate()
    seen.command("--debug", "run", "--once", "--json")
    fired = [[rule["fired"] for rule in tenant.faults.as_list()] for tenant in tenants]
    seen.database("at the end")
    seen.everything()
    return seen, ear, fired


class Seen:
    """All that can be read of an installation, by where it was read."""

    def __init__(self, folder):
        self.folder = folder
        self.texts = {}
        self.commands = []

    def add(self, where, *texts):
        self.texts[where] = b"\n".join(text.encode() if isinstance(text, str) else text for text in texts)

    def command(self, *arguments, environment=None):
        ended = self.folder.run(*arguments, environment=environment)
        self.commands.append(ended)
        self.add(" ".join(map(str, arguments)) + str(environment or ""), ended.out, ended.err)
        return ended

    def database(self, when):
        for path in self.folder.path.glob("bulkreset.db*"):
            self.add(f"{path.name} {when}", path.read_bytes())

    def everything(self):
        """Call every command that shows something, in health and in trouble."""
        for form in ("table", "csv", "json"):
            for batch in ("1", "2"):
                self.command("report", batch, "--format", form)
        self.command("report", "1", "--output", "report.txt")
        self.add("report file", (self.folder.path / "report.txt").read_bytes())
        for arguments in (["list"], ["list", "--json"], ["show", "1"], ["show", "2", "--json"]):
            self.command("batch", *arguments)
        for account, name in (("zoom", "ZOOM_SECRET"), ("zendesk", "ZENDESK_TOKEN")):
            self.command("--debug", "check", account)
            self.command("--debug", "check", account, environment={name: f"wrong{CLIENT_SECRET}{API_TOKEN}"})
        self.folder.write("users.csv", f"email,note\n{CLIENT_SECRET},{API_TOKEN}\n")
        self.command("--debug", *self.folder.order("zoom", "users.csv"))
        self.command("--debug", "batch", "retry", "1", "--json")
        self.command("--debug", "batch", "cancel", "1")
        key = self.folder.key.read_text()
        self.folder.key.write_text(key.replace(key.strip()[-6:], ""))
        self.command("--debug", *self.folder.order("zoom", "report.txt"))
        self.folder.key.write_text(key)
        self.folder.config.write_text(self.folder.config.read_text().replace('"ZOOM_SECRET"', f'"{CLIENT_SECRET}'))
        self.command("--debug", "batch", "list")


def variants(secret):
    """Return the forms in which a secret could stand somewhere."""
    plain = secret.encode()
    forms = {
        plain,
        json.dumps(secret)[1:-1].encode(),
        quote(secret, safe="").encode(),
        repr(secret)[1:-1].encode(),
    }
    forms |= {base64.b64encode(plain), base64.urlsafe_b64encode(plain).rstrip(b"="), plain.hex().encode()}
    return forms


def test_the_run_met_every_fault(aftermath):
    """The search below means something: passwords and tokens were heard, all faults fired, all logs were on."""
    seen, ear, fired = aftermath
    assert len(ear.passwords) > USERS
    assert len(ear.credentials) >= 2
    assert all(times > 0 for tenant in fired for times in tenant), fired
    assert b'"level": "warning"' in seen.texts["output of the run"]
    assert {ended.code for ended in seen.commands} >= {0, 1, 2, 3}
    assert any(b"Traceback" in text for text in seen.texts.values())
    assert seen.sealed > 0


@pytest.mark.parametrize("what", ["passwords", "credentials", "client secret", "api token", "master key"])
def test_nothing_secret_is_in_clear_anywhere(aftermath, what):
    """Not in output, logs, tracebacks, reports, argv, nor in the database and its WAL, in no common writing."""
    seen, ear, _ = aftermath
    key = seen.folder.key.read_text().strip()
    secrets = {
        "passwords": ear.passwords,
        "credentials": ear.credentials - {""},
        "client secret": {CLIENT_SECRET, base64.b64encode(f"sandbox-client-id:{CLIENT_SECRET}".encode()).decode()},
        "api token": {API_TOKEN, base64.b64encode(f"admin@example.com/token:{API_TOKEN}".encode()).decode()},
        "master key": {key, key.rpartition(":")[2], key.split("-")[-1]},
    }[what]
    assert secrets
    found = {
        (where, secret)
        for secret in secrets
        for form in variants(secret)
        for where, text in seen.texts.items()
        if form in text
    }
    assert not found, sorted(found)[:5]


def test_what_the_provider_said_is_kept_without_the_secrets(aftermath):
    """The answers that said secrets back are in the report, masked, not thrown away."""
    seen, _, _ = aftermath
    report = seen.texts["report 1 --format json"].decode()
    assert "********" in report
    assert re.search(r'"outcome": "unexpected"', report)


def test_a_batch_that_has_ended_holds_no_key(aftermath):
    """When every task is final neither a sealed password nor the batch's key is left."""
    seen, _, _ = aftermath
    assert seen.folder.query("SELECT count(*) FROM task WHERE sealed IS NOT NULL") == [(0,)]
    assert emails(1)[0] in seen.texts["report 1 --format csv"].decode()

"""`bulkreset demo --drill`: an org-wide reset from the first listing to the close, and proof of what must hold.

Every command is run as a person would run it, as a process of its own, against stand-ins. What must hold is then
read from the stand-ins' own record and from the files that were written, and not from what the commands said.
"""

import csv
import io
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from bulkreset.cli.context import start
from bulkreset.errors import BulkresetError

REQUESTER: Final = "ada"
APPROVER: Final = "bob"
INCIDENT: Final = "DRILL-1"
PROTECTED: Final = ("user00100@example.com", "user00200@example.com")
SMALL: Final = range(2001, 2301)
_SPARED: Final = ("owner", "admin")
_WAIT_S: Final = 300.0
_CONCURRENCY: Final = 50


RUNNER: Final = ("", "[runner]", f"concurrency = {_CONCURRENCY}")
"""Lines of the drill's configuration that are of no account."""

ACCOUNTS: Final = {
    "zoom": (
        'plan = "business"',
        "requests_per_second = 400",
        "share = 0.9",
        "protected = [" + ", ".join(f'"{name}"' for name in PROTECTED) + "]",
        "require_approval = 1",
    ),
    "zendesk": (
        "requests_per_minute = 24000",
        "share = 0.9",
        'protected = { file = "protected.txt" }',
        "require_approval = 1",
    ),
}
"""Lines of the drill's accounts, beside those that lead to their stand-ins."""


class DrillFailed(BulkresetError):  # noqa: N818  (named for the state, as all leaves are)
    """A step of the drill did not end as it must."""


@dataclass(frozen=True, slots=True)
class Fact:
    """Something that must hold after a drill, whether it does, and what that was read from."""

    promise: str
    held: bool
    evidence: str


@dataclass(frozen=True, slots=True)
class Told:
    """What a command wrote, and how it ended."""

    out: str
    code: int


@dataclass(slots=True)
class Drill:
    """The story, one step after the other; `say` is given every line that is to be shown."""

    folder: Path
    url: str
    say: Callable[[str], None]
    facts: list[Fact] = field(default_factory=list)

    def run(self) -> list[Fact]:
        """Play it all; return what must hold. Raises DrillFailed where a command does not end as it must."""
        self._head("Can both accounts be reset at all?")
        self.command("check", "zoom")
        self.command("check", "zendesk")
        self._rehearse()
        self._order_and_approve()
        self._reset()
        self._sessions()
        self._escrow()
        self._forbidden()
        self._close()
        self._nobody_protected()
        return self.facts

    def command(self, *words: str, who: str = REQUESTER, codes: Sequence[int] = (0,)) -> Told:
        """Run one command to its end as this person, and show it with what it wrote."""
        self.say(f"{who}$ bulkreset {' '.join(words)}")
        ended = subprocess.run(
            self._argv(words, who), env=self._env(), capture_output=True, text=True, check=False
        )
        for line in (ended.stdout + ended.stderr).splitlines():
            self.say(f"  {line}")
        if ended.returncode not in codes:
            raise DrillFailed(f"`bulkreset {' '.join(words)}` ended with {ended.returncode}, not {codes[0]}")
        return Told(ended.stdout, ended.returncode)

    # The steps, in their order.

    def _rehearse(self) -> None:
        self._head("A dry run: who would be called, and what it would take")
        for account in ("zoom", "zendesk"):
            self.command(*self._create(account), "--dry-run")
        writes = sum(len(self.writes(account)) for account in ("zoom", "zendesk"))
        self._fact("a dry run sends no write", writes == 0, f"{writes} writes in the stand-ins' record")

    def _order_and_approve(self) -> None:
        self._head("The order, and somebody else's word for it")
        for account in ("zoom", "zendesk"):
            self.command(*self._create(account))
        rosters = [self.json("batch", "show", str(number))["roster_sha256"] for number in (1, 2)]
        self.command("batch", "approve", "1", codes=(2,))
        self.command("batch", "approve", "1", "--roster", rosters[1][:16], who=APPROVER, codes=(2,))
        drafts = [self.json("batch", "show", str(number))["state"] for number in (1, 2)]
        self._fact(
            "an approval by the requester, or for another roster, is refused",
            drafts == ["draft", "draft"],
            f"after both the batches are {' and '.join(drafts)}",
        )
        for number, roster in enumerate(rosters, 1):
            self.command("batch", "approve", str(number), "--roster", roster[:16], who=APPROVER)

    def _reset(self) -> None:
        self._head("The run: canaries, an outage of Zoom in the middle, a pause of Zendesk")
        runner = self._start_runner()
        try:
            self._until("a quarter of Zoom's users have a new password", lambda: self._changed("zoom") > 1_250)
            self.say("# Zoom breaks down: 500 for every call")
            self.control("POST", "tenants/zoom/faults", [{"kind": "5xx"}])
            self._until("no call leaves for Zoom any more, but a probe now and then", self._zoom_is_paused)
            self.control("DELETE", "tenants/zoom/faults")
            self.say("# Zoom is back")
            self._until("Zendesk's users are under way", lambda: self._changed("zendesk") > 500)
            self.command("batch", "pause", "2", who=APPROVER)
            held = self._settled("zendesk")
            self.command("status")
            self.command("batch", "resume", "2", who=APPROVER)
            self._until("Zendesk goes on", lambda: self._changed("zendesk") > held)
            runner.wait(_WAIT_S)
        finally:
            self._end(runner)
        self.command("batch", "list")
        ended = [self.json("batch", "show", str(number)) for number in (1, 2)]
        sums = [sum(one["counts"].values()) == one["total"] for one in ended]
        self._fact(
            "everybody on a roster ends in exactly one state",
            all(sums) and all(one["state"] == "done" for one in ended),
            "; ".join(f"batch {one['id']}: {_counts(one['counts'])} of {one['total']:,}" for one in ended),
        )

    def _sessions(self) -> None:
        alive, reset = [], 0
        for account, number in (("zoom", 1), ("zendesk", 2)):
            users = self.users(account)
            for row in self._rows(number):
                if row["action"] == "set_password" and row["state"] == "succeeded":
                    reset += 1
                    if users[row["user"]]["sessions"]:
                        alive.append(row["user"])
        self._fact(
            "whoever was reset is signed in nowhere",
            not alive and reset > 0,
            f"{len(alive)} of {reset:,} have living sessions at the stand-ins",
        )

    def _escrow(self) -> None:
        self._head("Handing over: only the escrow's recipient can read the passwords")
        clear: dict[str, str] = {}
        for account, number in (("zoom", 1), ("zendesk", 2)):
            sealed, opened = self.folder / f"{account}.age", self.folder / f"{account}.csv"
            self.command("escrow", "export", str(number), "--output", str(sealed))
            identity = self.folder / "helpdesk.key"
            self.command("escrow", "open", str(sealed), "--identity", str(identity), "--output", str(opened))
            users = self.users(account)
            rows = list(csv.DictReader(io.StringIO(opened.read_text(encoding="utf-8"))))
            opened.unlink()  # the one file with passwords in clear; nothing of it may be anywhere else
            clear |= {row["password"]: row["user"] for row in rows}
            good = sum(users[row["user"]]["password_sha256"] == _digest(row["password"]) for row in rows)
            count = self.json("batch", "show", str(number))["counts"]["succeeded"]
            self._fact(
                f"the escrow of batch {number} opens to the passwords in force",
                good == len(rows) == count,
                f"{good:,} of {count:,} fit the stand-in's own hash",
            )
        self._fact(
            "nothing else that was written holds a password",
            not (leaks := _holding(self.folder, clear)),
            f"{len(clear):,} passwords looked for in every file"
            + (f": found in {', '.join(leaks)}" if leaks else ""),
        )

    def _forbidden(self) -> None:
        self._head("A third batch meets a forbidden account, and is cancelled")
        self.control("PATCH", "tenants/zendesk", {"password_setting": False, "latency_ms": 20})
        people = self.folder / "some.txt"
        people.write_text("".join(f"user{number:05d}@example.com\n" for number in SMALL), encoding="utf-8")
        why = ("--incident", INCIDENT, "--reason", "a second look at some")
        self.command("batch", "create", "--account", "zendesk", "--users", str(people), "--again", *why)
        self.command("batch", "approve", "3", who=APPROVER)
        before = len(self.writes("zendesk"))
        runner = self._start_runner()
        try:
            runner.wait(_WAIT_S)
        finally:
            self._end(runner)
        sent = len(self.writes("zendesk")) - before
        self.command("status")
        self._fact(
            "after the first 403 only what was in flight was sent",
            0 < sent <= _CONCURRENCY,
            f"{sent} of {len(SMALL)} calls left; at most {_CONCURRENCY} can be in flight",
        )
        self.say("# the owner turns the setting on; somebody decides that this batch is not needed")
        self.control("PATCH", "tenants/zendesk", {"password_setting": True, "latency_ms": 0})
        self.command("batch", "cancel", "3", who=APPROVER)
        self.command("batch", "resume", "3", who=APPROVER)

    def _close(self) -> None:
        self._head("The close: who came meanwhile, who vanished, who is still open")
        new = [{"id": f"new{number}", "email": f"new{number}@example.com"} for number in (1, 2, 3)]
        gone = ["user00300@example.com", "user00301@example.com"]
        self.control("POST", "tenants/zoom/users", {"add": new, "remove": gone})
        found = self.json("batch", "close", "1", "--top-up", codes=(0, 3, 4))
        self.command("batch", "close", "2", codes=(0, 3))
        self.command("batch", "trail", "1")
        seen = found["created"]["count"], found["vanished"]["count"]
        self._fact(
            "the close finds who came and who vanished, and orders the ones who came",
            seen == (len(new), len(gone)) and found["topped_up_by"] is not None,
            f"{seen[0]} came, {seen[1]} vanished; batch {found['topped_up_by']} is for those who came",
        )

    def _nobody_protected(self) -> None:
        touched, kept = [], 0
        for account in ("zoom", "zendesk"):
            users = self.users(account).items()
            spared = {one["id"] for email, one in users if email in PROTECTED or one["kind"] in _SPARED}
            touched += [call["path"] for call in self.writes(account) if call["user"] in spared]
            kept += len(spared)
        self._fact(
            "no protected user, admin or owner was ever touched",
            not touched and kept > 0,
            f"{len(touched)} writes to {kept} such users in the stand-ins' record",
        )

    # What the steps are made of.

    def _create(self, account: str) -> tuple[str, ...]:
        recipient = (self.folder / "helpdesk.pub").read_text(encoding="utf-8").strip()
        how = ("--revoke-sessions", "--escrow-to", recipient, "--canary", "20")
        why = ("--incident", INCIDENT, "--reason", "a drill with mock servers")
        return ("batch", "create", "--account", account, "--all-users", *how, *why)

    def json(self, *words: str, codes: Sequence[int] = (0,)) -> Any:
        """Run one command quietly and return what it wrote as JSON."""
        import json

        ended = subprocess.run(
            self._argv([*words, "--json"]), env=self._env(), capture_output=True, text=True, check=False
        )
        if ended.returncode not in codes:
            raise DrillFailed(
                f"`bulkreset {' '.join(words)}` ended with {ended.returncode}: {ended.stderr.strip()}"
            )
        return json.loads(ended.stdout)

    def users(self, account: str) -> dict[str, Any]:
        """Return a stand-in's users by address, as they really are."""
        found = self.control("GET", f"tenants/{account}/state")["users"]
        return {user["email"]: {"id": user_id, **user} for user_id, user in found.items()}

    def writes(self, account: str) -> list[Any]:
        """Return the calls that would change something, from a stand-in's own record."""
        import json

        lines = self.control("GET", f"tenants/{account}/calls", text=True).splitlines()
        calls = map(json.loads, lines)
        return [call for call in calls if call["path"].endswith(("/password", "/token", "/sessions", ".json"))
                and call["method"] in ("PUT", "POST", "DELETE") and "oauth" not in call["path"]]  # fmt: skip

    def control(self, method: str, path: str, body: object = None, *, text: bool = False) -> Any:
        """Ask the stand-ins' own control."""
        import aiohttp

        async def ask() -> Any:
            async with (
                aiohttp.ClientSession() as session,
                session.request(method, f"{self.url}/_sandbox/{path}", json=body) as answer,
            ):
                if answer.status >= 400:
                    raise DrillFailed(f"the stand-ins refuse {path}: {await answer.text()}")
                return await (answer.text() if text or answer.status == 204 else answer.json())

        return start(ask())

    def _changed(self, account: str) -> int:
        counts: dict[str, int] = self.control("GET", f"tenants/{account}/state")["counts"]
        return counts["users_changed"]

    def _zoom_is_paused(self) -> bool:
        accounts = self.json("status")["accounts"]
        return any(one["account"] == "zoom" and one["paused_until"] for one in accounts)

    def _settled(self, account: str) -> int:
        """Wait until a paused account is called no more; return how many of its users have a new password."""
        before = -1
        while (now := self._changed(account)) != before:
            before = now
            time.sleep(1.5)
        return now

    def _rows(self, number: int) -> Iterable[dict[str, str]]:
        ended = subprocess.run(
            self._argv(["report", str(number), "--format", "csv"]),
            env=self._env(),
            capture_output=True,
            text=True,
            check=True,
        )
        return csv.DictReader(io.StringIO(ended.stdout))

    def _start_runner(self) -> "subprocess.Popen[bytes]":
        self.say("runner$ bulkreset run --once")
        with (self.folder / "run.log").open("ab") as log:
            return subprocess.Popen(self._argv(["run", "--once"]), env=self._env(), stdout=log, stderr=log)

    def _end(self, runner: "subprocess.Popen[bytes]") -> None:
        if runner.poll() is None:
            runner.terminate()
            runner.wait(60)

    def _until(self, what: str, holds: Callable[[], bool]) -> None:
        deadline = time.monotonic() + _WAIT_S
        while not holds():
            if time.monotonic() > deadline:
                raise DrillFailed(f"waited {_WAIT_S:.0f} s in vain until {what}; see {self.folder / 'run.log'}")
            time.sleep(0.2)
        self.say(f"# {what}")

    def _fact(self, promise: str, held: bool, evidence: str) -> None:
        self.facts.append(Fact(promise, held, evidence))

    def _head(self, text: str) -> None:
        self.say(f"\n{text}\n")

    def _argv(self, words: Iterable[str], who: str = REQUESTER) -> list[str]:
        # On one machine with one account, this is how a second person comes into the story.
        return [
            sys.executable,
            "-m",
            "bulkreset.cli.players",
            who,
            "--config",
            str(self.folder / "config.toml"),
            *words,
        ]

    def _env(self) -> dict[str, str]:
        return {**os.environ, "BULKRESET_LOG_LEVEL": "warning"}


def show(facts: Iterable[Fact], say: Callable[[str], None]) -> bool:
    """Say what must hold and whether it does; return whether all of it does."""
    say("\nWhat must hold, read from the stand-ins' own record and from the files:\n")
    good = True
    for fact in facts:
        good = good and fact.held
        say(f"  {'holds' if fact.held else 'BROKEN'}  {fact.promise}\n         {fact.evidence}")
    return good


def tenants(users: int) -> list[dict[str, Any]]:
    """Return the stand-ins of a drill: so many users each, of every kind."""
    zoom = {"owner": 1, "admin": 3, "sso": 20, "google": 10, "pending": 10, "inactive": 5}
    zendesk = {"owner": 1, "admin": 3, "agent": 10, "suspended": 10}
    return [
        {
            "name": "zoom",
            "provider": "zoom",
            "limit": 400,
            "light_limit": 80,
            "generate": {"count": users, "kinds": zoom},
        },
        {
            "name": "zendesk",
            "provider": "zendesk",
            "limit": 24_000,
            "generate": {"count": users, "kinds": zendesk},
        },
    ]


def _digest(password: str) -> str:
    return sha256(password.encode()).hexdigest()


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{n:,} {state}" for state, n in counts.items() if n)


def _holding(folder: Path, passwords: Iterable[str]) -> list[str]:
    """Return the files below a folder that hold any of these passwords."""
    found = []
    wanted = {password.encode() for password in passwords}
    length = {len(one) for one in wanted}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            data = path.read_bytes()
            if any(data[at : at + size] in wanted for size in length for at in range(len(data) - size + 1)):
                found.append(path.name)
    return found

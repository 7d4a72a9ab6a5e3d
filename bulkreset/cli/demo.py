"""`bulkreset demo`: the whole story in half a minute, on this machine alone."""

import json
import os
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from bulkreset.cli.context import columns_of, master_key, opened, person, start, transport
from bulkreset.cli.output import say
from bulkreset.cli.sandbox import account_table

if TYPE_CHECKING:
    from bulkreset.cli.drill import Drill
    from bulkreset.cli.notices import Notices
    from bulkreset.config import Settings
    from bulkreset.intake.users_file import UserLine
    from bulkreset.sandbox import TenantSpec

_ZOOM_USERS: Final = 300
_ZENDESK_USERS: Final = 100
_INCIDENT: Final = "DEMO-1"

DRILL_USERS: Final = 5_000
"""Users at each of the two mock servers of a drill."""


def demo(
    drill: Annotated[
        bool, typer.Option("--drill", help="Play a whole incident with 10,000 users, and prove what must hold.")
    ] = False,
) -> None:
    """Reset 400 users at mock servers of Zoom and Zendesk, with every kind of answer among them.

    Needs no network and no configuration; the folder that it makes stays, to look around in.
    """
    if drill:
        _play_drill()
        return
    import tempfile

    from bulkreset.cli.notices import Notices
    from bulkreset.config import load
    from bulkreset.logs import configure
    from bulkreset.passwords.keyfile import write_key_file
    from bulkreset.sandbox import parse_spec
    from bulkreset.store.migrate import upgrade
    from bulkreset.store.place import place_of

    notices = Notices() if sys.stderr.isatty() else None
    configure("error" if notices is None else "warning", notices)
    folder = Path(tempfile.mkdtemp(prefix="bulkreset-demo-"))
    specs = [_zoom(), _zendesk()]
    with _stand_ins(folder, specs, {"zoom": _zoom_faults(), "zendesk": _zendesk_faults()}) as url:
        say(f"Mock servers for Zoom (60 calls a second) and Zendesk (700 a minute) are up at {url}.")
        by_name = {spec["name"]: parse_spec(spec) for spec in specs}
        _write_config(folder, by_name, url, {"zoom": ['plan = "business"'], "zendesk": ['plan = "enterprise"']})
        write_key_file(folder / "bulkreset.key")
        settings = load(folder / "config.toml")
        start(upgrade(place_of(settings.database, settings.base)))
        start(_story(settings, notices))
    config = folder / "config.toml"
    say(f"Everything is in {folder}. Look around, for example with:")
    print(f"  export BULKRESET_CONFIG={config}")
    print("  bulkreset batch list")
    print("  bulkreset report 1 --format csv")
    say("The two users who have reached their changes for today stay pending: a `run` tomorrow would send them.")


def _play_drill() -> None:
    import tempfile

    from bulkreset.cli.drill import show
    from bulkreset.logs import configure

    configure("error")
    folder = Path(tempfile.mkdtemp(prefix="bulkreset-drill-"))
    with drilling(folder, say) as drill:
        good = show(drill.run(), say)
    say(f"\nEverything is in {folder}; helpdesk.key is the recipient's, and opens the escrow.")
    if not good:
        raise typer.Exit(1)


@contextmanager
def drilling(folder: Path, tell: Callable[[str], None]) -> "Iterator[Drill]":
    """Set up a drill in a folder: stand-ins, configuration, keys, database."""
    from pyrage import x25519

    from bulkreset.cli import drill
    from bulkreset.config import load
    from bulkreset.passwords.keyfile import write_key_file
    from bulkreset.sandbox import parse_spec
    from bulkreset.store.migrate import upgrade
    from bulkreset.store.place import place_of

    def told(line: str) -> None:
        with (folder / "transcript.txt").open("a", encoding="utf-8") as transcript:
            transcript.write(f"{line}\n")
        tell(line)

    specs = drill.tenants(DRILL_USERS)
    with _stand_ins(folder, specs, {}) as url:
        told(f"Mock servers for Zoom and Zendesk with {DRILL_USERS:,} users each are up at {url}.")
        identity = x25519.Identity.generate()
        _write_secret(folder / "helpdesk.key", f"{identity}\n")
        (folder / "helpdesk.pub").write_text(f"{identity.to_public()}\n", encoding="utf-8")
        (folder / "protected.txt").write_text("".join(f"{name}\n" for name in drill.PROTECTED), encoding="utf-8")
        by_name = {spec["name"]: parse_spec(spec) for spec in specs}
        _write_config(folder, by_name, url, drill.ACCOUNTS, drill.RUNNER)
        write_key_file(folder / "bulkreset.key")
        settings = load(folder / "config.toml")
        start(upgrade(place_of(settings.database, settings.base)))
        yield drill.Drill(folder, url, told)


async def _story(settings: "Settings", notices: "Notices | None") -> None:
    from bulkreset.cli.run import work
    from bulkreset.intake.order import Order, chunks, place
    from bulkreset.providers.http import ReadTransport
    from bulkreset.report.words import duration

    master = master_key(settings)
    async with opened(settings) as store, transport(ReadTransport, settings) as way:
        for account, users in (("zoom", _roster(_ZOOM_USERS)), ("zendesk", _roster(_ZENDESK_USERS))):
            order = Order(account, _INCIDENT, "a drill with mock servers", person(settings))
            placed = await place(store, settings, way, master, order, users=chunks(users), excluded=chunks(()))
            took = duration(placed.estimate_s)
            say(f"Batch {placed.id}: {placed.total} users at {account}, about {took} at its limit.")
    print("\nbulkreset run --once", flush=True)
    _, result = await work(settings, once=True, accounts=[], notices=notices)
    print()
    say(f"{result['sent']} calls in {result['elapsed_s']:.1f} s. Users whose first call was no plain success:")
    print(flush=True)
    await _show_rest(settings, [batch["id"] for batch in result["batches"]])


async def _show_rest(settings: "Settings", batch_ids: list[int]) -> None:
    """Write the report of each batch, without the users whose only call ended `ok`."""
    from bulkreset.report import queries, render
    from bulkreset.store import batches

    async with opened(settings) as store:

        async def remarkable(batch_id: int) -> AsyncIterator[queries.TaskLine]:
            async for line in queries.tasks(store, batch_id):
                if line.outcome != "ok" or any(call.outcome not in {"ok", "released"} for call in line.attempts):
                    yield line

        for batch_id in batch_ids:
            batch = await batches.get(store, batch_id)
            head = await queries.audit_head(store, batch_id)
            await render.as_table(sys.stdout, batch, head, remarkable(batch_id), width=columns_of(sys.stdout))
            print(flush=True)


def _roster(count: int) -> Iterator["UserLine"]:
    from bulkreset.intake.users_file import UserLine

    for number in range(1, count + 1):
        yield UserLine(number, f"user{number:05d}@example.com", None)
    yield UserLine(count + 1, "left.the.company@example.com", None)


@contextmanager
def _stand_ins(
    folder: Path, tenants: list[dict[str, Any]], faults: dict[str, list[dict[str, Any]]]
) -> Iterator[str]:
    """Run the sandbox as a process of its own and give its address."""
    import subprocess

    spec = folder / "sandbox.json"
    spec.write_text(json.dumps(tenants), encoding="utf-8")
    process = subprocess.Popen(
        [sys.executable, "-m", "bulkreset.sandbox", "--spec", str(spec)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        url = json.loads(process.stdout.readline())["url"]
        start(_post_faults(url, faults))
        yield url
    finally:
        process.terminate()
        process.wait(10)
        if process.stdout is not None:
            process.stdout.close()


def _zoom() -> dict[str, Any]:
    kinds = {"owner": 1, "admin": 2, "sso": 4, "pending": 2}
    return {"name": "zoom", "provider": "zoom", "limit": 60, "generate": {"count": _ZOOM_USERS, "kinds": kinds}}


def _zendesk() -> dict[str, Any]:
    return {"name": "zendesk", "provider": "zendesk", "limit": 700, "generate": {"count": _ZENDESK_USERS}}


async def _post_faults(url: str, faults: dict[str, list[dict[str, Any]]]) -> None:
    import aiohttp

    async with aiohttp.ClientSession() as session:
        for tenant, rules in faults.items():
            async with session.post(f"{url}/_sandbox/tenants/{tenant}/faults", json=rules) as answer:
                answer.raise_for_status()


def _zoom_faults() -> list[dict[str, Any]]:
    def users(*numbers: int) -> list[str]:
        return [f"user{number:05d}@example.com" for number in numbers]

    def says(code: int, message: str, **rule: Any) -> dict[str, Any]:
        return {"kind": "answer", "status": 400, "body": json.dumps({"code": code, "message": message}), **rule}

    spent = (
        "This password cannot be changed because it has already been changed the maximum number of times over "
        "the past 24 hours."
    )
    return [
        says(300, spent, users=users(30, 31)),
        says(300, "Your new password can not match the old password.", users=users(40), times=1),
        says(1136, "Your password is too easy to guess. Try another one.", users=users(50), times=1),
        says(9999, "Something that nobody has seen before.", users=users(60)),
        {"kind": "apply_drop", "users": users(70, 71, 72), "times": 3},
        {"kind": "reset", "users": users(80), "times": 1},
        {"kind": "hang", "users": users(90), "times": 1},
        {"kind": "wrong_type", "users": users(100), "times": 1},
        {"kind": "5xx", "users": users(110), "times": 1, "applied": True},
        {"kind": "5xx", "status": 502, "html": True, "users": users(111), "times": 1},
        {"kind": "401", "users": users(120), "times": 1},
        {"kind": "429", "users": users(150), "times": 1},
    ]


def _zendesk_faults() -> list[dict[str, Any]]:
    return [
        {"kind": "apply_drop", "users": ["user00020@example.com"], "times": 1},
        {"kind": "503_retry_after", "retry_after": 1, "users": ["user00030@example.com"], "times": 1},
        {"kind": "429", "retry_after": 1, "users": ["user00040@example.com"], "times": 1},
    ]


def _write_config(
    folder: Path,
    tenants: "Mapping[str, TenantSpec]",
    url: str,
    own: "Mapping[str, Sequence[str]]",
    more: "Sequence[str]" = (),
) -> None:
    """Write the configuration of these accounts, each with lines of its own, and their secrets beside it."""
    lines = ["[database]", 'url = "sqlite:///bulkreset.db"', "", "[passwords]", 'key = { file = "bulkreset.key" }']
    lines += ["", "[http]", "total_timeout = 2", *more]
    for name, tenant in tenants.items():
        _write_secret(folder / f"{name}.secret", tenant.client_secret)
        lines += ["", *account_table(tenant, url, f'{{ file = "{name}.secret" }}', *own[name])]
    (folder / "config.toml").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _write_secret(path: Path, secret: str) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(secret)

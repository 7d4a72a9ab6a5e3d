"""One bad thing stops only itself: six accounts in one database, and of each kind of thing a part is damaged."""

import asyncio
import json
import sys
from contextlib import asynccontextmanager

import pytest
from databases import drop_checks
from installation import Installation, addresses, resets

from bulkreset.cli.context import master_key
from bulkreset.config import load
from bulkreset.options import Options
from bulkreset.passwords.keyfile import write_key_file
from bulkreset.secret import Secret

EACH = 10
BAD = 2  # of ten
# Two accounts are whole; of the others one thing each is damaged that all their work needs.
ACCOUNTS = {
    "zoom": "zoom",
    "zendesk": "zendesk",
    "nosecret": "zoom",
    "nolist": "zendesk",
    "nolimit": "zoom",
    "noconfig": "zendesk",
}
WHOLE = ("zoom", "zendesk")

# Of a batch's ten tasks, two are altered so; the words are those that `status` names them by.
ROWS = {
    "a sealed password of somebody else": (
        "sealed = (SELECT max(other.sealed) FROM task AS other WHERE other.batch_id <> task.batch_id)",
        "does not open",
    ),
    "a sealed password that was cut": ("sealed = substr(sealed, 1, 20)", "does not open"),
    "no user": ("user_ref = '{nobody}'", "user"),
    "a user without end": ("user_ref = user_ref || replace('{long}', 'x', 'yyyyyyyyyy')", "user"),
    "a user with an escape": ("user_ref = user_ref || '\x1b[2J'", "user"),
    "a state that is none": ("state = 'gone'", "state"),
    "an action that is none": ("action = 'dance'", "action"),
    "a limit that is none": ("label = 'heavy'", "label"),
    "a time out of reach": ("due_at = '2199-01-01 00:00:00'", "due_at"),
    "attempts that are gone": ("attempt = 3", None),
}
# Of a batch, what its row says; all of its tasks wait.
BATCHES = {
    "options that are cut": ("options = '{{'", "options are damaged"),
    "options of other types": ('options = \'{{"ramp_s": "soon"}}\'', "options are damaged"),
    "options nested without end": ("options = replace('{long}', 'x', '[[[[[[[[[[')", "options are damaged"),
    "a policy that is none": ("policy = '[]'", "policy"),
    "a key that was altered": (
        "wrapped_key = replace(wrapped_key, substr(wrapped_key, 60, 8), 'AAAAAAAA')",
        "key",
    ),
    "a key that is gone": ("wrapped_key = NULL", "key"),
    "a state that is none": ("state = 'gone'", "state"),
    "a wave that is none": ("wave = 9", "wave"),
}
# An order by SQL, by what is wrong with it.
ORDERS = {
    "an account that is none": ({"account": "nowhere"}, "nowhere"),
    "no incident": ({"incident": ""}, "incident"),
    "a requester in two lines": ({"requested_by": "soar\n\x1b[2J"}, "requester"),
    "a word that is none": ({"accept": "everything"}, "accept"),
    "a state that is none": ({"state": "redy"}, "state"),
}


@pytest.fixture
def installation(tmp_path, sandbox, database_url):
    return Installation(tmp_path, sandbox.url, database_url)


async def test_what_is_whole_ends_right_and_each_damaged_thing_is_named(sandbox, installation):
    """Rows, keys, a secret, a list, a limit, orders: each stops what needs it, and `status` names them all."""
    tenants = open_accounts(sandbox, installation)
    people = {name: iter(addresses(40 * EACH, provider)) for name, provider in ACCOUNTS.items()}

    def some(name, count=EACH):
        return [next(people[name]) for _ in range(count)]

    rows = {kind: (await installation.order(WHOLE[n % 2], some(WHOLE[n % 2]))).id for n, kind in enumerate(ROWS)}
    stopped = {
        kind: (await installation.order(WHOLE[n % 2], some(WHOLE[n % 2]))).id for n, kind in enumerate(BATCHES)
    }
    async with another_key(installation):
        foreign = {name: (await installation.order(name, some(name))).id for name in WHOLE}
    sessions = (await installation.order("zoom", some("zoom"), options=Options(revoke_sessions=True))).id
    whole = {name: (await installation.order(name, some(name))).id for name in ACCOUNTS}
    await installation.with_store(lambda store: seal(store, installation, rows))
    await installation.with_store(lambda store: spoil(store, rows, stopped))
    orders = await installation.with_store(
        lambda store: order_by_sql(store, {name: some(name) for name in (*WHOLE, "noconfig")})
    )
    (installation.folder / "nosecret.secret").chmod(0o644)
    (installation.folder / "nolist.txt").write_bytes(b"\xff\xfe\x00broken")
    configured = installation.config.read_text()
    installation.config.write_text(
        configured.replace("[accounts.noconfig]\n", "[accounts.noconfig]\nprotcted = 'none'\n")
    )

    code, _ = await bulkreset(installation, "run", "--once")
    assert code == 4
    await check_named(installation, rows, stopped, {**foreign, **whole}, orders)
    installation.config.write_text(configured)

    for kind, batch_id in rows.items():
        batch = await installation.batch(batch_id)
        bad = BAD if ROWS[kind][1] else 0
        counts = (batch.state, batch.counts["succeeded"], batch.counts["failed"], batch.damaged)
        assert (kind, counts) == (kind, ("done", EACH - bad, bad, bad))
    for name in WHOLE:
        batch = await installation.batch(whole[name])
        assert (name, batch.state, batch.counts["succeeded"]) == (name, "done", EACH)
    both = await installation.batch(sessions)
    assert (both.state, both.counts["succeeded"], both.sessions["succeeded"]) == ("done", EACH, EACH)
    for name in ACCOUNTS.keys() - set(WHOLE):
        assert resets(tenants[name]) == []
    accepted = dict(installation.query("SELECT id, state FROM batch_request"))
    assert accepted[orders["noconfig"]] == "ready"  # for when its configuration is mended
    assert [kind for kind, request in orders.items() if accepted[request] == "accepted"] == list(WHOLE)
    for name in WHOLE:  # nobody was called twice, and nobody whose row was damaged
        called = [call.path for call in resets(tenants[name])]
        assert len(called) == len(set(called))


async def check_named(installation, rows, stopped, others, orders):
    """Hold both forms of `status` against all that is damaged."""
    code, printed = await bulkreset(installation, "status", "--json")
    assert code == 0
    found = json.loads(printed)
    batches = {one["id"]: one for one in found["batches"]}
    requests = {one["id"]: one for one in found["requests"]}
    for kind, (_, words) in ROWS.items():
        if words is None:
            assert rows[kind] not in batches
            continue
        named = batches[rows[kind]]["damaged_tasks"]
        assert (kind, len(named)) == (kind, BAD)
        assert all(words in one["message"] for one in named), (kind, named)
    for kind, (_, words) in BATCHES.items():
        assert words in batches[stopped[kind]]["need"], kind
    for kind, (_, words) in ORDERS.items():
        assert words in requests[orders[kind]]["message"], kind
    assert "protcted" in requests[orders["noconfig"]]["message"]
    assert "protcted" in batches[others["noconfig"]]["need"]
    assert found["broken_accounts"].keys() == {"noconfig"}
    assert "did you mean 'protected'" in found["broken_accounts"]["noconfig"]
    halted = {one["account"]: one["halted_reason"] for one in found["accounts"] if one["halted_reason"]}
    assert "nolist.txt" in halted["nolist"]
    assert "damaged" in halted["nolimit"]
    assert "nosecret.secret" in batches[others["nosecret"]]["need"]
    assert "halted" in batches[others["nolist"]]["need"]
    assert "halted" in batches[others["nolimit"]]["need"]

    code, text = await bulkreset(installation, "status")
    assert code == 0
    assert "account 'noconfig' cannot be used: " in text
    for one in batches.values():
        assert f"`bulkreset batch retry {one['id']}`" in text or not one["damaged"]
        assert one["need"] is None or one["need"] in text
    assert "\x1b" not in printed + text


def open_accounts(sandbox, installation):
    """Make five accounts, of both providers; return their tenants."""
    tenants = {}
    for name, provider in ACCOUNTS.items():
        tenants[name] = sandbox.add({"name": name, "provider": provider, "generate": {"count": 40 * EACH}})
        protected = {"protected": {"file": f"{name}.txt"}} if name == "nolist" else {}
        if provider == "zoom":
            installation.zoom(name, requests_per_second=1000, **protected)
        else:
            installation.zendesk(name, requests_per_minute=60_000, **protected)
    (installation.folder / "nolist.txt").write_text("ceo@example.com\n")
    return tenants


@asynccontextmanager
async def another_key(installation):
    """Order under a master key that is not there afterwards."""
    key = installation.folder / "bulkreset.key"
    key.rename(key.with_suffix(".kept"))
    write_key_file(key)
    yield
    key.with_suffix(".kept").replace(key)


async def seal(store, installation, rows):
    """Give the tasks that are going to lose it a sealed password, as an unclear attempt leaves one behind."""
    master = master_key(load(installation.config))
    async with store.write() as conn:
        for kind in ROWS:
            if "sealed" not in kind:
                continue
            [[wrapped]] = await conn.exec_driver_sql(f"SELECT wrapped_key FROM batch WHERE id = {rows[kind]}")
            key = master.unwrap(wrapped)
            for [task_id] in await conn.exec_driver_sql(which(rows[kind])):
                sealed = key.seal(task_id, 1, Secret("Correct-Horse-Battery-9"))
                values = f"sealed = '{sealed}', password_no = 1, maybe_landed = TRUE"
                await conn.exec_driver_sql(f"UPDATE task SET {values} WHERE id = {task_id}")


def which(batch_id):
    return f"SELECT id FROM task WHERE batch_id = {batch_id} ORDER BY id LIMIT {BAD}"


async def spoil(store, rows, stopped):
    """Alter what lost bits, or a hand in the tables, would; words that are none are kept out by their checks."""
    long = "x" * 1000
    async with store.write() as conn:
        await drop_checks(conn)
        for kind, (assignment, _) in ROWS.items():
            for n, [task_id] in enumerate((await conn.exec_driver_sql(which(rows[kind]))).all()):
                sets = assignment.replace("{long}", long).replace("{nobody}", ("", "me")[n])
                await conn.exec_driver_sql(f"UPDATE task SET {sets} WHERE id = {task_id}")
        for kind, (assignment, _) in BATCHES.items():
            sets = assignment.format(long=long)
            await conn.exec_driver_sql(f"UPDATE batch SET {sets} WHERE id = {stopped[kind]}")
        await conn.exec_driver_sql("UPDATE quota SET tat = '2199-01-01 00:00:00' WHERE account = 'nolimit'")


async def order_by_sql(store, users):
    """Insert the damaged orders, and one that is whole for each of some accounts; return their ids."""
    kinds = {kind: change for kind, (change, _) in ORDERS.items()} | {name: {"account": name} for name in users}
    ids = {}
    async with store.engine.begin() as conn:
        await drop_checks(conn)
        for request, (kind, change) in enumerate(kinds.items(), 1):
            values = {"account": "zoom", "incident": "I", "reason": "r", "requested_by": "soar", "state": "ready"}
            values |= change
            listed = ", ".join(f"'{value}'" for value in values.values())
            await conn.exec_driver_sql(f"INSERT INTO batch_request ({', '.join(values)}) VALUES ({listed})")
            named = ", ".join(f"({request}, '{user}')" for user in users[kind if kind in users else "zoom"])
            await conn.exec_driver_sql(f"INSERT INTO batch_request_user (request_id, user_ref) VALUES {named}")
            ids[kind] = request
        if store.sqlite:
            await conn.exec_driver_sql("PRAGMA ignore_check_constraints = OFF")
    return ids


async def bulkreset(installation, *words):
    """Call the program, as its users do; return how it ended and what it printed."""
    program = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bulkreset", "--config", str(installation.config), *words),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(120):
        printed, said = await program.communicate()
    assert b"Traceback" not in said, said.decode()
    return program.returncode, printed.decode()

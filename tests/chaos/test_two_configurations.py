"""Two hosts whose configurations of one account differ: the one that came later waits, and both are named."""

import json
import signal

import pytest
from installation import Installation, calls_reach
from program import ended, said_of

from bulkreset.sandbox import generated_user

USERS = [generated_user("zoom", n).email for n in range(1, 1001)]
DIFFERENT = {
    "plan": ({"plan": "pro"}, {"plan": "business"}),
    "share": ({"share": 0.9}, {"share": 0.5}),
    "protected": ({"protected": ["ceo@example.com"]}, {"protected": ["ceo@example.com", "cfo@example.com"]}),
    "require_approval": ({"require_approval": 0}, {"require_approval": 1}),
}


@pytest.mark.parametrize("key", DIFFERENT)
async def test_the_host_that_differs_waits_until_the_other_has_gone(
    tmp_path, sandbox, program, postgres_server, key
):
    """No call leaves it meanwhile; log and status name the key and both hosts, and then it takes over."""
    tenant = sandbox.add({"name": "zoom", "provider": "zoom", "generate": {"count": 1000}})
    installation = Installation(tmp_path, sandbox.url, postgres_server.fresh())
    here, there = tmp_path / "config.toml", tmp_path / "other.toml"
    first, second = DIFFERENT[key]
    installation.zoom("zoom", **{"plan": "pro", **second})
    there.write_text(here.read_text())
    installation.zoom("zoom", **{"plan": "pro", **first})
    await installation.order("zoom", USERS)

    one = await program(here, "run")
    await calls_reach(tenant, 10)
    other = await program(there, "run")
    said = await said_of(other, "configurations_differ")
    assert f"{key} is" in said
    assert f":{one.pid}" in said
    found = json.loads((await ended(await program(here, "status", "--json")))[1])
    waits = {worker["name"].rpartition(":")[2]: worker["waits"] for worker in found["workers"]}
    assert waits[str(one.pid)] == []
    assert [differs["key"] for differs in waits[str(other.pid)][0]["differs"]] == [key]
    assert by(installation, other) == 0

    one.send_signal(signal.SIGTERM)
    await ended(one)
    await calls_reach(tenant, tenant.log.total + 5)
    other.send_signal(signal.SIGTERM)
    await ended(other)
    assert by(installation, other) >= 5


def by(installation, process):
    """Count the attempts of a process."""
    return installation.query("SELECT count(*) FROM attempt WHERE worker LIKE ?", f"%:{process.pid}")[0][0]

import asyncio
import json
import os
import signal
import sys
from pathlib import Path

import aiohttp
import pytest
from sandbox_client import until

from bulkreset.sandbox import Sandbox, SpecError, TenantSpec, load_specs, parse_rule, serve

USER = "-normal_id-22-chars-ab"
ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1", "example.com", "::", ""])
async def test_it_listens_on_loopback_only(host):
    """Any address but loopback is refused before a socket is opened."""
    with pytest.raises(SpecError, match="loopback"):
        await Sandbox().start(host)


async def test_localhost_is_loopback():
    """The name `localhost` is taken for 127.0.0.1."""
    sandbox = Sandbox()
    port = await sandbox.start("localhost")
    assert sandbox.url == f"http://127.0.0.1:{port}"
    await sandbox.stop()


async def test_an_unknown_tenant(sandbox, session):
    """A path without a tenant is 404."""
    for path in ("", "/", "/nobody/v2/users"):
        async with session.get(sandbox.url + path) as response:
            assert response.status == 404


async def test_tenants_do_not_share_limits(zoom, sandbox, session):
    """Each tenant has its own limits and users."""
    api = await zoom(limit=1)
    sandbox.add(TenantSpec("zoom-b", "zoom", limit=1))
    assert (await api.call("GET", "/v2/users")).status == 200
    assert (await api.call("GET", "/v2/users")).status == 429
    assert sandbox.tenants["zoom-b"].log.total == 0


async def test_two_writes_for_one_user_at_a_time_are_noticed(zoom, naps):
    """A write that comes while another for the same user is open counts as an overlap; one after it does not."""
    api = await zoom()
    api.tenant.faults.add([parse_rule({"kind": "slow", "times": 1})])
    naps.free.clear()
    first = asyncio.create_task(api.put(USER, "Xk7!mRw2qPz9"))
    await until(lambda: bool(naps.asked))
    await api.put("nobody", "Vb4?nTs8hLd3")
    assert api.tenant.overlaps == 0
    await api.put("ada@example.com", "Vb4?nTs8hLd3")
    assert api.tenant.overlaps == 1
    naps.free.set()
    assert (await first).status == 204
    await api.put(USER, "Hq5#wYc1uJx6")
    assert api.tenant.overlaps == 1


async def test_serve_runs_until_it_is_cancelled():
    """`serve` tells its address when it is ready, serves its tenants, and ends with its task."""
    ready: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    running = asyncio.create_task(serve("127.0.0.1", 0, [{"name": "a", "provider": "zoom"}], ready.set_result))
    url = await ready
    async with aiohttp.ClientSession() as session, session.get(f"{url}/_sandbox/health") as response:
        assert (await response.json())["tenants"] == ["a"]
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_the_module_runs_and_stops_on_a_signal(tmp_path, number):
    """`python -m bulkreset.sandbox` prints its address as one line of JSON and ends with 0 on a signal."""
    spec = tmp_path / "spec.json"
    spec.write_text(json.dumps({"tenants": [{"name": "a", "provider": "zendesk"}]}))
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bulkreset.sandbox", "--spec", str(spec),
        stdout=asyncio.subprocess.PIPE, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert process.stdout is not None
    url = json.loads(await process.stdout.readline())["url"]
    async with aiohttp.ClientSession() as session, session.get(f"{url}/_sandbox/health") as response:
        assert (await response.json())["tenants"] == ["a"]
    process.send_signal(number)
    assert await process.wait() == 0


def test_a_spec_file_is_one_tenant_or_many(tmp_path):
    """A file holds one tenant, a list, or a list under `tenants`."""
    one = {"name": "a", "provider": "zoom"}
    path = tmp_path / "spec.json"
    for content in (one, [one], {"tenants": [one]}):
        path.write_text(json.dumps(content))
        assert load_specs(path) == [TenantSpec("a", "zoom")]
    for text in ("{", '"a"', "[1]"):
        path.write_text(text)
        with pytest.raises(SpecError, match=r"spec\.json"):
            load_specs(path)


def test_no_secret_in_a_repr():
    """The description of a tenant shows none of its credentials."""
    spec = TenantSpec("a", "zoom", client_secret="one", api_token="two", oauth_token="three")
    assert not any(word in repr(spec) for word in ("one'", "two", "three"))

"""The limit is kept at the provider's door: networks that stand still, handshakes that take their time."""

import asyncio
import json
import random
import sys

import pytest
from installation import Installation, addresses

from benchmarks.certificates import self_signed, server_context
from benchmarks.door import Door, fullest

LIMIT = 60  # of the provider, a second
USERS = 300
BOUND_S = 90


async def run_to_its_end(installation):
    """Run the program as a process of its own until nothing is due."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "bulkreset", "--config", str(installation.config), "run", "--once"),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(BOUND_S):
            _, told = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return process.returncode, told.decode()


async def all_are_set(door, installation, scheme):
    base = f"{scheme}://127.0.0.1:{door.port}"
    installation.http += "\ntotal_timeout = 15.0\nconnect_timeout = 5.0"
    installation.zoom(
        "zoom", requests_per_second=LIMIT, share=0.9, api_url=f"{base}/v2", oauth_url=f"{base}/oauth/token"
    )
    placed = await installation.order("zoom", addresses(USERS))
    code, told = await run_to_its_end(installation)
    assert code == 0, told
    batch = await installation.batch(placed.id)
    assert batch.outcomes == {"ok": USERS}
    assert len(door.users) == USERS
    assert len(door.arrivals) == USERS
    assert fullest(sorted(door.arrivals)) <= LIMIT


@pytest.fixture
def installation(tmp_path):
    return Installation(tmp_path, "http://127.0.0.1:1")


async def test_a_stall_of_three_seconds_lets_no_more_arrive_than_the_limit(installation):
    """What stood still on the way arrives at once, and still no window holds more than the provider allows."""
    async with Door(addresses(USERS), stall_after=100, stall_s=3.0).opened() as door:
        await all_are_set(door, installation, "http")


async def test_slow_handshakes_on_connections_that_end_soon_crowd_no_window(installation, tmp_path):
    """Handshakes of 0.1 to 0.7 s, connections closed after three answers: calls arrive as their slots say."""
    files = self_signed(tmp_path)
    installation.http = f"ca_file = {json.dumps(str(files[0]))}"
    handshake = random.Random(7)
    door = Door(
        addresses(USERS), tls=server_context(files), handshake=lambda: handshake.uniform(0.1, 0.7), answers=3
    )
    async with door.opened():
        await all_are_set(door, installation, "https")
    assert door.connections >= USERS // 3

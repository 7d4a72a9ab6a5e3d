"""The limit is kept at the provider's door: networks that stand still, handshakes that take their time."""

import asyncio
import json
import random
import sys
from contextlib import asynccontextmanager
from time import monotonic

import pytest
from certificates import self_signed, server_context
from installation import Installation, addresses

LIMIT = 60  # of the provider, a second
USERS = 300
BOUND_S = 90


def said(path):
    """Return what is answered to anything but a new password."""
    if path.endswith("/oauth/token"):
        scope = "user:write:admin user:read:admin account:read:admin"
        return {"access_token": "t", "token_type": "bearer", "expires_in": 3599, "scope": scope}
    if path.endswith("/users/me"):
        return {"id": "ME", "email": "owner@example.org"}
    if "/users?" in path:
        found = addresses(USERS) if "status=active" in path else []
        users = [{"id": f"id{n}", "email": email, "type": 2, "status": "active"} for n, email in enumerate(found)]
        return {"users": users, "total_records": len(users), "next_page_token": ""}
    return {"security": {"password_requirement": {}}}


class Door:
    """A provider that notes when it reads each call; it may stand still once, and be slow to shake hands."""

    def __init__(self, *, stall_after=None, stall_s=0.0, tls=None, handshake=None, answers=None):
        self.arrivals = []
        self.users = set()
        self.connections = 0
        self.port = 0
        self._stall_after = stall_after
        self._stall_s = stall_s
        self._stands_until = 0.0
        self._tls = tls
        self._handshake = handshake
        self._answers = answers
        self._clients = set()

    @asynccontextmanager
    async def opened(self):
        listener = await asyncio.start_server(self._client, "127.0.0.1", 0, backlog=1000)
        self.port = listener.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            listener.close()
            for client in list(self._clients):
                client.cancel()
            await asyncio.gather(*self._clients, return_exceptions=True)

    async def _client(self, reader, writer):
        me = asyncio.current_task()
        self._clients.add(me)
        self.connections += 1
        try:
            if self._tls is not None:
                writer.transport.pause_reading()  # the handshake's first bytes are for TLS
                await asyncio.sleep(self._handshake())
                await writer.start_tls(self._tls)
            nth = 0
            while nth != self._answers:
                nth += await self._serve(reader, writer, last=nth + 1 == self._answers)
        except (asyncio.IncompleteReadError, ConnectionError, OSError, asyncio.CancelledError):
            pass
        finally:
            writer.close()
            self._clients.discard(me)

    async def _serve(self, reader, writer, *, last):
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        length = next(
            (int(line[15:]) for line in head.split("\r\n") if line.lower().startswith("content-length:")), 0
        )
        await reader.readexactly(length)
        await asyncio.sleep(max(0.0, self._stands_until - monotonic()))
        end = "Connection: close\r\n" if last else ""
        path = head.split(" ", 2)[1]
        if path.endswith("/password"):
            self.arrivals.append(monotonic())
            self.users.add(path.split("/")[-2])
            if len(self.arrivals) == self._stall_after:
                self._stands_until = monotonic() + self._stall_s
            writer.write(f"HTTP/1.1 204 No Content\r\n{end}\r\n".encode())
        else:
            body = json.dumps(said(path))
            answer = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n{end}Content-Length: {len(body)}"
            writer.write(f"{answer}\r\n\r\n{body}".encode())
        await writer.drain()
        return 1


def fullest(arrivals, window_s=1.0):
    """Return the most arrivals in any window, its end left out."""
    best = first = 0
    for last, moment in enumerate(arrivals):
        while moment - arrivals[first] >= window_s:
            first += 1
        best = max(best, last - first + 1)
    return best


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
    installation = Installation(tmp_path, "http://127.0.0.1:1")
    installation.http = ""
    return installation


async def test_a_stall_of_three_seconds_lets_no_more_arrive_than_the_limit(installation):
    """What stood still on the way arrives at once, and still no window holds more than the provider allows."""
    async with Door(stall_after=100, stall_s=3.0).opened() as door:
        await all_are_set(door, installation, "http")


async def test_slow_handshakes_on_connections_that_end_soon_crowd_no_window(installation, tmp_path):
    """Handshakes of 0.1 to 0.7 s, connections closed after three answers: calls arrive as their slots say."""
    files = self_signed(tmp_path)
    installation.http = f"ca_file = {json.dumps(str(files[0]))}"
    handshake = random.Random(7)
    door = Door(tls=server_context(files), handshake=lambda: handshake.uniform(0.1, 0.7), answers=3)
    async with door.opened():
        await all_are_set(door, installation, "https")
    assert door.connections >= USERS // 3

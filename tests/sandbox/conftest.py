from collections.abc import AsyncIterator, Callable
from typing import Any

import aiohttp
import pytest
from sandbox_client import Client, Hands, Naps, basic, token

from bulkreset.sandbox import Clock, Sandbox


@pytest.fixture
def hands() -> Hands:
    return Hands()


@pytest.fixture
async def naps() -> Naps:
    naps = Naps()
    naps.free.set()
    return naps


@pytest.fixture
async def sandbox(hands: Hands, naps: Naps) -> AsyncIterator[Sandbox]:
    sandbox = Sandbox(clock=Clock(lambda: hands.monotonic, lambda: hands.wall), sleep=naps.sleep)
    await sandbox.start()
    yield sandbox
    await sandbox.stop()


@pytest.fixture
async def session(sandbox: Sandbox) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        session._retry_connection = False  # aiohttp would repeat a PUT whose connection was dropped
        yield session


@pytest.fixture
def control(sandbox: Sandbox, session: aiohttp.ClientSession) -> Client:
    return Client(session, sandbox.url + "/_sandbox")


@pytest.fixture
def zoom(sandbox: Sandbox, session: aiohttp.ClientSession) -> Callable[..., Any]:
    async def make(**spec: Any) -> Client:
        users = [
            {"id": "-normal_id-22-chars-ab", "email": "Ada@Example.com", "password": "Old!pass2word"},
            {"id": "admin-id", "email": "admin@example.com", "kind": "admin"},
            {"id": "owner-id", "email": "owner@example.com", "kind": "owner"},
            {"id": "sso-id", "email": "sso@example.com", "kind": "sso"},
            {"id": "pending-id", "email": "pending@example.com", "kind": "pending"},
            {"id": "gone-id", "email": "gone@example.com", "kind": "missing"},
        ]
        tenant = sandbox.add({"name": "zoom-a", "provider": "zoom", "users": users, **spec})
        client = Client(session, sandbox.url_of("zoom-a"), tenant)
        client.headers = {"Authorization": f"Bearer {await token(client)}"}
        return client

    return make


@pytest.fixture
def zendesk(sandbox: Sandbox, session: aiohttp.ClientSession) -> Callable[..., Any]:
    async def make(**spec: Any) -> Client:
        users = [
            {"id": 101, "email": "ada@example.com", "password": "old password"},
            {"id": 102, "email": "boss@example.com", "kind": "admin", "password": "boss password"},
            {"id": 103, "email": "agent@example.com", "kind": "agent"},
            {"id": 104, "email": "out@example.com", "kind": "suspended"},
            {"id": 105, "email": "gone@example.com", "kind": "missing"},
        ]
        spec = {"name": "desk-a", "provider": "zendesk", "email": "boss@example.com", "users": users, **spec}
        tenant = sandbox.add(spec)
        return Client(session, sandbox.url_of("desk-a"), tenant, basic("boss@example.com/token:sandbox-api-token"))

    return make

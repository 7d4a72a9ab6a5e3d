"""What the tests of the sandbox share: a plain client, and a clock and a sleep held by hand."""

import asyncio
import base64
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from yarl import URL

from bulkreset.sandbox import Tenant


@dataclass
class Hands:
    """The hands of a clock that only moves when a test moves it."""

    monotonic: float = 5_000.0
    wall: float = 1_700_000_000.0


@dataclass
class Naps:
    """A sleep that ends when the test says so, and at once until it holds it."""

    asked: list[float] = field(default_factory=list)
    free: asyncio.Event = field(default_factory=asyncio.Event)

    async def sleep(self, seconds: float) -> None:
        self.asked.append(seconds)
        await self.free.wait()


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Any
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Client:
    """A plain client of one tenant that sends paths exactly as written."""

    session: aiohttp.ClientSession
    url: str
    tenant: Tenant | None = None
    headers: dict[str, str] = field(default_factory=dict)

    async def call(self, method: str, path: str, *, headers: dict[str, str] | None = None, **body: Any) -> Answer:
        url = URL(self.url + path, encoded=True)
        merged = self.headers | (headers or {})
        async with self.session.request(method, url, headers=merged, **body) as response:
            return Answer(response.status, response.headers, await response.read())

    async def put(self, ref: str, password: object) -> Answer:
        return await self.call("PUT", f"/v2/users/{ref}/password", json={"password": password})

    async def post(self, ref: object, password: object) -> Answer:
        return await self.call("POST", f"/api/v2/users/{ref}/password.json", json={"password": password})


def basic(text: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(text.encode()).decode()}


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110  (what is waited for happens in the server, without an event)
            await asyncio.sleep(0)


async def ask_token(client: Client, who: str = "sandbox-client-id:sandbox-client-secret", **form: str) -> Answer:
    fields = {"grant_type": "account_credentials", "account_id": "sandbox-account-id"} | form
    return await client.call("POST", "/oauth/token", headers=basic(who), data=fields)


async def token(client: Client) -> str:
    return str((await ask_token(client)).json["access_token"])

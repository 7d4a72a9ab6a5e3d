"""Servers that answer exactly the bytes a test says, and clocks that only move when told."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest

from benchmarks.certificates import self_signed
from bulkreset.providers.base import Answer
from bulkreset.providers.http import WriteTransport, open_transport


@dataclass
class Request:
    """What arrived: the raw target, lower-case headers, the body, and how many came on this connection."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes
    nth: int


Behaviour = Callable[[Request, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class RawServer:
    """A server of one behaviour, on loopback."""

    port: int = 0
    requests: list[Request] = field(default_factory=list)
    connections: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


async def _read_request(reader: asyncio.StreamReader, nth: int) -> Request:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    first, *lines = head.rstrip().split("\r\n")
    method, target, _ = first.split(" ", 2)
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    return Request(method, target, headers, body, nth)


@asynccontextmanager
async def serve(behaviour: Behaviour, **options) -> AsyncIterator[RawServer]:
    """Serve until the block ends; the behaviour writes the answer, or closes the connection."""
    server = RawServer()
    open_connections: set[asyncio.Task[None]] = set()

    async def on_connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server.connections += 1
        connection = asyncio.current_task()
        open_connections.add(connection)
        connection.add_done_callback(open_connections.discard)
        nth = 0
        try:
            while not writer.is_closing():
                nth += 1
                request = await _read_request(reader, nth)
                server.requests.append(request)
                await behaviour(request, writer)
                if not writer.is_closing():
                    await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    listener = await asyncio.start_server(on_connect, "127.0.0.1", 0, **options)
    server.port = listener.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listener.close()
        for connection in open_connections:
            connection.cancel()
        if open_connections:
            await asyncio.wait(open_connections)


def answer_bytes(
    status: str = "200 OK", body: bytes = b"", content_type: str = "application/json", *extra: str
) -> bytes:
    """Return a whole HTTP answer."""
    head = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", f"Content-Type: {content_type}", *extra]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body


@dataclass
class FakeClock:
    """Wall and monotonic time that stand still until a test, or a sleep, moves them."""

    wall: datetime = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
    mono: float = 1000.0
    slept: list[float] = field(default_factory=list)

    def now(self) -> datetime:
        return self.wall

    def monotonic(self) -> float:
        return self.mono

    def advance(self, seconds: float) -> None:
        self.wall += timedelta(seconds=seconds)
        self.mono += seconds

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.advance(seconds)


class Pot:
    """A quota that only counts what was taken from it."""

    def __init__(self) -> None:
        self.taken = 0

    async def __call__(self) -> None:
        self.taken += 1


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def pot():
    return Pot()


@pytest.fixture
async def transport() -> AsyncIterator[WriteTransport]:
    async with open_transport(WriteTransport, total_timeout=timedelta(seconds=10)) as opened:
        yield opened


@pytest.fixture
def raw_server():
    return serve


@pytest.fixture
def http_answer():
    return answer_bytes


@pytest.fixture
def answer():
    """Build an Answer from a status, a body and headers."""

    def build(status: int, body: bytes | str = b"", headers: dict[str, str] | None = None) -> Answer:
        return Answer(status, headers or {}, body.encode() if isinstance(body, str) else body)

    return build


@pytest.fixture(scope="session")
def certificate(tmp_path_factory):
    """A self-signed certificate for 127.0.0.1, as (certificate, key) files."""
    return self_signed(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def proxy_environment(monkeypatch):
    for name in ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "NO_PROXY", "no_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch.setenv

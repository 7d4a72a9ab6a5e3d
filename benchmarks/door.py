"""A provider's door on loopback: it notes when each call arrives, and the way to it may be as bad as networks are.

Tests and benchmarks share it. It stands still by not reading, so that calls wait on their way as they do in a
network and arrive together when it lets go; a call counts from the moment at which it is read.
"""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from threading import Event, Thread
from time import monotonic
from typing import Any, Final

_SCOPE: Final = "user:write:admin user:read:admin account:read:admin"


class Door:
    """A Zoom account of these users, at as many ports as it has `ways`.

    After `stall_after` calls the ways in `stalled`, all by default, stand still for `stall_s`. With `tls`, each
    connection waits as long as `handshake` says before its handshake, and ends after so many `answers`. Beyond
    `limit` calls in any window of a second, calls are refused with 429.
    """

    def __init__(
        self,
        users: Sequence[str],
        *,
        ways: int = 1,
        limit: int | None = None,
        stall_after: int | None = None,
        stall_s: float = 0.0,
        stalled: frozenset[int] | None = None,
        tls: ssl.SSLContext | None = None,
        handshake: Callable[[], float] = lambda: 0.0,
        answers: int | None = None,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self.arrivals: list[float] = []
        self.users: set[str] = set()
        self.refused = 0
        self.connections = 0
        self.ports: list[int] = []
        self._listing = [
            {"id": f"id{n}", "email": email, "type": 2, "status": "active"} for n, email in enumerate(users)
        ]
        self._ways = ways
        self._limit = limit
        self._stall_after = stall_after
        self._stall_s = stall_s
        self._stands_until = [0.0] * ways
        self._stalled = frozenset(range(ways)) if stalled is None else stalled
        self._tls = tls
        self._handshake = handshake
        self._answers = answers
        self._clock = clock
        self._clients: set[asyncio.Task[Any]] = set()

    @property
    def port(self) -> int:
        """The port of the first way."""
        return self.ports[0]

    @asynccontextmanager
    async def opened(self) -> AsyncIterator["Door"]:
        """Listen."""
        listeners = [await self._listen(way) for way in range(self._ways)]
        self.ports = [listener.sockets[0].getsockname()[1] for listener in listeners]
        try:
            yield self
        finally:
            for listener in listeners:
                listener.close()
            for client in list(self._clients):
                client.cancel()
            await asyncio.gather(*self._clients, return_exceptions=True)

    @contextmanager
    def opened_apart(self) -> Iterator["Door"]:
        """Listen in a thread of its own."""
        listening, over = Event(), Event()

        async def listen() -> None:
            async with self.opened():
                listening.set()
                await asyncio.to_thread(over.wait)

        thread = Thread(target=asyncio.run, args=(listen(),), name="door")
        thread.start()
        try:
            if not listening.wait(10):
                raise RuntimeError("the door did not open")
            yield self
        finally:
            over.set()
            thread.join()

    async def _listen(self, way: int) -> asyncio.Server:
        async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await self._client(reader, writer, way)

        return await asyncio.start_server(client, "127.0.0.1", 0, backlog=1000)

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, way: int) -> None:
        me = asyncio.current_task()
        assert me is not None
        self._clients.add(me)
        self.connections += 1
        try:
            if self._tls is not None:
                writer.transport.pause_reading()  # type: ignore[attr-defined]  # the first bytes are for TLS
                await asyncio.sleep(self._handshake())
                await writer.start_tls(self._tls)
            nth = 0
            while nth != self._answers:
                nth += 1
                await self._serve(reader, writer, way, last=nth == self._answers)
        except (asyncio.IncompleteReadError, ConnectionError, OSError, asyncio.CancelledError):
            pass
        finally:
            writer.close()
            self._clients.discard(me)

    async def _serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, way: int, *, last: bool
    ) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        lengths = (line[15:] for line in head.split("\r\n") if line.lower().startswith("content-length:"))
        await reader.readexactly(int(next(lengths, "0")))
        await asyncio.sleep(max(0.0, self._stands_until[way] - self._clock()))
        end = "Connection: close\r\n" if last else ""
        path = head.split(" ", 2)[1]
        if path.endswith("/password"):
            writer.write(f"HTTP/1.1 {self._arrived(path)}\r\n{end}\r\n".encode())
        else:
            body = json.dumps(self._answer(path))
            answer = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n{end}Content-Length: {len(body)}"
            writer.write(f"{answer}\r\n\r\n{body}".encode())
        await writer.drain()

    def _arrived(self, path: str) -> str:
        now = self._clock()
        self.arrivals.append(now)
        if len(self.arrivals) == self._stall_after:
            for way in self._stalled:
                self._stands_until[way] = now + self._stall_s
        if self._limit is not None and sum(now - moment < 1.0 for moment in self.arrivals[-500:]) > self._limit:
            self.refused += 1
            return "429 Too Many Requests\r\nContent-Length: 0"
        self.users.add(path.split("/")[-2])
        return "204 No Content"

    def _answer(self, path: str) -> dict[str, Any]:
        """Return what is answered to anything but a new password."""
        if path.endswith("/oauth/token"):
            return {"access_token": "t", "token_type": "bearer", "expires_in": 3599, "scope": _SCOPE}
        if path.endswith("/users/me"):
            return {"id": "ME", "email": "owner@example.org"}
        if "/users?" in path:
            users = self._listing if "status=active" in path else []
            return {"users": users, "total_records": len(users), "next_page_token": ""}
        return {"security": {"password_requirement": {}}}


def fullest(arrivals: Sequence[float], window_s: float = 1.0) -> int:
    """Return the most arrivals in any window, its end left out."""
    best = first = 0
    for last, moment in enumerate(arrivals):
        while moment - arrivals[first] >= window_s:
            first += 1
        best = max(best, last - first + 1)
    return best

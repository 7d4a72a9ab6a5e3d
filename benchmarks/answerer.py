"""The fastest Zoom that Python can be: reads just enough HTTP/1.1 to answer, 204 to every PUT.

`python -m benchmarks.answerer` prints its address as one line of JSON. Below it `/N` is an account of N users,
with the addresses that the sandbox generates. Against it the client is the bottleneck, so whatever bulkreset does
beside sending shows in full.
"""

import asyncio
import json
import signal
import sys
from typing import Final
from urllib.parse import parse_qs, urlsplit


def _answer(status: str, body: bytes = b"") -> bytes:
    length = b"" if status.startswith("204") else b"Content-Length: %d\r\n" % len(body)
    return b"HTTP/1.1 %s\r\n%sContent-Type: application/json\r\n\r\n%s" % (status.encode(), length, body)


_TOKEN: Final = json.dumps({"access_token": "t0ken", "token_type": "bearer", "expires_in": 3600}).encode()
_CHANGED: Final = _answer("204 No Content")
_LOGGED_IN: Final = _answer("200 OK", _TOKEN)
_SETTINGS: Final = _answer("200 OK", b'{"security": {"password_requirement": {}}}')
_ME: Final = _answer("200 OK", b'{"id": "owner", "email": "owner@example.com", "role_id": "0"}')
_USER: Final = b'{"id":"id%08d","email":"user%05d@example.com","role_id":"2","status":"active"}'
_LENGTH: Final = b"content-length:"


class Answerer(asyncio.Protocol):
    """One connection."""

    def __init__(self) -> None:
        self._held = b""
        self._transport: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the way back."""
        assert isinstance(transport, asyncio.WriteTransport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Answer every request that is whole."""
        assert self._transport is not None
        self._held += data
        while (end := self._held.find(b"\r\n\r\n")) >= 0:
            head = self._held[:end]
            lower = head.lower()
            at = lower.find(_LENGTH)
            length = int(lower[at + len(_LENGTH) :].split(b"\r\n", 1)[0]) if at >= 0 else 0
            if len(self._held) < end + 4 + length:
                return
            self._held = self._held[end + 4 + length :]
            if head.startswith(b"PUT"):
                self._transport.write(_CHANGED)
            elif head.startswith(b"POST"):
                self._transport.write(_LOGGED_IN)
            else:
                self._transport.write(_read(head.split(b" ", 2)[1].decode("ascii")))


def _read(target: str) -> bytes:
    parts = urlsplit(target)
    if parts.path.endswith("/users/me"):
        return _ME
    if not parts.path.endswith("/users"):
        return _SETTINGS
    query = parse_qs(parts.query)
    users = int(parts.path.split("/")[1]) if query["status"] == ["active"] else 0
    return _page(users, int(query.get("next_page_token", ["1"])[0]), int(query["page_size"][0]))


def _page(users: int, first: int, size: int) -> bytes:
    """Answer with a page of the listing; the token of the next one is the number of its first user."""
    end = min(first + size, users + 1)
    token = b"%d" % end if end <= users else b""
    rows = b",".join(_USER % (number, number) for number in range(first, end))
    body = b'{"next_page_token":"%s","total_records":%d,"users":[%s]}' % (token, users, rows)
    return _answer("200 OK", body)


async def serve() -> None:
    """Listen on loopback until a signal comes."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    server = await loop.create_server(Answerer, "127.0.0.1", 0, backlog=1024)
    port = server.sockets[0].getsockname()[1]
    sys.stdout.write(json.dumps({"url": f"http://127.0.0.1:{port}"}) + "\n")
    sys.stdout.flush()
    await stop.wait()
    server.close()


if __name__ == "__main__":
    asyncio.run(serve())

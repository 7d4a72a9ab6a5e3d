"""The fastest server that Python can be: reads just enough HTTP/1.1 to answer, 204 to every PUT.

`python -m benchmarks.answerer` prints its address as one line of JSON. Against it the client is the bottleneck,
so whatever bulkreset does beside sending shows in full.
"""

import asyncio
import json
import signal
import sys
from typing import Final


def _answer(status: str, body: bytes = b"") -> bytes:
    length = b"" if status.startswith("204") else b"Content-Length: %d\r\n" % len(body)
    return b"HTTP/1.1 %s\r\n%sContent-Type: application/json\r\n\r\n%s" % (status.encode(), length, body)


_TOKEN: Final = json.dumps({"access_token": "t0ken", "token_type": "bearer", "expires_in": 3600}).encode()
_ANSWERS: Final = {
    b"PUT": _answer("204 No Content"),
    b"POS": _answer("200 OK", _TOKEN),
    b"GET": _answer("200 OK", b'{"security": {"password_requirement": {}}}'),
}
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
            head = self._held[:end].lower()
            at = head.find(_LENGTH)
            length = int(head[at + len(_LENGTH) :].split(b"\r\n", 1)[0]) if at >= 0 else 0
            if len(self._held) < end + 4 + length:
                return
            method, self._held = self._held[:3], self._held[end + 4 + length :]
            self._transport.write(_ANSWERS[method])


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

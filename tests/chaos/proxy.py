"""A TCP proxy that can misbehave: between workers and PostgreSQL it is the network that fails."""

import asyncio
import contextlib
import random
import socket
import struct

_PAGE = 65_536
# Closing a socket with a linger time of zero sends RST in place of FIN.
_LINGER_ZERO = struct.pack("ii", 1, 0)


class Proxy:
    """Forward connections to a port on loopback until told otherwise; use it as an async context manager."""

    def __init__(self, target_port):
        self.target_port = target_port
        self.port = 0
        self._listener = None
        self._pairs = {}
        self._flowing = asyncio.Event()
        self._flowing.set()

    async def __aenter__(self):
        while not self.port:
            # Below those that systems give to outgoing connections: it must be free again after a refusal.
            port = random.randrange(20_000, 30_000)
            with contextlib.suppress(OSError):
                await self._listen(port)
                self.port = port
        return self

    async def __aexit__(self, *_):
        self._deafen()
        self.cut()
        self._flowing.set()
        if self._pairs:
            await asyncio.wait([*self._pairs], timeout=5)

    @property
    def connections(self):
        """How many connections are open through it."""
        return len(self._pairs)

    def cut(self):
        """Drop every connection, with RST to both sides; return how many there were."""
        for writers in self._pairs.values():
            for writer in writers:
                _reset(writer)
        return len(self._pairs)

    def hold(self):
        """Accept and take bytes both ways, and hand nothing on; `flow` ends it."""
        self._flowing.clear()

    def flow(self):
        """Hand on what was held, and all that follows."""
        self._flowing.set()

    async def stall(self, seconds, *, then_cut=False):
        """Hold everything for so long; then go on as if nothing had been, or cut."""
        self.hold()
        try:
            await asyncio.sleep(seconds)
            if then_cut:
                self.cut()
        finally:
            self.flow()

    async def refuse(self, seconds):
        """Refuse new connections for so long; those there are stay."""
        self._deafen()
        try:
            await asyncio.sleep(seconds)
        finally:
            await self._listen(self.port)

    def part(self):
        """Cut, and refuse for good: whoever is behind this has lost the database."""
        self._deafen()
        self.cut()

    async def _listen(self, port):
        self._listener = await asyncio.start_server(self._serve, "127.0.0.1", port)

    def _deafen(self):
        if self._listener is not None:
            self._listener.close()
            self._listener = None

    async def _serve(self, reader, writer):
        mine = asyncio.current_task()
        self._pairs[mine] = [writer]
        try:
            await self._flowing.wait()
            there, onward = await asyncio.open_connection("127.0.0.1", self.target_port)
            self._pairs[mine].append(onward)
            pumps = (self._pump(reader, onward), self._pump(there, writer))
            ways = [asyncio.create_task(pump) for pump in pumps]
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            for each in self._pairs[mine]:
                each.close()
        except OSError:
            _reset(writer)  # nobody listens behind us: the client must see no connection that works
        finally:
            del self._pairs[mine]

    async def _pump(self, source, sink):
        with contextlib.suppress(OSError):
            while data := await source.read(_PAGE):
                await self._flowing.wait()
                sink.write(data)
                await sink.drain()


def _reset(writer):
    with contextlib.suppress(OSError):
        connection = writer.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_ZERO)
    writer.transport.abort()

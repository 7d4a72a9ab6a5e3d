"""Connections that are open before a call needs one, so that a call arrives when its slot says.

A TCP and TLS handshake takes from a millisecond to seconds, and never the same time twice. A call that waited for
its own would arrive late by it, among the calls of a later moment. So as many connections are kept ready as calls
may leave while one more is opened, and a call is handed a ready one or does not leave.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from math import ceil
from time import monotonic
from typing import Final

import aiohttp
from aiohttp.connector import Connection
from yarl import URL

from bulkreset.providers.no_answer import NoAnswer, NotSent, Unreachable

_WORDS: Final[tuple[tuple[type[Exception], str], ...]] = (
    (aiohttp.ClientConnectorDNSError, "its name cannot be resolved"),
    (aiohttp.ClientConnectorCertificateError, "its certificate is not trusted; check http.ca_file"),
    (aiohttp.ClientSSLError, "no TLS connection"),
    (aiohttp.ClientProxyConnectionError, "the proxy in HTTPS_PROXY cannot be reached"),
    (aiohttp.ConnectionTimeoutError, "no connection in time"),
    (aiohttp.InvalidURL, "not a usable address"),
)

UNCONNECTED: Final = (
    aiohttp.ClientConnectorError,
    aiohttp.ConnectionTimeoutError,
    aiohttp.InvalidURL,
    aiohttp.ClientHttpProxyError,
    UnicodeError,
)
"""What aiohttp raises before it has a connection."""

MOST_READY: Final = 100
"""How many connections one lane keeps ready at most."""

_FEWEST: Final = 2
# What opening takes, until it was seen; and how much longer than lately it may take.
_OPENING_S: Final = 0.1
_MARGIN: Final = 1.25
_SAMPLES: Final = 32
# A connection that comes sooner was not opened, but left over by a call that has ended.
_REUSED_S: Final = 0.0005
# As long as a client keeps an idle connection. A provider that keeps it shorter closes it, which is seen at once.
_KEPT_FOR_S: Final = 15.0
# How long it is good to know that no connection could be opened, before it is tried again.
_FAULT_S: Final = 1.0

Open = Callable[[], Awaitable[Connection]]


class Reserved:
    """One ready connection, or the reason why none could be opened; `use` it for one call, or `give_back`."""

    def __init__(self, connection: Connection | None, fault: NoAnswer | None = None) -> None:
        self._connection = connection
        self._fault = fault
        self.until = float("inf")  # when the time of its call is over

    @contextmanager
    def use(self) -> Iterator[None]:
        """Let the request that is made within this block have the connection."""
        token = _RESERVED.set(self)
        try:
            yield
        finally:
            _RESERVED.reset(token)
            self.give_back()

    def give_back(self) -> None:
        """Let others have the connection, where no call had it."""
        if self._connection is not None:
            self._connection.release()
            self._connection = None

    def hand_over(self, _: aiohttp.ClientRequest) -> Connection:
        """Return the connection, once, if the request may still be written to it now."""
        if self._fault is not None:
            raise type(self._fault)(str(self._fault))
        if monotonic() > self.until:
            raise NotSent("its slot had expired")
        connection, self._connection = self._connection, None
        if connection is None or connection.closed:
            if connection is not None:
                connection.close()
            raise NotSent("the provider closed its connection")
        return connection


class _Template:
    """Keeps the request that a session has built, in place of sending it."""

    request: aiohttp.ClientRequest | None = None

    def hand_over(self, request: aiohttp.ClientRequest) -> Connection:
        """Note the request and go no further."""
        self.request = request
        raise _NotedError


class _NotedError(Exception):
    """A request was noted."""


_RESERVED: ContextVar[Reserved | _Template | None] = ContextVar("reserved", default=None)


class Connector(aiohttp.TCPConnector):
    """Give a request the connection that is reserved for it, and any other request the next one."""

    async def connect(
        self,
        req: aiohttp.ClientRequest,
        traces: list[aiohttp.tracing.Trace],
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109  (the name that aiohttp calls it by)
    ) -> Connection:
        """Get a connection from where it is ready, or open one."""
        reserved = _RESERVED.get()
        return await super().connect(req, traces, timeout) if reserved is None else reserved.hand_over(req)


class Opener:
    """Opens connections to one address, as a session would for a request to it."""

    def __init__(self, session: aiohttp.ClientSession, target: URL, proxy: URL | None) -> None:
        self._session = session
        self._target = target
        self._proxy = proxy
        self._request: aiohttp.ClientRequest | None = None

    async def __call__(self) -> Connection:
        """Return a connection that is open, TLS included. Raises Unreachable."""
        connector = self._session.connector
        assert connector is not None
        try:
            if self._request is None:
                self._request = await self._as_built()
            return await connector.connect(self._request, [], self._session.timeout)
        except (*UNCONNECTED, aiohttp.ClientError, OSError) as error:
            fault = unreachable(self._target.host, error)
        raise fault

    async def _as_built(self) -> aiohttp.ClientRequest:
        """Return what a request to the address is to a connector; it holds no credentials."""
        template = _Template()
        token = _RESERVED.set(template)
        try:
            await self._session.request("HEAD", self._target, proxy=self._proxy)
        except _NotedError:
            pass
        finally:
            _RESERVED.reset(token)
        assert template.request is not None
        return template.request


def unreachable(host: str | None, error: Exception) -> Unreachable:
    """Name why there is no connection."""
    match error:
        case UnicodeError():  # from the resolver, about a name that no DNS can hold
            words = "its name cannot be resolved"
        case aiohttp.ClientHttpProxyError():
            words = f"the proxy refused to connect (HTTP {error.status})"
        case TimeoutError():
            words = "no connection in time"
        case _:
            known = (words for kind, words in _WORDS if isinstance(error, kind))
            words = next(known, "the connection was refused or has no route")
    return Unreachable(f"{host}: {words}")


class Connections:
    """The ready connections to one address, at which so many calls a second are to leave."""

    def __init__(self, open_one: Open, *, calls_per_s: float, changed: Callable[[], None]) -> None:
        self._open_one = open_one
        self._calls_per_s = calls_per_s
        self._changed = changed
        self._ready: deque[tuple[Connection, float]] = deque()
        self._opening: dict[asyncio.Task[None], float] = {}
        self._took: deque[float] = deque(maxlen=_SAMPLES)
        self._fault: NoAnswer | None = None
        self._fault_until = 0.0
        self._waiter: asyncio.Future[None] | None = None
        self._closed = False

    @property
    def wanted(self) -> int:
        """How many are to be ready, or on their way: what leaves while one more is opened."""
        slowest = _MARGIN * max(self._took) if self._took else _OPENING_S
        return min(MOST_READY, _FEWEST + ceil(self._calls_per_s * slowest))

    def usable(self) -> bool:
        """Tell whether calls may be claimed: enough connections are ready, or it is known that none can be had."""
        self._discard_stale()
        self._fill()
        return len(self._ready) * 2 >= self.wanted or self._faulty()

    def take(self) -> Reserved | None:
        """Reserve a ready connection; None where there is none yet."""
        self._discard_stale()
        reserved = None
        if self._ready:
            reserved = Reserved(self._ready.popleft()[0])
        elif self._faulty():
            reserved = Reserved(None, self._fault)
        self._fill()
        return reserved

    async def wait(self, seconds: float) -> None:
        """Wait until there is something to take, so many seconds at most; there is one waiter."""
        if seconds <= 0 or self._ready:
            return
        self._waiter = asyncio.get_running_loop().create_future()
        await asyncio.wait([self._waiter], timeout=seconds)
        self._waiter = None

    def wake(self) -> None:
        """End a `wait`."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def close(self) -> None:
        """Give back every connection, and open no more."""
        self._closed = True
        for opening in self._opening:
            opening.cancel()
        if self._opening:
            await asyncio.wait(self._opening)
        while self._ready:
            self._ready.popleft()[0].release()

    def _faulty(self) -> bool:
        return self._fault is not None and monotonic() < self._fault_until

    def _discard_stale(self) -> None:
        oldest = monotonic() - _KEPT_FOR_S
        while self._ready and (self._ready[0][0].closed or self._ready[0][1] < oldest):
            self._ready.popleft()[0].close()

    def _fill(self) -> None:
        if self._closed or self._faulty():
            return
        # Where none could be opened last time, one is tried first.
        wanted = self.wanted if self._fault is None else 1
        for _ in range(wanted - len(self._ready) - len(self._opening)):
            opening = asyncio.create_task(self._open(), name="open a connection")
            self._opening[opening] = monotonic()
            opening.add_done_callback(self._opened)

    async def _open(self) -> None:
        began = monotonic()
        try:
            connection = await self._open_one()
        except NoAnswer as error:
            self._fault, self._fault_until = error, monotonic() + _FAULT_S
        else:
            self._fault = None
            now = monotonic()
            if now - began > _REUSED_S:
                self._took.append(now - began)
            self._ready.append((connection, now))

    def _opened(self, opening: "asyncio.Task[None]") -> None:
        del self._opening[opening]
        self.wake()
        self._changed()

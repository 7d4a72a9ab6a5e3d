"""The one place where bytes leave for a provider: no retries, no redirects, no cookies, everything bounded.

A request that did not come back with a complete answer ends as one of the leaves of `no_answer`.

aiohttp sends an idempotent request (PUT is one) a second time by itself when a kept-alive connection drops
(`ClientSession._request`, `retry_persistent_connection`). That would be a call outside of quota and audit, so
a middleware turns the two exceptions that trigger it into ours before the session sees them.
"""

import asyncio
import json
import re
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Final, TypeVar
from urllib.request import getproxies, proxy_bypass

import aiohttp
from aiohttp.http_exceptions import HttpProcessingError
from yarl import URL

from bulkreset import __version__
from bulkreset.errors import ConfigError
from bulkreset.ownership import check_file
from bulkreset.providers.base import Answer, Call
from bulkreset.providers.connections import UNCONNECTED, Connections, Connector, Opener, unreachable
from bulkreset.providers.encodings import NotWhole, decoded
from bulkreset.providers.no_answer import Garbled, NoAnswer, Unclear
from bulkreset.providers.wire import Fault, TolerantProtocol
from bulkreset.settings import is_loopback

WRITE_LIMIT: Final = 64 * 1024  # bytes of an answer to a write; real ones are empty or a few hundred bytes
READ_LIMIT: Final = 8 * 1024 * 1024  # bytes of a page of a listing; 300 users are about 200 KB


class ReadTransport:
    """Reads and logs in, and has no method that writes: a dry run is given this one."""

    def __init__(self, session: aiohttp.ClientSession, *, trust_env: bool = False) -> None:
        self._session = session
        self._trust_env = trust_env
        self._routes: dict[tuple[str, str], URL | None] = {}  # (scheme, authority) → proxy

    async def get(self, url: str, headers: Mapping[str, str]) -> Answer:
        """Fetch one address. Raises Unreachable or Unclear."""
        return await self._exchange("GET", url, headers, None, READ_LIMIT)

    async def post_form(self, url: str, headers: Mapping[str, str], form: Mapping[str, str]) -> Answer:
        """Log in by an OAuth grant, the one form there is. Raises Unreachable or Unclear."""
        if "grant_type" not in form:
            raise ValueError("only an OAuth grant is sent as a form")
        return await self._exchange("POST", url, headers, aiohttp.FormData(dict(form)), WRITE_LIMIT)

    async def post_grant(self, url: str, fields: Mapping[str, str | int]) -> Answer:
        """Log in by an OAuth grant as a JSON object. Raises Unreachable or Unclear."""
        if "grant_type" not in fields:
            raise ValueError("only an OAuth grant is sent as an object")
        headers = {"Content-Type": "application/json"}
        return await self._exchange("POST", url, headers, json.dumps(dict(fields)).encode(), WRITE_LIMIT)

    async def _exchange(
        self, method: str, url: str, headers: Mapping[str, str], body: object, limit: int
    ) -> Answer:
        """Send one request, once, and read its whole answer."""
        target = URL(url, encoded=True)  # encoded by us: yarl must not rewrite a quoted user reference
        proxy = self._route(target)
        fault: NoAnswer
        try:
            response = await self._session.request(
                method, target, headers=headers, data=body, allow_redirects=False, proxy=proxy
            )
            try:
                content = await _read(response, limit)
            finally:
                response.release()
            lowered = {name.lower(): value for name, value in response.headers.items()}
            if content is not None:
                content = decoded(content, lowered.get("content-encoding", ""), limit)
            if content is not None:
                return Answer(response.status, lowered, content)
            fault = Garbled(f"{target.host}: the answer is longer than {limit} bytes")
        except NoAnswer as error:
            fault = type(error)(str(error))
        except TimeoutError:
            fault = Unclear(f"{target.host}: no complete answer in time")
        except NotWhole:
            fault = Garbled(f"{target.host}: the answer is not what its Content-Encoding says")
        except (aiohttp.ClientError, HttpProcessingError, OSError, EOFError) as error:
            fault = _lost(target, error)
        # Raised out here, on a fresh exception: no context or traceback of it leads to the request's data.
        try:
            raise fault
        finally:
            del fault

    def _route(self, target: URL) -> URL | None:
        """Return the proxy to go through; refuse an address that would send credentials in clear."""
        key = (target.scheme, target.raw_authority)
        try:
            return self._routes[key]
        except KeyError:
            pass
        host = target.host or ""
        if target.scheme != "https" and not (target.scheme == "http" and is_loopback(host)):
            raise ValueError(f"{host or 'this address'}: only https:// is used, or http:// to this machine")
        # Looked up here and not by aiohttp's own trust_env: that also reads ~/.netrc and costs a thread a call.
        proxy = _proxy() if self._trust_env and target.scheme == "https" and not proxy_bypass(host) else None
        self._routes[key] = proxy
        return proxy


class WriteTransport(ReadTransport):
    """Sends writes as well; only the runner is given this one."""

    async def send(self, call: Call, headers: Mapping[str, str]) -> Answer:
        """Send one call, exactly once. Raises Unreachable where it surely never left, else Unclear."""
        return await self._exchange(call.method, call.url, {**headers, **_WRITE_HEADERS}, call.body, WRITE_LIMIT)

    def connections(self, url: str, *, calls_per_s: float, changed: Callable[[], None]) -> Connections:
        """Keep connections to an address ready for calls to it; `changed` is called when there are more.

        A call that is sent while one is in use takes that one, or does not leave: NotSent is raised.
        """
        target = URL(url, encoded=True)
        opener = Opener(self._session, target, self._route(target))
        return Connections(opener, calls_per_s=calls_per_s, changed=changed)


# Uncompressed: the answers are tiny.
_WRITE_HEADERS: Final = {"Content-Type": "application/json", "Accept-Encoding": "identity"}

_FAULTS: Final = frozenset(map(str, Fault))

T = TypeVar("T", bound=ReadTransport)


@asynccontextmanager
async def open_transport(
    kind: type[T],
    *,
    total_timeout: timedelta = timedelta(seconds=30),
    connect_timeout: timedelta = timedelta(seconds=10),
    connections: int = 500,
    ca_file: Path | None = None,
    trust_env: bool = False,
) -> AsyncIterator[T]:
    """Open one pool of connections, of the kind that may or may not write, and close it at the end.

    `connections` bounds how many requests are under way; the wait for a free one counts as connecting.
    `ca_file` is trusted in place of the system's own list. `trust_env` obeys HTTPS_PROXY and NO_PROXY.
    """
    if trust_env:
        _proxy()
    total = total_timeout.total_seconds()
    # A connect that hangs must end as Unreachable, not as the Unclear of the total time-out.
    connect = min(connect_timeout.total_seconds(), total * 0.9)
    connector = Connector(limit=connections, ssl=_tls(ca_file))
    # There is no public way to say which protocol reads the answers.
    connector._factory = partial(TolerantProtocol, asyncio.get_running_loop())  # type: ignore[assignment]  # noqa: SLF001
    session = aiohttp.ClientSession(
        connector=connector,
        timeout=aiohttp.ClientTimeout(total=total, connect=connect),
        headers={
            "User-Agent": f"bulkreset/{__version__}",
            "Accept": "application/json",
            "Accept-Encoding": "gzip, deflate",
        },
        auto_decompress=False,  # see `encodings`
        cookie_jar=aiohttp.DummyCookieJar(),
        middlewares=(_once,),
        raise_for_status=False,
        trust_env=False,
    )
    async with session:
        yield kind(session, trust_env=trust_env)


async def _once(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """Send a request and name a failure by when it happened, out of reach of the session's own retry."""
    fault: NoAnswer
    try:
        return await handler(request)
    except UNCONNECTED as error:
        fault = unreachable(request.url.host, error)
    except (aiohttp.ClientError, HttpProcessingError, OSError) as error:
        fault = _lost(request.url, error)
    raise fault


async def _read(response: aiohttp.ClientResponse, limit: int) -> bytes | None:
    """Read a body to its end, or return None where it is longer than the limit."""
    first = await response.content.readany()
    if not first:
        return b""
    chunks = [first]
    size = len(first)
    while size <= limit and (chunk := await response.content.readany()):
        chunks.append(chunk)
        size += len(chunk)
    return b"".join(chunks) if size <= limit else None


def _lost(target: URL, error: Exception) -> Unclear:
    """Name what became of a call that left: an answer that cannot be read, or none, or a part of one."""
    match error:
        case TimeoutError():
            return Unclear(f"{target.host}: no complete answer in time")
        case aiohttp.ClientPayloadError():
            return Unclear(f"{target.host}: the answer broke off or could not be decoded")
        case aiohttp.ClientResponseError() | HttpProcessingError():
            part = f": {error.message}" if error.message in _FAULTS else ""
            return Garbled(f"{target.host}: the answer is not proper HTTP{part}")
        case _:
            return Unclear(f"{target.host}: the connection was lost after the request was sent")


def _proxy() -> URL | None:
    """Return the proxy that the environment names. Raises ConfigError for what is no address of one."""
    found = getproxies().get("https")
    if not found:
        return None
    fault = "is not the address of a proxy"
    try:
        proxy = URL(found if "://" in found else f"http://{found}")
        if proxy.scheme in ("http", "https") and proxy.host and proxy.port and not re.search(r"\s", found):
            return proxy
        if proxy.scheme.startswith("socks"):
            fault = "is a SOCKS proxy, which is not supported"
    except ValueError:
        pass
    # Not repeated: it may hold the proxy's password.
    raise ConfigError(f"HTTPS_PROXY {fault}; write http://HOST:PORT, or set trust_env = false in [http]")


def _tls(ca_file: Path | None) -> ssl.SSLContext:
    if ca_file is not None:
        check_file(ca_file)
    try:
        context = ssl.create_default_context(cafile=ca_file)
    except (OSError, ValueError):
        raise ConfigError(f"{ca_file}: cannot be read as a file of certificates (PEM); set http.ca_file") from None
    context.keylog_filename = None  # type: ignore[assignment]  # whatever SSLKEYLOGFILE says
    return context

"""The sandbox as a server on loopback: one process, many tenants, each under its own name."""

import asyncio
import contextlib
import gc
import ipaddress
import signal
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from aiohttp import web

from bulkreset.sandbox import control
from bulkreset.sandbox.clock import Clock
from bulkreset.sandbox.flow import Site, Sleep, answer
from bulkreset.sandbox.spec import SpecError, TenantSpec, parse_spec
from bulkreset.sandbox.tenant import Tenant
from bulkreset.sandbox.zendesk import Zendesk
from bulkreset.sandbox.zoom import Zoom

BACKLOG = 1024
SHUTDOWN_S = 1.0


class Sandbox:
    """Stand-ins for Zoom and Zendesk accounts; start it, add tenants, and look into them directly."""

    def __init__(self, *, clock: Clock | None = None, sleep: Sleep = asyncio.sleep) -> None:
        self.clock = clock or Clock()
        self._sleep = sleep
        self._sites: dict[str, Site] = {}
        self._stopping = asyncio.Event()
        self._http: web.Server | None = None
        self._listener: asyncio.Server | None = None
        self._origin = ""

    @property
    def tenants(self) -> dict[str, Tenant]:
        """The tenants by name."""
        return {name: site.tenant for name, site in self._sites.items()}

    @property
    def url(self) -> str:
        """The address of the server, without a path."""
        return self._origin

    def url_of(self, name: str) -> str:
        """Return the address of a tenant: where its `/v2`, `/oauth` or `/api/v2` begins."""
        return f"{self._origin}/{name}"

    def add(self, spec: TenantSpec | Mapping[str, Any]) -> Tenant:
        """Add a tenant, or replace the one of that name by a new one."""
        if not isinstance(spec, TenantSpec):
            spec = parse_spec(spec)
        tenant = Tenant(spec, self.clock)
        api = Zoom(tenant) if spec.provider == "zoom" else Zendesk(tenant)
        self.remove(spec.name)
        self._sites[spec.name] = Site(tenant, api, self._stopping, self._sleep)
        return tenant

    def remove(self, name: str) -> bool:
        """Remove a tenant, and say whether there was one."""
        site = self._sites.pop(name, None)
        if site is not None:
            site.end()
        return site is not None

    def revoke_tokens(self, name: str) -> None:
        """End every OAuth token of a tenant at once."""
        self._sites[name].api.revoke_tokens()

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> int:
        """Listen on loopback, and nowhere else, and return the port."""
        if host == "localhost":
            host = "127.0.0.1"
        if not _is_loopback(host):
            raise SpecError(f"host: {host!r} is not a loopback address; the sandbox listens nowhere else")
        # A client that leaves cancels the handler of its call: that is how a hanging one ends.
        self._http = web.Server(self._handle, handler_cancellation=True, access_log=None)
        loop = asyncio.get_running_loop()
        self._listener = await loop.create_server(self._http, host, port, backlog=BACKLOG)
        bound: int = self._listener.sockets[0].getsockname()[1]
        self._origin = f"http://[{host}]:{bound}" if ":" in host else f"http://{host}:{bound}"
        return bound

    async def stop(self) -> None:
        """Stop listening, end the calls in flight, and close every connection."""
        self._stopping.set()
        for site in self._sites.values():
            site.end()
        if self._listener is None or self._http is None:
            return
        self._listener.close()
        self._http.pre_shutdown()
        await self._http.shutdown(SHUTDOWN_S)
        await self._listener.wait_closed()
        self._listener = self._http = None

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        # The raw path, split before it is unquoted: an encoded slash never makes another segment.
        path, _, query = request.raw_path.partition("?")
        parts = path.split("/")
        name = parts[1] if len(parts) > 1 else ""
        site = self._sites.get(name)
        if site is not None:
            return await answer(site, request, parts[2:], query)
        if name == "_sandbox":
            return await control.answer(self, request, parts[2:], query)
        return web.json_response({"error": f"no tenant {name!r}"}, status=404)


async def serve(
    host: str,
    port: int,
    tenants: Iterable[TenantSpec | Mapping[str, Any]],
    ready: Callable[[str], None],
) -> None:
    """Run a sandbox until SIGTERM, SIGINT or cancellation; `ready` is called with its address."""
    sandbox = Sandbox()
    for spec in tenants:
        sandbox.add(spec)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    with contextlib.ExitStack() as undo:
        for number in (signal.SIGTERM, signal.SIGINT):
            with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):
                loop.add_signal_handler(number, stop.set)
                undo.callback(loop.remove_signal_handler, number)
        try:
            await sandbox.start(host, port)
            # A full collection would stop the clock that calls are stamped by, and count them into a wrong window.
            gc.collect()
            gc.freeze()
            ready(sandbox.url)
            await stop.wait()
        finally:
            await sandbox.stop()


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False

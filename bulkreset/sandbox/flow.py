"""The way of one call through a tenant: record, authentication, limit, fault, and the provider's answer."""

import asyncio
import socket
import struct
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from aiohttp import web

from bulkreset.sandbox.exchange import Incoming, Reply
from bulkreset.sandbox.faults import FaultRule, Scope
from bulkreset.sandbox.record import CallRecord
from bulkreset.sandbox.tenant import Tenant
from bulkreset.sandbox.zendesk import Zendesk
from bulkreset.sandbox.zoom import Zoom

Sleep = Callable[[float], Awaitable[None]]

# Closing a socket with a linger time of zero sends RST in place of FIN.
_LINGER_ZERO = struct.pack("ii", 1, 0)


@dataclass(slots=True)
class Site:
    """A tenant at its address, with what its calls in flight need."""

    tenant: Tenant
    api: Zoom | Zendesk
    stopping: asyncio.Event
    sleep: Sleep
    late: set[asyncio.Task[Reply]] = field(default_factory=set)
    writing: Counter[str] = field(default_factory=Counter)

    def end(self) -> None:
        """Cancel the slow calls whose clients have left."""
        for task in self.late:
            task.cancel()


async def answer(site: Site, request: web.BaseRequest, parts: list[str], query: str) -> web.StreamResponse:
    """Serve one call; a connection that is dropped on purpose gets a response that cannot be written."""
    tenant = site.tenant
    now = tenant.clock.monotonic()
    incoming = site.api.route(request.method, parts)
    call = _open(site, request, incoming, now)
    try:
        if incoming is None:
            reply: Reply | None = site.api.not_found()
        else:
            incoming.headers = request.headers
            incoming.query = query
            incoming.origin = f"http://{request.headers.get('Host', '')}/{tenant.spec.name}"
            reply = await _serve(site, request, incoming, call, now)
            call.password_sha256 = incoming.password_sha256
        if reply is None:
            return web.Response()
        if tenant.spec.latency_ms:
            await site.sleep(tenant.spec.latency_ms / 1000)
        call.status, call.code = reply.status, reply.code
        headers = dict(reply.headers) | dict.fromkeys(site.api.tracking_headers, f"sandbox-{call.seq}")
        return web.Response(status=reply.status, body=reply.body or None, headers=headers)
    except ConnectionError:  # the client left while its body was read
        return web.Response()
    finally:
        call.open = False


def _open(site: Site, request: web.BaseRequest, incoming: Incoming | None, now: float) -> CallRecord:
    log = site.tenant.log
    headers = request.headers
    call = CallRecord(
        seq=log.total + 1,
        t=now,
        label=incoming.operation.label if incoming else None,
        method=request.method,
        path=request.raw_path.partition("?")[0],
        user=incoming.user.id if incoming and incoming.user else None,
        ref=incoming.ref if incoming else None,
        request_id=headers.get("X-Request-Id"),
        user_agent=headers.get("User-Agent"),
    )
    log.add(call)
    return call


async def _serve(
    site: Site, request: web.BaseRequest, incoming: Incoming, call: CallRecord, now: float
) -> Reply | None:
    tenant, api, operation = site.tenant, site.api, incoming.operation
    scope: Scope = "token"
    if operation.label is not None:
        scope = "revocations" if operation.is_revocation else "any"
        denied = api.authenticate(incoming)
        if denied is not None:
            return denied
        refusal = tenant.gates[operation.label].admit(now, tenant.clock.wall())
        if refusal is not None:
            return api.rate_refusal(incoming, refusal, now)
        if operation.is_write:
            tenant.writes.add(now)
            return await _write(site, request, incoming, call)
    return await _perform(site, request, incoming, call, scope)


async def _write(site: Site, request: web.BaseRequest, incoming: Incoming, call: CallRecord) -> Reply | None:
    if incoming.user is None:
        return await _perform(site, request, incoming, call, "writes")
    user_id = incoming.user.id
    site.writing[user_id] += 1
    site.tenant.overlaps += site.writing[user_id] > 1
    try:
        return await _perform(site, request, incoming, call, "writes")
    finally:
        site.writing[user_id] -= 1
        if not site.writing[user_id]:
            del site.writing[user_id]


async def _perform(
    site: Site, request: web.BaseRequest, incoming: Incoming, call: CallRecord, scope: Scope
) -> Reply | None:
    rule = site.tenant.faults.pick(scope, _names(incoming))
    if rule is not None:
        return await _hit(site, request, incoming, call, rule)
    incoming.body = await request.read()
    return _run(site, incoming, call, call.t)


async def _hit(
    site: Site, request: web.BaseRequest, incoming: Incoming, call: CallRecord, rule: FaultRule
) -> Reply | None:
    call.fault = rule.kind
    if rule.kind == "reset":
        _reset(request)
        return None
    now = call.t
    incoming.body = await request.read()
    if rule.kind == "slow":
        late = asyncio.create_task(_later(site, incoming, call, rule.seconds))
        site.late.add(late)
        late.add_done_callback(site.late.discard)
        return await asyncio.shield(late)  # a client that leaves does not stop the work
    if rule.applied:
        _run(site, incoming, call, now)
    if rule.kind == "hang":
        await site.stopping.wait()  # or until the client leaves, which cancels this
    if rule.kind in {"hang", "apply_drop"}:
        if request.transport is not None:
            request.transport.close()
        return None
    return site.api.fault_reply(rule, incoming, now)


async def _later(site: Site, incoming: Incoming, call: CallRecord, seconds: float) -> Reply:
    await site.sleep(seconds)
    return _run(site, incoming, call, site.tenant.clock.monotonic())


def _run(site: Site, incoming: Incoming, call: CallRecord, now: float) -> Reply:
    operation = incoming.operation
    reply = operation.run(incoming)
    call.applied = reply.applied
    call.password_sha256 = incoming.password_sha256
    if operation.label is None:
        return reply
    rate = site.api.rate_headers(operation.label, now)
    if not rate:
        return reply
    return Reply(reply.status, reply.body, {**reply.headers, **rate}, reply.code, reply.applied)


def _reset(request: web.BaseRequest) -> None:
    transport = request.transport
    if isinstance(transport, asyncio.Transport):
        connection: socket.socket = transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_ZERO)
        transport.abort()


def _names(incoming: Incoming) -> tuple[str | None, ...]:
    user = incoming.user
    return (incoming.ref,) if user is None else (incoming.ref, user.id, user.email)

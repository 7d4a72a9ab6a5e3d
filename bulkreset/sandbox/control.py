"""The control API under `/_sandbox/`: tenants, their users, faults and the clock in, state and record out."""

import json
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qs

from aiohttp import web

from bulkreset.sandbox.faults import parse_rule
from bulkreset.sandbox.spec import SpecError, parse_spec, parse_users, patch_spec

if TYPE_CHECKING:
    from bulkreset.sandbox.server import Sandbox
    from bulkreset.sandbox.tenant import Tenant

LARGEST_BODY: Final = 256 * 1024 * 1024
LINES_PER_CHUNK: Final = 1000


async def answer(sandbox: "Sandbox", request: web.BaseRequest, parts: list[str], query: str) -> web.StreamResponse:
    """Serve one control call; what is wrong with it is answered as 400 with the key that is wrong."""
    try:
        match parts:
            case [word] if (request.method, word) in _ON_SANDBOX:
                return await _ON_SANDBOX[request.method, word](sandbox, request)
            case ["tenants", name]:
                return await _tenant(sandbox, request, name)
            case ["tenants", name, word] if name in sandbox.tenants and (request.method, word) in _ON_TENANT:
                return await _ON_TENANT[request.method, word](sandbox.tenants[name], request, query)
    except (SpecError, TypeError) as error:
        return _refuse(400, str(error))
    return _refuse(404, "no such control call or tenant")


async def _health(sandbox: "Sandbox", _request: web.BaseRequest) -> web.Response:
    return web.json_response({"status": "ok", "tenants": sorted(sandbox.tenants)})


async def _list(sandbox: "Sandbox", _request: web.BaseRequest) -> web.Response:
    return web.json_response({"tenants": [_summary(sandbox, name) for name in sandbox.tenants]})


async def _advance(sandbox: "Sandbox", request: web.BaseRequest) -> web.Response:
    seconds = (await _body(request)).get("advance_s")
    if not isinstance(seconds, int | float) or isinstance(seconds, bool):
        raise SpecError("advance_s: not a number")
    sandbox.clock.advance(seconds)
    return web.json_response({"wall": sandbox.clock.wall(), "monotonic": sandbox.clock.monotonic()})


async def _tenant(sandbox: "Sandbox", request: web.BaseRequest, name: str) -> web.Response:
    if request.method == "PUT":
        known = name in sandbox.tenants
        sandbox.add(parse_spec(await _body(request), name=name))
        return web.json_response(_summary(sandbox, name), status=200 if known else 201)
    if name not in sandbox.tenants:
        return _refuse(404, f"no tenant {name!r}")
    if request.method == "PATCH":
        data = await _body(request)
        revoke = data.pop("revoke_tokens", False)
        tenant = sandbox.tenants[name]
        tenant.change(patch_spec(tenant.spec, data))
        if revoke:
            sandbox.revoke_tokens(name)
        return web.json_response(_summary(sandbox, name))
    if request.method == "DELETE":
        sandbox.remove(name)
        return web.Response(status=204)
    if request.method == "GET":
        return web.json_response(_summary(sandbox, name))
    return _refuse(405, f"{request.method} has no meaning here")


async def _state(tenant: "Tenant", _request: web.BaseRequest, _query: str) -> web.Response:
    return web.json_response(tenant.state())


async def _pace(tenant: "Tenant", _request: web.BaseRequest, _query: str) -> web.Response:
    return web.json_response(tenant.pace())


async def _change_users(tenant: "Tenant", request: web.BaseRequest, _query: str) -> web.Response:
    data = await _body(request)
    if unknown := set(data) - {"add", "remove"}:
        raise SpecError(f"{min(unknown)}: neither add nor remove")
    remove = data.get("remove", [])
    if not isinstance(remove, list):
        raise SpecError("remove: not a list")
    add = parse_users(tenant.spec.provider, data.get("add", []))
    tenant.change_users(add, [str(ref) for ref in remove])
    return web.json_response({"users": len(tenant.users)})


async def _forget_calls(tenant: "Tenant", _request: web.BaseRequest, _query: str) -> web.Response:
    tenant.forget_calls()
    return web.Response(status=204)


async def _add_faults(tenant: "Tenant", request: web.BaseRequest, _query: str) -> web.Response:
    given = await _json(request)
    rules = given if isinstance(given, list) else [given]
    tenant.faults.add([parse_rule(_object(rule)) for rule in rules])
    return web.json_response({"faults": tenant.faults.as_list()}, status=201)


async def _list_faults(tenant: "Tenant", _request: web.BaseRequest, _query: str) -> web.Response:
    return web.json_response({"faults": tenant.faults.as_list()})


async def _clear_faults(tenant: "Tenant", _request: web.BaseRequest, _query: str) -> web.Response:
    tenant.faults.clear()
    return web.Response(status=204)


async def _stream_calls(tenant: "Tenant", request: web.BaseRequest, query: str) -> web.StreamResponse:
    since = parse_qs(query).get("since", ["0"])[-1]
    if not since.isdecimal():
        raise SpecError("since: not a number")
    calls = [call for call in tenant.log.calls if call.seq > int(since)]
    response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
    await response.prepare(request)
    for start in range(0, len(calls), LINES_PER_CHUNK):
        lines = (json.dumps(call.as_dict()) + "\n" for call in calls[start : start + LINES_PER_CHUNK])
        await response.write("".join(lines).encode())
    await response.write_eof()
    return response


def _summary(sandbox: "Sandbox", name: str) -> dict[str, object]:
    tenant = sandbox.tenants[name]
    spec = tenant.spec
    return {
        "name": spec.name,
        "provider": spec.provider,
        "url": sandbox.url_of(name),
        "users": len(tenant.users),
        "limit": spec.limit,
        "light_limit": spec.light_limit,
        "window_s": spec.window,
        "daily": spec.daily,
        "latency_ms": spec.latency_ms,
        "password_setting": spec.password_setting,
        "rate_headers": spec.rate_headers,
        "scopes": list(spec.token_scopes),
        "keep_calls": spec.keep_calls,
    }


async def _body(request: web.BaseRequest) -> dict[str, Any]:
    return _object(await _json(request))


async def _json(request: web.BaseRequest) -> object:
    body = bytearray()
    async for chunk in request.content.iter_any():
        body += chunk
        if len(body) > LARGEST_BODY:
            raise SpecError(f"body: more than {LARGEST_BODY} bytes")
    try:
        return json.loads(body)
    except ValueError as error:
        raise SpecError(f"body: not JSON ({error})") from None


def _object(value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise SpecError("body: not a JSON object")
    return value


def _refuse(status: int, why: str) -> web.Response:
    return web.json_response({"error": why}, status=status)


_ON_SANDBOX: Final[Mapping[tuple[str, str], "Callable[[Sandbox, web.BaseRequest], Awaitable[web.Response]]"]] = {
    ("GET", "health"): _health,
    ("GET", "tenants"): _list,
    ("POST", "clock"): _advance,
}
_ON_TENANT: Final[
    Mapping[tuple[str, str], "Callable[[Tenant, web.BaseRequest, str], Awaitable[web.StreamResponse]]"]
] = {
    ("GET", "state"): _state,
    ("GET", "pace"): _pace,
    ("POST", "users"): _change_users,
    ("GET", "calls"): _stream_calls,
    ("DELETE", "calls"): _forget_calls,
    ("GET", "faults"): _list_faults,
    ("POST", "faults"): _add_faults,
    ("DELETE", "faults"): _clear_faults,
}

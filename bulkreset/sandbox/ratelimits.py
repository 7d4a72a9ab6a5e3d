"""How each provider says "too many calls": its status, body and headers, and every form of Retry-After."""

import math

from bulkreset.sandbox.exchange import Reply, http_date, iso_date, json_reply
from bulkreset.sandbox.limiter import Gate, Refusal
from bulkreset.sandbox.tenant import Tenant

_ZOOM_TEXTS = {
    "window": "You have reached the maximum per-second rate limit for this API. Try again later.",
    "daily": (
        "You have reached the maximum daily rate limit for this API. Refer to the response header for "
        "details on when you can make another request."
    ),
}


def zoom_refusal(
    tenant: Tenant, label: str, refusal: Refusal, now: float, retry_after: str | None = None
) -> Reply:
    """Build Zoom's 429: no Retry-After per second, an ISO 8601 time for the daily limit."""
    gate = tenant.gates[label]
    headers: dict[str, str] = {}
    if tenant.spec.rate_headers != "none":
        limit = gate.daily if refusal == "daily" else gate.window.limit
        headers = {
            "X-RateLimit-Category": label,
            "X-RateLimit-Type": "Daily-limit" if refusal == "daily" else "QPS",
            "X-RateLimit-Limit": str(limit or 0),
            "X-RateLimit-Remaining": "0",
        }
    wait = _wait(tenant, gate, refusal, now)
    form = tenant.spec.rate_headers
    if retry_after is not None:
        headers["Retry-After"] = retry_after
    elif form == "full" and refusal == "daily":
        headers["Retry-After"] = iso_date(gate.next_day(tenant.clock.wall()))
    elif form in {"seconds", "http_date"}:
        headers["Retry-After"] = _retry_after(tenant, form, wait)
    answer = json_reply(429, {"code": 429, "message": _ZOOM_TEXTS[refusal]}, "application/json;charset=UTF-8", 429)
    return Reply(429, answer.body, {**answer.headers, **headers}, 429)


def zendesk_refusal(tenant: Tenant, refusal: Refusal, now: float, retry_after: str | None = None) -> Reply:
    """Build Zendesk's 429: plain text, and Retry-After in seconds."""
    gate = tenant.gates["default"]
    headers = {"Content-Type": "text/plain; charset=utf-8"}
    form = tenant.spec.rate_headers
    if form != "none":
        headers |= {
            "x-rate-limit": str(gate.window.limit or 0),
            "x-rate-limit-remaining": "0",
            "retry-after": retry_after or _retry_after(tenant, form, _wait(tenant, gate, refusal, now)),
        }
    elif retry_after is not None:
        headers["retry-after"] = retry_after
    return Reply(429, b"Number of allowed API requests per minute exceeded", headers, 429)


def _wait(tenant: Tenant, gate: Gate, refusal: Refusal, now: float) -> int:
    wall = tenant.clock.wall()
    wait = gate.next_day(wall) - wall if refusal == "daily" else gate.window.wait_s(now)
    return max(1, math.ceil(wait))


def _retry_after(tenant: Tenant, form: str, wait: int) -> str:
    return http_date(math.ceil(tenant.clock.wall() + wait)) if form == "http_date" else str(wait)

"""Faults by script: which calls are hit, and how. The choice is seeded, so that a run can be repeated."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from random import Random
from typing import Any, Final, Literal, get_args

from bulkreset.sandbox.exchange import Reply
from bulkreset.sandbox.spec import SpecError

Scope = Literal["writes", "revocations", "any", "token"]

APPLIED_BY_DEFAULT: Final[Mapping[str, bool]] = {
    "5xx": False,
    "503_retry_after": False,
    "slow": True,  # and answered as ever, only later
    "hang": False,
    "apply_drop": True,
    "reset": False,
    "malformed": True,
    "malformed_error": False,
    "wrong_type": True,
    "429": False,
    "401": False,
    "403": False,
    "408": False,
    "409": False,
    "answer": False,
}
SCOPES: Final = frozenset(get_args(Scope))
FORMS: Final = frozenset({"seconds", "http_date", "iso"})
REASONS: Final[Mapping[int, str]] = {
    408: "Request Timeout",
    409: "Conflict",
    500: "Internal Server Error",
    502: "Bad Gateway",
    503: "Service Unavailable",
    504: "Gateway Timeout",
}
_NEVER_APPLIED: Final = frozenset({"slow", "apply_drop", "reset", "429", "401", "403", "malformed_error"})


@dataclass(frozen=True, slots=True)
class FaultRule:
    """One line of the script: what happens to the calls it hits, and which those are.

    It hits a `share` of the matching calls, or `every` so-many-th of them, or all; only calls for `users`
    (ids, e-mail addresses or path segments) where given; at most `times`. `on` is `writes` (password
    writes), `revocations` (the end of a user's sessions), `any` (every API call) or `token` (Zoom's OAuth
    endpoint).
    """

    kind: str
    share: float | None = None
    every: int | None = None
    users: tuple[str, ...] | None = None
    times: int | None = None
    on: Scope = "writes"
    status: int = 500  # of "5xx" and "answer"
    body: str = ""  # of "answer": to the letter, JSON as far as its Content-Type goes
    html: bool = False  # of "5xx": an HTML body in place of JSON
    applied: bool = False  # whether the write stands behind the failed answer
    seconds: float = 1.0  # of "slow"
    retry_after: int | None = None  # seconds, of "503_retry_after" (default 2) and "429"
    form: str = "seconds"  # of `retry_after`: seconds, http_date or iso
    daily: bool = False  # of "429" at Zoom: the daily limit in place of the one per second


def parse_rule(data: Mapping[str, Any]) -> FaultRule:
    """Build a rule from its JSON object; raise SpecError with the key that is wrong."""
    kind = str(data.get("kind"))
    if kind not in APPLIED_BY_DEFAULT:
        raise SpecError(f"kind: {kind!r} is none of {', '.join(sorted(APPLIED_BY_DEFAULT))}")
    unknown = set(data) - {item.name for item in fields(FaultRule)}
    if unknown:
        raise SpecError(f"{min(unknown)}: no such key in a fault rule")
    if kind in _NEVER_APPLIED and "applied" in data:
        raise SpecError(f"applied: has no meaning for {kind!r}")
    values = {"applied": APPLIED_BY_DEFAULT[kind], **data, "kind": kind}
    if values.get("users") is not None:
        values["users"] = tuple(str(ref) for ref in values["users"])
    rule = FaultRule(**values)
    _check(rule)
    return rule


class FaultScript:
    """The rules of one tenant; the first one that fires decides."""

    __slots__ = ("_lines", "_rng")

    def __init__(self, seed: int) -> None:
        self._rng = Random(seed)  # noqa: S311  (repeatable on purpose)
        self._lines: list[_Line] = []

    def add(self, rules: list[FaultRule]) -> None:
        """Append rules to the script."""
        self._lines.extend(_Line(rule) for rule in rules)

    def clear(self) -> None:
        """Drop every rule."""
        self._lines.clear()

    def as_list(self) -> list[dict[str, object]]:
        """Return the rules with how many calls each has seen and hit."""
        return [{**asdict(line.rule), "seen": line.seen, "fired": line.fired} for line in self._lines]

    def pick(self, scope: Scope, names: tuple[str | None, ...]) -> FaultRule | None:
        """Return the rule that hits this call, if any; `names` are all the names of its user."""
        for line in self._lines:
            if line.matches(scope, names) and line.fires(self._rng):
                return line.rule
        return None


def plain_reply(  # noqa: PLR0911  (one return a kind)
    rule: FaultRule, json_type: str, error: bytes, now: str
) -> Reply:
    """Build the answer of the kinds that look alike at both providers; `error` is the provider's JSON body.

    `now` is the Retry-After header's text for "503_retry_after".
    """
    if rule.kind == "answer":
        return Reply(rule.status, rule.body.encode(), {"Content-Type": json_type}, rule.status)
    if rule.kind == "malformed":
        return Reply(200, b'{"status":"succ', {"Content-Type": json_type})
    if rule.kind == "malformed_error":
        return Reply(400, b'{"code":300,"message":"Your new passw', {"Content-Type": json_type})
    if rule.kind == "wrong_type":
        page = b"<!DOCTYPE html><html><body><h1>We will be back soon</h1></body></html>"
        return Reply(200, page, {"Content-Type": "text/html; charset=utf-8"})
    if rule.kind == "503_retry_after":
        return Reply(503, error, {"Content-Type": json_type, "Retry-After": now}, 503)
    status = reply_status(rule)
    if rule.html:
        title = f"{status} {REASONS.get(status, 'Error')}"
        text = f"<html><head><title>{title}</title></head><body><center><h1>{title}</h1></center></body></html>"
        return Reply(status, text.encode(), {"Content-Type": "text/html"}, status)
    return Reply(status, error, {"Content-Type": json_type}, status)


def reply_status(rule: FaultRule) -> int:
    """Return the HTTP status of a fault that answers with an error of the server."""
    if rule.kind == "503_retry_after":
        return 503
    return int(rule.kind) if rule.kind.isdigit() else rule.status


class _Line:
    __slots__ = ("fired", "rule", "seen", "users")

    def __init__(self, rule: FaultRule) -> None:
        self.rule = rule
        self.seen = 0
        self.fired = 0
        self.users = None if rule.users is None else frozenset(ref.lower() for ref in rule.users)

    def matches(self, scope: Scope, names: tuple[str | None, ...]) -> bool:
        if self.rule.times is not None and self.fired >= self.rule.times:
            return False
        if self.rule.on != scope and not (self.rule.on == "any" and scope != "token"):
            return False
        return self.users is None or any(name is not None and name.lower() in self.users for name in names)

    def fires(self, rng: Random) -> bool:
        self.seen += 1
        if self.rule.every is not None:
            hit = self.seen % self.rule.every == 0
        else:
            hit = self.rule.share is None or rng.random() < self.rule.share
        self.fired += hit
        return hit


def _check(rule: FaultRule) -> None:
    if rule.on not in SCOPES:
        raise SpecError(f"on: {rule.on!r} is none of {', '.join(sorted(SCOPES))}")
    if rule.share is not None and not 0 <= rule.share <= 1:
        raise SpecError(f"share: {rule.share} is not from 0 to 1")
    if rule.every is not None and rule.every < 1:
        raise SpecError(f"every: {rule.every} is below 1")
    if rule.share is not None and rule.every is not None:
        raise SpecError("share: and every: choose one")
    if rule.kind != "answer" and not 500 <= rule.status <= 599:
        raise SpecError(f"status: {rule.status} is not from 500 to 599")
    if rule.form not in FORMS:
        raise SpecError(f"form: {rule.form!r} is none of {', '.join(sorted(FORMS))}")

"""What a tenant is made of: its users, limits, policy and credentials, as a value and as JSON."""

import json
import re
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, Literal, cast

from bulkreset.sandbox.policy import ZendeskPolicy, ZoomPolicy

Provider = Literal["zoom", "zendesk"]
RateHeaders = Literal["full", "none", "seconds", "http_date"]

KINDS: Final[Mapping[str, frozenset[str]]] = {
    "zoom": frozenset({"normal", "admin", "owner", "sso", "google", "inactive", "pending", "missing"}),
    "zendesk": frozenset({"normal", "suspended", "admin", "owner", "agent", "missing"}),
}
"""The kinds of users; a `missing` one is on the roster and unknown to the provider.

`sso` and `google` have no password at Zoom; an `inactive` one has, and is listed apart. Zendesk shows its `owner`
as one more admin.
"""

DEFAULT_SCOPES: Final = ("user:write:admin", "user:read:admin", "account:read:admin")
ZENDESK_SCOPES: Final = ("read", "write")


class SpecError(ValueError):
    """A tenant or fault was described wrongly; the message names the key."""


@dataclass(frozen=True, slots=True)
class UserSpec:
    """One user; `password` is the one the user has at first (None: one that nothing matches).

    `sessions` is how many sessions are alive at first. At Zendesk only the first of `groups` is shown.
    """

    id: str
    email: str
    kind: str = "normal"
    name: str = ""
    password: str | None = field(default=None, repr=False)
    groups: tuple[str, ...] = ()
    dept: str = ""
    created_at: str = "2024-01-01T00:00:00Z"
    last_login_at: str | None = None
    sessions: int = 1


@dataclass(frozen=True, slots=True)
class Generate:
    """Make `count` users; the first ones get the special kinds, in the order given. All take turns in `groups`."""

    count: int
    kinds: Mapping[str, int] = field(default_factory=dict)
    groups: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class TenantSpec:
    """One tenant. `limit` counts Medium calls at Zoom and all calls at Zendesk; None is no limit.

    `token_ttl_s` is how long a token of a login lives, at Zendesk at most; `oauth_token_ttl_s` is how long
    Zendesk's fixed `oauth_token` does from the tenant's start on, None for ever. `scopes` are the app's at Zoom,
    the OAuth client's and the fixed token's at Zendesk.
    """

    name: str
    provider: Provider
    limit: int | None = None
    light_limit: int | None = None
    window_s: float = 0  # 0: the provider's own, 1 s at Zoom and 60 s at Zendesk
    daily: int | None = None
    latency_ms: float = 0
    users: tuple[UserSpec, ...] = ()
    generate: Generate | None = None
    policy: ZoomPolicy | ZendeskPolicy | None = None
    token_ttl_s: int = 3600
    client_id: str = "sandbox-client-id"
    client_secret: str = field(default="sandbox-client-secret", repr=False)
    account_id: str = "sandbox-account-id"
    email: str = "admin@example.com"
    api_token: str = field(default="sandbox-api-token", repr=False)
    oauth_token: str = field(default="sandbox-oauth-token", repr=False)
    oauth_token_ttl_s: int | None = None
    max_changes_24h: int | None = None
    history: int = 0
    password_setting: bool = True
    paid: bool = True
    scopes: tuple[str, ...] = DEFAULT_SCOPES
    rate_headers: RateHeaders = "full"
    keep_calls: int = 1_000_000
    seed: int = 0

    def __post_init__(self) -> None:
        _check(self)

    @property
    def window(self) -> float:
        """The length of the rate window in seconds."""
        return self.window_s or (1 if self.provider == "zoom" else 60)

    @property
    def token_scopes(self) -> tuple[str, ...]:
        """The scopes of a token: those given, else the provider's usual ones."""
        return ZENDESK_SCOPES if self.provider == "zendesk" and self.scopes == DEFAULT_SCOPES else self.scopes

    def roster(self) -> Iterator[UserSpec]:
        """Yield every user: the listed ones, then the generated ones."""
        yield from self.users
        if self.generate is not None:
            left = dict(self.generate.kinds)
            for index in range(1, self.generate.count + 1):
                kind = next((name for name, count in left.items() if count > 0), "normal")
                if kind in left:
                    left[kind] -= 1
                groups = self.generate.groups
                turn = groups[(index - 1) % len(groups)] if groups else None
                yield generated_user(self.provider, index, kind, () if turn is None else (turn,))


def generated_user(provider: Provider, index: int, kind: str = "normal", groups: tuple[str, ...] = ()) -> UserSpec:
    """Make the user of this index (from 1): always the same id and e-mail address."""
    if provider == "zoom":
        digest = sha256(f"zoom user {index}".encode()).digest()
        user_id = urlsafe_b64encode(digest[:16]).decode().rstrip("=")
    else:
        user_id = str(361_000_000_000 + index)
    return UserSpec(user_id, f"user{index:05d}@example.com", kind, f"User {index:05d}", groups=groups)


def load_specs(path: Path) -> list[TenantSpec]:
    """Read tenants from a JSON file: one object, a list, or {"tenants": [...]}."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise SpecError(f"{path}: not JSON ({error})") from None
    if isinstance(data, dict):
        data = data.get("tenants", [data])
    if not isinstance(data, list) or not all(isinstance(item, dict) for item in data):
        raise SpecError(f"{path}: neither a tenant nor a list of tenants")
    return [parse_spec(item) for item in data]


def parse_spec(data: Mapping[str, Any], *, name: str | None = None) -> TenantSpec:
    """Build a tenant from its JSON object; raise SpecError with the key that is wrong."""
    given = dict(data)
    if name is not None and given.setdefault("name", name) != name:
        raise SpecError(f"name: {given['name']!r} is not the {name!r} of the address")
    provider = str(given.get("provider"))
    if provider not in KINDS:
        raise SpecError(f"provider: {provider!r} is none of {', '.join(sorted(KINDS))}")
    if not isinstance(given.get("name"), str) or not re.fullmatch(r"[a-z0-9][a-z0-9_-]*", given["name"]):
        raise SpecError(f"name: {given.get('name')!r} is not lower-case letters, digits, - and _")
    values = {key: _read(provider, key, value) for key, value in given.items()}
    return TenantSpec(**values)


def patch_spec(spec: TenantSpec, data: Mapping[str, Any]) -> TenantSpec:
    """Return the tenant with some settings changed; its name, provider, users and seed stay."""
    for key in data:
        if key in {"name", "provider", "users", "generate", "seed"}:
            raise SpecError(f"{key}: cannot change in a tenant that exists; PUT it anew")
    return replace(spec, **{key: _read(spec.provider, key, value) for key, value in data.items()})


def parse_users(provider: Provider, value: object) -> tuple[UserSpec, ...]:
    """Build users from their JSON list; raise SpecError for one that the provider could not have."""
    users: tuple[UserSpec, ...] = _read(provider, "users", value)
    _check_users(provider, users)
    return users


def _check_users(provider: Provider, users: tuple[UserSpec, ...], more_kinds: Iterable[str] = ()) -> None:
    kinds = {user.kind for user in users}.union(more_kinds)
    for kind in sorted(kinds - KINDS[provider]):
        raise SpecError(f"users: kind {kind!r} is none of {', '.join(sorted(KINDS[provider]))}")
    for user in users:
        if provider == "zendesk" and not (user.id.isascii() and user.id.isdecimal()):
            raise SpecError(f"users: id {user.id!r} is not a number, as ids at Zendesk are")
        _check_groups(provider, "users", user.groups)


def _check_groups(provider: Provider, key: str, groups: tuple[str, ...]) -> None:
    for group in groups:
        if provider == "zendesk" and not (group.isascii() and group.isdecimal()):
            raise SpecError(f"{key}: group {group!r} is not a number, as ids at Zendesk are")


def _check(spec: TenantSpec) -> None:
    _check_users(spec.provider, spec.users, spec.generate.kinds if spec.generate else ())
    if spec.generate and sum(spec.generate.kinds.values()) > spec.generate.count:
        raise SpecError("generate: more special users than users")
    if spec.generate:
        _check_groups(spec.provider, "generate", spec.generate.groups)


def _read(provider: str, key: str, value: object) -> Any:
    reader = _READERS.get(key)
    if reader is None:
        raise SpecError(f"{key}: no such setting")
    try:
        return reader(provider, value)
    except SpecError:
        raise
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise SpecError(f"{key}: {value!r} does not fit ({error})") from None


def _text(_provider: str, value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("not a string")
    return value


def _flag(_provider: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise TypeError("neither true nor false")
    return value


def _count(_provider: str, value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise TypeError("not a whole number from 0")
    return value


def _count_or_none(provider: str, value: object) -> int | None:
    return None if value is None else _count(provider, value)


def _seconds(_provider: str, value: object) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or value < 0:
        raise TypeError("not a number from 0")
    return value


def _texts(provider: str, value: object) -> tuple[str, ...]:
    if not isinstance(value, list | tuple):
        raise TypeError("not a list")
    return tuple(_text(provider, item) for item in value)


def _rate_headers(_provider: str, value: object) -> str:
    if value not in {"full", "none", "seconds", "http_date"}:
        raise ValueError("not full, none, seconds or http_date")
    return str(value)


def _users(_provider: str, value: object) -> tuple[UserSpec, ...]:
    if not isinstance(value, list | tuple):
        raise TypeError("not a list")
    return tuple(item if isinstance(item, UserSpec) else _user(item) for item in value)


def _user(item: Mapping[str, Any]) -> UserSpec:
    groups = item.get("groups", ())
    if not isinstance(groups, list | tuple):
        raise TypeError("groups: not a list")
    user = UserSpec(**{**item, "id": str(item["id"]), "groups": tuple(map(str, groups))})
    _count("", user.sessions)
    for time in (user.created_at, user.last_login_at):
        if time is not None:
            datetime.fromisoformat(time)
    return user


def _generate(provider: str, value: object) -> Generate | None:
    if value is None or isinstance(value, Generate):
        return value
    given = cast("dict[str, Any]", value)
    made = Generate(**{**given, "groups": _texts(provider, given.get("groups", ()))})
    for count in (made.count, *made.kinds.values()):
        _count(provider, count)
    return made


def _policy(provider: str, value: object) -> ZoomPolicy | ZendeskPolicy | None:
    wanted: type[ZoomPolicy | ZendeskPolicy] = ZoomPolicy if provider == "zoom" else ZendeskPolicy
    if value is None or isinstance(value, wanted):
        return value
    if isinstance(value, list):  # Zendesk's own answer is nothing but this list
        value = {"requirements": value}
    return wanted(**cast("dict[str, Any]", value))


_READER_OF_TYPE: Final[Mapping[object, Callable[[str, object], object]]] = {
    bool: _flag,
    int: _count,
    int | None: _count_or_none,
    float: _seconds,
    tuple[str, ...]: _texts,
}
_READERS: Final[Mapping[str, Callable[[str, object], object]]] = {
    **{item.name: _READER_OF_TYPE.get(item.type, _text) for item in fields(TenantSpec)},
    "rate_headers": _rate_headers,
    "users": _users,
    "generate": _generate,
    "policy": _policy,
}

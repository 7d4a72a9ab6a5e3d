"""Zoom's listing of users: pages of at most 300, linked by tokens that live for 15 minutes."""

import hmac
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from hashlib import sha256
from typing import Final

from bulkreset.sandbox.clock import Clock
from bulkreset.sandbox.directory import Directory, User

TOKEN_TTL_S: Final = 900
LARGEST_PAGE: Final = 300
_KEY: Final = b"marks page tokens as the sandbox's own"
_ROLES: Final = {"owner": "0", "admin": "1"}
_KINDS_OF_STATUS: Final[Mapping[str, tuple[str, ...]]] = {
    "active": ("normal", "admin", "owner", "sso", "google"),
    "pending": ("pending",),
    "inactive": ("inactive",),
}


class UserPages:
    """The users of one account by status, page by page."""

    __slots__ = ("_clock", "_directory")

    def __init__(self, directory: Directory, clock: Clock) -> None:
        self._clock = clock
        self._directory = directory

    def page(self, query: Mapping[str, str]) -> dict[str, object] | str | None:
        """Return one page, the name of the parameter that is wrong, or None for a dead token."""
        status, role = query.get("status", "active"), query.get("role_id", "")
        size_text, number_text = query.get("page_size", "30"), query.get("page_number", "1")
        if status not in _KINDS_OF_STATUS:
            return "status"
        if not size_text.isdecimal() or not 1 <= int(size_text) <= LARGEST_PAGE:
            return "page_size"
        if not number_text.isdecimal() or int(number_text) < 1:
            return "page_number"
        users, size = self._directory.of_kinds(*_of_role(_KINDS_OF_STATUS[status], role)), int(size_text)
        start: int | None = (int(number_text) - 1) * size
        if query.get("next_page_token"):
            start = self._start(query["next_page_token"], status + role)
        if start is None:
            return None
        end = start + size
        for user in users[start:end]:
            user.listed += 1
        return {
            "page_count": -(-len(users) // size),
            "page_number": start // size + 1,
            "page_size": size,
            "total_records": len(users),
            "next_page_token": self._token(end, status + role) if end < len(users) else "",
            "users": [as_user(user) for user in users[start:end]],
        }

    def _token(self, start: int, listing: str) -> str:
        return _sign(f"{start}.{int(self._clock.wall()) + TOKEN_TTL_S}", listing)

    def _start(self, token: str, listing: str) -> int | None:
        text = token.rpartition(".")[0]
        start, _, expires = text.partition(".")
        if not hmac.compare_digest(_sign(text, listing).encode(), token.encode()):
            return None
        return int(start) if self._clock.wall() < int(expires) else None


def as_user(user: User) -> dict[str, object]:
    """Describe a user as an item of the list does: no login type, and no id while pending."""
    item: dict[str, object] = {
        "first_name": user.name,
        "last_name": "",
        "display_name": user.name,
        "email": user.email,
        "type": 1,
        "role_id": _ROLES.get(user.kind, "2"),
        "status": user.kind if user.kind in ("pending", "inactive") else "active",
        "dept": user.dept,
        "group_ids": list(user.groups),
        "verified": 0 if user.kind == "pending" else 1,
        "created_at": user.created_at,
        "timezone": "UTC",
    }
    if user.last_login_at is not None:
        item["last_login_time"] = user.last_login_at
    return item if user.kind == "pending" else {"id": user.id, **item}


def _of_role(kinds: tuple[str, ...], role_id: str) -> tuple[str, ...]:
    return kinds if not role_id else tuple(kind for kind in kinds if _ROLES.get(kind, "2") == role_id)


def _sign(text: str, listing: str) -> str:
    mac = hmac.new(_KEY, f"{text}.{listing}".encode(), sha256).digest()[:12]
    return f"{text}.{urlsafe_b64encode(mac).decode()}"

"""Zendesk's listing of users: cursor pages, and the older offset pages with their end at page 100."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping, Sequence
from typing import Final
from urllib.parse import urlencode

from bulkreset.sandbox.directory import User

LARGEST_PAGE: Final = 100
LAST_OFFSET_PAGE: Final = 100
_ROLES: Final = {"admin": "admin", "owner": "admin", "agent": "agent"}


def cursor_page(users: Sequence[User], query: Mapping[str, str], url: str) -> dict[str, object] | str:
    """Return the page after a cursor, or what is wrong with the parameters."""
    size_text = query.get("page[size]", "100")
    start = _position(query.get("page[after]", ""))
    if not size_text.isdecimal() or not 1 <= int(size_text) <= LARGEST_PAGE:
        return "page[size] is invalid"
    if start is None:
        return "page[after] is not valid"
    end = min(start + int(size_text), len(users))
    more = end < len(users)
    others = {name: value for name, value in query.items() if name != "page[after]"}
    following = f"{url}?{urlencode({**others, 'page[after]': _cursor(end)})}"
    return {
        "users": _shown(users[start:end]),
        "meta": {
            "has_more": more,
            "after_cursor": _cursor(end) if start < end else None,
            "before_cursor": _cursor(start) if start < end else None,
        },
        "links": {"next": following if more else None, "prev": None},
    }


def offset_page(users: Sequence[User], query: Mapping[str, str], url: str) -> dict[str, object] | str:
    """Return a page by number, as long as it is one of the first hundred."""
    page_text, size_text = query.get("page", "1"), query.get("per_page", "100")
    if not page_text.isdecimal() or not size_text.isdecimal() or int(page_text) < 1 or int(size_text) < 1:
        return "page or per_page is not valid"
    page, size = int(page_text), min(int(size_text), LARGEST_PAGE)
    if page > LAST_OFFSET_PAGE:
        return "Limited to 100 pages. Use cursor pagination"
    start = (page - 1) * size
    more = start + size < len(users)
    following = f"{url}?{urlencode({**query, 'page': page + 1})}"
    return {
        "users": _shown(users[start : start + size]),
        "next_page": following if more else None,
        "previous_page": None if page == 1 else f"{url}?{urlencode({**query, 'page': page - 1})}",
        "count": len(users),
    }


def as_user(user: User) -> dict[str, object]:
    """Describe a user as Zendesk does."""
    return {
        "id": int(user.id),
        "email": user.email,
        "name": user.name,
        "role": _ROLES.get(user.kind, "end-user"),
        "active": True,
        "suspended": user.kind == "suspended",
        "verified": True,
        "created_at": user.created_at,
        "last_login_at": user.last_login_at,
        "default_group_id": int(user.groups[0]) if user.groups else None,
        "shared_agent": False,
        "restricted_agent": False,
    }


def _shown(users: Sequence[User]) -> list[dict[str, object]]:
    for user in users:
        user.listed += 1
    return [as_user(user) for user in users]


def _cursor(position: int) -> str:
    return urlsafe_b64encode(f"after:{position}".encode()).decode()


def _position(cursor: str) -> int | None:
    if not cursor:
        return 0
    try:
        kind, _, position = urlsafe_b64decode(cursor.encode()).decode().partition(":")
    except ValueError:
        return None
    return int(position) if kind == "after" and position.isdecimal() else None

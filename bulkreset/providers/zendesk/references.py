"""How a Zendesk user is named: by a numeric id. Pure."""

import re

from bulkreset.providers.base import EXPORT_AS_TEXT

_NUMBER = re.compile(r"[1-9][0-9]{0,18}", re.ASCII)
# Rounded, padded, grouped, or marked as text by a spreadsheet.
_BENT = re.compile(r"['\u2019]?[+-]?[0-9][0-9.,'\u2019_\s]*(?:[eE][+-]?[0-9]+)?")


def is_user_id(ref: str) -> bool:
    """Tell whether this can be the id of a user: a positive number of at most 19 digits."""
    return _NUMBER.fullmatch(ref) is not None


def invalid_ref(ref: str) -> str | None:
    """Return why this cannot be the id of a Zendesk user, or None. Pure."""
    if is_user_id(ref):
        return None
    if _BENT.fullmatch(ref):
        return f"a Zendesk user is named by a numeric id, which a spreadsheet has changed here; {EXPORT_AS_TEXT}"
    return "a Zendesk user is named by a numeric id"

"""How a Zoom user is named: by an id of 22 letters and digits, or by an e-mail address. Pure."""

import re
from typing import Final

from bulkreset.providers.base import EXPORT_AS_TEXT

# A number as a spreadsheet shows, pads or signs it; Zoom's ids are 22 letters and digits, of which none reads so.
_BENT: Final = re.compile(
    r"[0-9](?:[.,][0-9]+)?[eE][+-]?[0-9]{1,3}|[0-9]+(?:[.,][0-9]+)+|[+-][0-9]{1,20}|0[0-9]{4,20}", re.ASCII
)

# Nothing in them leads to another address, however it is quoted.
_ID: Final = re.compile(r"[A-Za-z0-9._~+=-]{1,128}")


def invalid_ref(ref: str) -> str | None:
    """Return why this cannot be a Zoom user id or e-mail address, or None. Pure."""
    if not ref or len(ref) > 254:
        return "a Zoom user is named by an id or an e-mail address of at most 254 characters"
    if ref in (".", "..") or ref.casefold() == "me":
        return f"{ref!r} is no Zoom user id or e-mail address"  # `me` is the app's own user
    if not ref.isprintable() or " " in ref or "\ufffd" in ref:  # the last stands for bytes that are no text
        return "a Zoom user id or e-mail address holds no spaces or control characters"
    return None if "@" in ref else _id_fault(ref)


def _id_fault(ref: str) -> str | None:
    if ref[0] in "'\u2019":
        return f"a Zoom user id begins with no apostrophe; {EXPORT_AS_TEXT}"
    if _BENT.fullmatch(ref):
        return f"this is a number as a spreadsheet shows it, and no Zoom user id; {EXPORT_AS_TEXT}"
    return None if _ID.fullmatch(ref) else "a Zoom user id has letters, digits and . _ ~ + = - only"

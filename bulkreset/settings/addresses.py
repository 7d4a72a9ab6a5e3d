"""Web addresses: what may be written into the configuration, and what it is refused for."""

import ipaddress
import re
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator

_HOST = re.compile(r"[\w.-]+|[0-9a-f:.]+")


# What the plain address of an API never has: a query, a fragment, blanks, control characters, backslashes.
_UNFIT = re.compile(r"[?#\\\s\x00-\x1f\x7f-\xa0\u2028\u2029]")


def is_loopback(host: str) -> bool:
    """Tell whether a host name or address can only be this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _web_address(url: str) -> str:
    """Refuse an address that would carry credentials in clear, or to another place than it seems to name."""
    # Before it is taken apart: urlsplit drops tabs and line ends in silence, and an empty fragment altogether.
    if bad := _UNFIT.search(url):
        raise ValueError(f"must be a plain address, without {_called(bad[0])}")
    try:
        parts = urlsplit(url)
    except ValueError:
        raise ValueError("must be an https:// address") from None
    if parts.scheme not in ("https", "http") or not parts.hostname or not _HOST.fullmatch(parts.hostname):
        raise ValueError("must be an https:// address")
    try:
        _ = parts.port
    except ValueError:
        raise ValueError("has a port that is no port") from None
    if "@" in parts.netloc:
        raise ValueError("must be a plain address, without user and password")
    if parts.scheme == "http" and not is_loopback(parts.hostname):
        raise ValueError(f"http:// would send credentials to {parts.hostname} in clear; use https://")
    return url.rstrip("/")


def _called(character: str) -> str:
    names = {"?": "a query", "#": "a fragment", "\\": "backslashes"}
    return names.get(character) or ("blanks" if character.isspace() else "control characters")


WebAddress = Annotated[str, AfterValidator(_web_address)]

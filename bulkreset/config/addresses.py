"""Addresses of providers: what may be written into the configuration, and what it is refused for."""

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


def _zendesk_address(url: str) -> str:
    """Refuse what other clients want in an address: the API's path, or a page of the account."""
    parts = urlsplit(url)
    path = parts.path.rstrip("/")
    home = f"{parts.scheme}://{parts.netloc}"
    if re.search(r"/api(/|$)", path):
        before = path[: path.index("/api")]
        raise ValueError(f'is the account\'s own address, to which /api/v2 is added: write "{home}{before}"')
    if path and (parts.hostname or "").endswith(".zendesk.com"):
        raise ValueError(f'is the account\'s own address, without a path: write "{home}"')
    return url


def _subdomain(name: str) -> str:
    """Take the first part of example.zendesk.com, and nothing else."""
    if re.fullmatch(r"[a-z0-9][a-z0-9-]*", name):
        return name
    first = re.match(r"(?:https?://)?([a-z0-9][a-z0-9-]*)\.zendesk\.com\b", name.strip().lower())
    if first:
        raise ValueError(f'is the first part only of the address: write "{first[1]}"')
    raise ValueError('is the first part of https://example.zendesk.com: write "example", or use api_url')


def _token_email(email: str) -> str:
    if email.strip().lower().endswith("/token"):
        raise ValueError(f'is the address alone: write "{email.strip()[:-6]}", /token is added')
    return email


ZendeskAddress = Annotated[WebAddress, AfterValidator(_zendesk_address)]
Subdomain = Annotated[str, AfterValidator(_subdomain)]
TokenEmail = Annotated[str, AfterValidator(_token_email)]

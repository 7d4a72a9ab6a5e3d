"""When two spellings are one e-mail address: to know whom a name means, and to spare everybody it could mean.

Two forms, because a mistake costs differently in each direction. `canonical` says who is meant: case, Unicode's
compatibility forms and both spellings of a domain do not matter, but "straße" is not "strasse". `folded` says who
is spared: there they are one, and what cannot be seen does not count, so that no spelling leads past a protected
address.

Sources: Unicode case folding and normalisation (unicode.org/reports/tr15), domains by UTS #46
(unicode.org/reports/tr46) and Punycode (RFC 3492). A domain may end with the dot of the root.
"""

import re
import unicodedata
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache
from typing import Final

import idna

from bulkreset.unsafe import UNSAFE, code_point

_LONGEST_LABEL: Final = 63
"""Octets of a label (RFC 1035); a longer one is compared as it stands."""

# What is unsafe anywhere, and here blanks and variation selectors too: an address has none.
_UNSEEN: Final = re.compile(
    f"[{UNSAFE.pattern[1:-1]} \xa0\u1680\u2000-\u200a\u202f\u205f\u2800\u3000\ufe00-\ufe0f]"
)
_DOTS: Final = "\u3002\uff0e\uff61"
_ROUNDS: Final = 8


def canonical(name: str) -> str:
    """Return an address in the one form that says whom it means; an id, which has no '@', as it is. Pure.

    Idempotent. It is for comparing only: providers are sent an address as it is written.
    """
    name = name.strip()
    if name.isascii():
        if "@" not in name:
            return name
        lowered = name.lower()
        if "xn--" not in lowered:
            return lowered.rstrip(".")
    elif "@" not in name:
        return name
    return _settled(name, _canonical)


def folded(name: str) -> str:
    """Return a name in the widest form, in which whatever could be one person is one. Pure and idempotent."""
    if name.isascii() and not _UNSEEN.search(name):
        lowered = name.lower()
        if "xn--" not in lowered:
            return lowered.rstrip(".") if "@" in lowered else lowered
    return _settled(name, _folded)


def folded_domain(domain: str) -> str:
    """Return a domain by itself as `folded` writes it in an address."""
    return folded(f"@{domain}").removeprefix("@")


def unseen(text: str) -> str | None:
    """Name the first character but a plain blank that nobody sees, such as 'U+200B ZERO WIDTH SPACE', or None."""
    return next((code_point(letter) for letter in _UNSEEN.findall(text) if letter != " "), None)


def odd_dot(text: str) -> str | None:
    """Name the first full stop that is not ASCII's; None where there is none."""
    return next((code_point(letter) for letter in text if letter in _DOTS), None)


def _settled(text: str, step: Callable[[str], str]) -> str:
    """Repeat a step until nothing changes: one round leaves hundreds of characters that another would change."""
    for _ in range(_ROUNDS):
        before, text = text, step(text)
        if text == before:
            break
    return text


def _canonical(address: str) -> str:
    plain = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", address).lower()).strip()
    local, at, domain = plain.rpartition("@")
    return f"{local}{at}{_domain(domain)}"


def _folded(name: str) -> str:
    plain = _UNSEEN.sub("", name)
    # Taken apart first, or the order of accents would tell capitals from small letters.
    plain = _UNSEEN.sub("", unicodedata.normalize("NFKC", unicodedata.normalize("NFKD", plain).casefold()))
    local, at, domain = plain.rpartition("@")
    if not at:
        return plain
    return f"{local}{at}{'.'.join(map(_letters, _labels(domain)))}"


@lru_cache(maxsize=4096)  # an organisation has a few domains and many addresses
def _domain(domain: str) -> str:
    return ".".join(map(_encoded, _labels(domain)))


def _labels(domain: str) -> list[str]:
    for dot in _DOTS:
        domain = domain.replace(dot, ".")
    return domain.rstrip(".").split(".")


def _encoded(label: str) -> str:
    """Return a label in ASCII: as Punycode where it has other letters, mapped as UTS #46 does."""
    letters = _letters(label)
    if letters.isascii() or len(letters) > _LONGEST_LABEL or _UNSEEN.search(letters):
        return letters
    if not any(
        unicodedata.category(letter) == "Cn" for letter in letters
    ):  # its tables may be newer than Python's
        with suppress(idna.IDNAError):  # a symbol, which is compared as it stands
            letters = idna.uts46_remap(letters, std3_rules=False, transitional=False)
    return letters if letters.isascii() else f"xn--{letters.encode('punycode').decode('ascii')}"


def _letters(label: str) -> str:
    """Return a label with its own letters; what is no Punycode, or hides something, as it stands."""
    if not label.startswith("xn--") or len(label) > _LONGEST_LABEL:
        return label
    try:
        letters = label.removeprefix("xn--").encode("ascii").decode("punycode")
    except (UnicodeError, ValueError, OverflowError):
        return label
    plain = unicodedata.normalize("NFKC", letters)
    return label if letters.isascii() or re.search(f"[.@{_DOTS}]", plain) else letters

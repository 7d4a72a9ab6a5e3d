"""Passwords out of random bytes: built to a policy, pure, and every accepted one as likely as any other."""

from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import Final

from bulkreset.errors import ProviderRefused
from bulkreset.passwords.policy import SHORTEST_TABOO, Policy, longest_run
from bulkreset.secret import Secret

PREFERRED_LENGTH: Final = 24
"""About 142 bits; longer where the policy asks for it, shorter where it allows no more."""

UPPER: Final = "ABCDEFGHJKLMNPQRSTUVWXYZ"
LOWER: Final = "abcdefghijkmnopqrstuvwxyz"
DIGITS: Final = "23456789"
SPECIALS: Final = "!#$*.:?"
ALPHABET: Final = UPPER + LOWER + DIGITS + SPECIALS
"""64 characters: none that reads like another (I l 1 O 0), none that JSON, a form or a CSV cell has to escape."""

Rng = Callable[[int], bytes]
"""Return that many random bytes; `secrets.token_bytes` outside of tests."""

# The hardest policy that is not impossible (64 characters and no pair) is met once in about 1,000 draws.
_DRAWS: Final = 100_000


def generate(policy: Policy, rng: Rng, taboo: Sequence[str] = ()) -> Secret:
    """Make a password to this policy that holds none of `taboo`. Pure: the same bytes give the same password.

    It has all four classes where there is room for them, and no run longer than 2 even where the policy
    allows one: providers check more than they tell. Raises ProviderRefused where the policy cannot be met.
    """
    if reason := policy.impossible():
        raise _refused(policy, reason)
    length = min(max(PREFERRED_LENGTH, policy.min_length), policy.max_length)
    classes = _CLASSES if length >= len(_CLASSES) else _required(policy)
    pieces = [piece.casefold() for piece in taboo if len(piece) >= SHORTEST_TABOO]
    for _ in range(_DRAWS):
        drawn = rng(length).translate(_BY_BYTE)
        if not _has_all(classes, drawn) or _has_run(drawn, policy.max_run):
            continue
        password = drawn.decode("ascii")
        folded = password.lower()
        if not any(piece in folded for piece in pieces):
            return Secret(password)
    raise _refused(policy, f"none of {_DRAWS:,} random ones does")


def _has_all(classes: Iterable[frozenset[int]], drawn: bytes) -> bool:
    for kind in classes:  # noqa: SIM110  (a generator costs as much again as the work; this runs for every user)
        if kind.isdisjoint(drawn):
            return False
    return True


def _has_run(drawn: bytes, max_run: int) -> bool:
    if max_run == 1:
        return not _PAIRS.isdisjoint(pairwise(drawn))
    return not _TRIPLES.isdisjoint(zip(drawn, drawn[1:], drawn[2:], strict=False))


def _required(policy: Policy) -> list[frozenset[int]]:
    """Return the classes that a password too short for all four must have."""
    letters = (_UPPER, _LOWER) if policy.upper_and_lower else (_UPPER | _LOWER,) if policy.letter else ()
    return [*letters, *([_DIGITS] if policy.digit else []), *([_SPECIALS] if policy.special else [])]


def _refused(policy: Policy, reason: str) -> ProviderRefused:
    return ProviderRefused(
        f"no password can meet the policy of this account ({policy.source}): {reason}; change the policy there"
    )


def _runs(spelled: Iterable[str]) -> frozenset[tuple[int, ...]]:
    """Keep, as bytes, what is one run from its first to its last character."""
    return frozenset(tuple(text.encode("ascii")) for text in spelled if longest_run(text) == len(text))


_BY_BYTE: Final = bytes(ord(ALPHABET[byte & 63]) for byte in range(256))  # a mask: 256 is 4 times 64, no bias
_UPPER, _LOWER, _DIGITS, _SPECIALS = _CLASSES = tuple(
    frozenset(kind.encode("ascii")) for kind in (UPPER, LOWER, DIGITS, SPECIALS)
)
_PAIRS: Final = _runs(first + second for first in ALPHABET for second in ALPHABET)
_NEXT: Final = {
    first: [after for before, after in _PAIRS if before == first] for first in ALPHABET.encode("ascii")
}
_TRIPLES: Final = _runs(bytes((*pair, third)).decode("ascii") for pair in _PAIRS for third in _NEXT[pair[1]])

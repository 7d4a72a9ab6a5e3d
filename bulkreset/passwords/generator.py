"""Passwords out of random bytes: built to a policy, pure, and every accepted one as likely as any other."""

from collections.abc import Callable, Iterable, Sequence
from itertools import chain, pairwise, product
from typing import Final

from bulkreset.errors import ProviderRefused
from bulkreset.passwords.alphabet import ALPHABET, DIGITS, LOWER, SPECIALS, UPPER
from bulkreset.passwords.passphrase import Shape, shape_for
from bulkreset.passwords.policy import PREFERRED_LENGTH, SHORTEST_TABOO, Policy, Style, longest_run
from bulkreset.secret import Secret

LONGEST_RUN: Final = 2
"""No run is longer, even where the policy allows one: providers check more than they tell."""

Rng = Callable[[int], bytes]
"""Return that many random bytes; `secrets.token_bytes` outside of tests."""

_EASY: Final = {
    "admin": "adm",
    "changeme": "nge",
    "iloveyou": "lov",
    "letmein": "tme",
    "password": "ssw",
    "welcome": "lco",
}
"""Words that providers' lists of weak passwords surely hold and chance can spell. The provider's name is `taboo`.

Each goes with three of its letters that no passphrase has: the look for runs of three finds them for nothing.
"""

# The hardest policy that is not impossible (64 characters and no pair) is met once in about 1,000 draws.
_DRAWS: Final = 100_000


def generate(policy: Policy, rng: Rng, taboo: Sequence[str] = ()) -> Secret:
    """Make a password to this policy that holds none of `taboo`. Pure: the same bytes give the same password.

    One of characters has all four classes, a passphrase those asked for; none is shorter than SHORTEST. Neither
    has a run longer than LONGEST_RUN or a word that everybody tries first. Raises ProviderRefused where the
    policy cannot be met.
    """
    if reason := policy.impossible():
        raise _refused(policy, reason)
    pieces = [piece.casefold() for piece in taboo if len(piece) >= SHORTEST_TABOO]
    if policy.style is Style.PASSPHRASE and (shape := shape_for(policy)) is not None:
        return _passphrase(policy, shape, rng, pieces)
    length = characters(policy)
    for _ in range(_DRAWS):
        drawn = rng(length).translate(_BY_BYTE)
        if _has_all(_CLASSES, drawn) and not _is_weak(drawn, policy.max_run) and not _holds_one(pieces, drawn):
            return Secret(drawn.decode("ascii"))
    raise _refused(policy, f"none of {_DRAWS:,} random ones does")


def characters(policy: Policy) -> int:
    """Return how many characters a password of that style has for a policy that can be met."""
    return min(max(PREFERRED_LENGTH, policy.length, policy.min_length), policy.max_length)


def _passphrase(policy: Policy, shape: Shape, rng: Rng, pieces: Iterable[str]) -> Secret:
    for _ in range(_DRAWS):
        drawn = shape.spell(rng)
        if not _is_weak(drawn, policy.max_run) and not _holds_one(pieces, drawn):
            return Secret(drawn.decode("ascii"))
    raise _refused(policy, f"none of {_DRAWS:,} random ones does")


def _has_all(classes: Iterable[frozenset[int]], drawn: bytes) -> bool:
    for kind in classes:  # noqa: SIM110  (a generator costs as much again as the work; this runs for every user)
        if kind.isdisjoint(drawn):
            return False
    return True


def _holds_one(pieces: Iterable[str], drawn: bytes) -> bool:
    folded = drawn.lower().decode("ascii")
    for piece in pieces:  # noqa: SIM110  (as above)
        if piece in folded:
            return True
    return False


def _is_weak(drawn: bytes, max_run: int) -> bool:
    if max_run == 1 and not _PAIRS.isdisjoint(pairwise(drawn)):
        return True
    return not _TRIPLES.isdisjoint(zip(drawn, drawn[1:], drawn[2:], strict=False))


def _refused(policy: Policy, reason: str) -> ProviderRefused:
    return ProviderRefused(
        f"no password can meet the policy of this account ({policy.source}): {reason}; change the policy there"
    )


def _in_any_case(letters: Iterable[str]) -> frozenset[tuple[int, ...]]:
    """Spell letters, as bytes, in all the ways that the alphabet can."""
    cases = (product(*({c, c.upper()} & set(ALPHABET) for c in spelled)) for spelled in letters)
    return frozenset(tuple("".join(case).encode("ascii")) for case in chain.from_iterable(cases))


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
_TRIPLES: Final = _in_any_case(_EASY.values()) | _runs(
    bytes((*pair, third)).decode("ascii") for pair in _PAIRS for third in _NEXT[pair[1]]
)

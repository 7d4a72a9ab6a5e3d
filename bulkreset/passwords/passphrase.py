"""Passphrases: syllables that can be said over the phone, in words of two or three. Pure.

A syllable is one of 16 consonants and one of 4 vowels, 64 in all, so that six bits of a random byte choose it and
none is favoured. Words are joined by '#', which providers name among the special characters they want. A
capital and a digit stand only where the policy asks for them, and up to two digits more fill a length.

Entropy, by construction: 6 bits a syllable, 3 a digit. The shortest has 12 syllables: 72 bits, 75 with the digit.
To throw away the ones with a run of three takes less than 0.1 bits, those with a run of two less than 5, and those
that hold a piece of the user's name less than 0.1 for each piece. More than 64 are left in any case.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate, pairwise
from typing import Final

from bulkreset.passwords.alphabet import DIGITS
from bulkreset.passwords.policy import Policy

CONSONANTS: Final = "bdfghjkmnprstvwz"
VOWELS: Final = "aeou"
SEPARATOR: Final = "#"
SYLLABLES: Final = tuple(consonant + vowel for consonant in CONSONANTS for vowel in VOWELS)

FEWEST: Final = 12
"""Syllables: with 11 there would be less than 64 bits where not even a pair is allowed."""

_IN_A_WORD: Final = 3


@dataclass(frozen=True, slots=True)
class Shape:
    """How a passphrase is built: syllables and digits to draw, and whether it begins with a capital."""

    syllables: int
    digits: int
    capital: bool

    @property
    def words(self) -> int:
        """Return how many words the syllables make."""
        return _words(self.syllables)

    @property
    def length(self) -> int:
        """Return the number of characters."""
        return _letters_and_joints(self.syllables) + self.digits

    @property
    def bits(self) -> int:
        """Return the entropy by construction."""
        return 6 * self.syllables + 3 * self.digits

    def spell(self, rng: Callable[[int], bytes]) -> bytes:
        """Draw a passphrase, as ASCII; every one of this shape is as likely as any other."""
        drawn = rng(self.syllables + self.digits)
        syllables = map(_BY_BYTE.__getitem__, drawn[: self.syllables])
        return self._join(syllables, drawn[self.syllables :].translate(_DIGIT_BY_BYTE))

    def example(self) -> str:
        """Return the shape in letters: c for a consonant, v for a vowel, 9 for a digit."""
        return self._join([b"cv"] * self.syllables, b"9" * self.digits).decode("ascii")

    def _join(self, syllables: Iterable[bytes], digits: bytes) -> bytes:
        """Put syllables into words as even as can be, and a digit each at the end of the last words."""
        letters = b"".join(syllables)
        words = [letters[word] for word in _cuts(self.syllables)]
        for place, digit in enumerate(digits, start=len(words) - len(digits)):
            words[place] += digit.to_bytes()
        joined = _JOINT.join(words)
        return joined[:1].upper() + joined[1:] if self.capital else joined


@lru_cache(maxsize=64)
def shape_for(policy: Policy) -> Shape | None:
    """Return the shape of this policy's passphrases; None where its longest has no room for 64 bits."""
    wanted = min(max(fewest_characters(policy), policy.length, policy.min_length), policy.max_length)
    if wanted < fewest_characters(policy):
        return None
    syllables = FEWEST
    while _letters_and_joints(syllables + 1) + policy.digit <= wanted:
        syllables += 1
    # A syllable more takes two or three characters, so that one or two may be left to digits.
    return Shape(syllables, wanted - _letters_and_joints(syllables), policy.upper_and_lower)


def fewest_characters(policy: Policy) -> int:
    """Return the length of the shortest passphrase that is made for a policy."""
    return _letters_and_joints(FEWEST) + policy.digit


@lru_cache(maxsize=64)
def _cuts(syllables: int) -> tuple[slice, ...]:
    """Return where each word begins and ends among the letters, two a syllable."""
    each, longer = divmod(syllables, _words(syllables))
    ends = accumulate(2 * (each + (place < longer)) for place in range(_words(syllables)))
    return tuple(slice(*word) for word in pairwise((0, *ends)))


def _words(syllables: int) -> int:
    return -(-syllables // _IN_A_WORD)


def _letters_and_joints(syllables: int) -> int:
    return 2 * syllables + _words(syllables) - 1


_JOINT: Final = SEPARATOR.encode("ascii")
_BY_BYTE: Final = tuple(SYLLABLES[byte & 63].encode("ascii") for byte in range(256))
_DIGIT_BY_BYTE: Final = bytes(ord(DIGITS[byte & 7]) for byte in range(256))

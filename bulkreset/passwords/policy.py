"""What an account asks of a password, as a value: read from the provider, kept with the batch, checked here."""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields, replace
from enum import StrEnum
from itertools import pairwise
from typing import Final, Self

from bulkreset.errors import DamagedBatch

PREFERRED_LENGTH: Final = 24
"""About 142 bits; longer where the policy or the operator asks for it, shorter where the policy allows no more."""

LONGEST: Final = 64
"""No password is made longer than this, and no policy known asks for it; bcrypt ignores all after 72 bytes."""

SHORTEST: Final = 12
"""No password is made shorter, whatever a provider's text says; so many random characters are about 71 bits."""

SHORTEST_TABOO: Final = 3
"""Shorter pieces of a name are ignored: nearly every password holds one by chance."""

_ROWS: Final = ("qwertyuiop", "asdfghjkl", "zxcvbnm", "1234567890")


class Style(StrEnum):
    """How a password looks."""

    CHARACTERS = "characters"  # any of 64 at each place
    PASSPHRASE = "passphrase"  # noqa: S105  (syllables in words, to be said and typed)


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the operator wants of passwords beyond the account's policy; a `length` of 0 is no wish."""

    length: int = 0
    style: Style = Style.CHARACTERS


@dataclass(frozen=True, slots=True)
class Policy:
    """What a password must be. `max_run` is the longest run allowed of equal, consecutive or neighbouring keys.

    `max_run=2` allows 'aa', 'ab' and 'qw' and refuses 'aaa', 'cba' and 'qwe', in either case. `source` tells
    people where the policy comes from. Any values can be held; `impossible` tells whether they can be met.
    `length` and `style` are the operator's wishes, which give way to all the others.
    """

    min_length: int
    max_length: int
    letter: bool
    digit: bool
    special: bool
    upper_and_lower: bool
    max_run: int
    source: str = "default"
    length: int = 0
    style: Style = Style.CHARACTERS

    def with_wishes(self, wishes: Wishes) -> Self:
        """Return this policy with these wishes and no others. Pure; nothing is asked of a password anew."""
        return replace(self, length=wishes.length, style=wishes.style)

    def violations(self, password: str, taboo: Iterable[str] = ()) -> list[str]:
        """Name every rule that this password breaks, and never the password itself."""
        length = len(password)
        checks = (
            (length < self.min_length, f"has fewer than {self.min_length} characters"),
            (length > self.max_length, f"has more than {self.max_length} characters"),
            (self.letter and not any(c.isalpha() for c in password), "has no letter"),
            (self.digit and not any(c.isdigit() for c in password), "has no digit"),
            (self.special and password.isalnum(), "has no special character"),
            (
                self.upper_and_lower and not (password.upper() != password != password.lower()),
                "has not both upper and lower case letters",
            ),
            (
                longest_run(password) > self.max_run,
                f"has a run of more than {self.max_run} equal, consecutive or neighbouring characters",
            ),
            (_holds_taboo(password, taboo), "contains a part of the user's name or address"),
        )
        return [rule for broken, rule in checks if broken]

    def impossible(self) -> str | None:
        """Say why no password can be made to this policy, or return None."""
        if self.min_length > self.max_length:
            return f"it asks for at least {self.min_length} and at most {self.max_length} characters"
        if self.max_length < SHORTEST:
            return f"it allows at most {self.max_length} characters; none with fewer than {SHORTEST} are made"
        if self.min_length > LONGEST:
            return f"it asks for at least {self.min_length} characters; more than {LONGEST} are not made"
        if self.max_run < 1:
            return f"it allows no run longer than {self.max_run}, and every character is a run of 1"
        return None

    def as_json(self) -> str:
        """Return the text that a batch keeps its policy as; what is not wished for is left out."""
        said = {name: value for name, value in asdict(self).items() if value != _NO_WISHES.get(name)}
        return json.dumps(said, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what `as_json` wrote, wishes or none. Raises DamagedBatch where it is anything else."""
        try:
            found = json.loads(text)
        except (ValueError, RecursionError):
            found = None
        values = {**_NO_WISHES, **found} if isinstance(found, dict) else {}
        if {name: type(value) for name, value in values.items()} != _TYPES or values["style"] not in _STYLES:
            raise DamagedBatch(
                "its password policy is not one that was written here; restore a backup, or order it again"
            )
        return cls(**{**values, "style": Style(values["style"])})


STRONGEST: Final = Policy(
    min_length=20,
    max_length=31,
    letter=True,
    digit=True,
    special=True,
    upper_and_lower=True,
    max_run=2,
)
"""What passes wherever no policy can be read: every class, no runs, and as short as any known limit."""


def longest_run(password: str) -> int:
    """Return the length of the longest run of equal or consecutive characters or keyboard neighbours."""
    longest = min(1, len(password))
    ending = dict.fromkeys(_DIRECTIONS, 1)  # the run that ends here, by direction: 'efghj' goes on as 'fghj'
    for left, right in pairwise(password.lower()):
        steps = _STEPS.get((left, right), 0) | (_SAME if left == right else 0)
        for direction in _DIRECTIONS:
            ending[direction] = ending[direction] + 1 if steps & direction else 1
            longest = max(longest, ending[direction])
    return longest


_STYLES: Final = frozenset(Style)
_NO_WISHES: Final = {name: str(value) if name == "style" else value for name, value in asdict(Wishes()).items()}
_TYPES: Final = {field.name: str if field.type is Style else field.type for field in fields(Policy)}

_SAME, _UP, _DOWN, _RIGHT, _LEFT = _DIRECTIONS = (1, 2, 4, 8, 16)


def _steps() -> dict[tuple[str, str], int]:
    """Tell for two characters in which directions the second one goes on from the first."""
    steps: dict[tuple[str, str], int] = {}
    for lines, forth, back in ((("abcdefghijklmnopqrstuvwxyz", "0123456789"), _UP, _DOWN), (_ROWS, _RIGHT, _LEFT)):
        for line in lines:
            for left, right in pairwise(line):
                steps[left, right] = steps.get((left, right), 0) | forth
                steps[right, left] = steps.get((right, left), 0) | back
    return steps


_STEPS: Final = _steps()


def _holds_taboo(password: str, taboo: Iterable[str]) -> bool:
    folded = password.casefold()
    return any(len(piece) >= SHORTEST_TABOO and piece.casefold() in folded for piece in taboo)

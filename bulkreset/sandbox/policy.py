"""The password rules of both providers, as they refuse a password and in the words they refuse it with."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from string import ascii_lowercase, digits
from typing import Final

BASIC_LENGTH: Final = 8  # Zoom's basic requirement; it cannot be turned off
BASIC_RUN: Final = 6  # as in the 'abcdef' and '123456' of Zoom's message
WEAK: Final = ("password", "passw0rd", "welcome", "letmein", "changeme", "zoom", "qwerty", "iloveyou", "admin")
KEYBOARD: Final = ("qwertyuiop", "asdfghjkl", "zxcvbnm", "1234567890")


@dataclass(frozen=True, slots=True)
class ZoomPolicy:
    """The four fields of Zoom's `security.password_requirement`."""

    minimum_password_length: int = 0
    have_special_character: bool = False
    consecutive_characters_length: int = 0
    weak_enhance_detection: bool = False


@dataclass(frozen=True, slots=True)
class ZendeskPolicy:
    """Zendesk's requirements, free text; those the sandbox can read and `min_length` are enforced."""

    requirements: tuple[str, ...] | list[str] = (
        "must be at least 5 characters",
        "must be different from email address",
    )
    min_length: int = 0


def zoom_objection(password: str, policy: ZoomPolicy) -> tuple[int, str] | None:
    """Return the code and message with which Zoom refuses this password, or None."""
    return next(_zoom_objections(password, policy), None)


def zendesk_objections(password: str, policy: ZendeskPolicy, email: str) -> list[str]:
    """Return the requirements that this password does not meet, in Zendesk's words."""
    broken = [text for text in policy.requirements if not _meets(password, text, email)]
    if len(password) < policy.min_length:
        broken.append(f"must be at least {policy.min_length} characters")
    return list(dict.fromkeys(broken))


def longest_run(password: str) -> int:
    """Return the length of the longest run of equal, rising or falling characters or keyboard neighbours."""
    text = password.lower()
    longest = 1 if text else 0
    length, last = 1, 0
    for pair in pairwise(text):
        kinds = _NEIGHBOURS.get(pair, 0) or (pair[0] == pair[1])
        length = length + 1 if kinds & last else 2 if kinds else 1
        last = kinds & last or kinds
        longest = max(longest, length)
    return longest


def _zoom_objections(password: str, policy: ZoomPolicy) -> Iterator[tuple[int, str]]:
    length = max(BASIC_LENGTH, policy.minimum_password_length)
    if len(password) < length:
        yield 1124, f"Have at least {length} characters"
    if not re.search(r"[A-Za-z]", password):
        yield 1125, "Have at least 1 letter (a, b, c...)"
    if not re.search(r"[0-9]", password):
        yield 1126, "Have at least 1 number (1, 2, 3...)"
    if policy.have_special_character and not re.search(r"[^A-Za-z0-9]", password):
        yield 1127, "Have at least 1 special character (!, @, #...)"
    if not (re.search(r"[a-z]", password) and re.search(r"[A-Z]", password)):
        yield 1128, "Include both Upper case and Lower case characters"
    if len(set(password)) < 2:
        yield 1130, "Password can't use the same character."
    if longest_run(password) >= min(policy.consecutive_characters_length or BASIC_RUN, BASIC_RUN):
        yield 1131, "Password can't use continuation character.Such as 'abcdef','123456'."
    if policy.weak_enhance_detection and any(word in password.lower() for word in WEAK):
        yield 1136, "Your password is too easy to guess. Try another one."


def _neighbours() -> Mapping[tuple[str, str], int]:
    """Give each pair of neighbours the bits of the runs it belongs to: equal, rising, falling, two on keys."""
    known: dict[tuple[str, str], int] = {}
    rows = ((2, (ascii_lowercase, digits)), (4, (ascii_lowercase[::-1], digits[::-1])))
    keys = ((8, KEYBOARD), (16, tuple(row[::-1] for row in KEYBOARD)))
    for bit, texts in (*rows, *keys):
        for text in texts:
            for pair in pairwise(text):
                known[pair] = known.get(pair, 0) | bit
    return known


_NEIGHBOURS: Final = _neighbours()


def _meets(password: str, requirement: str, email: str) -> bool:
    text = requirement.lower()
    if found := re.search(r"at least (\d+) characters", text):
        return len(password) >= int(found[1])
    if found := re.search(r"fewer than (\d+) characters", text):
        return len(password) < int(found[1])
    met = True  # an unreadable requirement is shown, not enforced
    if "different from email" in text:
        met = password.lower() != email.lower()
    if "mixed case" in text or "upper" in text:
        met = met and password.lower() != password != password.upper()
    if "number" in text and "letter or number" not in text:
        met = met and any(character.isdigit() for character in password)
    if "not a letter or number" in text or "special character" in text:
        met = met and any(not character.isalnum() for character in password)
    return met

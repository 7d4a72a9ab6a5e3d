"""A policy and what is made of it, in words. Never a password, not even a made-up one: only its shape."""

from dataclasses import dataclass
from itertools import cycle, islice

from bulkreset.passwords import passphrase
from bulkreset.passwords.generator import LONGEST_RUN, characters
from bulkreset.passwords.policy import Policy, Style


@dataclass(frozen=True, slots=True)
class Description:
    """What new passwords are, a phrase each; `unmet` says which of the operator's wishes give way, and to what."""

    source: str
    length: str
    classes: str
    runs: str
    style: str
    shape: str
    unmet: tuple[str, ...]


def describe(policy: Policy) -> Description:
    """Put into words what is made for a policy. Pure; the policy must be one that can be met."""
    shape = passphrase.shape_for(policy) if policy.style is Style.PASSPHRASE else None
    length = characters(policy) if shape is None else shape.length
    bounds = f"{policy.min_length} to {policy.max_length}"
    run = min(policy.max_run, LONGEST_RUN)
    return Description(
        source=policy.source,
        length=f"{length} characters; the policy takes {bounds}",
        classes=f"{_made(shape)}; the policy asks for {_joined(_asked(policy)) or 'none of them'}",
        runs=f"never more than {run} in a row that are equal, consecutive or neighbours on a keyboard",
        style=_style(shape),
        shape=_shape(shape, length),
        unmet=tuple(_unmet(policy, shape, length)),
    )


def _asked(policy: Policy) -> list[str]:
    letters = ["uppercase", "lowercase"] if policy.upper_and_lower else ["letters"] if policy.letter else []
    return [*letters, *(["digits"] if policy.digit else []), *(["special characters"] if policy.special else [])]


def _made(shape: passphrase.Shape | None) -> str:
    if shape is not None:
        capital = ["an uppercase letter"] if shape.capital else []
        digits = [f"{shape.digits} digit{'s' * (shape.digits > 1)}"] if shape.digits else []
        return _joined([*capital, "lowercase letters", *digits, f"{passphrase.SEPARATOR} as special character"])
    return "uppercase, lowercase, digits and special characters"


def _style(shape: passphrase.Shape | None) -> str:
    if shape is None:
        return f"{Style.CHARACTERS}, each drawn from 64"
    drawn = f"{shape.syllables} syllables in {shape.words} words"
    return f"{Style.PASSPHRASE}, {drawn}: {shape.bits} bits, and no rule takes it below 64"


def _shape(shape: passphrase.Shape | None, length: int) -> str:
    if shape is not None:
        capital = "C an uppercase one, " if shape.capital else ""
        digit = ", 9 a digit" if shape.digits else ""
        return f"{shape.example()} (c is a consonant, {capital}v a vowel{digit})"
    example = "".join(islice(cycle("Aa9#"), length))
    return f"{example} (A is uppercase, a lowercase, 9 a digit, # a special character; in any order)"


def _unmet(policy: Policy, shape: passphrase.Shape | None, length: int) -> list[str]:
    unmet = []
    if policy.style is Style.PASSPHRASE and shape is None:
        room = f"64 bits take {passphrase.fewest_characters(policy)} characters, this policy {policy.max_length}"
        unmet.append(f'style = "{policy.style}" has no room: {room} at most; "{Style.CHARACTERS}" is used')
    if policy.length > policy.max_length:
        unmet.append(f"length = {policy.length} is more than this policy takes; {length} is used")
    elif 0 < policy.length < policy.min_length:
        unmet.append(f"length = {policy.length} is less than this policy takes; {length} is used")
    return unmet


def _joined(words: list[str]) -> str:
    return f"{', '.join(words[:-1])} and {words[-1]}" if len(words) > 1 else "".join(words)

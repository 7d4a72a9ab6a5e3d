"""What an order may raise that only a person can decide: said, and then accepted or not."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from bulkreset.errors import InputError


class Concern(StrEnum):
    """What is to be accepted by who orders; an order by SQL names them so too."""

    LISTING = "listing"  # the account's listing shows fewer users than the provider counts
    UNKNOWN_NAMES = "unknown_names"  # most names of a list of exceptions are nobody's
    NOT_LISTED = "not_listed"  # many who are named are not at the account
    AGAIN = "again"  # people were reset within a day


QUESTIONS: Final = frozenset({Concern.NOT_LISTED, Concern.AGAIN})
"""What `--yes` answers, and what is asked on a terminal; all else needs an option of its own."""

_OPTIONS: Final[Mapping[Concern, str]] = {
    Concern.LISTING: "--accept-listing",
    Concern.UNKNOWN_NAMES: "--accept-unknown-names",
    Concern.NOT_LISTED: "--yes",
    Concern.AGAIN: "--again",
}


@dataclass(frozen=True, slots=True)
class Doubt:
    """A concern about one order: how many people it is about, and what to say of it in a line."""

    concern: Concern
    count: int
    text: str


Ask = Callable[[Doubt], bool]
"""Put a doubt to a person; True where it is accepted."""


def settle(doubt: Doubt, accepts: frozenset[Concern], ask: Ask | None) -> None:
    """Go on where this is accepted, by the order or by who is asked. Raises InputError where it is not."""
    if doubt.concern in accepts:
        return
    if doubt.concern in QUESTIONS and ask is not None and ask(doubt):
        return
    raise InputError(f"{doubt.text}; nothing was ordered: {advice(doubt.concern)}")


def advice(concern: Concern) -> str:
    """Say how to go on all the same."""
    also = "" if concern is not Concern.AGAIN else "leave them out with --skip-if-reset-since TIME, or "
    return f"look at it, then {also}order with {_OPTIONS[concern]} (by SQL: accept = '{concern}')"

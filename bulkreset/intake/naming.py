"""How people are named at one account: what can be an id there, and whose account it is."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

from bulkreset.providers import kind_of
from bulkreset.settings import AccountSettings


@dataclass(frozen=True, slots=True)
class Naming:
    """What every list of people for an account is read by, so that none is laxer than another.

    `id_fault` is the provider's own judgement of an id. `account` is the name that a report must have been made
    for; None where any will do.
    """

    id_fault: Callable[[str], str | None]
    account: str | None = None

    @classmethod
    def of(cls, settings: AccountSettings, account: str | None = None) -> Self:
        """Return how people are named at an account with these settings."""
        return cls(kind_of(settings).invalid_ref, account)

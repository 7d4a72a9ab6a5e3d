"""The kinds of providers there are, and how an account's settings become a provider."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

from bulkreset.providers import zendesk, zoom
from bulkreset.providers.kind import ProviderKind
from bulkreset.settings import AccountSettings

if TYPE_CHECKING:
    from bulkreset.providers.base import Provider
    from bulkreset.providers.http import ReadTransport

KINDS: Final[Mapping[str, ProviderKind]] = {kind.name: kind for kind in (zoom.KIND, zendesk.KIND)}
"""The kinds that are part of bulkreset, by name."""


def known_kinds() -> Mapping[str, ProviderKind]:
    """Return every kind that a configuration may name."""
    return KINDS


def kind_of(settings: AccountSettings) -> ProviderKind:
    """Return the kind of provider that an account's settings are for."""
    return known_kinds()[settings.provider]


def open_provider(account: str, settings: AccountSettings, base: Path, transport: "ReadTransport") -> "Provider":
    """Read an account's secrets and return its provider. Raises ConfigError where a secret cannot be read."""
    return kind_of(settings).open(account, settings, base, transport)

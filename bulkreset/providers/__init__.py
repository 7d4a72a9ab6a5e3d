"""The kinds of providers there are, and how an account's settings become a provider.

Those in `KINDS` are part of bulkreset. Another package brings one by an entry point of the group PLUG_INS, which
has the provider's name and leads to a ProviderKind; it is loaded when a configuration names that provider.
"""

from collections.abc import Mapping
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Final

from bulkreset.errors import ConfigError
from bulkreset.providers import zendesk, zoom
from bulkreset.providers.kind import ProviderKind
from bulkreset.settings import AccountSettings

if TYPE_CHECKING:
    from bulkreset.providers.base import Provider
    from bulkreset.providers.http import ReadTransport

PLUG_INS: Final = "bulkreset.providers"
"""The group of entry points by which other packages bring providers."""

KINDS: Final[Mapping[str, ProviderKind]] = {kind.name: kind for kind in (zoom.KIND, zendesk.KIND)}
"""The kinds that are part of bulkreset, by name."""


def kind_named(name: str) -> ProviderKind | None:
    """Return the kind of provider that a configuration calls so; None where there is none.

    Raises ConfigError where a package brings one that cannot be used.
    """
    return KINDS.get(name) or _plug_in(name)


def names() -> list[str]:
    """Return what a configuration may name; nothing is loaded for it."""
    return [*KINDS, *sorted({point.name for point in entry_points(group=PLUG_INS)} - KINDS.keys())]


def kind_of(settings: AccountSettings) -> ProviderKind:
    """Return the kind of provider that an account's settings are for."""
    kind = kind_named(settings.provider)
    assert kind is not None, "settings are read by their kind"
    return kind


def open_provider(account: str, settings: AccountSettings, base: Path, transport: "ReadTransport") -> "Provider":
    """Read an account's secrets and return its provider. Raises ConfigError where a secret cannot be read."""
    return kind_of(settings).open(account, settings, base, transport)


@cache
def _plug_in(name: str) -> ProviderKind | None:
    for point in entry_points(group=PLUG_INS, name=name):
        package = point.dist.name if point.dist is not None else point.value
        try:
            kind = point.load()
        except Exception as error:  # noqa: BLE001  (whatever another package does)
            reason = f"{type(error).__name__}: {error}".splitlines()[0]
            raise ConfigError(f"the package {package} does not load: {reason}") from None
        if not isinstance(kind, ProviderKind) or kind.name != name:
            raise ConfigError(f"the package {package} brings no ProviderKind of that name; ask its makers")
        return kind
    return None

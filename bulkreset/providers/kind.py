"""What the rest of bulkreset knows of a kind of provider before it opens an account there."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from bulkreset.model import Action
from bulkreset.providers.base import Pace, Provider
from bulkreset.providers.capabilities import Capabilities
from bulkreset.settings import AccountSettings

if TYPE_CHECKING:
    from bulkreset.model import Verdict
    from bulkreset.providers.http import ReadTransport, WriteTransport
    from bulkreset.secret import Secret


class OpenAccount(Protocol):
    """Reads an account's secrets and returns its provider. Raises ConfigError where a secret cannot be read."""

    def __call__(
        self, account: str, settings: AccountSettings, base: Path, transport: "ReadTransport"
    ) -> Provider:
        """Open `account`; paths in its settings count from `base`."""


class ChangeOwnPassword(Protocol):
    """Changes the password of the user that the credentials act as; sends one write, outside of any task."""

    def __call__(
        self, provider: Provider, transport: "WriteTransport", old: "Secret", new: "Secret", pace: Pace
    ) -> "Awaitable[Verdict]":
        """Change it, where `old` is the one before."""


@dataclass(frozen=True, slots=True)
class ProviderKind:
    """One kind of provider; nothing of it is loaded before it is needed but its settings.

    `name` is what the configuration calls it, `title` what people do. `labels` names the limit that a call of each
    action is counted under. `invalid_ref` returns why a reference cannot name a user there, or None; it needs no
    secrets.
    """

    name: str
    title: str
    settings: type[AccountSettings]
    capabilities: Capabilities
    labels: Mapping[Action, str]
    invalid_ref: Callable[[str], str | None]
    open: OpenAccount
    change_own_password: ChangeOwnPassword | None = None

"""A Zoom account in `config.toml`, and Zoom's published limits by plan and label.

They are account-wide, per label, over all apps of the account (developers.zoom.us/docs/commerce/rate-limits;
counted per label: devforum.zoom.us/t/123510). Setting a password and listing users are Medium; reading one user is
Light.
"""

from collections.abc import Mapping
from typing import Final, Literal

from bulkreset.limits.rates import SECOND, Rate
from bulkreset.model import Action
from bulkreset.settings import AccountSettings, CallRate, SecretSource, WebAddress

PLANS: Final[dict[str, dict[str, Rate]]] = {
    "free": {"light": Rate(4, SECOND, 6_000), "medium": Rate(2, SECOND, 2_000)},
    "pro": {"light": Rate(30, SECOND), "medium": Rate(20, SECOND)},
    "business": {"light": Rate(80, SECOND), "medium": Rate(60, SECOND)},
}

LABELS: Final[Mapping[Action, str]] = {Action.SET_PASSWORD: "medium", Action.REVOKE_SESSIONS: "light"}
"""The limit that a call of each action is counted under."""


class ZoomSettings(AccountSettings):
    """One Zoom account, reached as a server-to-server OAuth app."""

    provider: Literal["zoom"]
    plan: Literal["free", "pro", "business"] = "pro"
    requests_per_second: CallRate | None = None
    account_id: str
    client_id: SecretSource | str
    client_secret: SecretSource
    api_url: WebAddress = "https://api.zoom.us/v2"
    oauth_url: WebAddress = "https://zoom.us/oauth/token"

    @property
    def address(self) -> str:
        """Return the address of the API."""
        return self.api_url

    @property
    def labels(self) -> tuple[str, ...]:
        """Return the names of the account's limits."""
        return tuple(PLANS[self.plan])

    def rate(self, label: str) -> Rate:
        """Return what this job may use of the label's limit; an own contract's number replaces Medium."""
        if self.requests_per_second is not None and label == "medium":
            return Rate(self.requests_per_second, SECOND).shared(self.share)
        return PLANS[self.plan][label].shared(self.share)

"""The providers there are, and how an account's settings become one."""

from collections.abc import Callable, Mapping
from pathlib import Path
from time import monotonic

from bulkreset.config import SecretSource, ZendeskSettings, ZoomSettings
from bulkreset.model import Action
from bulkreset.providers import zendesk, zendesk_users, zoom, zoom_users
from bulkreset.providers.base import Provider
from bulkreset.providers.credentials import Credential
from bulkreset.providers.http import ReadTransport
from bulkreset.providers.zendesk import Zendesk
from bulkreset.providers.zoom import Zoom


def open_provider(
    account: str, settings: ZoomSettings | ZendeskSettings, base: Path, transport: ReadTransport
) -> Provider:
    """Read an account's secrets and return its provider. Raises ConfigError where a secret cannot be read."""
    place = f"accounts.{account}"

    def read(source: SecretSource | str, key: str) -> Credential:
        return Credential.read(source, base, f"{place}.{key}")

    if isinstance(settings, ZoomSettings):
        return Zoom(
            account=account,
            api_url=settings.api_url,
            oauth_url=settings.oauth_url,
            account_id=settings.account_id,
            client_id=read(settings.client_id, "client_id"),
            client_secret=read(settings.client_secret, "client_secret"),
            transport=transport,
            monotonic=monotonic,
        )

    def maybe(source: SecretSource | str | None, key: str) -> Credential | None:
        return None if source is None else read(source, key)

    return Zendesk(
        account=account,
        api_url=settings.address,
        email=settings.email,
        api_token=maybe(settings.api_token, "api_token"),
        oauth_token=maybe(settings.oauth_token, "oauth_token"),
        client_id=maybe(settings.client_id, "client_id"),
        client_secret=maybe(settings.client_secret, "client_secret"),
        token_lifetime=settings.token_lifetime,
        transport=transport,
        monotonic=monotonic,
    )


def ref_fault(settings: ZoomSettings | ZendeskSettings) -> Callable[[str], str | None]:
    """Return what tells why a reference cannot name a user at this kind of provider; it needs no secrets."""
    return zoom_users.ref_fault if isinstance(settings, ZoomSettings) else zendesk_users.ref_fault


def labels(settings: ZoomSettings | ZendeskSettings) -> Mapping[Action, str]:
    """Return the limit that a call of each action is counted under at this kind of provider."""
    return zoom.LABELS if isinstance(settings, ZoomSettings) else zendesk.LABELS

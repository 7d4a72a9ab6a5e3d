"""The providers there are, and how an account's settings become one."""

from pathlib import Path
from time import monotonic

from bulkreset.config import SecretSource, ZendeskSettings, ZoomSettings
from bulkreset.providers.base import Provider
from bulkreset.providers.http import ReadTransport
from bulkreset.providers.zendesk import Zendesk
from bulkreset.providers.zoom import Zoom
from bulkreset.secret import Secret


def open_provider(
    account: str, settings: ZoomSettings | ZendeskSettings, base: Path, transport: ReadTransport
) -> Provider:
    """Read an account's secrets and return its provider. Raises ConfigError where a secret cannot be read."""
    place = f"accounts.{account}"
    if isinstance(settings, ZoomSettings):
        client_id = settings.client_id
        return Zoom(
            account=account,
            api_url=settings.api_url,
            oauth_url=settings.oauth_url,
            account_id=settings.account_id,
            client_id=Secret(client_id)
            if isinstance(client_id, str)
            else client_id.read(base, f"{place}.client_id"),
            client_secret=settings.client_secret.read(base, f"{place}.client_secret"),
            transport=transport,
            monotonic=monotonic,
        )
    return Zendesk(
        account=account,
        api_url=settings.address,
        email=settings.email,
        api_token=_read(settings.api_token, base, f"{place}.api_token"),
        oauth_token=_read(settings.oauth_token, base, f"{place}.oauth_token"),
        transport=transport,
    )


def _read(source: SecretSource | None, base: Path, what: str) -> Secret | None:
    return None if source is None else source.read(base, what)

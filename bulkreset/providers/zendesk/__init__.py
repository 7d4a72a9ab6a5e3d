"""Zendesk: what it tells and refuses, and how one of its accounts is opened."""

from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Final

from bulkreset.providers.base import Pace, Provider, Role, Status
from bulkreset.providers.capabilities import Capabilities
from bulkreset.providers.kind import ProviderKind
from bulkreset.providers.zendesk.references import invalid_ref
from bulkreset.providers.zendesk.settings import LABELS, ZendeskSettings
from bulkreset.settings import AccountSettings, SecretSource

if TYPE_CHECKING:
    from bulkreset.model import Verdict
    from bulkreset.providers.credentials import Credential
    from bulkreset.providers.http import ReadTransport, WriteTransport
    from bulkreset.providers.zendesk.account import Zendesk
    from bulkreset.secret import Secret


def _open(account: str, settings: AccountSettings, base: Path, transport: "ReadTransport") -> "Zendesk":
    from bulkreset.providers.credentials import Credential
    from bulkreset.providers.zendesk.account import Zendesk

    assert isinstance(settings, ZendeskSettings)

    def read(source: SecretSource | str | None, key: str) -> "Credential | None":
        return None if source is None else Credential.read(source, base, f"accounts.{account}.{key}")

    return Zendesk(
        account=account,
        api_url=settings.address,
        email=settings.email,
        api_token=read(settings.api_token, "api_token"),
        oauth_token=read(settings.oauth_token, "oauth_token"),
        client_id=read(settings.client_id, "client_id"),
        client_secret=read(settings.client_secret, "client_secret"),
        token_lifetime=settings.token_lifetime,
        transport=transport,
        monotonic=monotonic,
    )


async def _change_own_password(
    provider: Provider, transport: "WriteTransport", old: "Secret", new: "Secret", pace: Pace
) -> "Verdict":
    from bulkreset.providers.zendesk.account import Zendesk

    assert isinstance(provider, Zendesk)
    return await provider.own_password(transport, old, new, pace)


KIND: Final = ProviderKind(
    name="zendesk",
    title="Zendesk",
    settings=ZendeskSettings,
    capabilities=Capabilities(
        roles=(Role.ADMIN, Role.AGENT, Role.MEMBER),
        statuses=(Status.ACTIVE, Status.INACTIVE, Status.SUSPENDED),
        inactive="deleted at Zendesk: cannot sign in",  # `active: false`
        count_exact_below=100_000,  # counted once a day from there on (GET /users/count)
    ),
    labels=LABELS,
    invalid_ref=invalid_ref,
    open=_open,
    change_own_password=_change_own_password,
)
"""Source: developer.zendesk.com/api-reference/ticketing/users/users. A suspended user cannot sign in, and no field
tells the owner from other admins."""

"""Zoom: what it tells and refuses, and how one of its accounts is opened."""

from datetime import timedelta
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Final

from bulkreset.providers.base import Role, Status
from bulkreset.providers.capabilities import Capabilities
from bulkreset.providers.kind import ProviderKind
from bulkreset.providers.zoom.references import invalid_ref
from bulkreset.providers.zoom.settings import LABELS, ZoomSettings
from bulkreset.settings import AccountSettings

if TYPE_CHECKING:
    from bulkreset.providers.http import ReadTransport
    from bulkreset.providers.zoom.account import Zoom


def _open(account: str, settings: AccountSettings, base: Path, transport: "ReadTransport") -> "Zoom":
    from bulkreset.providers.credentials import Credential
    from bulkreset.providers.zoom.account import Zoom

    assert isinstance(settings, ZoomSettings)
    place = f"accounts.{account}"
    return Zoom(
        account=account,
        api_url=settings.api_url,
        oauth_url=settings.oauth_url,
        account_id=settings.account_id,
        client_id=Credential.read(settings.client_id, base, f"{place}.client_id"),
        client_secret=Credential.read(settings.client_secret, base, f"{place}.client_secret"),
        transport=transport,
        monotonic=monotonic,
    )


KIND: Final = ProviderKind(
    name="zoom",
    title="Zoom",
    settings=ZoomSettings,
    capabilities=Capabilities(
        roles=(Role.OWNER, Role.ADMIN, Role.MEMBER),
        statuses=(Status.ACTIVE, Status.INACTIVE, Status.PENDING),
        groups=True,
        login_lag=timedelta(days=3),  # of `last_login_time` (GET /users)
        refuses_admins=True,  # 1117, "Can not update Admin's password" (PUT /users/{userId}/password)
        tells_owner=True,  # role_id 0
        resets_inactive=True,  # no page says that a deactivated user's password cannot be set
    ),
    labels=LABELS,
    invalid_ref=invalid_ref,
    open=_open,
)
"""Sources, where a fact has no other beside it: Zoom's OpenAPI text of July 2022."""

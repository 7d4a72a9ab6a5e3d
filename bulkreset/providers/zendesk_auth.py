"""Zendesk's credentials: an admin's API token, or an OAuth token.

`{email}/token:{api_token}` as Basic, or a Bearer token; Zendesk has both off in new accounts
(developer.zendesk.com/api-reference/introduction/security-and-auth).
"""

import re
from base64 import b64encode
from collections.abc import Iterable, Mapping
from typing import Final

from bulkreset.errors import ConfigError
from bulkreset.secret import Secret

_HEADER_TEXT: Final = re.compile(r"[\x21-\x7e]+")


class ZendeskAuth:
    """A fixed credential of one Zendesk account: nothing to renew, so its generation never changes."""

    def __init__(
        self, *, account: str, email: str | None, api_token: Secret | None, oauth_token: Secret | None
    ) -> None:
        self.generation = 0
        if oauth_token is not None:
            self._secrets: tuple[Secret, ...] = (oauth_token,)
            credential = f"Bearer {oauth_token.reveal()}"
        elif api_token is not None and email:
            pair = Secret(b64encode(f"{email}/token:{api_token.reveal()}".encode()).decode())
            self._secrets = (api_token, pair)
            credential = f"Basic {pair.reveal()}"
        else:
            raise ConfigError(f"account {account!r} has no credentials; give email and api_token, or oauth_token")
        if not all(_HEADER_TEXT.fullmatch(part) for part in credential.split(" ", 1)):
            raise ConfigError(f"account {account!r}: the token holds a space or control character; copy it again")
        self._header = {"Authorization": credential}

    async def prepare(self) -> None:
        """Do nothing: the credential is always at hand."""

    def headers(self) -> Mapping[str, str]:
        """Return the Authorization header."""
        return self._header

    def invalidate(self, generation: int) -> None:
        """Do nothing: there is no other credential to come by."""

    def secrets(self) -> Iterable[str]:
        """Return every clear value that must be masked."""
        return tuple(secret.reveal() for secret in self._secrets)

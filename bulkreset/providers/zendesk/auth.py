"""Zendesk's credentials: an OAuth client that logs in by itself, a fixed OAuth token, or an admin's API token.

The client-credentials grant is for programs that nobody attends; its tokens have no refresh token, and none lives
longer than two days (developer.zendesk.com/api-reference/ticketing/oauth/grant_type_tokens). API tokens end: none
can be made since 2026-10-27, all stop on 2027-04-30
(developer.zendesk.com/documentation/api-basics/authentication/oauth-migration).
"""

from base64 import b64encode
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Final

from bulkreset.errors import ConfigError, ProviderRefused
from bulkreset.providers.base import Answer
from bulkreset.providers.credentials import Credential, refresh_all
from bulkreset.providers.http import ReadTransport
from bulkreset.providers.tokens import HEADER_TEXT, LoginTerms

if TYPE_CHECKING:
    from datetime import datetime

    from bulkreset.secret import Secret

SCOPES: Final = "read write"  # `write` covers no GET; the password call refuses tokens of users:write
LIFETIME: Final = 1800  # seconds; Zendesk's own default
SHORTEST_LIFE: Final = 300  # seconds; what a token has at least, where an answer does not tell

SWITCHED_OFF: Final = (
    "Zendesk switches API tokens off: none can be made since 2026-10-27, one that was not used for 30 days is "
    "deactivated, and all end on 2027-04-30; make an OAuth client and configure client_id and client_secret"
)

_WHERE: Final = "Admin Center > Apps and integrations > APIs > OAuth clients"
_KIND: Final = f"the client may not log in by itself: make one of the kind confidential ({_WHERE})"
_CLIENT: Final = (
    "check client_id (the client's unique identifier, not its name) and client_secret, and that the client is of "
    f"the kind confidential ({_WHERE})"
)

TERMS: Final = LoginTerms(
    provider="Zendesk",
    setting="subdomain or api_url",
    # Names: RFC 6749, section 5.2, whose form the answers have.
    advice={
        "invalid_client": _CLIENT,
        "invalid_grant": _KIND,
        "unauthorized_client": _KIND,
        "unsupported_grant_type": "the account does not know the client-credentials grant; check the address",
        "invalid_scope": f"the client's allowed scopes must hold read and write ({_WHERE})",
        "invalid_request": "check client_id, client_secret and token_lifetime (above 300, below 172,800 seconds)",
        "invalid_token": _CLIENT,
    },
    otherwise=_CLIENT,
    refused_again="check that the OAuth client is active and belongs to an admin",
    life_s=SHORTEST_LIFE,
)


class ZendeskGrant:
    """The login of one OAuth client, by the client-credentials grant."""

    terms: Final = TERMS

    def __init__(
        self,
        *,
        url: str,
        client_id: Credential,
        client_secret: Credential,
        lifetime_s: int | None,
        transport: ReadTransport,
    ) -> None:
        self.credentials = (client_id, client_secret)
        self._url = f"{url.rstrip('/')}/oauth/tokens"
        self._lifetime_s = lifetime_s or LIFETIME
        self._transport = transport

    async def ask(self) -> Answer:
        """Ask for a token, and for its life: an answer tells `expires_in` only where it was asked for."""
        client_id, client_secret = (credential.secret.reveal() for credential in self.credentials)
        fields: dict[str, str | int] = {
            "grant_type": "client_credentials",
            "client_id": client_id,
            "client_secret": client_secret,
            "scope": SCOPES,
            "expires_in": self._lifetime_s,
        }
        return await self._transport.post_grant(self._url, fields)

    def secrets(self) -> Iterable[str]:
        """Return the client's secret."""
        return self.credentials[1].values()


class FixedToken:
    """A token that a person made: nothing to renew, but a new one in its file is taken up."""

    def __init__(
        self,
        *,
        account: str,
        token: Credential,
        email: str | None = None,
    ) -> None:
        self.generation = 0
        self.scopes: frozenset[str] = frozenset()
        self.ends_at: datetime | None = None
        self.warning = None if email is None else SWITCHED_OFF
        self._account = account
        self._token = token
        self._email = email
        self._refused = False
        self._header: dict[str, str] = {}
        self._pair: str | None = None
        self._taken: Secret | None = None
        self._take()

    @property
    def advice(self) -> str:
        """Say what to do where the token is refused."""
        if self._email is not None:
            return (
                "check email and that the API token is active; no new one can be made since 2026-10-27, so make "
                "an OAuth client and configure client_id and client_secret"
            )
        return f"make a new token and {self._token.how_to_replace}; an OAuth client (client_id) renews its own"

    async def prepare(self) -> None:
        """Take up a token that was put into the file; after a refusal read it in any case.

        Raises ProviderRefused where the token at hand is refused and the file cannot be read.
        """
        refused, self._refused = self._refused, False
        try:
            refresh_all((self._token,), force=refused)
            if self._token.secret is not self._taken:
                self._take()
                self.ends_at = None
                self.generation += 1
        except ConfigError as error:
            if refused:
                raise ProviderRefused(
                    f"account {self._account!r}: Zendesk refuses the token, and {error}; put a new one there"
                ) from None

    def headers(self) -> Mapping[str, str]:
        """Return the Authorization header."""
        return self._header

    def invalidate(self, generation: int) -> None:
        """Note that the token was refused, so that its file is read before the next call."""
        if generation == self.generation:
            self._refused = True

    def secrets(self) -> Iterable[str]:
        """Return every clear value that must be masked."""
        return (*self._token.values(), *(() if self._pair is None else (self._pair,)))

    def _take(self) -> None:
        """Build the header, `{email}/token:{api_token}` as Basic or a Bearer token. Raises ConfigError."""
        token = self._token.secret.reveal()
        if self._email is not None:
            token = self._pair = b64encode(f"{self._email}/token:{token}".encode()).decode()
        elif not HEADER_TEXT.fullmatch(token):
            raise ConfigError(
                f"account {self._account!r}: the token holds a space or control character; copy it again"
            )
        self._taken = self._token.secret
        self._header = {"Authorization": f"{'Bearer' if self._email is None else 'Basic'} {token}"}

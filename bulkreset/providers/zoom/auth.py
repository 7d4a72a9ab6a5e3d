"""Zoom's server-to-server OAuth: how its login is asked, and what its refusals mean.

A token lives an hour and there is no refresh token (developers.zoom.us/docs/rooms/s2s-oauth). Several tokens may
live at once (Zoom's changelog, "Multiple access token support available for server-to-server apps"); where one
ends another all the same, as older reports have it, the 401 costs one more login. Zoom's own SDK renews a token a
minute before its end (zoom/rivet-javascript, EXPIRATION_DELTA), as `tokens` does.
"""

from base64 import b64encode
from collections.abc import Iterable
from typing import Final

from bulkreset.providers.base import Answer
from bulkreset.providers.credentials import Credential
from bulkreset.providers.http import ReadTransport
from bulkreset.providers.tokens import LoginTerms

_CLIENT: Final = "check client_id and client_secret"
_KIND: Final = "the app must be of the type Server-to-Server OAuth"
_ACTIVATE: Final = "activate the app in the Zoom App Marketplace"
_OWNER: Final = "its owner has left the account: give the app a new owner, or make a new app"

TERMS: Final = LoginTerms(
    provider="Zoom",
    setting="oauth_url",
    # Names: developers.zoom.us/blog/s2s-token-generation-troubleshoot;
    # numbers: developers.zoom.us/docs/integrations/oauth-error-messages.
    advice={
        "invalid_client": _CLIENT,
        "4702": _CLIENT,
        "4704": _CLIENT,
        "invalid_request": "check account_id",
        "invalid_grant": "check account_id, and that the app belongs to that account",
        "unauthorized_client": f"the app may not use this grant: {_KIND}",
        "unsupported_grant_type": _KIND,
        "4705": _KIND,
        "4700": "Zoom's word for anything unexpected: check that the app is active and has its scopes, or wait",
        "4706": "the login came without a client or a grant: check client_id, client_secret and oauth_url",
        "4717": _ACTIVATE,
        "4735": _OWNER,
        "4738": "an admin of the Zoom account has disabled the app",
        "4741": "the token was revoked: check that nobody takes this app's tokens away",
    },
    otherwise="check client_id, client_secret, account_id, and that the app is active",
    refused_again="check that the app is active and that its owner is still an admin",
    life_s=3600,
)


class ZoomGrant:
    """The login of one server-to-server app."""

    terms: Final = TERMS

    def __init__(
        self,
        *,
        oauth_url: str,
        account_id: str,
        client_id: Credential,
        client_secret: Credential,
        transport: ReadTransport,
    ) -> None:
        self.credentials = (client_id, client_secret)
        self._oauth_url = oauth_url
        self._account_id = account_id
        self._transport = transport

    async def ask(self) -> Answer:
        """Ask for a token. Raises NoAnswer.

        In the body: a query string was refused with 400 (devforum.zoom.us/t/124925) and lands in logs.
        """
        form = {"grant_type": "account_credentials", "account_id": self._account_id}
        return await self._transport.post_form(self._oauth_url, {"Authorization": f"Basic {self._basic()}"}, form)

    def secrets(self) -> Iterable[str]:
        """Return the client's secret, and both as they go on the wire."""
        return (*self.credentials[1].values(), self._basic())

    def _basic(self) -> str:
        client_id, client_secret = (credential.secret.reveal() for credential in self.credentials)
        return b64encode(f"{client_id}:{client_secret}".encode()).decode()

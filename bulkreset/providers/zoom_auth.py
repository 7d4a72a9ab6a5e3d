"""Zoom's server-to-server OAuth: one token for the process, renewed a minute before it ends.

A token lives an hour and there is no refresh token (developers.zoom.us/docs/rooms/s2s-oauth). Sources differ
on whether a second token ends the first (Zoom says no, SailPoint's documentation and Zoom's error 4741 say
yes), so one process never asks for two at a time.
"""

import asyncio
import re
from base64 import b64encode
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from bulkreset.errors import ProviderRefused, ProviderUnavailable
from bulkreset.providers.answers import UNREADABLE, read_json, table, text, whole
from bulkreset.providers.base import Answer, sanitise
from bulkreset.providers.http import NoAnswer, ReadTransport
from bulkreset.secret import Secret

RENEW_EARLY: Final = 60.0  # seconds; what Zoom's own SDK uses (zoom/rivet-javascript, EXPIRATION_DELTA)
RENEW_AGAIN: Final = 5.0  # seconds after a renewal that failed while the old token still serves
DEFAULT_LIFE: Final = 3600

_TOKEN = re.compile(r"[\x21-\x7e]{1,8192}")  # what can stand in a header

_ADVICE: Final = {
    # Names: developers.zoom.us/blog/s2s-token-generation-troubleshoot;
    # numbers: developers.zoom.us/docs/integrations/oauth-error-messages.
    "invalid_client": "check client_id and client_secret",
    "4702": "check client_id and client_secret",
    "4704": "check client_id and client_secret",
    "invalid_request": "check account_id",
    "unsupported_grant_type": "the app must be of the type Server-to-Server OAuth",
    "4705": "the app must be of the type Server-to-Server OAuth",
    "4717": "activate the app in the Zoom App Marketplace",
    "4738": "an admin of the Zoom account has disabled the app",
}


class ZoomAuth:
    """The credentials of one Zoom account. `monotonic` tells seconds that never jump."""

    def __init__(
        self,
        *,
        account: str,
        oauth_url: str,
        account_id: str,
        client_id: Secret,
        client_secret: Secret,
        transport: ReadTransport,
        monotonic: Callable[[], float],
    ) -> None:
        self.generation = 0
        self.scopes: frozenset[str] = frozenset()
        self._account = account
        self._oauth_url = oauth_url
        self._account_id = account_id
        self._client_secret = client_secret
        pair = f"{client_id.reveal()}:{client_secret.reveal()}".encode()
        self._basic = Secret(b64encode(pair).decode())
        self._transport = transport
        self._monotonic = monotonic
        self._lock = asyncio.Lock()
        self._token: Secret | None = None
        self._header: dict[str, str] = {}
        self._renew_at = 0.0
        self._ends_at = 0.0
        self._last: Secret | None = None  # the token before: a late answer may still name it
        self._logins = 0
        self._fault: ProviderUnavailable | ProviderRefused | None = None

    async def prepare(self) -> None:
        """Have a token that lives; log in where there is none, renew where it ends within a minute.

        One login is under way at a time. While the old token still serves, only the caller that renews
        waits; without one all wait, and share what the login came to.
        """
        if self._monotonic() < self._renew_at and self._token is not None:
            return
        if self._usable() and self._lock.locked():
            return
        seen = self._logins
        async with self._lock:
            if self._monotonic() < self._renew_at and self._token is not None:
                return
            if self._logins != seen and self._fault is not None and not self._usable():
                raise type(self._fault)(str(self._fault))
            await self._renew()

    def headers(self) -> Mapping[str, str]:
        """Return the Authorization header; call `prepare` before."""
        return self._header

    def invalidate(self, generation: int) -> None:
        """Drop the token of that generation, if it is still the current one."""
        if generation == self.generation:
            self._last, self._token = self._token, None
            self._header = {}

    def secrets(self) -> Iterable[str]:
        """Return every clear value that must be masked."""
        held = (self._client_secret, self._basic, self._token, self._last)
        return tuple(secret.reveal() for secret in held if secret is not None)

    def _usable(self) -> bool:
        return self._token is not None and self._monotonic() < self._ends_at

    async def _renew(self) -> None:
        try:
            await self._log_in()
        except ProviderUnavailable as error:
            self._fault = error
            if not self._usable():
                raise
            self._renew_at = self._monotonic() + RENEW_AGAIN
        except ProviderRefused as error:
            self._fault = error
            raise
        else:
            self._fault = None
        finally:
            self._logins += 1

    async def _log_in(self) -> None:
        asked_at = self._monotonic()  # the token's life is counted from before the call: never too long
        headers = {"Authorization": f"Basic {self._basic.reveal()}"}
        form = {"grant_type": "account_credentials", "account_id": self._account_id}
        try:
            # In the body: a query string was refused with 400 (devforum.zoom.us/t/124925) and lands in logs.
            answer = await self._transport.post_form(self._oauth_url, headers, form)
        except NoAnswer as error:
            fault: ProviderUnavailable | ProviderRefused = ProviderUnavailable(
                f"account {self._account!r}: no login at Zoom: {error}; try again later"
            )
        else:
            if answer.status == 200:
                self._accept(answer, asked_at)
                return
            fault = self._refusal(answer)
        raise fault

    def _accept(self, answer: Answer, asked_at: float) -> None:
        """Keep the token of a login's answer; an api_url in it is ignored: the address is the config's."""
        told = table(read_json(answer.body))
        token = text(told.get("access_token"))
        if token is None or not _TOKEN.fullmatch(token):
            raise ProviderUnavailable(f"account {self._account!r}: Zoom's answer to the login holds no token")
        life = whole(told.get("expires_in"))
        life = DEFAULT_LIFE if life is None else min(max(life, 1), 24 * 3600)
        self._last = self._token or self._last
        self._token = Secret(token)
        self._header = {"Authorization": f"Bearer {token}"}
        self._ends_at = asked_at + life
        self._renew_at = self._ends_at - min(RENEW_EARLY, life / 2)
        self.scopes = frozenset((text(told.get("scope")) or "").replace(",", " ").split())
        self.generation += 1

    def _refusal(self, answer: Answer) -> ProviderUnavailable | ProviderRefused:
        status = answer.status
        body = read_json(answer.body)
        told = table(body)
        error = text(told.get("error")) or text(told.get("code"))
        reason = text(told.get("reason")) or text(told.get("message")) or text(told.get("error_description"))
        said = f"{error} ({reason})" if error and reason else error or reason or f"HTTP {status}"
        said = sanitise(said, self.secrets())
        if status in (408, 409, 429) or status >= 500:
            return ProviderUnavailable(f"account {self._account!r}: no login at Zoom: {said}; try again later")
        if 200 <= status < 400 or body is UNREADABLE:
            return ProviderRefused(
                f"account {self._account!r}: HTTP {status} is no answer of Zoom's login; check oauth_url"
            )
        advice = _ADVICE.get(error or "", "check client_id, client_secret, account_id, and that the app is active")
        return ProviderRefused(f"account {self._account!r}: Zoom refused the login: {said}; {advice}")

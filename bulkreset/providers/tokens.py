"""Bearer tokens that end: one login for the process at a time, renewed early, and once more after a 401.

A provider says how its login is asked and what its refusals mean; when a token is renewed, who waits for it, and
when its credentials are read again is the same everywhere.
"""

import asyncio
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from bulkreset.errors import ConfigError, ProviderRefused, ProviderUnavailable
from bulkreset.providers.answers import (
    NETWORK_LOGIN,
    UNREADABLE,
    WEB_PAGE,
    is_page,
    read_json,
    table,
    text,
    whole,
)
from bulkreset.providers.base import Answer, sanitise
from bulkreset.providers.credentials import Credential, refresh_all
from bulkreset.providers.no_answer import NoAnswer
from bulkreset.secret import Secret

RENEW_EARLY: Final = 60.0  # seconds; well above the time that one call may take
RENEW_AGAIN: Final = 5.0  # seconds after a renewal that failed while the old token still serves
LONGEST_LIFE: Final = 2 * 24 * 3600.0  # seconds; no provider documents a longer one

_NO_LOGIN_HERE: Final = frozenset({404, 405, 410})  # what an address answers where no login is

HEADER_TEXT: Final = re.compile(r"[\x21-\x7e]{1,8192}")
"""What can stand in a header."""


@dataclass(frozen=True, slots=True)
class LoginTerms:
    """What one provider's login is called and means.

    `setting` is the key of the configuration that holds its address; `advice` is by the name or number of a
    refusal, `otherwise` for all others; `refused_again` is what to do where the provider does not take a token
    that was issued a moment ago. `life_s` counts where an answer does not tell how long its token lives.
    """

    provider: str
    setting: str
    advice: Mapping[str, str]
    otherwise: str
    refused_again: str
    life_s: float


class Grant(Protocol):
    """How tokens are asked for at one account."""

    @property
    def terms(self) -> LoginTerms:
        """What the provider's login is called and means."""

    @property
    def credentials(self) -> tuple[Credential, ...]:
        """The secrets that the login is made with."""

    async def ask(self) -> Answer:
        """Ask for a token, once. Raises NoAnswer."""

    def secrets(self) -> Iterable[str]:
        """Return every clear value of the credentials that must be masked."""


class TokenAuth:
    """The credentials of one account that logs in. `monotonic` tells seconds that never jump."""

    warning: str | None = None
    ends_at = None

    def __init__(self, *, account: str, grant: Grant, monotonic: Callable[[], float]) -> None:
        self.generation = 0
        self.scopes: frozenset[str] = frozenset()
        self._account = account
        self._grant = grant
        self._monotonic = monotonic
        self._lock = asyncio.Lock()
        self._token: Secret | None = None
        self._header: dict[str, str] = {}
        self._renew_at = 0.0
        self._ends_at = 0.0
        self._last: Secret | None = None  # the token before: a late answer may still name it
        self._logins = 0
        self._fault: ProviderUnavailable | ProviderRefused | None = None

    @property
    def advice(self) -> str:
        """Say what to do where a token that was just issued is refused."""
        return f"a fresh token is refused too: {self._grant.terms.refused_again}"

    async def prepare(self) -> None:
        """Have a token that lives; log in where there is none, renew where it ends within a minute.

        One login is under way at a time. While the old token still serves, only the caller that renews
        waits; without one all wait, and share what the login came to. Credentials in a file that has changed are
        read again, and logged in with at once.
        """
        self._follow_files()
        if self._fresh():
            return
        if self._usable() and self._lock.locked():
            return
        seen = self._logins
        async with self._lock:
            if self._fresh():
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
        tokens = (secret.reveal() for secret in (self._token, self._last) if secret is not None)
        return (*self._grant.secrets(), *tokens)

    def _fresh(self) -> bool:
        return self._token is not None and self._monotonic() < self._renew_at

    def _usable(self) -> bool:
        return self._token is not None and self._monotonic() < self._ends_at

    def _follow_files(self) -> None:
        """Let the token end where the credentials are others by now; a file on its way in is looked at again."""
        if self._token is None:
            return  # the login reads them in any case
        try:
            changed = refresh_all(self._grant.credentials, force=False)
        except ConfigError:
            return
        if changed:  # calls on their way keep the header of the old one
            self._renew_at = self._ends_at = self._monotonic()

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
        unread: ConfigError | None = None
        try:
            refresh_all(self._grant.credentials, force=True)
        except ConfigError as error:
            unread = error  # what was read before may serve all the same
        asked_at = self._monotonic()  # the token's life is counted from before the call: never too long
        try:
            answer = await self._grant.ask()
        except NoAnswer as error:
            fault: ProviderUnavailable | ProviderRefused = self._away(str(error))
        else:
            if answer.status == 200:
                self._accept(answer, asked_at)
                return
            fault = self._refusal(answer)
        if unread is not None and isinstance(fault, ProviderRefused):
            fault = ProviderRefused(f"{fault}; and {unread}")
        raise fault

    def _accept(self, answer: Answer, asked_at: float) -> None:
        """Keep the token of a login's answer; an address in it is ignored: the address is the configuration's."""
        told = table(read_json(answer.body))
        token = text(told.get("access_token"))
        if token is None or not HEADER_TEXT.fullmatch(token):
            terms = self._grant.terms
            if text(told.get("error")) in terms.advice:
                raise self._refusal(answer)
            why = WEB_PAGE if is_page(answer) else f"so it may not be {terms.provider}'s"
            raise ProviderUnavailable(
                f"account {self._account!r}: an answer to the login holds no token (HTTP 200): {why}; "
                f"check {terms.setting}, or try again later"
            )
        life = _life(told.get("expires_in"), self._grant.terms.life_s)
        self._last = self._token or self._last
        self._token = Secret(token)
        self._header = {"Authorization": f"Bearer {token}"}
        self._ends_at = asked_at + life
        self._renew_at = self._ends_at - min(RENEW_EARLY, life / 2)
        self.scopes = scopes_in(told.get("scope"))
        self.generation += 1

    def _refusal(self, answer: Answer) -> ProviderUnavailable | ProviderRefused:
        """Read a refusal in every form that is documented or was seen: name or number, and the reason."""
        terms, status = self._grant.terms, answer.status
        body = read_json(answer.body)
        told = table(body)
        error = text(told.get("error")) or text(told.get("code")) or text(told.get("errorCode"))
        reasons = ("reason", "message", "error_description", "errorMessage", "description")
        reason = next(filter(None, (text(told.get(name)) for name in reasons)), None)
        said = f"{error} ({reason})" if error and reason else error or reason or f"HTTP {status}"
        said = sanitise(said, self.secrets())
        if status in (408, 409, 429) or (status >= 500 and status != NETWORK_LOGIN):
            return self._away(said)
        known = error in terms.advice and not 300 <= status < 400
        if not known and (not 400 <= status < 500 or body is UNREADABLE or status in _NO_LOGIN_HERE):
            return ProviderRefused(
                f"account {self._account!r}: HTTP {status} is no answer of {terms.provider}'s login"
                f"{f': {WEB_PAGE}' if is_page(answer) or status == NETWORK_LOGIN else ''}; check {terms.setting}"
            )
        advice = terms.advice.get(error or "", terms.otherwise)
        return ProviderRefused(f"account {self._account!r}: {terms.provider} refused the login: {said}; {advice}")

    def _away(self, why: str) -> ProviderUnavailable:
        return ProviderUnavailable(
            f"account {self._account!r}: no login at {self._grant.terms.provider}: {why}; try again later"
        )


def scopes_in(told: object) -> frozenset[str]:
    """Return a token's scopes, from one text (RFC 6749, 3.3) or a list."""
    texts = told if isinstance(told, list) else [told]
    return frozenset(scope for item in texts for scope in (text(item) or "").replace(",", " ").split())


def _life(told: object, untold: float) -> float:
    """Return a token's life in seconds; `untold` where the answer does not say, or nothing that can be.

    Numbers come as numbers, with a fraction of zero, and as text. A 401 mends what was too long.
    """
    life = whole(told)
    if life is None and isinstance(told, float) and 0 < told < LONGEST_LIFE:
        life = int(told)
    if life is None and isinstance(told, str) and re.fullmatch(r"[0-9]{1,9}", told.strip()):
        life = int(told)
    if life is None or life <= 0:
        return untold
    return min(float(life), LONGEST_LIFE)

"""Reads outside of tasks: paid from the quota like writes, renewed once on a 401, repeated a few times."""

import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from bulkreset.errors import ListingFault, ProviderRefused, ProviderUnavailable
from bulkreset.logs import logger
from bulkreset.providers.answers import NETWORK_LOGIN, WEB_PAGE, Told, asked_wait, is_page, unmarked
from bulkreset.providers.base import Answer, Auth, Pace, sanitise
from bulkreset.providers.http import ReadTransport
from bulkreset.providers.no_answer import NoAnswer

TRIES: Final = 8
PATIENCE_S: Final = 60.0
"""How long a read is tried that does not come back: as long as any per-minute window. Waits of 1, 2, 4 … s."""

SILENT_S: Final = 5.0
"""After so long a read that is still tried says so."""

LONGEST_BACKOFF_S: Final = 30.0
_SHORTEST_BACKOFF_S: Final = 0.5
LONGEST_WAIT_S: Final = 300.0  # in all; a provider that asks for more is away, as far as a read goes


class WrongAddress(ProviderRefused):
    """What answers is not the provider's API: the address is wrong, or something in between answers for it."""


Sleep = Callable[[float], Awaitable[object]]
Clock = Callable[[], datetime]


@dataclass(slots=True)
class Reader:
    """Fetches for one account; `provider` is the name that errors call it by.

    `known_404` are the provider's own codes of a 404 that speaks of a user or an account: any other 404 is of the
    address. `address` says what to check then. `heed` sees every answer of the API. `answered` says that the API
    was heard from, so that a page in its place is something in between that may pass.
    """

    account: str
    provider: str
    auth: Auth
    transport: ReadTransport
    tell: Callable[[Answer], Told]
    sleep: Sleep
    clock: Clock
    extra_headers: Mapping[str, str] = field(default_factory=dict)
    known_404: frozenset[str] = frozenset()
    address: str = "check api_url"
    heed: Callable[[Answer], None] = lambda _: None
    answered: bool = False
    monotonic: Callable[[], float] = time.monotonic

    async def get(self, url: str, pace: Pace) -> Answer:
        """Fetch one address; the answer's status is 2xx or a refusal that the caller understands.

        Raises ProviderUnavailable after about a minute, or where the provider asks for a long wait,
        ProviderRefused where it does not accept the credentials, and WrongAddress where it is not the provider.
        """
        renewed = False
        tries = _Tries()
        while True:
            await self.auth.prepare()
            await pace()
            generation = self.auth.generation
            began = self.monotonic()
            try:
                answer = await self.transport.get(url, {**self.extra_headers, **self.auth.headers()})
            except NoAnswer as error:
                fault, wait = str(error), None
            else:
                foreign = self._foreign(answer)
                if foreign is not None and (300 <= answer.status < 500 or not self.answered):
                    raise WrongAddress(f"{self._name}: {foreign}; {self.address}")
                if answer.status == 401 and foreign is None:
                    self.auth.invalidate(generation)
                    await self.auth.prepare()
                    if renewed or self.auth.generation == generation:
                        refusal = self.says("does not accept the credentials", answer)
                        raise ProviderRefused(f"{refusal}; {self.auth.advice}")
                    renewed = True
                    continue
                self.heed(answer)
                if foreign is None and not _for_now(answer.status):
                    self.answered = True
                    return answer
                fault, wait = foreign or self.words(answer), asked_wait(answer, self.clock())
            tries.count(self.monotonic() - began)
            await self._wait(tries, fault, wait)

    def says(self, what: str, answer: Answer) -> str:
        """Word an error about an answer: the account, what was refused, and the provider's own text."""
        return f"{self._name} {what}: {self.words(answer)}"

    def words(self, answer: Answer) -> str:
        """Return the status and the provider's own text, safe to show."""
        told = self.tell(answer)
        parts = (told.code, told.message)
        said = sanitise(" ".join(part for part in parts if part), self.auth.secrets())
        return f"HTTP {answer.status}" + (f" ({said})" if said else "")

    def _foreign(self, answer: Answer) -> str | None:
        """Tell why an answer cannot be the provider's; None where it can."""
        status = answer.status
        if 300 <= status < 400:
            return f"its address redirects (HTTP {status}), which the API never does"
        if status == NETWORK_LOGIN or (not _for_now(status) and is_page(answer)):
            return f"{WEB_PAGE}, or the address is another site's (HTTP {status})"
        if status == 404 and self.tell(answer).code not in self.known_404:
            return f"there is no such API at its address ({self.words(answer)})"
        if status in (401, 403) and self.tell(answer).code is None:
            return f"what answers ({self.words(answer)}) has none of the API's error codes, so it is not the API"
        if status == 200 and unmarked(answer.body)[:1] not in (b"{", b"["):
            return "what answers (HTTP 200) is not JSON, so it is not the API"
        return None

    @property
    def _name(self) -> str:
        return f"account {self.account!r}: {self.provider}"

    async def _wait(self, tries: "_Tries", fault: str, until: datetime | None) -> None:
        """Wait as long as the provider asked, else twice as long as the last time. Raises ProviderUnavailable."""
        if until is not None:
            wait = max((until - self.clock()).total_seconds(), 0.0)
            if tries.asked_s + wait > LONGEST_WAIT_S:
                moment = f"{until:%Y-%m-%d %H:%M:%S} UTC"
                raise ProviderUnavailable(f"{self._name} asks to wait until {moment}: {fault}; run again then")
            tries.asked_s += wait
        else:
            wait = min(2.0 ** (tries.made - 1), LONGEST_BACKOFF_S, PATIENCE_S - tries.lost_s)
            tries.lost_s += wait
        if tries.made == TRIES or (until is None and wait < _SHORTEST_BACKOFF_S):
            raise ProviderUnavailable(
                f"{self._name} did not answer a read in {tries.made} tries: {fault}; try again later"
            )
        if tries.lost_s + tries.asked_s > SILENT_S:
            logger().warning(
                "read_retried", account=self.account, fault=fault, tries=tries.made, wait_s=round(wait, 1)
            )
        await self.sleep(wait)


@dataclass(slots=True)
class _Tries:
    """How often one read was tried, what that has cost, and how long the provider has asked to wait."""

    made: int = 0
    lost_s: float = 0.0
    asked_s: float = 0.0

    def count(self, took_s: float) -> None:
        self.made += 1
        self.lost_s += took_s


class Paging:
    """The way through one listing, which must lead on and never back; `what` names the listing in errors."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._seen: set[str] = set()
        self._pages = 0
        self._users = 0

    def page(self, users: int) -> None:
        """Count a page and the users on it."""
        self._pages += 1
        self._users += users

    def turn(self, *cursors: str | None) -> None:
        """Take what leads to the next page. Raises ListingFault where any of it led to a page before."""
        known = {cursor for cursor in cursors if cursor}
        if not self._seen.isdisjoint(known):
            raise ListingFault(
                f"{self._what} does not move on: page {self._pages:,} leads back to one before it, after "
                f"{self._users:,} users; try again later, and ask the provider's support if it stays so"
            )
        self._seen |= known


def _for_now(status: int) -> bool:
    return status in (408, 409, 429) or status >= 500

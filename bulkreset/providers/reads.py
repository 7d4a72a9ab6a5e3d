"""Reads outside of tasks: paid from the quota like writes, renewed once on a 401, repeated a few times."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from bulkreset.errors import ProviderRefused, ProviderUnavailable
from bulkreset.providers.answers import Told, asked_wait, is_page
from bulkreset.providers.base import Answer, Auth, Pace, sanitise
from bulkreset.providers.http import NoAnswer, ReadTransport

TRIES: Final = 8  # waits of 1, 2, 4 … 30 s between them: longer than any per-minute window
LONGEST_BACKOFF: Final = timedelta(seconds=30)
NETWORK_LOGIN: Final = 511  # Network Authentication Required (RFC 6585): a captive portal
LONGEST_WAIT: Final = timedelta(minutes=5)  # a provider that asks for more is away, as far as a read goes


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

    async def get(self, url: str, pace: Pace) -> Answer:
        """Fetch one address; the answer's status is 2xx or a refusal that the caller understands.

        Raises ProviderUnavailable after some tries or where the provider asks for a long wait,
        ProviderRefused where it does not accept the credentials, and WrongAddress where it is not the provider.
        """
        renewed = False
        for attempt in range(TRIES):
            await self.auth.prepare()
            await pace()
            generation = self.auth.generation
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
            if attempt < TRIES - 1:
                await self._wait(attempt, wait)
        raise ProviderUnavailable(f"{self._name} did not answer a read in {TRIES} tries: {fault}; try again later")

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
        if status == NETWORK_LOGIN or (status < 500 and is_page(answer)):
            return f"a web page answers (HTTP {status}): another site, a proxy or a network's sign-in page"
        if status == 404 and self.tell(answer).code not in self.known_404:
            return f"there is no such API at its address ({self.words(answer)})"
        if status == 200 and answer.body.lstrip()[:1] not in (b"{", b"["):
            return "what answers (HTTP 200) is not JSON, so it is not the API"
        return None

    @property
    def _name(self) -> str:
        return f"account {self.account!r}: {self.provider}"

    async def _wait(self, attempt: int, until: datetime | None) -> None:
        """Wait as long as the provider asked, else twice as long as the last time."""
        wait = min(timedelta(seconds=2**attempt), LONGEST_BACKOFF)
        if until is not None:
            wait = until - self.clock()
            if wait > LONGEST_WAIT:
                moment = f"{until:%Y-%m-%d %H:%M:%S} UTC"
                raise ProviderUnavailable(f"{self._name} asks to wait until {moment}; run again then")
        await self.sleep(max(wait.total_seconds(), 0.0))


def _for_now(status: int) -> bool:
    return status in (408, 409, 429) or status >= 500

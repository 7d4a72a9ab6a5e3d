"""Reads outside of tasks: paid from the quota like writes, renewed once on a 401, repeated a few times."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from bulkreset.errors import ProviderRefused, ProviderUnavailable
from bulkreset.providers.answers import Told, asked_wait
from bulkreset.providers.base import Answer, Auth, Pace, sanitise
from bulkreset.providers.http import NoAnswer, ReadTransport

TRIES: Final = 8  # waits of 1, 2, 4 … 30 s between them: longer than any per-minute window
LONGEST_BACKOFF: Final = timedelta(seconds=30)
LONGEST_WAIT: Final = timedelta(minutes=5)  # a provider that asks for more is away, as far as a read goes

Sleep = Callable[[float], Awaitable[object]]
Clock = Callable[[], datetime]


@dataclass(frozen=True, slots=True)
class Reader:
    """Fetches for one account; `provider` is the name that errors call it by."""

    account: str
    provider: str
    auth: Auth
    transport: ReadTransport
    tell: Callable[[Answer], Told]
    sleep: Sleep
    clock: Clock
    extra_headers: Mapping[str, str] = field(default_factory=dict)

    async def get(self, url: str, pace: Pace) -> Answer:
        """Fetch one address; the answer's status is 2xx or a refusal that the caller understands.

        Raises ProviderUnavailable after some tries or where the provider asks for a long wait, and
        ProviderRefused where it does not accept the credentials.
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
                if answer.status == 401:
                    self.auth.invalidate(generation)
                    await self.auth.prepare()
                    if renewed or self.auth.generation == generation:
                        raise ProviderRefused(self.says("does not accept the credentials", answer))
                    renewed = True
                    continue
                if not _for_now(answer.status):
                    return answer
                fault, wait = self.words(answer), asked_wait(answer, self.clock())
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

"""What every lane of a worker shares."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from bulkreset.passwords.policy import Wishes
from bulkreset.providers.http import WriteTransport
from bulkreset.runner.handling import Guard
from bulkreset.runner.recorder import Recorder
from bulkreset.store.claims import Sealer
from bulkreset.store.engine import Store


@dataclass(frozen=True, slots=True)
class Context:
    """The parts and settings of a worker that its lanes use."""

    store: Store
    transport: WriteTransport
    recorder: Recorder
    sealer: Sealer
    guard: Guard
    worker: str
    http_timeout: timedelta
    poll_interval: float
    concurrency: int
    wishes: Wishes
    allows: Callable[[str], bool] = lambda _: True  # whether this worker may work on an account now
    workers: Callable[[str], int] = lambda _: 1  # how many work on an account, this one counted
    suspect: Callable[[], None] = lambda: None  # called where a claim met a row that is not as it was written

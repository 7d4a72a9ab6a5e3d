"""What commands share: the configuration, the store, the master key, and the process's environment."""

import shutil
import sys
from collections.abc import AsyncIterator, Coroutine, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TextIO, TypeVar

if TYPE_CHECKING:
    from bulkreset.cli.identity import Person
    from bulkreset.config import Settings
    from bulkreset.intake.watchlist import Watchlist
    from bulkreset.passwords.vault import MasterKey
    from bulkreset.providers.http import ReadTransport, WriteTransport
    from bulkreset.store.engine import Store

# Connections beside the runner's own: logins, policies, listings.
_READS = 16

T = TypeVar("T")
W = TypeVar("W", "ReadTransport", "WriteTransport")


@dataclass(frozen=True, slots=True)
class Invocation:
    """The options of every command; without a `config` it is looked for."""

    config: Path | None
    debug: bool

    def settings(self, *, told: bool = True) -> "Settings":
        """Read the configuration file. Raises ConfigError, where no account could go on without the fault.

        Which accounts cannot be used is `told` at once; a command of one account only is told by its own error.
        """
        from bulkreset.config import load
        from bulkreset.config.discovery import find

        settings = load(self.config or find(), spare_others=True)
        for account, fault in settings.broken.items() if told else ():
            _tell_broken(account, fault)
        return settings


@cache  # a command may read its configuration twice
def _tell_broken(account: str, fault: str) -> None:
    from bulkreset.cli.output import say
    from bulkreset.report.words import broken_account

    say(f"bulkreset: {broken_account(account, fault)}", rest="  ", out=sys.stderr)


def start(work: Coroutine[Any, Any, T]) -> T:
    """Run a command's work to its end."""
    import asyncio

    return asyncio.run(work)


@asynccontextmanager
async def opened(settings: "Settings", *, busy_s: float | None = None) -> AsyncIterator["Store"]:
    """Open the configured database; its tables must fit. Another writer is waited for `busy_s` seconds."""
    from bulkreset.store.engine import open_store

    store = await open_store(settings.database, settings.base, busy_s=busy_s)
    try:
        yield store
    finally:
        await store.close()


@asynccontextmanager
async def transport(kind: "type[W]", settings: "Settings") -> AsyncIterator["W"]:
    """Open the way to the providers, as configured."""
    from datetime import timedelta

    from bulkreset.providers.connections import MOST_READY
    from bulkreset.providers.http import open_transport

    http = settings.http
    async with open_transport(
        kind,
        total_timeout=timedelta(seconds=http.total_timeout),
        connect_timeout=timedelta(seconds=http.connect_timeout),
        # Each account keeps to its own concurrency; the pool must never be what one account takes from another.
        connections=(settings.runner.concurrency + MOST_READY) * max(1, len(settings.accounts)) + _READS,
        ca_file=None if http.ca_file is None else settings.base / http.ca_file,
        trust_env=http.trust_env,
    ) as way:
        yield way


def columns_of(out: TextIO) -> int | None:
    """Return how wide the terminal is that this is written to, or None where it is none."""
    return shutil.get_terminal_size().columns if out.isatty() else None


def possible_id(batch_id: int) -> int:
    """Refuse a batch number that no database can hold."""
    from bulkreset.errors import NoSuchBatch

    if batch_id >= 2**63:
        raise NoSuchBatch(batch_id)
    return batch_id


def known_words(kind: str, words: Iterable[str] | None, known: Iterable[str]) -> list[str]:
    """Refuse a word that is none of those there are, and name these; `kind` is what they are."""
    from bulkreset.errors import UsageError

    names, chosen = dict.fromkeys(known), list(words or ())  # Python 3.11 looks no text up in an Enum itself
    for word in chosen:
        if word not in names:
            raise UsageError(f"there is no {kind} {word!r}; {kind}s are: {', '.join(names)}")
    return chosen


def master_key(settings: "Settings", *, spare_others: bool = False) -> "MasterKey":
    """Read the master key, and those beside it. Raises ConfigError.

    With `spare_others` one of `other_keys` that cannot be read is only logged: the batches that need it will stop.
    """
    from bulkreset.errors import ConfigError
    from bulkreset.logs import logger
    from bulkreset.passwords.vault import MasterKey

    base, others = settings.base, []
    for other in settings.passwords.other_keys:
        try:
            others.append(MasterKey.parse(other.read(base, "passwords.other_keys")))
        except ConfigError as error:
            if not spare_others:
                raise
            logger().error("key_unreadable", reason=str(error))
    return MasterKey.parse(settings.passwords.key.read(base, "passwords.key")).beside(others)


def guard(settings: "Settings") -> "Watchlist":
    """Return who tells of an account's users whether one is protected."""
    from bulkreset.intake.watchlist import Watchlist

    return Watchlist(settings)


def can_ask() -> bool:
    """Tell whether a person is there: a terminal to read from and one to ask on."""
    return sys.stdin is not None and sys.stdin.isatty() and sys.stderr is not None and sys.stderr.isatty()


def confirm(question: str, *, yes: bool) -> None:
    """Ask before what is final. Raises UsageError for a no, and where nobody can be asked without --yes."""
    from bulkreset.cli.output import ask
    from bulkreset.errors import UsageError

    if yes:
        return
    if not can_ask():
        raise UsageError(f"{question} It is final, and nobody is here to ask: say --yes")
    if not ask(question):
        raise UsageError("not confirmed; nothing was changed")


def acting(settings: "Settings") -> "Person":
    """Return who gives this command, and from which login."""
    return _acting(tuple(settings.approvals.service_accounts))


def person(settings: "Settings") -> str:
    """Return the name of who gives this command, as it is recorded."""
    return acting(settings).name


@lru_cache(maxsize=1)  # what is ignored is said once
def _acting(service_accounts: tuple[str, ...]) -> "Person":
    from bulkreset.cli import identity

    return identity.current(service_accounts)


def log_level() -> Literal["debug", "info", "warning", "error"]:
    """Return BULKRESET_LOG_LEVEL, `info` by default. Raises ConfigError for a word that is no level."""
    from pydantic import ValidationError
    from pydantic_settings import BaseSettings, SettingsConfigDict

    from bulkreset.errors import ConfigError

    class Environment(BaseSettings):
        model_config = SettingsConfigDict(env_prefix="BULKRESET_", hide_input_in_errors=True)

        log_level: Literal["debug", "info", "warning", "error"] = "info"

    try:
        return Environment().log_level
    except ValidationError:
        raise ConfigError("BULKRESET_LOG_LEVEL must be debug, info, warning or error") from None

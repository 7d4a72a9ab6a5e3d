"""The whole of `config.toml`, and how an account becomes the settings of its kind of provider."""

from datetime import timedelta
from pathlib import Path
from typing import Annotated

from pydantic import Field, PlainValidator
from pydantic_core import PydanticCustomError

from bulkreset.errors import BrokenAccount, ConfigError
from bulkreset.providers import kind_named
from bulkreset.settings import (
    AccountSettings,
    ApprovalSettings,
    DatabaseSettings,
    HttpSettings,
    PasswordSettings,
    RunnerSettings,
    Table,
)

NO_PROVIDER = "no_provider"
"""The kind of fault of an account that names no provider."""

UNKNOWN_PROVIDER = "unknown_provider"
"""The kind of fault of an account whose provider there is none of; `provider` in its context is the name."""

BAD_PLUG_IN = "bad_plug_in"
"""The kind of fault of an account whose provider another package brings, and that one cannot be used."""


def _of_its_kind(value: object) -> AccountSettings:
    """Read an account's table by the settings of the provider that it names."""
    if isinstance(value, AccountSettings):
        return value
    if not isinstance(value, dict):
        raise PydanticCustomError("model_type", "must be a table")
    name = value.get("provider")
    if name is None:
        raise PydanticCustomError(NO_PROVIDER, "has no provider")
    try:
        kind = kind_named(name) if isinstance(name, str) else None
    except ConfigError as error:
        raise PydanticCustomError(BAD_PLUG_IN, "{reason}", {"reason": str(error)}) from None
    if kind is None:
        raise PydanticCustomError(UNKNOWN_PROVIDER, "there is no such provider", {"provider": name})
    return kind.settings.model_validate(value)


class Settings(Table):
    """The whole configuration.

    `base` is the folder that relative paths count from. `broken` says of accounts that are not among the others
    what is wrong with them.
    """

    base: Path = Path()
    broken: dict[str, str] = Field(default_factory=dict)
    database: DatabaseSettings = DatabaseSettings()
    passwords: PasswordSettings
    http: HttpSettings = HttpSettings()
    runner: RunnerSettings = RunnerSettings()
    approvals: ApprovalSettings = ApprovalSettings()
    accounts: dict[str, Annotated[AccountSettings, PlainValidator(_of_its_kind)]] = Field(default_factory=dict)

    def account(self, name: str) -> AccountSettings:
        """Return one account's settings. Raises BrokenAccount, and ConfigError where there is no such account."""
        if name in self.broken:
            raise BrokenAccount(self.broken[name])
        try:
            return self.accounts[name]
        except KeyError:
            known = ", ".join(sorted(self.accounts)) or "none"
            raise ConfigError(f"no account {name!r} in the configuration; there is: {known}") from None

    @property
    def http_timeout(self) -> timedelta:
        """Return the bound on one whole call."""
        return timedelta(seconds=self.http.total_timeout)

"""The tables that `config.toml` is made of, but for those of single providers, with their bounds and defaults.

Secrets are never inline: `{ env = "NAME" }` or `{ file = "PATH" }` says where they are, and they are read only
when an account is really used. Relative paths, the database's too, count from the configuration file's
folder, so that cron and a shell in another folder see the same database.
"""

import os
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from bulkreset.errors import ConfigError
from bulkreset.limits.rates import Rate
from bulkreset.passwords.keyfile import read_secret_file
from bulkreset.passwords.policy import LONGEST, PREFERRED_LENGTH, Style, Wishes
from bulkreset.secret import Secret


def _no_boolean(value: object) -> object:
    """Refuse `true` where a number belongs: Python would take it for 1."""
    if isinstance(value, bool):
        raise ValueError("must be a number")  # noqa: TRY004  (pydantic takes no TypeError for a fault)
    return value


Number = BeforeValidator(_no_boolean)
"""Goes before the bounds of every number."""

Share = Annotated[float, Number, Field(gt=0, le=1)]
CallRate = Annotated[float, Number, Field(ge=0.01, le=100_000_000, allow_inf_nan=False)]
Seconds = Annotated[float, Number, Field(gt=0, le=3600)]


class Table(BaseModel):
    """One table of the file: no key but those that it has, and none that changes once it is read."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class SecretSource(Table):
    """Where a secret is kept: an environment variable or a file that only its owner can read."""

    env: str | None = None
    file: Path | None = None

    @model_validator(mode="after")
    def _one_of(self) -> Self:
        if (self.env is None) == (self.file is None):
            raise ValueError('must be { env = "NAME" } or { file = "PATH" }')
        return self

    def read(self, base: Path, what: str) -> Secret:
        """Fetch the secret; `what` names it in the error. Raises ConfigError."""
        if self.file is not None:
            return read_secret_file(base / self.file)
        assert self.env is not None
        value = os.environ.get(self.env)
        if not value:
            raise ConfigError(f"{what}: the environment variable {self.env} is not set; set it and try again")
        return Secret(value)


class DatabaseSettings(Table):
    """Where the job table is; all but `url` is for PostgreSQL.

    `pooled` says that a pooler hands out server connections a transaction at a time, as PgBouncer's transaction
    mode does.
    """

    url: str | SecretSource = "sqlite:///bulkreset.db"
    password: SecretSource | None = None
    pooled: bool = False
    connections: Annotated[int, Number, Field(ge=2, le=100)] = 5


class PasswordSettings(Table):
    """How passwords are sealed until their outcome is known, and how they look.

    `key` is the master key. `other_keys` open what they sealed and seal nothing: the one before or the one to
    come, in an exchange of keys. `length`, in characters, and `style` give way to an account's policy.
    """

    key: SecretSource
    other_keys: list[SecretSource] = []
    length: Annotated[int, Number, Field(ge=PREFERRED_LENGTH, le=LONGEST)] | None = None
    style: Style = Style.CHARACTERS

    @property
    def wishes(self) -> Wishes:
        """Return what is wanted of passwords beyond an account's policy."""
        return Wishes(self.length or 0, self.style)


class HttpSettings(Table):
    """How providers are reached; times in seconds."""

    total_timeout: Seconds = 30
    connect_timeout: Seconds = 10
    ca_file: Path | None = None
    trust_env: bool = False


class RunnerSettings(Table):
    """How a runner works; the defaults suit every plan in the tables."""

    poll_interval: Seconds = 2
    concurrency: Annotated[int, Number, Field(ge=1, le=5000)] = 500


class ApprovalSettings(Table):
    """Whom SUDO_USER is believed of: beside root the service accounts whose shells people reach by sudo alone."""

    service_accounts: list[str] = []


class ProtectedFile(Table):
    """Where the list of an account's protected users is kept: a users file, read anew at each use."""

    file: Path


class AccountSettings(Table, ABC):
    """What every account has; each kind of provider adds what it needs.

    `share` is the part of the provider's limit that is used. `owner` is the address of the account's owner, where
    the provider's listing does not tell them from other admins. `protected` names users, by address or id, who are
    never reset; the word "none" says that there are none. `require_approval` is how many people beside the
    requester must approve a batch before it starts, and `allow_emergency` whether one may be ordered without them.
    """

    provider: str
    plan: str | None = None
    share: Share = 0.9
    owner: str | None = None
    protected: Literal["none"] | list[str] | ProtectedFile | None = None
    require_approval: Annotated[int, Number, Field(ge=0, le=10)] = 0
    allow_emergency: bool = False

    @property
    @abstractmethod
    def address(self) -> str:
        """Return the address that the account is reached at."""

    @property
    @abstractmethod
    def labels(self) -> tuple[str, ...]:
        """Return the names of the account's limits."""

    @abstractmethod
    def rate(self, label: str) -> Rate:
        """Return what this job may use of the label's limit."""

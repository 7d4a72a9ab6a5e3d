"""The tables and keys of `config.toml`, with their bounds and defaults.

Secrets are never inline: `{ env = "NAME" }` or `{ file = "PATH" }` says where they are, and they are read only
when an account is really used. Relative paths, the database's too, count from the configuration file's
folder, so that cron and a shell in another folder see the same database.
"""

import os
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from bulkreset.config.addresses import Subdomain, TokenEmail, WebAddress, ZendeskAddress
from bulkreset.errors import BrokenAccount, ConfigError
from bulkreset.limits.rates import MINUTE, SECOND, ZENDESK, ZOOM, Rate
from bulkreset.passwords.keyfile import read_secret_file
from bulkreset.passwords.policy import LONGEST, PREFERRED_LENGTH, Style, Wishes
from bulkreset.secret import Secret


def _no_boolean(value: object) -> object:
    """Refuse `true` where a number belongs: Python would take it for 1."""
    if isinstance(value, bool):
        raise ValueError("must be a number")  # noqa: TRY004  (pydantic takes no TypeError for a fault)
    return value


_Number = BeforeValidator(_no_boolean)
Share = Annotated[float, _Number, Field(gt=0, le=1)]
CallRate = Annotated[float, _Number, Field(ge=0.01, le=100_000_000, allow_inf_nan=False)]
Seconds = Annotated[float, _Number, Field(gt=0, le=3600)]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class SecretSource(_Table):
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


class DatabaseSettings(_Table):
    """Where the job table is; all but `url` is for PostgreSQL.

    `pooled` says that a pooler hands out server connections a transaction at a time, as PgBouncer's transaction
    mode does.
    """

    url: str | SecretSource = "sqlite:///bulkreset.db"
    password: SecretSource | None = None
    pooled: bool = False
    connections: Annotated[int, _Number, Field(ge=2, le=100)] = 5


class PasswordSettings(_Table):
    """How passwords are sealed until their outcome is known, and how they look.

    `key` is the master key. `other_keys` open what they sealed and seal nothing: the one before or the one to
    come, in an exchange of keys. `length`, in characters, and `style` give way to an account's policy.
    """

    key: SecretSource
    other_keys: list[SecretSource] = []
    length: Annotated[int, _Number, Field(ge=PREFERRED_LENGTH, le=LONGEST)] | None = None
    style: Style = Style.CHARACTERS

    @property
    def wishes(self) -> Wishes:
        """Return what is wanted of passwords beyond an account's policy."""
        return Wishes(self.length or 0, self.style)


class HttpSettings(_Table):
    """How providers are reached; times in seconds."""

    total_timeout: Seconds = 30
    connect_timeout: Seconds = 10
    ca_file: Path | None = None
    trust_env: bool = False


class RunnerSettings(_Table):
    """How a runner works; the defaults suit every plan in the tables."""

    poll_interval: Seconds = 2
    concurrency: Annotated[int, _Number, Field(ge=1, le=5000)] = 500


class ApprovalSettings(_Table):
    """Whom SUDO_USER is believed of: beside root the service accounts whose shells people reach by sudo alone."""

    service_accounts: list[str] = []


class ProtectedFile(_Table):
    """Where the list of an account's protected users is kept: a users file, read anew at each use."""

    file: Path


class _Account(_Table):
    """What every account has, whoever its provider is.

    `protected` names users, by address or id, who are never reset; the word "none" says that there are none.
    `require_approval` is how many people beside the requester must approve a batch before it starts, and
    `allow_emergency` whether one may be ordered without them.
    """

    protected: Literal["none"] | list[str] | ProtectedFile | None = None
    require_approval: Annotated[int, _Number, Field(ge=0, le=10)] = 0
    allow_emergency: bool = False


class ZoomSettings(_Account):
    """One Zoom account, reached as a server-to-server OAuth app."""

    provider: Literal["zoom"]
    plan: Literal["free", "pro", "business"] = "pro"
    share: Share = 0.9
    requests_per_second: CallRate | None = None
    account_id: str
    client_id: SecretSource | str
    client_secret: SecretSource
    api_url: WebAddress = "https://api.zoom.us/v2"
    oauth_url: WebAddress = "https://zoom.us/oauth/token"

    @property
    def labels(self) -> tuple[str, ...]:
        """Return the names of the account's limits."""
        return tuple(ZOOM[self.plan])

    def rate(self, label: str) -> Rate:
        """Return what this job may use of the label's limit; an own contract's number replaces Medium."""
        if self.requests_per_second is not None and label == "medium":
            return Rate(self.requests_per_second, SECOND).shared(self.share)
        return ZOOM[self.plan][label].shared(self.share)


class ZendeskSettings(_Account):
    """One Zendesk account, reached as an OAuth client, with an OAuth token, or with an API token while these last.

    `owner` is the address of the account's owner, whom Zendesk's listing does not tell from other admins.
    `token_lifetime` is how many seconds each token of the OAuth client is asked to live.
    """

    provider: Literal["zendesk"]
    owner: str | None = None
    subdomain: Subdomain | None = None
    api_url: ZendeskAddress | None = None
    plan: str | None = None
    requests_per_minute: CallRate | None = None
    share: Share = 0.9
    client_id: SecretSource | str | None = None
    client_secret: SecretSource | None = None
    token_lifetime: Annotated[int, _Number, Field(gt=300, lt=172_800)] | None = None
    oauth_token: SecretSource | None = None
    email: TokenEmail | None = None
    api_token: SecretSource | None = None

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if (self.subdomain is None) == (self.api_url is None):
            raise ValueError("needs either subdomain or api_url")
        if (self.plan is None) == (self.requests_per_minute is None):
            raise ValueError("needs either plan or requests_per_minute")
        if self.plan is not None and self.plan not in ZENDESK:
            raise ValueError(f"plan must be one of {', '.join(ZENDESK)}")
        if (self.client_id is None) != (self.client_secret is None):
            raise ValueError("needs both client_id and client_secret of the OAuth client")
        if [self.client_secret, self.oauth_token, self.api_token].count(None) != 2:
            raise ValueError(
                "needs one login: client_id and client_secret, or oauth_token, or api_token (with email)"
            )
        if self.token_lifetime is not None and self.client_secret is None:
            raise ValueError("token_lifetime goes with client_id and client_secret only")
        if self.api_token is not None and self.email is None:
            raise ValueError("api_token needs email, the address of the admin it acts for")
        return self

    @property
    def address(self) -> str:
        """Return the account's own address."""
        return self.api_url or f"https://{self.subdomain}.zendesk.com"

    @property
    def labels(self) -> tuple[str, ...]:
        """Return the names of the account's limits."""
        return ("default",)

    def rate(self, label: str) -> Rate:
        """Return what this job may use of the account's one pot; the label is always `default`."""
        assert label == "default"
        if self.requests_per_minute is not None:
            return Rate(self.requests_per_minute, MINUTE).shared(self.share)
        assert self.plan is not None
        return ZENDESK[self.plan].shared(self.share)


AccountSettings = Annotated[ZoomSettings | ZendeskSettings, Field(discriminator="provider")]


class Settings(_Table):
    """The whole configuration.

    `base` is the folder that relative paths count from. `broken` says of accounts that are not among the others
    what is wrong with them.
    """

    base: Path = Path()
    broken: dict[str, str] = {}
    database: DatabaseSettings = DatabaseSettings()
    passwords: PasswordSettings
    http: HttpSettings = HttpSettings()
    runner: RunnerSettings = RunnerSettings()
    approvals: ApprovalSettings = ApprovalSettings()
    accounts: dict[str, AccountSettings] = {}

    def account(self, name: str) -> ZoomSettings | ZendeskSettings:
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

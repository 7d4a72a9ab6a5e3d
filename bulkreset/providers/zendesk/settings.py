"""A Zendesk account in `config.toml`, and Zendesk's published limits by plan.

One quota per account and minute (developer.zendesk.com/api-reference/introduction/rate-limits); the high-volume
add-on gives 2,500 in all.
"""

import re
from collections.abc import Mapping
from typing import Annotated, Final, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from bulkreset.limits.rates import MINUTE, Rate
from bulkreset.model import Action
from bulkreset.settings import AccountSettings, CallRate, Number, SecretSource, WebAddress

PLANS: Final[dict[str, Rate]] = {
    "essential": Rate(10, MINUTE),
    "team": Rate(200, MINUTE),
    "growth": Rate(400, MINUTE),
    "professional": Rate(400, MINUTE),
    "enterprise": Rate(700, MINUTE),
    "enterprise_plus": Rate(2_500, MINUTE),
    "high_volume": Rate(2_500, MINUTE),
}

LABELS: Final[Mapping[Action, str]] = dict.fromkeys(Action, "default")
"""The limit that a call of each action is counted under: one for all."""


def _zendesk_address(url: str) -> str:
    """Refuse what other clients want in an address: the API's path, or a page of the account."""
    parts = urlsplit(url)
    path = parts.path.rstrip("/")
    home = f"{parts.scheme}://{parts.netloc}"
    if re.search(r"/api(/|$)", path):
        before = path[: path.index("/api")]
        raise ValueError(f'is the account\'s own address, to which /api/v2 is added: write "{home}{before}"')
    if path and (parts.hostname or "").endswith(".zendesk.com"):
        raise ValueError(f'is the account\'s own address, without a path: write "{home}"')
    return url


def _subdomain(name: str) -> str:
    """Take the first part of example.zendesk.com, and nothing else."""
    if re.fullmatch(r"[a-z0-9][a-z0-9-]*", name):
        return name
    first = re.match(r"(?:https?://)?([a-z0-9][a-z0-9-]*)\.zendesk\.com\b", name.strip().lower())
    if first:
        raise ValueError(f'is the first part only of the address: write "{first[1]}"')
    raise ValueError('is the first part of https://example.zendesk.com: write "example", or use api_url')


def _token_email(email: str) -> str:
    if email.strip().lower().endswith("/token"):
        raise ValueError(f'is the address alone: write "{email.strip()[:-6]}", /token is added')
    return email


ZendeskAddress = Annotated[WebAddress, AfterValidator(_zendesk_address)]
Subdomain = Annotated[str, AfterValidator(_subdomain)]
TokenEmail = Annotated[str, AfterValidator(_token_email)]


class ZendeskSettings(AccountSettings):
    """One Zendesk account, reached as an OAuth client, with an OAuth token, or with an API token while these last.

    `token_lifetime` is how many seconds each token of the OAuth client is asked to live.
    """

    provider: Literal["zendesk"]
    subdomain: Subdomain | None = None
    api_url: ZendeskAddress | None = None
    requests_per_minute: CallRate | None = None
    client_id: SecretSource | str | None = None
    client_secret: SecretSource | None = None
    token_lifetime: Annotated[int, Number, Field(gt=300, lt=172_800)] | None = None
    oauth_token: SecretSource | None = None
    email: TokenEmail | None = None
    api_token: SecretSource | None = None

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if (self.subdomain is None) == (self.api_url is None):
            raise ValueError("needs either subdomain or api_url")
        if (self.plan is None) == (self.requests_per_minute is None):
            raise ValueError("needs either plan or requests_per_minute")
        if self.plan is not None and self.plan not in PLANS:
            raise ValueError(f"plan must be one of {', '.join(PLANS)}")
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
        """Return what this job may use of the account's one quota; the label is always `default`."""
        assert label == "default"
        if self.requests_per_minute is not None:
            return Rate(self.requests_per_minute, MINUTE).shared(self.share)
        assert self.plan is not None
        return PLANS[self.plan].shared(self.share)

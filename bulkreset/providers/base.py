"""What every provider module offers: build a call, classify an answer, log in, read the policy, list users.

A provider never sends a write by itself. It builds a `Call`; the runner sends it, once, and hands the
`Answer` back to `classify`, which is pure. Reads outside of tasks (policy, listing) take a `Pace`, so that
they are paid from the same quota as the writes.
"""

import html
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Protocol
from urllib.parse import quote, quote_plus

from bulkreset.limits.rates import Rate
from bulkreset.model import Action, Verdict
from bulkreset.passwords.policy import Policy
from bulkreset.secret import MASK, Secret
from bulkreset.unsafe import cleaned

MESSAGE_LIMIT = 500  # characters of provider text that are kept

EXPORT_AS_TEXT = "format the column as text and export it again"
"""What helps where a spreadsheet has taken an id for a number."""

Pace = Callable[[], Awaitable[None]]
"""Wait until one more call may leave under the account's quota."""


@dataclass(frozen=True, slots=True)
class Call:
    """One request, complete but for the credentials. `body` may hold a password: it has no repr."""

    method: str
    url: str
    body: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Answer:
    """A complete answer, never longer than the transport's limit. Header names are lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)


class Role(StrEnum):
    """What a user may do at the account, as far as it matters here."""

    OWNER = "owner"
    ADMIN = "admin"
    AGENT = "agent"  # works for the account, and manages nobody
    MEMBER = "member"


class Status(StrEnum):
    """Whether a user can sign in."""

    ACTIVE = "active"
    INACTIVE = "inactive"
    PENDING = "pending"  # invited, and has not come yet
    SUSPENDED = "suspended"


@dataclass(frozen=True, slots=True)
class DirectoryUser:
    """A user as the provider's own listing shows it; None where it does not say."""

    user_id: str
    email: str | None
    role: Role | None = None
    status: Status | None = None
    groups: tuple[str, ...] = ()
    created_at: datetime | None = None
    last_login_at: datetime | None = None
    bot: bool = False


@dataclass(frozen=True, slots=True)
class Login:
    """How a user signs in: whether a password set here is of any use, and if not, why not."""

    resettable: bool
    reason: str | None = None
    sso: bool = False


class Remark(StrEnum):
    """What a finding that stops nothing is, where it is more than well."""

    WARNING = "warning"  # a reset goes through, and somebody should act
    UNKNOWN = "unknown"  # it cannot be read; the first call tells


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of `bulkreset check`: what was looked at, whether it would let a reset through, and why."""

    topic: str
    ok: bool
    detail: str
    remark: Remark | None = None


@dataclass(frozen=True, slots=True)
class Checkup:
    """What `check` found, and the password policy that it read on the way; None where that could not be had."""

    findings: tuple[Finding, ...]
    policy: Policy | None = None

    @property
    def failures(self) -> tuple[str, ...]:
        """What would stop a reset, a line each."""
        return tuple(f"{finding.topic}: {finding.detail}" for finding in self.findings if not finding.ok)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What stops nothing, and somebody should act on, a line each."""
        return tuple(
            f"{finding.topic}: {finding.detail}"
            for finding in self.findings
            if finding.ok and finding.remark is Remark.WARNING
        )


class Auth(Protocol):
    """The credentials of one account, ready to be put on a request.

    `generation` counts the credentials used so far, so that a 401 for an old token can be told from one
    for the current token.
    """

    generation: int

    @property
    def warning(self) -> str | None:
        """What somebody should know about credentials of this kind, though they serve."""

    @property
    def ends_at(self) -> datetime | None:
        """When the credentials end and are not renewed by themselves; None where they do not, or none knows."""

    @property
    def advice(self) -> str:
        """What to do where the provider refuses the credentials at hand, renewed or not."""

    async def prepare(self) -> None:
        """Have usable credentials at hand, renewing them where they are about to end or their file has changed.

        Raises ProviderUnavailable where they cannot be had for now, ProviderRefused where they never will.
        """

    def headers(self) -> Mapping[str, str]:
        """Return the headers that carry the credentials; call `prepare` before."""

    def invalidate(self, generation: int) -> None:
        """Drop the credentials of that generation, if they are still the current ones."""

    def secrets(self) -> Iterable[str]:
        """Return the clear values that must be masked in anything the provider says."""


class Provider(Protocol):
    """One account at one kind of provider."""

    account: str

    @property
    def ids_required(self) -> bool:
        """Whether the API takes ids only, so that addresses must be looked up first."""

    @property
    def tells_limit(self) -> bool:
        """Whether every answer tells the account's own limit."""

    @property
    def auth(self) -> Auth:
        """The credentials of the account."""

    @property
    def base_url(self) -> str:
        """What the address of every call begins with."""

    def label(self, action: Action) -> str:
        """Return the rate class that a call of this action is counted under."""

    def check_ref(self, user_ref: str) -> str | None:
        """Return why this user reference cannot be one of this provider's, or None."""

    def set_password(self, user_ref: str, password: Secret) -> Call:
        """Build the call that sets this user's password."""

    def classify(self, answer: Answer, *, now: datetime, mask: Iterable[str] = ()) -> Verdict:
        """Say what an answer to `set_password` means. Pure: the same answer always gives the same verdict."""

    def revoke_sessions(self, user_ref: str) -> Call:
        """Build the call that ends this user's sessions."""

    def classify_revocation(self, answer: Answer, *, now: datetime, mask: Iterable[str] = ()) -> Verdict:
        """Say what an answer to `revoke_sessions` means. Pure."""

    async def policy(self, pace: Pace) -> Policy:
        """Read the account's password policy; the strictest safe one where it cannot be read."""

    def told_rate(self, label: str) -> Rate | None:
        """Return the account's own limit under a label, as the provider told it last; None before it did."""

    async def check(self, pace: Pace, *, revokes: bool = False) -> Checkup:
        """Log in and look for all that would refuse a reset, or the end of sessions too; sends no write."""

    def directory(self, pace: Pace) -> AsyncIterator[list[DirectoryUser]]:
        """List the account's users, a page at a time, empty ones too; a user may come twice where it began anew.

        Raises ListingFault where it leads back to a page before.
        """

    async def headcount(self, pace: Pace) -> int:
        """Return how many users the account has by the provider's own count: what a listing is held against."""

    async def me(self, pace: Pace) -> DirectoryUser | None:
        """Return the user that the credentials act as; None where they act as nobody in the directory."""

    async def login(self, user_ref: str, pace: Pace) -> Login | None:
        """Ask how one user signs in; None where the provider does not tell or knows no such user."""


_ESCAPE = re.compile(r"[\\&%+]")
"""What every other spelling of a secret holds: JSON's backslash, HTML's ampersand, a URL's percent and plus."""


def sanitise(text: str, mask: Iterable[str] = ()) -> str:
    """Make provider text safe to store and show: secrets masked, unsafe characters out, 500 characters."""
    spellings = {secret for secret in mask if secret}
    if _ESCAPE.search(text):  # most texts hold none, and this runs for every answer
        spellings.update(*map(_spellings, spellings))
    for spelling in sorted(spellings, key=len, reverse=True):  # one may be a part of another
        text = text.replace(spelling, MASK)
    text = cleaned(text)
    return text if len(text) <= MESSAGE_LIMIT else text[: MESSAGE_LIMIT - 1] + "…"


_HEX = re.compile(r"%[0-9A-F]{2}")


def _spellings(secret: str) -> Iterable[str]:
    """Yield a secret as an answer may echo it: as it is, in JSON, in HTML, in a URL or a form."""
    page = html.escape(secret)
    urls = (quote(secret, safe="", errors="replace"), quote_plus(secret, errors="replace"))
    return (
        secret,
        json.dumps(secret)[1:-1],
        json.dumps(secret)[1:-1].replace("/", "\\/"),  # PHP's form
        json.dumps(secret, ensure_ascii=False)[1:-1],
        page,
        page.replace("&#x27;", "&#39;"),
        page.replace("&#x27;", "&#39;").replace("&quot;", "&#34;"),  # Go's form
        *urls,
        *(_HEX.sub(lambda found: found[0].lower(), url) for url in urls),  # .NET's form
    )

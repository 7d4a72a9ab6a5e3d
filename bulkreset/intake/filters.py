"""Which users of an account an order for all of them means: by role, status, domain, group and two dates."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Self

from bulkreset.address import folded, folded_domain
from bulkreset.errors import InputError
from bulkreset.providers.base import DirectoryUser
from bulkreset.providers.kind import ProviderKind


@dataclass(frozen=True, slots=True)
class Filters:
    """What a user must be to be meant. Each empty field means everybody; several words in one mean any of them.

    What the listing does not say of somebody keeps them: a reset that leaves people out unseen is worse than
    one that takes in a few too many. `undecided` tells who was kept so. An address that does not exist is no
    such case: without one a user is in no domain, and without groups in no group.
    """

    roles: tuple[str, ...] = ()
    statuses: tuple[str, ...] = ()
    domains: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    created_before: datetime | None = None
    last_login_after: datetime | None = None
    login_lag: timedelta = timedelta(0)

    def keeps(self, user: DirectoryUser) -> bool:
        """Tell whether this user is meant; domains are compared folded and whole, never by their end."""
        return all(verdict is not False for verdict in self._verdicts(user))

    def undecided(self, user: DirectoryUser) -> bool:
        """Tell whether this user is kept, and at least once only because the listing does not say."""
        verdicts = self._verdicts(user)
        return None in verdicts and False not in verdicts

    def as_dict(self) -> dict[str, Any]:
        """Return the filters as JSON can hold them; empty where everybody is meant."""
        told: dict[str, Any] = {name: list(words) for name in _WORDS if (words := getattr(self, name))}
        told |= {name: moment.isoformat() for name in _TIMES if (moment := getattr(self, name)) is not None}
        if self.last_login_after is not None and self.login_lag:
            told["login_lag_s"] = int(self.login_lag.total_seconds())
        return told

    @classmethod
    def from_dict(cls, told: Mapping[str, Any]) -> Self:
        """Read what `as_dict` returned."""
        values: dict[str, Any] = {name: tuple(told[name]) for name in _WORDS if name in told}
        values |= {name: datetime.fromisoformat(told[name]) for name in _TIMES if name in told}
        if "domains" in values:  # an older version folded less
            values["domains"] = tuple(map(folded_domain, values["domains"]))
        return cls(**values, login_lag=timedelta(seconds=told.get("login_lag_s", 0)))

    def _verdicts(self, user: DirectoryUser) -> tuple[bool | None, ...]:
        """Ask each filter; None where the listing does not say."""
        login = None if user.last_login_at is None else user.last_login_at + self.login_lag
        return (
            _among(user.role, self.roles),
            _among(user.status, self.statuses),
            not self.domains or _domain(user.email) in self.domains,
            not self.groups or not set(self.groups).isdisjoint(user.groups),
            _holds(self.created_before, user.created_at, before=True),
            _holds(self.last_login_after, login, before=False),
        )


def filters_for(
    kind: ProviderKind,
    *,
    roles: Iterable[str] = (),
    statuses: Iterable[str] = (),
    domains: Iterable[str] = (),
    groups: Iterable[str] = (),
    created_before: datetime | None = None,
    last_login_after: datetime | None = None,
) -> Filters:
    """Make the filters for a kind of provider from words as people write them.

    Raises InputError that names the words there are where one is not among them, where a domain is none, and
    where the provider's listing says nothing about groups.
    """
    groups = tuple(dict.fromkeys(group.strip() for group in groups))
    can = kind.capabilities
    if groups and not can.groups:
        raise InputError(f"{kind.name}'s listing does not say who is in which group; leave the group out")
    if "" in groups:
        raise InputError("a group is named by its id, as the provider shows it; one is empty")
    return Filters(
        roles=_known("role", roles, can.roles, kind.name),
        statuses=_known("status", statuses, can.statuses, kind.name),
        domains=tuple(dict.fromkeys(map(_plain_domain, domains))),
        groups=groups,
        created_before=_utc(created_before),
        last_login_after=_utc(last_login_after),
        login_lag=can.login_lag if last_login_after is not None else timedelta(0),
    )


_WORDS: Final = ("roles", "statuses", "domains", "groups")
_TIMES: Final = ("created_before", "last_login_after")


def _known(what: str, words: Iterable[str], allowed: Iterable[str], provider: str) -> tuple[str, ...]:
    known = [str(word) for word in allowed]
    chosen = tuple(dict.fromkeys(word.strip().casefold() for word in words))
    for word in chosen:
        if word not in known:
            raise InputError(f"there is no {what} {word!r} at {provider}; there is: {', '.join(known) or 'none'}")
    return chosen


def _plain_domain(text: str) -> str:
    told = text.strip().removeprefix("@")
    domain = folded_domain(told)
    if "." not in domain.strip(".") or "@" in domain or not told.isprintable() or " " in told:
        raise InputError(f"{text!r} is not a domain; write it as in an address, such as example.com")
    return domain


def _domain(email: str | None) -> str | None:
    return None if email is None else folded(email).rpartition("@")[2]


def _among(value: str | None, allowed: tuple[str, ...]) -> bool | None:
    if not allowed:
        return True
    return None if value is None else value in allowed


def _holds(limit: datetime | None, moment: datetime | None, *, before: bool) -> bool | None:
    if limit is None:
        return True
    if moment is None:
        return None
    return moment < limit if before else moment >= limit


def _utc(moment: datetime | None) -> datetime | None:
    if moment is None:
        return None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)

"""What an account's calls are paid from, and how long so many of them take."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from bulkreset.limits.quota import US, Spacing
from bulkreset.limits.ramp import extra_s
from bulkreset.limits.rates import Rate
from bulkreset.model import Action, Quota
from bulkreset.providers.base import Pace, Provider
from bulkreset.settings import AccountSettings
from bulkreset.store.engine import Store
from bulkreset.store.pace import Pacer

_DAY_S: Final = 86_400


@dataclass(frozen=True, slots=True)
class Ways:
    """The two quotas that an account's calls are paid from, which are one at some providers."""

    label: str
    light_label: str
    spacing: Spacing
    light_spacing: Spacing
    pace: Pace
    light_pace: Pace

    @classmethod
    def of(cls, store: Store, name: str, account: AccountSettings, provider: Provider) -> "Ways":
        """Find the quotas of an account at its provider, and a pace for each."""
        label, light_label = provider.label(Action.SET_PASSWORD), provider.label(Action.REVOKE_SESSIONS)
        spacing, light_spacing = (Spacing.of(rate_of(account, provider, each)) for each in (label, light_label))
        pace = Pacer(store, Quota(name, label), spacing)
        light_pace = Pacer(store, Quota(name, light_label), light_spacing)
        return cls(label, light_label, spacing, light_spacing, pace, light_pace)

    @property
    def one_pot(self) -> bool:
        """Whether resets and the ends of sessions are counted together."""
        return self.label == self.light_label

    def estimate(self, resets: int, ends: int, *, ramp_s: int = 0) -> float:
        """Return how many seconds these calls take at the account's limits, side by side where there are two."""
        heavy = resets + ends if self.one_pot else resets
        took = estimate(heavy, self.spacing) + extra_s(heavy, ramp_s, interval_us=self.spacing.interval_us)
        return took if self.one_pot else max(took, estimate(ends, self.light_spacing))


def rate_of(account: AccountSettings, provider: Provider, label: str) -> Rate:
    """Return what may be used of a label's limit: of the configured one, or a lower one that the provider told."""
    told = provider.told_rate(label)
    return account.rate(label).at_most(None if told is None else told.shared(account.share))


def lower_limit(account: AccountSettings, provider: Provider, label: str) -> str | None:
    """Say that the provider tells a lower limit than is configured; None where it does not."""
    rate, told = account.rate(label), provider.told_rate(label)
    kept = rate_of(account, provider, label)
    if told is None or kept == rate:
        return None
    return (
        f"the provider tells {told} as the account's own limit, which {rate} by the configuration would cross: "
        f"{kept} is kept; correct the plan or number there"
    )


def ends_before(provider: Provider, starts_at: datetime, takes_s: float) -> str | None:
    """Say that a login that is not renewed ends before so much work is done; None where it does not."""
    ends_at = provider.auth.ends_at
    if ends_at is None or ends_at >= starts_at + timedelta(seconds=takes_s):
        return None
    return (
        f"the token ends {ends_at:%Y-%m-%d %H:%M} UTC, before the batch does, and is not renewed: make a longer "
        "one, or an OAuth client (client_id and client_secret), which renews its own"
    )


def estimate(calls: int, spacing: Spacing) -> float:
    """Return how many seconds this many calls take, whole days of waiting for a daily limit included."""
    days = 0
    if spacing.daily is not None and calls > 0:
        days = (calls - 1) // spacing.daily
        calls -= days * spacing.daily
    return round(days * _DAY_S + calls * spacing.interval_us / US, 1)

"""Whether an order may be placed at all: its words, its options, and what the account's configuration asks."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from bulkreset.errors import ConfigError, InputError
from bulkreset.intake.concerns import Concern
from bulkreset.intake.filters import Filters
from bulkreset.intake.protection import Protected
from bulkreset.intake.users_file import UserLine
from bulkreset.options import Options
from bulkreset.providers import kind_of
from bulkreset.settings import AccountSettings
from bulkreset.unsafe import named

LONGEST_REASON: Final = 1_000
LONGEST_RAMP_S: Final = 86_400
LONGEST_ESCROW_DAYS: Final = 365


_PLAIN: Final = Options()


@dataclass(frozen=True, slots=True)
class Order:
    """Who orders a reset of which account, why, of whom beyond a users file, and how it is to be worked on.

    `all_users` are the filters of an order for the account's own users; `first` are the people to do before all
    others. `skip_if_reset_since` leaves out whom another batch has reset since then, and `check_logins` asks for
    each user how they sign in, at the cost of a call each. Without `preflight` the account is not listed, and
    nobody is known to be an admin, an owner or away: for a provider only that refuses these calls by itself.
    `accepts` is what the orderer has accepted beforehand, `login` the login that they gave the order from.
    """

    account: str
    incident: str
    reason: str
    requester: str
    not_before: datetime | None = None
    all_users: Filters | None = None
    options: Options = _PLAIN
    first: tuple[UserLine, ...] = ()
    skip_if_reset_since: datetime | None = None
    check_logins: bool = False
    preflight: bool = True
    emergency: bool = False
    accepts: frozenset[Concern] = frozenset()
    login: str | None = None


def check(order: Order, account: AccountSettings, protected: Protected | None) -> None:
    """Refuse what cannot be ordered, before the account is asked for anything.

    Raises InputError for what the orderer must change, and ConfigError for what the configuration does not
    allow or does not say.
    """
    _check_words(order)
    _check_options(order.options)
    place = f"accounts.{order.account}"
    if order.all_users is not None and protected is None:
        raise ConfigError(
            f'{place}: name the users who are never reset as `protected`, or write protected = "none"; '
            "an order for all users needs one of them"
        )
    if order.emergency and not account.allow_emergency:
        raise ConfigError(f"{place}: an emergency order needs allow_emergency = true; or have it approved")
    kind = kind_of(account)
    if order.options.include_admins and account.owner is None and not kind.capabilities.tells_owner:
        raise ConfigError(
            f"{place}: {kind.title} does not tell the account's owner from other admins; name the owner's address "
            "as `owner` before you order a reset of admins"
        )
    if not order.preflight and not kind.capabilities.refuses_admins:
        raise InputError(
            f"account {order.account!r}: only the listing tells {kind.title}'s admins from other users; order it "
            "with the preflight"
        )


def check_canary(options: Options, total: int) -> None:
    """Refuse more canaries than there are people. Raises InputError."""
    if options.canary > total:
        raise InputError(
            f"{options.canary:,} canaries are more than the {total:,} users of the roster; order fewer"
        )


def _check_words(order: Order) -> None:
    told = (
        ("incident", order.incident, 200),
        ("reason", order.reason, LONGEST_REASON),
        ("requester", order.requester, 200),
    )
    for name, text, limit in told:
        if not text.strip():
            raise InputError(f"the {name} is empty; those who read the trail later need it")
        if not text.isprintable() and any("\ud800" <= letter <= "\udfff" for letter in text):
            raise InputError(f"the {name} is not UTF-8 text; write it anew")
        if len(text) > limit or any(letter in text for letter in "\r\n"):
            raise InputError(f"the {name} must be one line of at most {limit} characters")
        if (letter := named(text)) is not None:  # whoever approves it must see what is there
            raise InputError(f"the {name} holds a character that nobody can see, {letter}; write it without")


def _check_options(options: Options) -> None:
    bounds = (
        (options.canary >= 0, "the number of canaries is 0 or more"),
        (0 <= options.ramp_s <= LONGEST_RAMP_S, f"a ramp lasts 0 to {LONGEST_RAMP_S:,} seconds"),
        (0 < options.halt_at <= 1, "the share of failures that halts a batch is above 0 and at most 1"),
        (
            1 <= options.escrow_days <= LONGEST_ESCROW_DAYS,
            f"passwords are kept in escrow for 1 to {LONGEST_ESCROW_DAYS} days",
        ),
        (options.canary > 0 or not options.hold_after_canary, "a hold after the canaries needs canaries"),
    )
    for met, rule in bounds:
        if not met:
            raise InputError(f"{rule}; correct the order")

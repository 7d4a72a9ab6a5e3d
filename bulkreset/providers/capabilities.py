"""What a kind of provider tells and refuses by itself: nothing by default, so that the unknown is spared."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import timedelta

from bulkreset.providers.base import Role, Status


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What is declared of a kind of provider, with its source beside it. Every default is the careful one.

    `roles` and `statuses` are those that its listing tells apart, and `groups` whether it says who is in which.
    `login_lag` is how far the last sign-in that it shows may lie behind.

    `refuses_admins`: the API itself refuses to reset the owner and admins, so that an order need not know who they
    are; without it somebody whose role is not told counts as an admin, and nobody is reset whom the account does
    not list. `tells_owner`: the listing tells the owner from other admins; without it the owner must be named in
    the configuration before admins are reset.

    `resets_inactive`: users who are inactive are called as well; without it they are skipped, and `inactive` says
    what that means. `count_exact_below` is the number of users from which the provider's own count may be a day
    old; None where it never is.
    """

    roles: Collection[Role] = ()
    statuses: Collection[Status] = ()
    groups: bool = False
    login_lag: timedelta = timedelta(0)
    refuses_admins: bool = False
    tells_owner: bool = False
    resets_inactive: bool = False
    inactive: str = "inactive: cannot sign in"
    count_exact_below: int | None = None

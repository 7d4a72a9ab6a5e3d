"""Who gives a command: the user of the system, the person behind sudo where that can be believed, and the login.

SUDO_USER is a variable that anybody can set, so it counts only where sudo itself must have set it (for root) and
for service accounts that the configuration names, whose shells people reach through sudo alone. The login is what
the kernel holds for a session (pam_loginuid, audit(7)): no command changes it, not even sudo or su.
"""

import os
import pwd
import sys
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bulkreset.cli.output import say
from bulkreset.unsafe import escaped

LOGIN_UID: Final = Path("/proc/self/loginuid")
UNSET: Final = 2**32 - 1
"""The login uid of what no login has started: a service, a container."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the system says about this process; `uid_of` tells the uid of a user, None where there is none."""

    uid: int
    user: str
    login_uid: int | None
    login_user: str | None
    environment: Mapping[str, str]
    uid_of: Callable[[str], int | None]


@dataclass(frozen=True, slots=True)
class Person:
    """Who acts, as it is recorded: the name, and the login where the system has one."""

    name: str
    login: str | None = None
    ignored: str | None = None  # why SUDO_USER does not count


def person_of(around: Surroundings, service_accounts: Collection[str] = ()) -> Person:
    """Say who acts. Pure."""
    login = None
    if around.login_uid is not None:
        # With the name: uid 1000 is somebody else on every laptop.
        login = f"{around.login_user or '?'} (uid {around.login_uid})"
    behind = around.environment.get("SUDO_USER", "")
    if not behind or behind == around.user:
        return Person(around.user, login)
    shown = escaped(behind)[:64]
    uid = around.uid_of(behind)
    told = around.environment.get("SUDO_UID")
    if around.uid != 0 and around.user not in service_accounts:
        why = f"{around.user} is neither root nor one of approvals.service_accounts"
    elif uid is None:
        why = "the system has no such user"
    elif told != str(uid) and (told is not None or around.uid == 0):
        why = "SUDO_UID is not that user's, so that sudo has not set it"
    else:
        return Person(f"{shown} (as {around.user})", login)
    return Person(around.user, login, f"SUDO_USER={shown!r} is ignored: {why}")


def surroundings() -> Surroundings:
    """Ask the system."""
    uid, login_uid = os.geteuid(), _login_uid()
    login_user = None if login_uid is None else _name_of(login_uid)
    return Surroundings(uid, _name_of(uid) or f"uid {uid}", login_uid, login_user, os.environ, _uid_of)


def current(service_accounts: Collection[str] = ()) -> Person:
    """Return who gives this command; say on standard error where SUDO_USER does not count."""
    found = person_of(surroundings(), service_accounts)
    if found.ignored is not None:
        say(f"bulkreset: {found.ignored}; you act as {found.name}", rest="  ", out=sys.stderr)
    return found


def _login_uid() -> int | None:
    try:
        uid = int(LOGIN_UID.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None
    return None if uid == UNSET else uid


def _name_of(uid: int) -> str | None:
    try:
        return pwd.getpwuid(uid).pw_name
    except (KeyError, OverflowError):
        return None


def _uid_of(name: str) -> int | None:
    try:
        return pwd.getpwnam(name).pw_uid
    except (KeyError, ValueError):  # ValueError: a NUL
        return None

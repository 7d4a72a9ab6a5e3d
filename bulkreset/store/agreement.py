"""Agreement: workers whose configurations of an account differ do not work on it side by side.

Each worker tells what its configuration says of each account. Who differs from a worker that has begun waits until
that one has gone; of several that have not begun, the first to arrive begins. Two that have begun can differ only
where a list of protected users changed under them: then both wait, so that nobody on either list is reset, until
the lists agree again or one of them has gone.
"""

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from bulkreset.store.engine import Store
from bulkreset.store.tables import worker, worker_account

LEASE: Final = timedelta(seconds=30)
"""How long a worker that is not seen any more still counts."""

TOLD_EVERY: Final = timedelta(seconds=5)
"""How often a worker says that it is there."""

_KEPT_FOR: Final = timedelta(days=1)
# What the limits are made of, by the names that the configuration has for it.
_OF_LIMITS: Final = ("plan", "share", "requests_per_second", "requests_per_minute")
_RULES: Final = ("require_approval", "allow_emergency")


@dataclass(frozen=True, slots=True)
class Member:
    """A worker at an account, with what its configuration says; `began_at` is None until its turn came."""

    account: str
    worker: str
    arrived_at: datetime
    seen_at: datetime
    began_at: datetime | None
    settings: Mapping[str, Any]

    def is_there(self, now: datetime) -> bool:
        """Whether it has told of itself within a lease."""
        return self.seen_at > now - LEASE


@dataclass(frozen=True, slots=True)
class Difference:
    """A value that differs: as this worker has it, and as another has it."""

    key: str
    here: str
    there: str


@dataclass(frozen=True, slots=True)
class Obstacle:
    """Why a worker waits at an account: another one, and what differs."""

    account: str
    worker: str
    other: str
    differences: tuple[Difference, ...]

    def __str__(self) -> str:
        return "; ".join(
            f"{one.key} is {one.here} here and {one.there} at {self.other}" for one in self.differences
        )


async def arrive(store: Store, name: str, settings: Mapping[str, str]) -> None:
    """Tell what a worker's configuration says of each account, instead of what an earlier one of its name told."""
    async with store.write() as conn:
        now = await store.now(conn)
        gone = (worker_account.c.worker == name) | (worker_account.c.seen_at < now - _KEPT_FOR)
        await conn.execute(delete(worker_account).where(gone))
        for account, told in settings.items():
            await conn.execute(
                insert(worker_account).values(
                    account=account, worker=name, arrived_at=now, seen_at=now, settings=told
                )
            )


async def leave(store: Store, name: str) -> None:
    """Let others work that differ from this worker, which has ended."""
    async with store.write() as conn:
        await conn.execute(delete(worker_account).where(worker_account.c.worker == name))


async def renew(store: Store, name: str, settings: Mapping[str, str]) -> dict[str, list[Obstacle]]:
    """Say that a worker is there, with what its configuration says now; return the accounts where it must wait.

    A worker that was away for longer than a lease has lost its place. Whoever decides holds the account's rows, so
    two that differ never begin at once.
    """
    async with store.write() as conn:
        ours = worker_account.c.account.in_(settings)
        rows = (
            select(worker_account.c.worker).where(ours).order_by(worker_account.c.account, worker_account.c.worker)
        )
        await conn.execute(rows.with_for_update())
        now = await store.now(conn)
        await conn.execute(update(worker).where(worker.c.name == name).values(seen_at=now, ended_at=None))
        members = await at_work(conn, settings)
        waits: dict[str, list[Obstacle]] = {}
        for one in [member for member in members if member.worker == name]:
            told = settings[one.account]
            lost = not one.is_there(now)
            began_at = None if lost else one.began_at
            me = Member(one.account, name, now if lost else one.arrived_at, now, began_at, _read(told))
            found = [] if store.exclusive else obstacles(me, members, now)
            if found:
                waits[one.account] = found
            elif began_at is None:
                began_at = now
            await conn.execute(
                update(worker_account)
                .where(worker_account.c.account == one.account, worker_account.c.worker == name)
                .values(arrived_at=me.arrived_at, seen_at=now, began_at=began_at, settings=told)
            )
        return waits


async def at_work(conn: AsyncConnection, accounts: Collection[str] | None = None) -> list[Member]:
    """Return the workers at these accounts, or at all."""
    wanted = select(*(worker_account.c[name] for name in _COLUMNS))
    if accounts is not None:
        wanted = wanted.where(worker_account.c.account.in_(accounts))
    rows = await conn.execute(wanted.order_by(worker_account.c.account, worker_account.c.worker))
    return [
        Member(account, name, arrived_at, seen_at, began_at, _read(told))
        for account, name, arrived_at, seen_at, began_at, told in rows
    ]


def obstacles(me: Member, members: Iterable[Member], now: datetime) -> list[Obstacle]:
    """Return the workers that this one must wait for. Pure.

    Where anybody has begun, only those who have count; a stranger that waits holds nobody up.
    """
    there = [one for one in members if one.account == me.account and one.is_there(now)]
    others = [one for one in there if one.worker != me.worker]
    if me.began_at is not None or any(one.began_at is not None for one in others):
        first = [one for one in others if one.began_at is not None]
    else:
        first = [one for one in others if (one.arrived_at, one.worker) < (me.arrived_at, me.worker)]
    differing = ((other, tuple(differences(me.settings, other.settings))) for other in first)
    return [Obstacle(me.account, me.worker, other.worker, found) for other, found in differing if found]


def differences(here: Mapping[str, Any], there: Mapping[str, Any]) -> list[Difference]:
    """Return what differs between two configurations of an account. Pure.

    Limits are compared as they come out: two plans with one limit are no difference.
    """
    found: list[Difference] = []
    if not here or not there:
        return [Difference("the row of its configuration", _whole(here), _whole(there))]
    if here["limits"] != there["limits"]:
        keys = [key for key in _OF_LIMITS if here.get(key) != there.get(key)]
        found += [Difference(key, _text(here.get(key)), _text(there.get(key))) for key in keys]
        if not keys:
            found.append(Difference("limits", _text(here["limits"]), _text(there["limits"])))
    if here["protected"] != there["protected"]:
        found.append(Difference("protected", str(here["protected"]), str(there["protected"])))
    found += [Difference(key, _text(here[key]), _text(there[key])) for key in _RULES if here[key] != there[key]]
    return found


def waiting(members: Iterable[Member], now: datetime) -> list[Obstacle]:
    """Return every worker that is there and waits, with what it waits for. Pure."""
    known = list(members)
    return [found for one in known if one.is_there(now) for found in obstacles(one, known, now)]


_COLUMNS: Final = ("account", "worker", "arrived_at", "seen_at", "began_at", "settings")


_KEYS: Final = {"limits", "protected", *_RULES}


def _read(told: Any) -> Mapping[str, Any]:
    """Read what a worker told; nothing where that cannot be read, which differs from all that can."""
    try:
        found = json.loads(told)
    except (TypeError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) and found.keys() >= _KEYS else {}


def _whole(settings: Mapping[str, Any]) -> str:
    return "whole" if settings else "damaged"


def _text(value: Any) -> str:
    return "not set" if value is None else value if isinstance(value, str) else json.dumps(value)

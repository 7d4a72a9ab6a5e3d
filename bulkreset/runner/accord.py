"""A worker's part in the agreement of all: it tells what its configuration says, and waits where it must."""

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Mapping
from time import monotonic
from typing import Any, Final

from bulkreset.config import Settings
from bulkreset.errors import BulkresetError, StoreError
from bulkreset.logs import logger
from bulkreset.runner.handling import Guard
from bulkreset.store import agreement
from bulkreset.store.agreement import LEASE, TOLD_EVERY, Obstacle
from bulkreset.store.engine import Store

_LOOK_EVERY_S: Final = 1.0
_SAY_EVERY_S: Final = 60.0
# Others may take this worker for gone after a lease; it stops well before.
_GOOD_FOR_S: Final = LEASE.total_seconds() - 2 * TOLD_EVERY.total_seconds()

Yield = Callable[[str], None]
"""Called with an account on which nothing more may be sent by this worker."""


class Accord:
    """Tells of the accounts that this worker may work on; `allows` is false where another one differs.

    A worker that could not say for a while that it is there may not work either: others may have begun.
    """

    def __init__(
        self, store: Store, name: str, settings: Settings, guard: Guard, accounts: frozenset[str], give_up: Yield
    ) -> None:
        self._store = store
        self._name = name
        self._settings = settings
        self._guard = guard
        self._accounts = sorted(accounts & settings.accounts.keys() if accounts else settings.accounts)
        self._give_up = give_up
        self._told: dict[str, str] = {}
        self._renewed_at = -_GOOD_FOR_S
        self._waits: dict[str, tuple[float, list[Obstacle]]] = {}  # since when, and for whom
        self._said_at: dict[str, float] = {}
        self._seen: Counter[str] | None = None

    async def arrive(self) -> None:
        """Tell what is configured, and find out where to wait. Raises StoreError."""
        self._told = self._fingerprints()
        await agreement.arrive(self._store, self._name, self._told)
        await self._renew(self._told)

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            await asyncio.sleep(_LOOK_EVERY_S)
            await self.step()

    async def step(self) -> None:
        """Look once whether anything changed, here or at another worker."""
        told = self._fingerprints()
        try:
            if told != self._told or self._waits or monotonic() - self._renewed_at >= TOLD_EVERY.total_seconds():
                await self._renew(told)
            elif not self._store.exclusive:
                async with self._store.read() as conn:
                    now = await self._store.now(conn)
                    members = await agreement.at_work(conn, self._accounts)
                self._seen = Counter(one.account for one in members if one.is_there(now))
                if any(one.worker == self._name for one in agreement.waiting(members, now)):
                    await self._renew(told)
        except StoreError:
            return  # reported by the worker's own looks; what was allowed ends by itself

    async def leave(self) -> None:
        """Let others begin. Raises StoreError."""
        await agreement.leave(self._store, self._name)

    def allows(self, account: str) -> bool:
        """Whether this worker may work on an account now."""
        return account not in self._waits and monotonic() - self._renewed_at < _GOOD_FOR_S

    def workers(self, account: str) -> int:
        """Return how many workers are at an account, with this one; before it has looked there may be another."""
        if self._store.exclusive:
            return 1
        return 2 if self._seen is None else max(1, self._seen[account])

    def gave_up(self, account: str) -> bool:
        """Whether it has waited for so long that whoever it waits for is surely still there."""
        return account in self._waits and monotonic() - self._waits[account][0] > LEASE.total_seconds()

    async def _renew(self, told: Mapping[str, str]) -> None:
        began = monotonic()
        waits = await agreement.renew(self._store, self._name, told)
        self._told, self._renewed_at = dict(told), began
        for account in self._waits.keys() - waits.keys():
            del self._waits[account]
            self._said_at.pop(account, None)
            logger().info("configurations_agree", account=account)
        for account, obstacles in waits.items():
            since = self._waits[account][0] if account in self._waits else began
            self._waits[account] = since, obstacles
            if since == began:
                self._give_up(account)
            if began - self._said_at.get(account, -_SAY_EVERY_S) >= _SAY_EVERY_S:
                self._said_at[account] = began
                logger().warning(
                    "configurations_differ",
                    account=account,
                    worker=self._name,
                    others=[one.other for one in obstacles],
                    reason=f"nothing is sent from here: {'; '.join(map(str, obstacles))}",
                )

    def _fingerprints(self) -> dict[str, str]:
        return {account: json.dumps(self._fingerprint(account), sort_keys=True) for account in self._accounts}

    def _fingerprint(self, account: str) -> dict[str, Any]:
        configured = self._settings.account(account)
        try:
            protected = self._guard.digest(account)
        except BulkresetError:  # the lane says so, and sends nothing
            protected = "a list that cannot be read"
        return {
            "limits": {label: str(configured.rate(label)) for label in configured.labels},
            "plan": configured.plan,
            "share": configured.share,
            "requests_per_second": getattr(configured, "requests_per_second", None),
            "requests_per_minute": getattr(configured, "requests_per_minute", None),
            "protected": protected,
            "require_approval": configured.require_approval,
            "allow_emergency": configured.allow_emergency,
        }

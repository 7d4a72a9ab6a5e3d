"""Looks for damaged rows: when a worker starts, where a claim met one, and now and then."""

from collections.abc import Callable
from time import monotonic
from typing import Final

from bulkreset.logs import logger
from bulkreset.store import damage
from bulkreset.store.engine import Store
from bulkreset.store.faults import Labels

_EVERY_S: Final = 300.0
# A claim fails for other reasons too, again and again while a database is away.
_SOONEST_S: Final = 1.0


class Inspection:
    """Marks what is damaged, so that it stops itself alone; `step` is called at every poll.

    All that is not finished is read for it: about a second for 200,000 users on two slow cores.
    """

    def __init__(self, store: Store, labels: Labels, now: Callable[[], float] = monotonic) -> None:
        self._store = store
        self._labels = labels
        self._now = now
        self._looked_at = -_EVERY_S
        self._suspected = False

    def suspect(self) -> None:
        """Have it looked soon: something could not be read."""
        self._suspected = True

    async def step(self) -> None:
        """Look, where it is time to. Raises StoreError."""
        if self._now() - self._looked_at < (_SOONEST_S if self._suspected else _EVERY_S):
            return
        found = await damage.mark(self._store, self._labels)
        self._looked_at, self._suspected = self._now(), False
        for which, what in found.quotas.items():
            logger().error("quota_damaged", account=which.account, label=which.label, reason=what)
        for batch_id, what in found.batches.items():
            logger().error("batch_damaged", batch=batch_id, reason=what)
        for batch_id, n in found.gone.items():
            logger().error("users_gone", batch=batch_id, users=n)
        for task_id, what in found.tasks.items():
            logger().error("task_damaged", task=task_id, reason=what)
        for request_id, what in found.requests.items():
            logger().error("request_damaged", request=request_id, reason=what)

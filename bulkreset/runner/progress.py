"""The run as its log tells it: batches taken up, paused, halted, done, and their progress once a minute."""

from collections.abc import Callable, Collection
from time import monotonic
from typing import Final

from sqlalchemy import or_, select

from bulkreset.logs import logger
from bulkreset.model import BatchState
from bulkreset.store import batches
from bulkreset.store.engine import Store
from bulkreset.store.tables import batch

EVERY_S: Final = 60.0
_EVENTS: Final = {
    BatchState.OPEN: "batch_resumed",
    BatchState.PAUSED: "batch_paused",
    BatchState.HALTED: "batch_halted",
    BatchState.CANCELLED: "batch_cancelled",
    BatchState.DONE: "batch_done",
}
_LEVELS: Final = {BatchState.HALTED: "error", BatchState.PAUSED: "warning"}


class Progress:
    """Tells what has changed since the last look; `step` is called at every poll and costs one short read."""

    def __init__(self, store: Store, accounts: Collection[str] = (), now: Callable[[], float] = monotonic) -> None:
        self._store = store
        self._accounts = accounts
        self._now = now
        self._states: dict[int, BatchState] = {}
        self._counted_at = now()

    async def step(self) -> None:
        """Look at the batches, and log what is new about them."""
        chosen = [or_(batch.c.state == BatchState.OPEN, batch.c.id.in_(self._states))]
        if self._accounts:
            chosen.append(batch.c.account.in_(self._accounts))
        wanted = select(batch.c.id, batch.c.account, batch.c.incident, batch.c.state, batch.c.state_reason)
        async with self._store.read() as conn:
            rows = (await conn.execute(wanted.where(*chosen).order_by(batch.c.id))).all()
        for row in rows:
            state, known = BatchState.stored(row.state), self._states.get(row.id)
            fields = {"batch": row.id, "account": row.account}
            if known is None:
                logger().info("batch_taken", **fields, incident=row.incident)
            elif state is not known:
                reason = {"reason": row.state_reason} if row.state_reason else {}
                getattr(logger(), _LEVELS.get(state, "info"))(_EVENTS[state], **fields, **reason)
            self._states[row.id] = state
        if self._now() - self._counted_at >= EVERY_S:
            self._counted_at = self._now()
            await self._count([row.id for row in rows if row.state == BatchState.OPEN])
        for row in rows:
            if self._states[row.id].final:
                del self._states[row.id]

    async def _count(self, ids: list[int]) -> None:
        if not ids:
            return
        for one in await batches.find(self._store, ids=ids):
            logger().info(
                "batch_progress",
                batch=one.id,
                account=one.account,
                users=one.total,
                calls_left=one.left,
                outcomes=one.outcomes,
            )

"""Skipped as ordered, or skipped by surprise: whom a batch left out although nobody had said so."""

from collections.abc import Collection
from typing import Final

from sqlalchemy import func, or_, select

from bulkreset.model import Skip, TaskState
from bulkreset.store.engine import Store
from bulkreset.store.tables import task

BY_SURPRISE: Final = frozenset({Skip.NOT_LISTED, Skip.UNREADABLE})
"""Reasons for which somebody who was meant could not be called: as good as a failure."""

BY_ORDER: Final = frozenset(Skip) - BY_SURPRISE
"""Reasons that were known, and told with their numbers, before anything was sent."""


async def surprising(store: Store, batch_ids: Collection[int]) -> int:
    """Count the tasks of these batches that were skipped although nobody had said so: a call found out."""
    if not batch_ids:
        return 0
    async with store.read() as conn:
        counted = await conn.execute(
            select(func.count())
            .select_from(task)
            .where(
                task.c.batch_id.in_(batch_ids),
                task.c.state == TaskState.SKIPPED,
                or_(task.c.code.is_(None), task.c.code.not_in(BY_ORDER)),
            )
        )
        return int(counted.scalar_one())

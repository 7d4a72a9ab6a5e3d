"""What fails in a batch, in the provider's own words: one message for each outcome."""

from dataclasses import dataclass
from typing import Final

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from bulkreset.model import Action, Outcome, TaskState
from bulkreset.store.batches import Batch
from bulkreset.store.rows import readable
from bulkreset.store.tables import task

_MOST: Final = 3
_GOOD: Final = frozenset({Outcome.OK, Outcome.CONFIRMED, Outcome.RELEASED})
# In this order of states an outcome is looked for: what has failed tells more than what is tried again.
_STATES: Final = (TaskState.FAILED, TaskState.PENDING, TaskState.SKIPPED)


@dataclass(frozen=True, slots=True)
class Failure:
    """How many users of a batch came to an outcome, and what the provider said to one of them."""

    outcome: str
    users: int
    message: str | None


async def failures(conn: AsyncConnection, batch: Batch) -> list[Failure]:
    """Return the most frequent outcomes that are no success, each with an example."""
    counted = sorted(
        ((n, outcome) for outcome, n in batch.outcomes.items() if outcome not in _GOOD),
        key=lambda one: (-one[0], one[1]),
    )
    return [Failure(outcome, n, await _example(conn, batch.id, outcome)) for n, outcome in counted[:_MOST]]


async def _example(conn: AsyncConnection, batch_id: int, outcome: str) -> str | None:
    for state in _STATES:
        message: str | None = (
            await conn.execute(
                select(task.c.message)
                .where(
                    task.c.batch_id == batch_id,
                    task.c.state == state,
                    task.c.outcome == outcome,
                    task.c.action == Action.SET_PASSWORD,
                    task.c.message.is_not(None),
                )
                .limit(1)
            )
        ).scalar_one_or_none()
        if message is not None:
            return str(readable(message))
    return None

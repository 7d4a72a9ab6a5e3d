"""Accounts that a worker cannot use: told at their open batches, so that everybody sees why nothing goes on."""

from sqlalchemy import update

from bulkreset.model import BatchState
from bulkreset.store.engine import Store
from bulkreset.store.tables import batch


async def tell(store: Store, account: str, reason: str | None) -> None:
    """Put the reason at the account's open batches, or take it away with None; they stay open for other workers.

    Whatever a batch waits for in another state is left as it is. Harmless to repeat.
    """
    ours = (batch.c.account == account) & (batch.c.state == BatchState.OPEN)
    async with store.write() as conn:
        await conn.execute(
            update(batch).where(ours, batch.c.state_reason.is_distinct_from(reason)).values(state_reason=reason)
        )

"""Another host that reaches the same database: operators order, pause, resume and cancel from here."""

import asyncio

from sqlalchemy import func, select

from bulkreset.cli.context import master_key, transport
from bulkreset.config import load
from bulkreset.errors import ProviderError, StoreError, UsageError
from bulkreset.intake.concerns import Concern
from bulkreset.intake.order import Order, chunks, place
from bulkreset.intake.users_file import user_line
from bulkreset.providers.http import WriteTransport
from bulkreset.store import audit, batches, lifecycle, quotas
from bulkreset.store.engine import open_store
from bulkreset.store.tables import batch, task

WHO = "operator"


class Host:
    """The Store API in the test's own process; every wish is repeated until the database takes it."""

    def __init__(self, config, clock=None):
        self._settings = load(config)
        self._clock = clock

    async def __aenter__(self):
        self._store = await self._open()
        self._way = transport(WriteTransport, self._settings)
        self._transport = await self._way.__aenter__()
        return self

    async def __aexit__(self, *error):
        await self._way.__aexit__(*error)
        await self._store.close()

    async def order(self, account, refs, incident):
        """Order a batch, once, whatever happens in between; return its id."""
        users = [user_line(ref, number, "users") for number, ref in enumerate(refs, 1)]

        async def act():
            # The order before may have been committed although its answer was lost.
            if (found := await self._ordered(incident)) is not None:
                return found
            placed = await place(
                self._store,
                self._settings,
                self._transport,
                master_key(self._settings),
                self._as_ordered(account, incident),
                users=chunks(users),
                excluded=chunks(()),
            )
            return placed.id

        return await self._insist(act)

    def _as_ordered(self, account, incident):
        # Zoom's own refusals of admins and of people who are not here yet are part of the storm; without a look at
        # the account nobody knows of them before. Zendesk's orders need that look.
        looks = self._settings.account(account).provider == "zendesk"
        return Order(account, incident, "a storm", WHO, preflight=looks, accepts=frozenset(Concern))

    async def pause(self, batch_id):
        """Pause a batch; False where it cannot be paused any more."""
        return await self._changed(lambda: lifecycle.pause(self._store, batch_id, WHO), batch_id, {"paused"})

    async def resume(self, batch_id):
        """Resume a batch, unless it runs or has ended."""
        going = {"open", "done", "cancelled"}
        return await self._changed(lambda: lifecycle.resume(self._store, batch_id, WHO), batch_id, going)

    async def cancel(self, batch_id):
        """Cancel a batch; False where it has ended."""
        return await self._changed(lambda: lifecycle.cancel(self._store, batch_id, WHO), batch_id, {"cancelled"})

    async def lift(self, account):
        """Lift an account's halt by resuming a batch of it."""
        while await self.halted(account):
            for found in await self._insist(lambda: batches.find(self._store, unfinished=True)):
                if found.account == account and await self.resume(found.id):
                    break
            await asyncio.sleep(0.1)

    async def resume_all(self):
        """Resume whatever is paused or halted."""
        for found in await self._insist(lambda: batches.find(self._store, unfinished=True)):
            if found.state != "open" or await self.halted(found.account):
                await self.resume(found.id)

    async def halted(self, account):
        """Whether an account is halted."""
        return account in await self._insist(lambda: self._read(quotas.halts))

    async def waiting(self, account):
        """How many tasks of an account are not final."""
        mine = select(func.count()).where(task.c.account == account, task.c.state.in_(("pending", "running")))
        return await self._scalar(mine)

    async def unfinished(self):
        """How many batches still have to end, or to be emptied."""
        return await self._scalar(select(func.count()).select_from(batch).where(batch.c.finished_at.is_(None)))

    async def some_open(self, rng):
        """An open batch, or None."""
        found = await self._insist(lambda: batches.find(self._store, unfinished=True))
        ids = [each.id for each in found if each.state == "open"]
        return rng.choice(ids) if ids else None

    async def breaks(self):
        """Every batch whose audit chain is broken; opens the database anew, so that any loop may ask."""
        store = await self._open()
        try:
            async with store.read() as conn:
                ids = (await conn.execute(select(batch.c.id))).scalars().all()
                found = [(batch_id, await audit.verify(conn, batch_id)) for batch_id in ids]
            return [(batch_id, each.reason) for batch_id, each in found if each is not None]
        finally:
            await store.close()

    async def _open(self):
        return await open_store(self._settings.database, self._settings.base, clock=self._clock)

    async def _changed(self, act, batch_id, wanted):
        try:
            await self._insist(act)
        except UsageError:
            # It may be so already, by a commit whose answer was lost.
            return (await self._insist(lambda: batches.get(self._store, batch_id))).state in wanted
        return True

    async def _ordered(self, incident):
        return await self._scalar(select(batch.c.id).where(batch.c.incident == incident))

    async def _scalar(self, wanted):
        async def ask(conn):
            return (await conn.execute(wanted)).scalar_one_or_none()

        return await self._insist(lambda: self._read(ask))

    async def _read(self, ask):
        async with self._store.read() as conn:
            return await ask(conn)

    async def _insist(self, act):
        while True:
            try:
                return await act()
            except (StoreError, ProviderError):
                await asyncio.sleep(0.3)

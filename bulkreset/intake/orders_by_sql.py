"""Orders by SQL: other systems insert into `batch_request` and `batch_request_user`; this takes them up.

A request that is `ready` becomes a batch exactly as `batch create` would make it, and is marked `accepted`
with the batch's id in the same transaction: a crash in between cannot order a reset twice. One that cannot be
met is `refused` with a line that says why. Where the account only cannot be asked for now, or its configuration
has a fault, the request stays `ready`, with the reason beside it, and is tried again.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from datetime import timedelta
from time import monotonic
from typing import Any, Final

from sqlalchemy import Row, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from bulkreset.config import Settings
from bulkreset.errors import (
    BrokenAccount,
    InputError,
    KeyMismatch,
    ProviderRefused,
    ProviderUnavailable,
    StoreError,
    UsageError,
)
from bulkreset.intake.concerns import Concern
from bulkreset.intake.naming import Naming
from bulkreset.intake.order import Order, chunks, place
from bulkreset.intake.users_file import UserLine, user_line
from bulkreset.logs import logger
from bulkreset.passwords.vault import MasterKey
from bulkreset.providers.http import ReadTransport
from bulkreset.store.column_types import time_of
from bulkreset.store.engine import Store
from bulkreset.store.rows import as_written
from bulkreset.store.tables import batch_request, batch_request_user

_PAGE: Final = 5_000
_AGAIN_AFTER_S: Final = 60.0
# Longer than a listing of a large account at a low limit takes. A worker that dies meanwhile delays it so long.
_TAKEN_FOR: Final = timedelta(minutes=10)


class OrdersBySql:
    """The taker-up of ready requests; call it at every poll."""

    def __init__(self, store: Store, settings: Settings, transport: ReadTransport, master: MasterKey) -> None:
        self._store = store
        self._settings = settings
        self._transport = transport
        self._master = master
        self._later: dict[int, float] = {}  # request id → when it is worth trying again
        self.refused = 0
        self.allows: Callable[[str], bool] = lambda _: True  # whether this worker may take up orders of an account

    async def __call__(self) -> int:
        """Take up every ready request once, the oldest first; return how many became batches."""
        accepted = 0
        for request in await self._ready():
            if not self.allows((request.account or b"").decode("utf-8", "replace")):
                continue
            if self._later.get(request.id, 0) <= monotonic() and await self._is_ours(request.id):
                accepted += await self._take_up_alone(request)
        return accepted

    async def waiting(self) -> int:
        """Count the requests that are ready and not taken up."""
        return len(await self._ready())

    async def _ready(self) -> list[Row[*tuple[Any, ...]]]:
        wanted = (
            select(batch_request.c.id, *(as_written(batch_request.c[name]) for name in _TOLD))
            .where(batch_request.c.state == "ready")
            .order_by(batch_request.c.id)
        )
        async with self._store.read() as conn:
            return list((await conn.execute(wanted)).all())

    async def _is_ours(self, request_id: int) -> bool:
        """Take the request for a while where other workers could take it too: its users are listed once only."""
        if self._store.exclusive:
            return True
        async with self._store.write() as conn:
            now = await self._store.now(conn)
            free = or_(batch_request.c.taken_until.is_(None), batch_request.c.taken_until < now)
            taken = await conn.execute(
                update(batch_request)
                .where(batch_request.c.id == request_id, batch_request.c.state == "ready", free)
                .values(taken_until=now + _TAKEN_FOR)
            )
            return taken.rowcount == 1

    async def _take_up_alone(self, request: Row[*tuple[Any, ...]]) -> bool:
        """Take a request up; whatever goes wrong with it, the next ones are taken up all the same."""
        try:
            return await self._take_up(request)
        except Exception as error:  # noqa: BLE001  (the top of a task)
            self._later[request.id] = monotonic() + _AGAIN_AFTER_S
            logger().error("request_failed", request=request.id, reason=str(error), kind=type(error).__name__)
            with suppress(StoreError):
                async with self._store.write() as conn:
                    await _mark(conn, request.id, message=f"waiting: {error}", taken_until=None)
            return False

    async def _take_up(self, request: Row[*tuple[Any, ...]]) -> bool:
        async def accept(conn: AsyncConnection, batch_id: int) -> None:
            await _mark(conn, request.id, state="accepted", batch_id=batch_id, message=None)

        try:
            order = _order(request)
            placed = await place(
                self._store,
                self._settings,
                self._transport,
                self._master,
                order,
                users=self._users(request.id, order.account),
                excluded=chunks(()),
                accept=accept,
            )
        except (ProviderUnavailable, BrokenAccount) as error:
            self._later[request.id] = monotonic() + _AGAIN_AFTER_S
            async with self._store.write() as conn:
                await _mark(conn, request.id, message=f"waiting: {error}", taken_until=None)
            logger().warning("request_waiting", request=request.id, reason=str(error))
            return False
        except (UsageError, ProviderRefused, KeyMismatch) as error:
            async with self._store.write() as conn:
                await _mark(conn, request.id, state="refused", message=str(error))
            self.refused += 1
            logger().error("request_refused", request=request.id, reason=str(error))
            return False
        logger().info("request_accepted", request=request.id, batch=placed.id, users=placed.total)
        return True

    async def _users(self, request_id: int, account: str) -> AsyncIterator[list[UserLine]]:
        naming = Naming.of(self._settings.account(account), account)
        last = 0
        row_number = 0
        while True:
            wanted = (
                select(batch_request_user.c.id, as_written(batch_request_user.c.user_ref))
                .where(batch_request_user.c.request_id == request_id, batch_request_user.c.id > last)
                .order_by(batch_request_user.c.id)
                .limit(_PAGE)
            )
            async with self._store.read() as conn:
                rows = (await conn.execute(wanted)).all()
            if not rows:
                if row_number == 0:
                    raise InputError(f"request {request_id} names no users; insert them into batch_request_user")
                return
            lines = []
            for row in rows:
                row_number += 1
                name = f"request {request_id}"
                lines.append(
                    user_line(_text(row.user_ref, f"{name}: user {row_number}"), row_number, name, naming)
                )
            yield lines
            last = rows[-1].id


# What another system wrote is read as bytes: one value that is no text must not keep all requests from being read.
_TOLD: Final = ("account", "incident", "reason", "requested_by", "not_before", "accept")


def _text(value: bytes, what: str) -> str:
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        raise InputError(f"{what} is not UTF-8 text; write it anew") from None


def _order(request: Row[*tuple[Any, ...]]) -> Order:
    told = {
        name: "" if (value := getattr(request, name)) is None else _text(value, f"request {request.id}: {name}")
        for name in _TOLD
    }
    try:
        not_before = time_of(told["not_before"]) if told["not_before"] else None
    except (ValueError, OverflowError):
        raise InputError(
            f"request {request.id}: not_before is not a time; write 2026-01-31 22:00:00 (UTC)"
        ) from None
    return Order(
        account=told["account"],
        incident=told["incident"],
        reason=told["reason"],
        # A name that the other system claims: nobody has logged in with it here.
        requester=f"{claimed} (by SQL, request {request.id})" if (claimed := told["requested_by"].strip()) else "",
        not_before=not_before,
        accepts=_accepted(told["accept"], request.id),
    )


def _accepted(words: str, request_id: int) -> frozenset[Concern]:
    try:
        return frozenset(map(Concern, words.replace(",", " ").split()))
    except ValueError:
        known = " ".join(Concern)
        raise InputError(f"request {request_id}: accept has a word that is none of: {known}; correct it") from None


async def _mark(conn: AsyncConnection, request_id: int, **values: Any) -> None:
    marked = await conn.execute(
        update(batch_request)
        .where(batch_request.c.id == request_id, batch_request.c.state == "ready")
        .values(**values)
    )
    if marked.rowcount != 1:
        raise StoreError(f"request {request_id} is no longer ready: somebody else changed it; nothing was done")

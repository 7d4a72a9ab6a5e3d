"""Orders by SQL: other systems insert into `batch_request` and `batch_request_user`; this takes them up.

A request that is `ready` becomes a batch exactly as `batch create` would make it, and is marked `accepted`
with the batch's id in the same transaction: a crash in between cannot order a reset twice. One that cannot be
met is `refused` with a line that says why. Where the account only cannot be asked for now, the request stays
`ready`, with the reason beside it, and is tried again.
"""

from collections.abc import AsyncIterator
from time import monotonic
from typing import Any, Final

from sqlalchemy import Row, String, select, type_coerce, update
from sqlalchemy.ext.asyncio import AsyncConnection

from bulkreset.config import Settings
from bulkreset.errors import InputError, KeyMismatch, ProviderRefused, ProviderUnavailable, StoreError, UsageError
from bulkreset.intake.order import Order, place
from bulkreset.intake.users_file import UserLine, user_line
from bulkreset.logs import logger
from bulkreset.passwords.vault import MasterKey
from bulkreset.providers.http import ReadTransport
from bulkreset.store.engine import Store
from bulkreset.store.tables import batch_request, batch_request_user, time_of

_PAGE: Final = 5_000
_AGAIN_AFTER_S: Final = 60.0


class OrdersBySql:
    """The taker-up of ready requests; call it at every poll."""

    def __init__(self, store: Store, settings: Settings, transport: ReadTransport, master: MasterKey) -> None:
        self._store = store
        self._settings = settings
        self._transport = transport
        self._master = master
        self._later: dict[int, float] = {}  # request id → when it is worth trying again

    async def __call__(self) -> int:
        """Take up every ready request once, the oldest first; return how many became batches."""
        accepted = 0
        for request in await self._ready():
            if self._later.get(request.id, 0) <= monotonic():
                accepted += await self._take_up(request)
        return accepted

    async def _ready(self) -> list[Row[Any, Any, Any, Any, Any, Any]]:
        wanted = (
            select(
                batch_request.c.id,
                batch_request.c.account,
                batch_request.c.incident,
                batch_request.c.reason,
                batch_request.c.requested_by,
                # As written: another system's spelling of a time must not break the reading of all requests.
                type_coerce(batch_request.c.not_before, String()).label("not_before"),
            )
            .where(batch_request.c.state == "ready")
            .order_by(batch_request.c.id)
        )
        async with self._store.read() as conn:
            return list((await conn.execute(wanted)).all())

    async def _take_up(self, request: Row[Any, Any, Any, Any, Any, Any]) -> bool:
        async def accept(conn: AsyncConnection, batch_id: int) -> None:
            await _mark(conn, request.id, state="accepted", batch_id=batch_id, message=None)

        try:
            placed = await place(
                self._store,
                self._settings,
                self._transport,
                self._master,
                _order(request),
                users=self._users(request.id),
                excluded=_nobody(),
                accept=accept,
            )
        except ProviderUnavailable as error:
            self._later[request.id] = monotonic() + _AGAIN_AFTER_S
            async with self._store.write() as conn:
                await _mark(conn, request.id, message=f"waiting: {error}")
            logger().warning("request waits", request=request.id, reason=str(error))
            return False
        except (UsageError, ProviderRefused, KeyMismatch) as error:
            async with self._store.write() as conn:
                await _mark(conn, request.id, state="refused", message=str(error))
            logger().error("request refused", request=request.id, reason=str(error))
            return False
        logger().info("request accepted", request=request.id, batch=placed.id, users=placed.total)
        return True

    async def _users(self, request_id: int) -> AsyncIterator[list[UserLine]]:
        last = 0
        row_number = 0
        while True:
            wanted = (
                select(batch_request_user.c.id, batch_request_user.c.user_ref)
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
                lines.append(user_line(row.user_ref, row_number, f"request {request_id}"))
            yield lines
            last = rows[-1].id


def _order(request: Row[Any, Any, Any, Any, Any, Any]) -> Order:
    try:
        not_before = None if request.not_before is None else time_of(str(request.not_before))
    except ValueError:
        raise InputError(
            f"request {request.id}: not_before is not a time; write 2026-01-31 22:00:00 (UTC)"
        ) from None
    requester = str(request.requested_by).strip()
    if not requester:
        raise InputError(f"request {request.id}: requested_by is empty; say who orders this")
    return Order(
        account=request.account,
        incident=request.incident,
        reason=request.reason,
        requester=requester,
        not_before=not_before,
    )


async def _mark(conn: AsyncConnection, request_id: int, **values: Any) -> None:
    marked = await conn.execute(
        update(batch_request)
        .where(batch_request.c.id == request_id, batch_request.c.state == "ready")
        .values(**values)
    )
    if marked.rowcount != 1:
        raise StoreError(f"request {request_id} is no longer ready: somebody else changed it; nothing was done")


async def _nobody() -> AsyncIterator[list[UserLine]]:
    return
    yield

"""The event chain of a batch: who did what and when, each entry hashed over the one before it.

Tamper-evident, not tamper-proof: whoever can rewrite the whole chain can forge it, and a cut tail shows only
against a head hash that is kept elsewhere, which is why reports carry it.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from bulkreset.store.column_types import time_text
from bulkreset.store.tables import event

_DOMAIN: Final = b"bulkreset event 1"
GENESIS: Final = "0" * 64


@dataclass(frozen=True, slots=True)
class Break:
    """The first entry of a chain that does not fit, and why."""

    seq: int
    reason: str


async def append(
    conn: AsyncConnection, batch_id: int, *, at: datetime, actor: str, kind: str, **detail: Any
) -> None:
    """Add an event to a batch's chain; the caller's transaction holds the batch's row or the file's lock."""
    last = (
        await conn.execute(
            select(event.c.seq, event.c.hash)
            .where(event.c.batch_id == batch_id)
            .order_by(event.c.seq.desc())
            .limit(1)
        )
    ).one_or_none()
    seq, previous = (1, GENESIS) if last is None else (last.seq + 1, last.hash)
    entry = {
        "batch_id": batch_id,
        "seq": seq,
        "at": at,
        "actor": actor,
        "kind": kind,
        "detail": json.dumps(detail, sort_keys=True, separators=(",", ":"), default=str),
        "prev_hash": previous,
    }
    await conn.execute(insert(event).values(**entry, hash=link(entry)))


async def verify(conn: AsyncConnection, batch_id: int) -> Break | None:
    """Walk a batch's chain and return the first break, or None where it is whole."""
    previous, expected = GENESIS, 1
    rows = await conn.execute(select(event).where(event.c.batch_id == batch_id).order_by(event.c.seq))
    for row in rows.mappings():
        if row["seq"] != expected:
            return Break(expected, "an entry is missing")
        if row["prev_hash"] != previous:
            return Break(expected, "it does not follow the entry before it")
        if row["hash"] != link(dict(row)):
            return Break(expected, "its content was changed")
        previous, expected = row["hash"], expected + 1
    return None


def link(entry: Mapping[str, Any]) -> str:
    """Hash one entry over the hash before it; every field carries its length, so none can run into the next."""
    digest = hashlib.sha256(_DOMAIN)
    for field in ("prev_hash", "batch_id", "seq", "at", "actor", "kind", "detail"):
        value = entry[field]
        data = (time_text(value) if isinstance(value, datetime) else str(value)).encode()
        digest.update(len(data).to_bytes(8, "big") + data)
    return digest.hexdigest()

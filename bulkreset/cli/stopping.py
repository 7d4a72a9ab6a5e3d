"""What a stop came to, for people and for scripts: of a batch, by `batch pause` and `batch cancel`."""

import socket
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

from bulkreset.report.words import duration

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from datetime import datetime

    from bulkreset.store.engine import Store
    from bulkreset.store.stops import Outcome, Stop


LOOK_AFTER_S: Final = 5.0
"""How long another writer of the file is waited for before it is looked who that is."""

_PATIENCE_S: Final = 60.0  # longer than the roster of a million users takes to be written


async def begun(store: "Store", batch_id: int, act: "Callable[[], Awaitable[Stop]]") -> "Stop":
    """Stop a batch, as soon as the database can be written.

    Raises WorkerStandsStill where that will not be, because a worker was stopped while it was writing itself.
    """
    from bulkreset.errors import DatabaseLocked, WorkerStandsStill

    until = monotonic() + _PATIENCE_S
    while True:
        try:
            return await act()
        except DatabaseLocked:
            if (name := await _standing_still(store)) is not None:
                raise WorkerStandsStill(await _told(store, batch_id, name)) from None
            if monotonic() >= until:
                raise


async def settled(store: "Store", stop: "Stop") -> tuple["Outcome", "datetime"]:
    """Wait for the workers that have claims of a stopped batch; return what came of it, and when that was."""
    from bulkreset.store import lifecycle, stops

    outcome = await stops.settled(store, stop)
    await lifecycle.finish(store)  # what workers have given back meanwhile is cancelled with the rest
    async with store.read() as conn:
        return outcome, await store.now(conn)


def as_dict(outcome: "Outcome") -> dict[str, Any]:
    """Return what `--json` shows of a stop."""
    from bulkreset.report.render import moment

    return {
        "left_meanwhile": outcome.departed,
        "on_their_way": outcome.in_flight,
        "unconfirmed": [
            {
                "worker": one.worker,
                "claims": one.claims,
                "seen_at": moment(one.seen_at),
                "expired_at": moment(one.expired_at),
            }
            for one in outcome.silent
        ],
    }


def describe(outcome: "Outcome") -> str:
    """Say how many calls the stop came too late for."""
    if not outcome.departed and not outcome.in_flight:
        return "stopped    no call left meanwhile and none was on its way"
    return (
        f"stopped    {_calls(outcome.departed)} left meanwhile, {outcome.in_flight:,} "
        f"{'was' if outcome.in_flight == 1 else 'were'} on their way; every result is recorded"
    )


def warning(batch_id: int, outcome: "Outcome", now: "datetime") -> str:
    """Name the workers that did not confirm, and say until when calls may still leave them."""
    from bulkreset.store.stops import PATIENCE

    names = "; ".join(
        f"{one.worker} ({one.claims:,} claimed, {_seen(one.seen_at, now)})" for one in outcome.silent
    )
    until = max(one.expired_at for one in outcome.silent)
    expiry = f"have expired since {until:%H:%M:%S} UTC" if until <= now else f"expire by {until:%H:%M:%S} UTC"
    return (
        f"batch {batch_id} is stopped, but not every worker confirmed within "
        f"{duration(PATIENCE.total_seconds())}: {names}; their slots {expiry}, and no call begins "
        "after that. Look at these processes"
    )


def _calls(n: int) -> str:
    return f"{n:,} call{'' if n == 1 else 's'}"


def _seen(at: "datetime | None", now: "datetime") -> str:
    return "never seen" if at is None else f"seen {duration(max(0.0, (now - at).total_seconds()))} ago"


async def _standing_still(store: "Store") -> str | None:
    """Return a worker on this host that is there and stopped, as SIGSTOP leaves one; None where there is none."""
    from datetime import timedelta

    from bulkreset.store import workers

    async with store.read() as conn:
        seen = await workers.seen(conn, since=await store.now(conn) - timedelta(days=1))
    for one in seen:
        host, _, number = one.name.rpartition(":")
        if one.ended_at is None and host == socket.gethostname() and _is_stopped(number):
            return one.name
    return None


def _is_stopped(number: str) -> bool:
    try:
        told = Path("/proc", number, "stat").read_text()  # proc(5): the state follows the name in brackets
    except OSError:
        return False
    return told.rpartition(")")[2].split()[0] in ("T", "t")


async def _told(store: "Store", batch_id: int, name: str) -> str:
    """Say what a worker that stands still keeps from being done, and until when calls may leave it."""
    from bulkreset.store import stops

    async with store.read() as conn:
        held = await stops.last_slot(conn, batch_id)
    expiry = "" if held is None else f"; its slots of batch {batch_id} expire by {held:%H:%M:%S} UTC"
    return (
        f"batch {batch_id} is not stopped yet: worker {name} stands still (SIGSTOP) in the middle of a write and "
        f"holds the database. No call leaves it while it does{expiry}. End it (`kill -KILL "
        f"{name.rpartition(':')[2]}`) or let it go on, then give this command again"
    )

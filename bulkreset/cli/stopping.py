"""What a stop came to, for people and for scripts: of a batch, by `batch pause` and `batch cancel`."""

from typing import TYPE_CHECKING, Any

from bulkreset.cli.words import duration

if TYPE_CHECKING:
    from datetime import datetime

    from bulkreset.store.engine import Store
    from bulkreset.store.stops import Outcome, Stop


async def settled(store: "Store", stop: "Stop") -> tuple["Outcome", "datetime"]:
    """Wait for the workers that have claims of a stopped batch; return what came of it, and when that was."""
    from bulkreset.store import batches, stops

    outcome = await stops.settled(store, stop)
    await batches.finish(store)  # what workers have given back meanwhile is cancelled with the rest
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

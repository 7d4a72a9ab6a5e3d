"""`bulkreset run --dry-run`: everything that a run would look at, on a transport that has no way to write."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bulkreset.cli.context import guard, opened, transport
from bulkreset.cli.output import say
from bulkreset.report.words import duration

if TYPE_CHECKING:
    from bulkreset.config import Settings
    from bulkreset.store.batches import Batch
    from bulkreset.store.engine import Store


@dataclass(frozen=True, slots=True)
class Rehearsed:
    """What a run would do with one batch now, and what would stop it."""

    batch: "Batch"
    passwords: int
    sessions: int
    protected: tuple[str, ...]
    would_halt: tuple[str, ...]
    warnings: tuple[str, ...]
    estimate_s: float


async def rehearse(settings: "Settings", accounts: list[str]) -> list[Rehearsed]:
    """Look at every batch that a run would work on; nothing is claimed, made or sent but reads."""
    from bulkreset.model import BatchState
    from bulkreset.providers.http import ReadTransport
    from bulkreset.store import batches

    async with opened(settings) as store, transport(ReadTransport, settings) as way:
        found = await batches.find(store, accounts=accounts, unfinished=True)
        return [await _look(store, settings, way, batch) for batch in found if batch.state is BatchState.OPEN]


async def _look(store: "Store", settings: "Settings", way: Any, batch: "Batch") -> Rehearsed:
    from datetime import UTC, datetime

    from bulkreset.errors import ConfigError
    from bulkreset.intake.ways import Ways, ends_before, lower_limit
    from bulkreset.model import Action, TaskState
    from bulkreset.providers import open_provider
    from bulkreset.report import queries

    try:
        account = settings.account(batch.account)
        provider = open_provider(batch.account, account, settings.base, way)
    except ConfigError as error:
        return Rehearsed(batch, 0, 0, (), (str(error),), (), 0)
    ways = Ways.of(store, batch.account, account, provider)
    checked = await provider.check(ways.pace, revokes=batch.options.revoke_sessions)
    ways = Ways.of(store, batch.account, account, provider)  # by now the account may have told its own limit
    covers = guard(settings)
    counts = {Action.SET_PASSWORD: 0, Action.REVOKE_SESSIONS: 0}
    protected = []
    async for line in queries.tasks(store, batch.id, [TaskState.PENDING]):
        if covers(batch.account, line.user_ref, line.user, line.user_id):
            protected.append(line.user)
        else:
            counts[Action(line.action)] += 1
    takes_s = ways.estimate(counts[Action.SET_PASSWORD], counts[Action.REVOKE_SESSIONS])
    more = (lower_limit(account, provider, ways.label), ends_before(provider, datetime.now(UTC), takes_s))
    return Rehearsed(
        batch=batch,
        passwords=counts[Action.SET_PASSWORD],
        sessions=counts[Action.REVOKE_SESSIONS],
        protected=tuple(dict.fromkeys(protected)),
        would_halt=checked.failures,
        warnings=(*checked.warnings, *filter(None, more)),
        estimate_s=takes_s,
    )


def as_dict(found: list[Rehearsed]) -> dict[str, Any]:
    """Return what `--json` shows."""
    return {
        "dry_run": True,
        "batches": [
            {
                "id": one.batch.id,
                "account": one.batch.account,
                "passwords": one.passwords,
                "sessions": one.sessions,
                "protected": len(one.protected),
                "would_halt": list(one.would_halt),
                "warnings": list(one.warnings),
                "estimate_s": one.estimate_s,
            }
            for one in found
        ],
    }


def show(found: list[Rehearsed]) -> None:
    """Say it to a person."""
    if not found:
        say("no batch is open; nothing would be sent")
    for one in found:
        ends = f" and end the sessions of {one.sessions:,}" if one.sessions else ""
        took = duration(one.estimate_s)
        would = f"would set {one.passwords:,} passwords{ends}, about {took}"
        say(f"batch {one.batch.id} at {one.batch.account}: {would}", rest="  ")
        if one.protected:
            more = " …" if len(one.protected) > 1 else ""
            skipped = f"{len(one.protected):,} on the roster would be skipped, {one.protected[0]}{more}"
            say(f"  protected: {skipped}", rest="    ")
        for warning in one.warnings:
            say(f"  warning: {warning}", rest="    ")
        for finding in one.would_halt:
            say(f"  would halt: {finding}", rest="    ")
    say("dry run: nothing was claimed, made or sent")

"""`bulkreset batch close`: the account listed once more, and what is different now."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from bulkreset.cli.context import acting, master_key, opened, transport
from bulkreset.cli.output import say

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bulkreset.config import Settings
    from bulkreset.intake.closeout import Found, Part
    from bulkreset.intake.order import Ordered
    from bulkreset.store.batches import Batch


_HANG: Final = " " * 10  # beneath what a count counts


@dataclass(frozen=True, slots=True)
class Closed:
    """What a close-out found, whether the batch counts as closed now, and the batch for those who came since."""

    batch: "Batch"
    listed: int
    missing: int
    parts: "Mapping[Part, Found]"
    topped_up: "Ordered | None"

    @property
    def is_closed(self) -> bool:
        """Whether the batch had ended, so that it was closed."""
        return self.batch.closed_at is not None


async def close(settings: "Settings", batch_id: int, *, top_up: bool, accept_listing: bool = False) -> Closed:
    """Hold a batch against its account; it is closed where it has ended, and topped up where that was asked."""
    from bulkreset.errors import UsageError
    from bulkreset.intake import closeout
    from bulkreset.intake.closeout import Part
    from bulkreset.providers.http import ReadTransport
    from bulkreset.store import batches, control

    who = acting(settings)
    async with (
        opened(settings) as store,
        transport(ReadTransport, settings) as way,
        closeout.close_out(store, settings, way, batch_id, accept_listing=accept_listing) as found,
    ):
        if top_up and not found.whole:
            raise UsageError(
                f"batch {batch_id} has a roster from a file, so nobody can be new; "
                "only a batch of --all-users is topped up"
            )
        more = None
        if top_up and found.parts[Part.CREATED].count:
            more = await closeout.top_up(
                store, settings, way, master_key(settings), found, who.name, login=who.login
            )
        if found.batch.state in ("done", "cancelled") and found.batch.closed_at is None:
            counts = {str(part): one.count for part, one in found.parts.items()}
            topped = {} if more is None else {"topped_up_by": more.id}
            short = {"missing_from_listing": found.missing} if found.missing else {}
            await control.close(store, batch_id, who.name, listed=found.listed, **short, **counts, **topped)
        return Closed(await batches.get(store, batch_id), found.listed, found.missing, found.parts, more)


def exit_code(found: Closed) -> int:
    """Say by the exit code whether everything is settled: 4 where it is not, 3 where people are still open."""
    from bulkreset.intake.closeout import Part

    if not found.is_closed or (found.parts[Part.CREATED].count and found.topped_up is None):
        return 4
    return 3 if found.parts[Part.OPEN].count or found.parts[Part.MAYBE_CHANGED].count else 0


def as_dict(found: Closed) -> dict[str, Any]:
    """Return what `--json` shows."""
    from bulkreset.report.render import batch_full

    return {
        "batch": batch_full(found.batch),
        "listed": found.listed,
        "missing_from_listing": found.missing,
        **{
            str(part): {
                "count": one.count,
                "first": [{"user_ref": user.user_ref, "user": user.display} for user in one.sample],
            }
            for part, one in found.parts.items()
        },
        "topped_up_by": None if found.topped_up is None else found.topped_up.id,
    }


def show(found: Closed) -> None:
    """Say it to a person."""
    from bulkreset.intake.closeout import Part

    said = {
        Part.CREATED: "were added since the list was frozen",
        Part.LEFT_OUT: "existed when the list was frozen and are not on it",
        Part.VANISHED: "were called and have been removed since",
        Part.OPEN: "are still without a new password",
        Part.MAYBE_CHANGED: "may or may not have a new password: an earlier call may have changed it",
    }
    batch = found.batch
    counts = f"{found.listed:,} users listed, {batch.total:,} in the batch"
    say(f"batch {batch.id} at {batch.account}: {counts}", rest="  ")
    if found.missing:
        _line(found.missing, "more are counted by the provider and not listed, as was accepted")
    for part, one in found.parts.items():
        if part is Part.MAYBE_CHANGED and not one.count:
            continue
        _line(one.count, said[part])
        for user in one.sample:
            say(f"{_HANG}{user.display}{f': {user.detail}' if user.detail else ''}", rest=_HANG + "  ")
        if one.count > len(one.sample):
            say(f"{_HANG}… and {one.count - len(one.sample):,} more")
    if found.topped_up is not None:
        added = f"the {found.topped_up.total:,} who were added since"
        say(f"batch {found.topped_up.id} was ordered for {added}", rest="  ")
    elif found.parts[Part.CREATED].count:
        say("run it again with --top-up to order a batch for those who were added since", rest="  ")
    if found.is_closed:
        say(f"closed {batch.closed_at:%Y-%m-%d %H:%M:%S} UTC", rest="  ")
    else:
        say(f"not closed: the batch is {batch.state}; close it when it has ended", rest="  ")


def _line(count: int, said: str) -> None:
    say(f"  {count:>7,} {said}", rest=_HANG)

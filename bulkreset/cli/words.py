"""How commands say things: spans of time, the standing of a batch."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bulkreset.store.batches import Batch


def duration(seconds: float) -> str:
    """Say a length of time in the two units that matter."""
    whole = round(seconds)
    if whole < 1:
        return "a second"
    parts = [(whole // 86400, "d"), (whole // 3600 % 24, "h"), (whole // 60 % 60, "min"), (whole % 60, "s")]
    said = [f"{n} {unit}" for n, unit in parts if n]
    return " ".join(said[:2])


def standing(batch: "Batch") -> str:
    """Say a batch's state, and of one that has ended whether it was held against the account once more."""
    ended = batch.state in ("done", "cancelled") and batch.closed_at is None
    return f"{batch.state}, not closed" if ended else str(batch.state)

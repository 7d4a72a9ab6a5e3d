"""How a batch is to be worked on, beyond who is on its roster: chosen once, approved with it, never changed."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from functools import lru_cache
from typing import Any, Final

from bulkreset.errors import DamagedBatch

HALT_AT: Final = 0.2
"""Share of failures among the last results of a batch that halts it, where nothing else is ordered."""

ESCROW_DAYS: Final = 30
"""Days that escrowed passwords are kept, where nothing else is ordered."""


def too_many(failed: int, of: int, halt_at: float) -> bool:
    """Tell whether so many failures of so many users are more than the share that halts a batch."""
    return failed > halt_at * of


@dataclass(frozen=True, slots=True)
class Options:
    """The options of a batch; `sha256` is what an approval is bound to, beside the roster's own hash.

    `listing` holds the filters of a roster that was taken from the account itself, and is None for any other.
    `sends_sha256` is over the references that will be called, in the way of the roster's hash: whoever is skipped
    from the start is part of what was approved. `accepted` counts, by concern, what was accepted with the order.
    """

    revoke_sessions: bool = False
    escrow_to: tuple[str, ...] = ()
    escrow_days: int = ESCROW_DAYS
    canary: int = 0
    hold_after_canary: bool = False
    ramp_s: int = 0
    halt_at: float = HALT_AT
    include_admins: bool = False
    emergency: bool = False
    listing: Mapping[str, Any] | None = None
    sends_sha256: str = ""
    accepted: Mapping[str, int] = field(default_factory=dict)

    def as_json(self) -> str:
        """Return the options as text, always the same for the same options, whatever release wrote them."""
        values = asdict(self)
        if not self.accepted:
            del values["accepted"]  # it came later: approvals are bound to the hash of this text
        return json.dumps(values, sort_keys=True, separators=(",", ":"))

    @staticmethod
    @lru_cache(maxsize=256)  # of a batch the same text is read at every claim
    def from_json(text: str) -> "Options":
        """Read what `as_json` wrote; what is not named there is as it is by default.

        Raises DamagedBatch where it is anything else: nothing of it is guessed.
        """
        try:
            found = json.loads(text)
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, dict):
            raise DamagedBatch(_DAMAGED)
        values = {each.name: found[each.name] for each in fields(Options) if each.name in found}
        if isinstance(recipients := values.get("escrow_to"), list) and all(map(_is_text, recipients)):
            values["escrow_to"] = tuple(recipients)
        if not all(_fits(values[name], default) for name, default in asdict(_PLAIN).items() if name in values):
            raise DamagedBatch(_DAMAGED)
        options = Options(**values)
        if not options._possible:
            raise DamagedBatch(_DAMAGED)
        return options

    @staticmethod
    def of_batch(batch_id: int, text: str) -> "Options":
        """Read what `as_json` wrote for a command about one batch. Raises DamagedBatch, which names the batch."""
        try:
            return Options.from_json(text)
        except DamagedBatch as error:
            raise DamagedBatch(f"batch {batch_id}: {error}") from None

    @staticmethod
    def or_plain(text: str) -> "Options":
        """Read what `as_json` wrote for somebody to look at; plain options where that cannot be read."""
        try:
            return Options.from_json(text)
        except DamagedBatch:
            return _PLAIN

    @property
    def _possible(self) -> bool:
        """Whether an order could have these numbers; whoever orders is told of closer bounds."""
        return (
            self.canary >= 0
            and 0 <= self.ramp_s <= _LONGEST_S
            and 0 < self.halt_at <= 1
            and 1 <= self.escrow_days <= _MOST_DAYS
        )

    @property
    def sha256(self) -> str:
        """The hash of the whole of the options."""
        return hashlib.sha256(self.as_json().encode()).hexdigest()


_DAMAGED: Final = "its options are damaged: they are not as they were ordered; restore a backup, or order it again"
_PLAIN: Final = Options()
# Far beyond what can be ordered, and well within what times can be reckoned with.
_LONGEST_S: Final = 10**9
_MOST_DAYS: Final = 36_500


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _fits(value: object, default: object) -> bool:
    """Tell whether a value can be one of an option's; a listing may be missing, and a whole number is a share."""
    if default is None:
        return value is None or isinstance(value, dict)
    if isinstance(default, float):
        return type(value) in (int, float)
    return type(value) is type(default)

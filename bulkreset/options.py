"""How a batch is to be worked on, beyond who is on its roster: chosen once, approved with it, never changed."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from functools import lru_cache
from typing import Any, Final

HALT_AT: Final = 0.2
"""Share of failures among the last results of a batch that halts it, where nothing else is ordered."""

ESCROW_DAYS: Final = 30
"""Days that escrowed passwords are kept, where nothing else is ordered."""


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
        """Read what `as_json` wrote; what is not named there is as it is by default."""
        values = json.loads(text)
        values["escrow_to"] = tuple(values.get("escrow_to", ()))
        known = {each.name for each in fields(Options)}
        return Options(**{name: value for name, value in values.items() if name in known})

    @property
    def sha256(self) -> str:
        """The hash of the whole of the options."""
        return hashlib.sha256(self.as_json().encode()).hexdigest()

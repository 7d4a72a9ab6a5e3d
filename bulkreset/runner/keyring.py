"""Makes and opens passwords for claims, with the batch keys that the master key unwraps."""

import re
import secrets
from collections.abc import Collection
from functools import lru_cache

from bulkreset.errors import DamagedBatch, InputError, KeyMismatch
from bulkreset.passwords.escrow import recipients
from bulkreset.passwords.generator import generate
from bulkreset.passwords.policy import Policy
from bulkreset.passwords.vault import BatchKey, MasterKey
from bulkreset.secret import Secret
from bulkreset.store.due import OpenBatch

_KEYS_HELD = 64


class Keyring:
    """The `Sealer` of a runner. Batch keys are unwrapped once and held while they are in use."""

    def __init__(self, master: MasterKey, words: Collection[str] = ()) -> None:
        """Make passwords that hold none of these words, such as the names of the providers that they are for."""
        self._words = tuple(words)
        self._key = lru_cache(maxsize=_KEYS_HELD)(master.unwrap)
        self._policy = lru_cache(maxsize=_KEYS_HELD)(Policy.from_json)

    def key(self, wrapped: str | None) -> BatchKey:
        """Return a batch's key. Raises KeyMismatch where another master key wrapped it, or where it is gone."""
        if wrapped is None:
            raise KeyMismatch(
                "the key of this batch is gone; restore a backup, or cancel the batch and order it again"
            )
        return self._key(wrapped)

    def obstacle(self, of: OpenBatch) -> str | None:
        """Say why no password of this batch can be made or opened; None where they can."""
        try:
            self.key(of.wrapped_key)
            self._policy(of.policy)
            if of.options.escrow_to:
                recipients(of.options.escrow_to)
        except (KeyMismatch, DamagedBatch) as error:
            return str(error)
        except InputError as error:
            return f"its options are damaged: {error}"
        return None

    def fresh(self, of: OpenBatch, *, task_id: int, password_no: int, display: str) -> tuple[Secret, str]:
        """Make a password to the batch's policy; return it and its sealed form."""
        password = generate(self._policy(of.policy), secrets.token_bytes, taboo=(*self._words, *taboo(display)))
        return password, self.key(of.wrapped_key).seal(task_id, password_no, password)

    def open(self, of: OpenBatch, *, task_id: int, password_no: int, sealed: str) -> Secret:
        """Return a sealed password. Raises KeyMismatch."""
        return self.key(of.wrapped_key).open(task_id, password_no, sealed)


def taboo(display: str) -> tuple[str, ...]:
    """Return the parts of a user's name and address, the domain's too, that must not stand in the password.

    A part that ends in a number counts without it as well: 'jane77' and 'jane'. Shorter than three is no part.
    """
    parts = _PARTS.findall(display)
    for part in parts[:]:
        if not part.isalpha():
            parts.extend(_NAMES.findall(part))
    return tuple(parts)


_PARTS = re.compile(r"[^\W_]{3,}")
_NAMES = re.compile(r"[^\W\d_]{3,}")

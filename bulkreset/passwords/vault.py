"""Sealing at rest: a password under the key of its batch, and that key under the master key.

AES-256-GCM throughout. A sealed password is bound to its batch key, task and number, so that it opens in no
other place; destroying the wrapped batch key makes everything sealed under it unreadable for good.
"""

import hashlib
import os
import re
import struct
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterable
from typing import Final, NoReturn, Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from bulkreset.errors import ConfigError, KeyMismatch
from bulkreset.secret import MASK, Secret

KEY_PREFIX: Final = "bulkreset-key-1:"
"""What the text of a master key begins with, so that nobody takes another secret for one."""

WRAP_PREFIX: Final = "bulkreset-batch-key-1"

_KEY_BYTES: Final = 32
_NONCE_BYTES: Final = 12
_FINGERPRINT_TAG: Final = b"bulkreset master key fingerprint 1\0"
_WRAP_TAG: Final = b"bulkreset batch key 1\0"
_SEAL_TAG: Final = b"bulkreset password 1\0"
_KEY_TEXT: Final = re.compile(re.escape(KEY_PREFIX) + r"([A-Za-z0-9_-]{43})")
_WRAPPED: Final = re.compile(re.escape(WRAP_PREFIX) + r"\.([0-9a-f]{12})\.([0-9a-f]{16})\.([A-Za-z0-9_-]{80})")


def new_master_key_text() -> str:
    """Return the text of a fresh master key: one line, to be kept in a file or an environment variable."""
    return KEY_PREFIX + _text(os.urandom(_KEY_BYTES))


class MasterKey:
    """The key that wraps the keys of batches. `fingerprint` names it and tells nothing about it.

    `others` are keys that it stands beside while they are exchanged: what they wrapped is opened too, and never
    wrapped by them again.
    """

    __slots__ = ("__cipher", "__others", "fingerprint")

    def __init__(self, key: bytes) -> None:
        if len(key) != _KEY_BYTES:
            raise ValueError(f"a master key has {_KEY_BYTES} bytes")
        self.__cipher = AESGCM(key)
        self.__others: dict[str, MasterKey] = {}
        self.fingerprint = hashlib.sha256(_FINGERPRINT_TAG + key).hexdigest()[:12]

    @classmethod
    def parse(cls, text: Secret) -> Self:
        """Read a master key's text; space around it is ignored. Raises ConfigError, which never holds the text."""
        found = _KEY_TEXT.fullmatch(text.reveal().strip())
        if not found:
            raise ConfigError(f"the master key is not usable: {_fault(text.reveal().strip())}")
        return cls(_bytes(found[1]))

    def beside(self, others: Iterable["MasterKey"]) -> Self:
        """Open what these keys wrapped as well, from now on; return this key."""
        self.__others |= {other.fingerprint: other for other in others}
        return self

    @property
    def fingerprints(self) -> list[str]:
        """The fingerprints of the keys whose wrapping can be opened, this one's first."""
        return [self.fingerprint, *(name for name in self.__others if name != self.fingerprint)]

    def new_batch_key(self) -> "BatchKey":
        """Make a fresh random key for one batch; `wrap` it before anything is sealed under it."""
        return BatchKey(os.urandom(_KEY_BYTES), key_id=os.urandom(8).hex())

    def wrap(self, key: "BatchKey") -> str:
        """Return the batch key as text that only this master key opens."""
        nonce = os.urandom(_NONCE_BYTES)
        sealed = self.__cipher.encrypt(nonce, key.reveal(), _wrap_data(self.fingerprint, key.key_id))
        return f"{WRAP_PREFIX}.{self.fingerprint}.{key.key_id}.{_text(nonce + sealed)}"

    def unwrap(self, wrapped: str) -> "BatchKey":
        """Return the batch key that `wrap` wrapped. Raises KeyMismatch where it was not this master key."""
        found = _WRAPPED.fullmatch(wrapped)
        if not found:
            raise KeyMismatch(
                "a stored batch key is damaged: its text is not one that was written here; restore a backup"
            )
        fingerprint, key_id, sealed = found.groups()
        if fingerprint != self.fingerprint:
            if (other := self.__others.get(fingerprint)) is not None:
                return other.unwrap(wrapped)
            raise KeyMismatch(
                f"this batch was sealed under master key {fingerprint}, and the configured one is "
                f"{' and '.join(self.fingerprints)}; configure the key it was sealed under and restart the worker"
            )
        blob = _bytes(sealed)
        try:
            key = self.__cipher.decrypt(blob[:_NONCE_BYTES], blob[_NONCE_BYTES:], _wrap_data(fingerprint, key_id))
        except InvalidTag:
            raise KeyMismatch(
                f"a stored batch key does not open: it names master key {fingerprint}, the configured one is "
                f"{self.fingerprint}, and the text was altered since; restore a backup"
            ) from None
        return BatchKey(key, key_id=key_id)

    def rewrap(self, wrapped: str) -> str:
        """Return a wrapped batch key as this key wraps it, the same text where it did. Raises KeyMismatch."""
        return wrapped if wrapped_by(wrapped) == self.fingerprint else self.wrap(self.unwrap(wrapped))

    def __repr__(self) -> str:
        return f"MasterKey({self.fingerprint}, '{MASK}')"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a MasterKey cannot be pickled or copied into another process")


def wrapped_by(wrapped: str) -> str | None:
    """Return the fingerprint of the master key that a wrapped batch key names; None where the text is damaged."""
    found = _WRAPPED.fullmatch(wrapped)
    return found[1] if found else None


class BatchKey:
    """The key that seals the passwords of one batch; `key_id` is random and no secret."""

    __slots__ = ("__cipher", "__data", "__key", "key_id")

    def __init__(self, key: bytes, *, key_id: str) -> None:
        self.__key = key
        self.__cipher = AESGCM(key)
        self.__data = _SEAL_TAG + bytes.fromhex(key_id)
        self.key_id = key_id

    def seal(self, task_id: int, password_no: int, password: Secret) -> str:
        """Return the password as text that opens only as this number of this task under this key."""
        nonce = os.urandom(_NONCE_BYTES)
        data = self.__data + _PLACE.pack(task_id, password_no)
        return _text(nonce + self.__cipher.encrypt(nonce, password.reveal().encode(), data))

    def open(self, task_id: int, password_no: int, sealed: str) -> Secret:
        """Return the password sealed in this place. Raises KeyMismatch for any other text, key or place."""
        data = self.__data + _PLACE.pack(task_id, password_no)
        try:
            blob = _bytes(sealed)
            clear = self.__cipher.decrypt(blob[:_NONCE_BYTES], blob[_NONCE_BYTES:], data)
        except (InvalidTag, ValueError):
            raise KeyMismatch(
                f"password {password_no} of task {task_id} does not open: sealed elsewhere or altered since; "
                "restore a backup, or cancel the batch and order it again"
            ) from None
        return Secret(clear.decode())

    def reveal(self) -> bytes:
        """Return the clear key; call it only to wrap it."""
        return self.__key

    def __repr__(self) -> str:
        return f"BatchKey({self.key_id}, '{MASK}')"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a BatchKey cannot be pickled or copied into another process")


_PLACE: Final = struct.Struct("!qq")  # fixed width: task 1, number 11 can never read as task 11, number 1


def _wrap_data(fingerprint: str, key_id: str) -> bytes:
    return _WRAP_TAG + bytes.fromhex(fingerprint) + bytes.fromhex(key_id)


def _text(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def _bytes(text: str) -> bytes:
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _fault(text: str) -> str:
    """Say what is wrong with the text of a key in words that hold nothing of it."""
    make = "make one with `bulkreset init` and use its text unchanged"
    if not text:
        return f"it is empty; {make}"
    if not text.startswith(KEY_PREFIX):
        return f"it does not begin with {KEY_PREFIX!r}; {make}"
    got = len(text) - len(KEY_PREFIX)
    if got != 43:
        return f"{got} characters follow {KEY_PREFIX!r} where 43 belong; {make}"
    return f"what follows {KEY_PREFIX!r} holds characters other than letters, digits, - and _; {make}"

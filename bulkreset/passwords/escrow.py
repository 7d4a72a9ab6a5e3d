"""Escrow: a password sealed to recipients of the `age` tool; from then on only they can read it.

Each password is an age file of its own (age-encryption.org/v1), made when it is known to be in force. So there is
no moment at which this program could put the passwords of a batch together in clear, with whatever key it has.
An age file says nothing about who wrote it: a recipient learns what was sealed to them, not that it was us.
"""

import binascii
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any, BinaryIO, Final, NoReturn, Self

import pyrage

from bulkreset.errors import ConfigError, InputError
from bulkreset.secret import MASK, Secret

_SHOWN: Final = 12
_SECRET_SIGNS: Final = ("AGE-SECRET-KEY", "AGE-PLUGIN-", "PRIVATE KEY")
_SSH: Final = ("ssh-ed25519 ", "ssh-rsa ")
_HOUR: Final = timedelta(hours=1)

Write = Callable[[bytes], object]


class Recipients:
    """Who can read what is sealed here; `texts` are their public keys, fit to be shown and stored."""

    __slots__ = ("__keys", "texts")

    def __init__(self, keys: Sequence[Any], texts: tuple[str, ...]) -> None:
        self.__keys = list(keys)
        self.texts = texts

    def seal(self, password: Secret) -> str:
        """Return the password as one line that any one of the recipients opens, and nobody else.

        It is an age file in base64, another one each time; about 0.1 ms a recipient.
        """
        return b64encode(pyrage.encrypt(password.reveal().encode(), self.__keys)).decode("ascii")

    def encrypt(self, blocks: Iterable[bytes], write: Write) -> None:
        """Write one binary age file of these blocks, each as it comes; what either end raises goes through."""
        source, sink = _Source(iter(blocks)), _Sink(write)
        try:
            pyrage.encrypt_io(source, sink, self.__keys)
        except (pyrage.EncryptError, OSError):
            _raise_first(source, sink)
            raise

    def __repr__(self) -> str:
        return f"Recipients({len(self.texts)})"


def recipients(texts: Sequence[str]) -> Recipients:
    """Read recipients: `age1…` of age-keygen, or the ssh-ed25519 or ssh-rsa line of a public key.

    Raises InputError that names the wrong one by its place. An identity, which is secret, is refused and never
    repeated. The same texts are read once only.
    """
    return _recipients(tuple(texts))


def kept_until(sealed_at: datetime, days: int) -> datetime:
    """Return when a password sealed then is to be deleted: so many days later, rounded up to a full hour.

    The passwords of a batch then end together, and its trail has a few entries about that and not thousands.
    """
    until = sealed_at + timedelta(days=days)
    over = until - until.replace(minute=0, second=0, microsecond=0)
    return until + (_HOUR - over if over else over)


class Identities:
    """The secret keys of one recipient, as an identity file holds them."""

    __slots__ = ("__keys",)

    def __init__(self, keys: Sequence[Any]) -> None:
        self.__keys = list(keys)

    @classmethod
    def parse(cls, text: Secret, name: str) -> Self:
        """Read an identity file's text: AGE-SECRET-KEY lines and comments, or an OpenSSH private key.

        Raises ConfigError that names the file and the line and holds nothing of it.
        """
        if text.reveal().startswith("-----BEGIN "):
            return cls([_ssh_identity(text, name)])
        keys = []
        for number, line in enumerate(text.reveal().splitlines(), 1):
            if line.strip() and not line.startswith("#"):
                try:
                    keys.append(pyrage.x25519.Identity.from_str(line.strip()))
                except pyrage.IdentityError:
                    raise ConfigError(
                        f"{name}: line {number} is no age identity; lines begin with AGE-SECRET-KEY-1 or with #; "
                        "what belongs to a plugin opens with the age tool only"
                    ) from None
        if not keys:
            raise ConfigError(f"{name}: holds no identity; name the file that age-keygen made")
        return cls(keys)

    def open(self, sealed: str) -> Secret:
        """Return a password that `Recipients.seal` sealed to one of these. Raises InputError."""
        try:
            return Secret(pyrage.decrypt(b64decode(sealed, validate=True), self.__keys).decode())
        except (binascii.Error, pyrage.DecryptError, OSError, ValueError) as error:
            raise InputError(_why_shut(error)) from None

    def decrypt(self, file: BinaryIO, write: Write) -> None:
        """Write what an age file holds, a block at a time. Raises InputError where it does not open.

        What is written is true up to there only: use it when this has returned.
        """
        sink = _Sink(write)
        try:
            pyrage.decrypt_io(file, sink, self.__keys)
        except (pyrage.DecryptError, OSError) as error:
            _raise_first(sink)
            raise InputError(_why_shut(error)) from None

    def __repr__(self) -> str:
        return f"Identities('{MASK}')"

    def __reduce__(self) -> NoReturn:
        raise TypeError("identities cannot be pickled or copied into another process")


@lru_cache(maxsize=64)
def _recipients(texts: tuple[str, ...]) -> Recipients:
    if not texts:
        raise InputError("escrow has no recipients; name one at least, as age-keygen shows it: age1…")
    # Twice the same recipient would only make each password longer.
    found = {text.strip(): _recipient(text.strip(), number) for number, text in enumerate(texts, 1)}
    return Recipients(list(found.values()), tuple(found))


def _recipient(text: str, number: int) -> Any:
    if any(sign in text.upper() for sign in _SECRET_SIGNS):
        raise InputError(
            f"escrow recipient {number} is an identity, which is secret; give its public key (age-keygen -y FILE) "
            "and make a new identity, for this one was seen"
        )
    kind = pyrage.ssh if text.startswith(_SSH) else pyrage.x25519
    try:
        return kind.Recipient.from_str(text)
    except pyrage.RecipientError:
        raise InputError(
            f"escrow recipient {number}, {text[:_SHOWN]!r}, is not one; write what age-keygen shows as the public "
            "key (age1… with 62 characters), or the line of an ssh-ed25519 or ssh-rsa public key"
        ) from None


def _ssh_identity(text: Secret, name: str) -> Any:
    try:
        return pyrage.ssh.Identity.from_buffer(text.reveal().encode())
    except pyrage.IdentityError:
        raise ConfigError(f"{name}: is no OpenSSH private key that can be used; try the age tool") from None


def _why_shut(error: Exception) -> str:
    if isinstance(error, pyrage.DecryptError) and "No matching keys" in str(error):
        return "is sealed to other recipients than this identity; use another identity"
    return "is no age file, or was damaged since; get it once more"


class _Source:
    """Blocks of bytes as a file to be read."""

    def __init__(self, blocks: Iterator[bytes]) -> None:
        self._blocks = blocks
        self._left = memoryview(b"")
        self.error: BaseException | None = None

    def read(self, size: int) -> bytes:
        """Return up to so many bytes, and none only at the end."""
        try:
            while not self._left and (block := next(self._blocks, None)) is not None:
                self._left = memoryview(block)
        except BaseException as error:
            self.error = error
            raise
        part, self._left = self._left[:size], self._left[size:]
        return bytes(part)


class _Sink:
    """A function as a file to be written."""

    def __init__(self, write: Write) -> None:
        self._write = write
        self.error: BaseException | None = None

    def write(self, data: bytes) -> int:
        """Hand on all of it."""
        try:
            self._write(data)
        except BaseException as error:
            self.error = error
            raise
        return len(data)

    def flush(self) -> None:
        """Do nothing: who gave the function closes the file."""


def _raise_first(*ends: _Source | _Sink) -> None:
    """Raise what one of our own ends raised inside the library, which makes a text of it."""
    for end in ends:
        if end.error is not None:
            raise end.error from None

"""The secrets of an account, read again where their files change: a new one reaches a running process."""

from collections.abc import Iterable
from pathlib import Path
from typing import Self

from bulkreset.errors import ConfigError
from bulkreset.secret import Secret
from bulkreset.settings import SecretSource

Stamp = tuple[int, int, int]
"""What changes when a file does: when it was written, its size, and which file it is."""


class Credential:
    """One secret as it was read last; without a `source` it never changes."""

    def __init__(
        self, secret: Secret, *, source: SecretSource | None = None, base: Path = Path(), what: str = ""
    ) -> None:
        self.secret = secret
        self._source = source
        self._base = base
        self._what = what
        self._stamp: Stamp | None = None
        self._before: Secret | None = None  # a late answer may still name it

    @classmethod
    def read(cls, source: SecretSource | str, base: Path, what: str) -> Self:
        """Read a secret from its source; a text is the secret itself. Raises ConfigError that names `what`."""
        if isinstance(source, str):
            return cls(Secret(source))
        credential = cls(Secret(""), source=source, base=base, what=what)
        credential.refresh(force=True)
        credential._before = None
        return credential

    @classmethod
    def of(cls, value: "Credential | Secret") -> "Credential":
        """Return a credential for a value that may be one already."""
        return cls(value) if isinstance(value, Secret) else value

    def refresh(self, *, force: bool) -> bool:
        """Read the secret again where its file has changed, or in any case; tell whether it is another one.

        Raises ConfigError where it cannot be read; the one at hand stays, and the next call looks again.
        """
        if self._source is None:
            return False
        stamp = self._look()
        if not force and (stamp is None or stamp == self._stamp):
            return False
        secret = self._source.read(self._base, self._what)
        self._stamp = stamp  # from before it was read: what is written meanwhile is read again
        if secret.reveal() == self.secret.reveal():
            return False
        self._before, self.secret = self.secret, secret
        return True

    @property
    def how_to_replace(self) -> str:
        """Say where a new secret belongs, so that the workers use it."""
        if self._source is None:
            return "correct the configuration and start the workers again"
        if self._source.file is not None:
            return f"put the new one into {self._base / self._source.file}"
        return f"set {self._source.env} to the new one and start the workers again (a file needs no new start)"

    def values(self) -> Iterable[str]:
        """Return every clear value that must be masked."""
        return tuple(secret.reveal() for secret in (self.secret, self._before) if secret is not None)

    def _look(self) -> Stamp | None:
        if self._source is None or self._source.file is None:
            return None
        try:
            status = (self._base / self._source.file).stat()
        except (OSError, ValueError):
            return None
        return status.st_mtime_ns, status.st_size, status.st_ino


def refresh_all(credentials: Iterable[Credential], *, force: bool) -> bool:
    """Read these again, all of them; tell whether any is another one. Raises ConfigError after all were tried."""
    changed = False
    fault: ConfigError | None = None
    for credential in credentials:
        try:
            changed |= credential.refresh(force=force)
        except ConfigError as error:
            fault = error
    if fault is not None:
        raise fault
    return changed

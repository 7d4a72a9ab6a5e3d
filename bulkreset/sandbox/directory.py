"""The users of one tenant and the passwords they really have, kept as SHA-256 only."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from hashlib import sha256

from bulkreset.sandbox.limiter import DAY_S
from bulkreset.sandbox.spec import SpecError, UserSpec

LONGEST_HISTORY = 12


@dataclass(slots=True)
class User:
    """One user: `applied` counts every password set, `changes` those that differ from the one before."""

    id: str
    email: str
    kind: str
    name: str
    password_sha256: str | None = None
    applied: int = 0
    changes: int = 0
    revoked: int = 0
    former: list[str] = field(default_factory=list, repr=False)
    changed_at: list[float] = field(default_factory=list, repr=False)

    def set_password(self, digest: str, wall: float) -> None:
        """Make this the user's password."""
        self.applied += 1
        if digest != self.password_sha256:
            self.changes += 1
            if self.password_sha256 is not None:
                self.former = [self.password_sha256, *self.former][:LONGEST_HISTORY]
            self.password_sha256 = digest
        self.changed_at = [at for at in self.changed_at if wall - at < DAY_S]
        self.changed_at.append(wall)

    def changes_24h(self, wall: float) -> int:
        """Return how often the password was set in the 24 hours up to now."""
        return sum(wall - at < DAY_S for at in self.changed_at)

    def used_before(self, digest: str, depth: int) -> bool:
        """Say whether this is one of the last `depth` passwords before the present one."""
        return digest in self.former[:depth]


class Directory:
    """Every user of a tenant, found by exact id or by e-mail address in any case."""

    __slots__ = ("_by_email", "_by_id", "everyone")

    def __init__(self, roster: Iterable[UserSpec]) -> None:
        self.everyone: list[User] = []
        self._by_id: dict[str, User] = {}
        self._by_email: dict[str, User] = {}
        for spec in roster:
            digest = None if spec.password is None else digest_of(spec.password)
            user = User(spec.id, spec.email, spec.kind, spec.name or spec.email.partition("@")[0], digest)
            if spec.id in self._by_id or spec.email.lower() in self._by_email:
                raise SpecError(f"users: {spec.id} or {spec.email} is there twice")
            self.everyone.append(user)
            self._by_id[user.id] = user
            self._by_email[user.email.lower()] = user

    def by_id(self, user_id: str) -> User | None:
        """Find a user that the provider knows by exact id."""
        return _known(self._by_id.get(user_id))

    def by_email(self, email: str) -> User | None:
        """Find a user that the provider knows by e-mail address, in any case."""
        return _known(self._by_email.get(email.lower()))

    def of_kinds(self, *kinds: str) -> list[User]:
        """Return the users of these kinds in roster order."""
        return [user for user in self.everyone if user.kind in kinds]


def digest_of(password: str) -> str:
    """Return the SHA-256 of a password in hex, the only form in which the sandbox shows it."""
    return sha256(password.encode()).hexdigest()


def _known(user: User | None) -> User | None:
    return None if user is None or user.kind == "missing" else user

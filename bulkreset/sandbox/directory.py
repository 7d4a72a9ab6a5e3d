"""The users of one tenant and the passwords they really have, kept as SHA-256 only."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from hashlib import sha256

from bulkreset.sandbox.limiter import DAY_S
from bulkreset.sandbox.spec import SpecError, UserSpec

LONGEST_HISTORY = 12


@dataclass(slots=True)
class User:
    """One user: `applied` counts every password set, `changes` those that differ from the one before.

    `sessions` are alive until they are revoked, which `revoked` counts; a new password does not end them.
    `listed` counts how often the user was shown on a page of the listing.
    """

    id: str
    email: str
    kind: str
    name: str
    password_sha256: str | None = None
    groups: tuple[str, ...] = ()
    dept: str = ""
    created_at: str = "2024-01-01T00:00:00Z"
    last_login_at: str | None = None
    sessions: int = 1
    applied: int = 0
    changes: int = 0
    revoked: int = 0
    listed: int = 0
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

    def end_sessions(self) -> None:
        """End every session that is alive."""
        self.revoked += 1
        self.sessions = 0

    def changes_24h(self, wall: float) -> int:
        """Return how often the password was set in the 24 hours up to now."""
        return sum(wall - at < DAY_S for at in self.changed_at)

    def used_before(self, digest: str, depth: int) -> bool:
        """Say whether this is one of the last `depth` passwords before the present one."""
        return digest in self.former[:depth]


class Directory:
    """Every user of a tenant, found by exact id or by e-mail address in any case."""

    __slots__ = ("_by_email", "_by_id", "_of_kinds")

    def __init__(self, roster: Iterable[UserSpec]) -> None:
        self._by_id: dict[str, User] = {}
        self._by_email: dict[str, User] = {}
        self._of_kinds: dict[tuple[str, ...], list[User]] = {}  # pages are cut from these
        self.change(add=roster)

    @property
    def everyone(self) -> list[User]:
        """Every user on the roster, in its order."""
        return list(self._by_id.values())

    def change(self, *, add: Iterable[UserSpec] = (), remove: Iterable[str] = ()) -> None:
        """Remove users by id or e-mail address and append others: all of it, or nothing and a SpecError."""
        by_id, by_email = dict(self._by_id), dict(self._by_email)
        for ref in remove:
            user = by_id.get(ref) or by_email.get(ref.lower())
            if user is None:
                raise SpecError(f"remove: there is no user {ref!r}")
            del by_id[user.id], by_email[user.email.lower()]
        for spec in add:
            if spec.id in by_id or spec.email.lower() in by_email:
                raise SpecError(f"users: {spec.id} or {spec.email} is there twice")
            by_id[spec.id] = by_email[spec.email.lower()] = _user(spec)
        self._by_id, self._by_email = by_id, by_email
        self._of_kinds.clear()

    def by_id(self, user_id: str) -> User | None:
        """Find a user that the provider knows by exact id."""
        return _known(self._by_id.get(user_id))

    def by_email(self, email: str) -> User | None:
        """Find a user that the provider knows by e-mail address, in any case."""
        return _known(self._by_email.get(email.lower()))

    def of_kinds(self, *kinds: str) -> Sequence[User]:
        """Return the users of these kinds in roster order."""
        if kinds not in self._of_kinds:
            self._of_kinds[kinds] = [user for user in self._by_id.values() if user.kind in kinds]
        return self._of_kinds[kinds]


def digest_of(password: str) -> str:
    """Return the SHA-256 of a password in hex, the only form in which the sandbox shows it."""
    return sha256(password.encode()).hexdigest()


def _user(spec: UserSpec) -> User:
    return User(
        spec.id,
        spec.email,
        spec.kind,
        spec.name or spec.email.partition("@")[0],
        None if spec.password is None else digest_of(spec.password),
        spec.groups,
        spec.dept,
        spec.created_at,
        spec.last_login_at,
        spec.sessions,
    )


def _known(user: User | None) -> User | None:
    return None if user is None or user.kind == "missing" else user

"""One tenant: its users, limits, faults and record, whichever provider it plays."""

import math
from collections.abc import Iterable

from bulkreset.sandbox.clock import Clock
from bulkreset.sandbox.directory import Directory, User
from bulkreset.sandbox.exchange import http_date, iso_date
from bulkreset.sandbox.faults import FaultRule, FaultScript
from bulkreset.sandbox.limiter import Gate, span
from bulkreset.sandbox.record import CallLog
from bulkreset.sandbox.spec import TenantSpec, UserSpec


class Tenant:
    """The state behind one provider account; `spec` may be replaced while calls come in."""

    def __init__(self, spec: TenantSpec, clock: Clock) -> None:
        self.spec = spec
        self.clock = clock
        self.directory = Directory(spec.roster())
        self.faults = FaultScript(spec.seed)
        self.log = CallLog(spec.keep_calls)
        self.writes = WritePace()
        self.overlaps = 0
        if spec.provider == "zoom":
            self.main_gate = Gate("Medium", spec.limit, spec.window, spec.daily)
            self.gates = {"Medium": self.main_gate, "Light": Gate("Light", spec.light_limit, spec.window)}
        else:
            self.main_gate = Gate("default", spec.limit, spec.window, spec.daily)
            self.gates = {"default": self.main_gate}

    @property
    def users(self) -> list[User]:
        """Every user on the roster, in its order."""
        return self.directory.everyone

    def change(self, spec: TenantSpec) -> None:
        """Take over changed settings; users, passwords, counts and tokens stay."""
        self.spec = spec
        self.log.resize(spec.keep_calls)
        self.main_gate.change(spec.limit, spec.window, spec.daily)
        if "Light" in self.gates:
            self.gates["Light"].change(spec.light_limit, spec.window, None)

    def change_users(self, add: Iterable[UserSpec] = (), remove: Iterable[str] = ()) -> None:
        """Let users vanish, by id or e-mail address, and others appear at the end of the roster."""
        self.directory.change(add=add, remove=remove)

    def forget_calls(self) -> None:
        """Empty the record and the pace, as before a measurement; limits go on counting."""
        self.log.clear()
        self.writes = WritePace()
        self.overlaps = 0
        for gate in self.gates.values():
            gate.reset()

    def retry_after(self, rule: FaultRule) -> str | None:
        """Return the Retry-After text that a fault rule asks for, or None where it asks for none."""
        if rule.retry_after is None:
            return None
        at = math.ceil(self.clock.wall() + rule.retry_after)
        if rule.form == "http_date":
            return http_date(at)
        if rule.form == "iso":
            return iso_date(at)
        return str(rule.retry_after)

    def state(self) -> dict[str, object]:
        """Describe every user and what became of the password and the sessions, and the totals."""
        wall = self.clock.wall()
        everyone = self.users
        users = {
            user.id: {
                "email": user.email,
                "kind": user.kind,
                "password_sha256": user.password_sha256,
                "changes": user.changes,
                "changes_24h": user.changes_24h(wall),
                "applied": user.applied,
                "sessions": user.sessions,
                "revoked": user.revoked,
                "listed": user.listed,
            }
            for user in everyone
        }
        counts = {
            "users": len(users),
            "users_changed": sum(user.changes > 0 for user in everyone),
            "applied": sum(user.applied for user in everyone),
            "changes": sum(user.changes for user in everyone),
            "sessions": sum(user.sessions for user in everyone),
            "revoked": sum(user.revoked for user in everyone),
            "calls": self.log.total,
        }
        return {"tenant": self.spec.name, "provider": self.spec.provider, "counts": counts, "users": users}

    def pace(self) -> dict[str, object]:
        """Describe how the main rate class was used, the others beside it, and the password writes alone."""
        return {
            **self.main_gate.pace(),
            "labels": {label: gate.pace() for label, gate in self.gates.items()},
            "writes": span(self.writes.accepted, self.writes.first_t, self.writes.last_t, self.main_gate.window),
            "overlaps": self.overlaps,
        }


class WritePace:
    """When the accepted password writes arrived."""

    __slots__ = ("accepted", "first_t", "last_t")

    def __init__(self) -> None:
        self.accepted = 0
        self.first_t: float | None = None
        self.last_t: float | None = None

    def add(self, now: float) -> None:
        """Count one more at `now`."""
        self.accepted += 1
        self.last_t = now
        if self.first_t is None:
            self.first_t = now

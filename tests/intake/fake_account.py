"""An account with the users that a test says, and no network: it follows the protocol of providers."""

from datetime import UTC, datetime
from types import SimpleNamespace

from bulkreset.model import Action
from bulkreset.passwords.policy import STRONGEST
from bulkreset.providers.base import Checkup, DirectoryUser, Finding, Role, Status

PAGE = 3
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


def user(user_id, email=None, role=Role.MEMBER, status=Status.ACTIVE, **more):
    """Make a user as a listing shows most of them."""
    return DirectoryUser(user_id, email, role, status, **{"created_at": LONG_AGO, **more})


async def no_pace():
    """Let every call leave at once."""


class Account:
    """One account; `breaks` are errors that its listing ends with, one after the other, before it goes through."""

    auth = SimpleNamespace(secrets=list, ends_at=None)

    def __init__(self, users=(), *, kind="zoom", name="acme", me=None, breaks=(), counts=None):
        self.account = name
        self.users = list(users)
        self.kind = kind
        self.ids_required = kind == "zendesk"
        self.myself = me
        self.breaks = list(breaks)
        self.counts = counts
        self.findings = [Finding("login", ok=True, detail="fine")]
        self.logins = {}
        self.asked = []
        self.at_once = self.most_at_once = 0
        self.refuses = {}

    def label(self, action):
        if self.kind != "zoom":
            return "default"
        return "light" if action is Action.REVOKE_SESSIONS else "medium"

    def check_ref(self, user_ref):
        return "has a blank" if " " in user_ref else None

    def set_password(self, user_ref, password):
        raise AssertionError("a write was built")

    revoke_sessions = set_password

    async def policy(self, pace):
        return STRONGEST

    async def check(self, pace, *, revokes=False):
        self.revokes = revokes
        return Checkup(tuple(self.findings), STRONGEST)

    def told_rate(self, label):
        return None

    async def me(self, pace):
        self._may("me")
        return self.myself

    async def headcount(self, pace):
        counts = self.counts
        return len(self.users) if counts is None else counts.pop(0) if len(counts) > 1 else counts[0]

    async def directory(self, pace):
        self._may("directory")
        for start in range(0, len(self.users), PAGE):
            yield self.users[start : start + PAGE]
            if self.breaks:
                raise self.breaks.pop(0)

    async def login(self, user_ref, pace):
        self._may("login")
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        await pace()
        self.at_once -= 1
        self.asked.append(user_ref)
        return self.logins.get(user_ref)

    def _may(self, what):
        if what in self.refuses:
            raise self.refuses[what]

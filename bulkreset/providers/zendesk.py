"""Zendesk: the calls that set a password and end sessions, and the password requirements.

Sources, where a fact has no other beside it: developer.zendesk.com/api-reference/ticketing/users/user_passwords
and /ticketing/account-configuration/sessions.
"""

import asyncio
import dataclasses
import json
from collections.abc import AsyncIterator, Iterable
from datetime import UTC, datetime
from typing import Final

from bulkreset.errors import ProviderError
from bulkreset.model import Action, Outcome, Verdict
from bulkreset.passwords.policy import STRONGEST, Policy
from bulkreset.providers.answers import Ruling, Told, read_json, table, text, verdict
from bulkreset.providers.base import Answer, Call, DirectoryUser, Finding, Login, Pace, Role
from bulkreset.providers.http import ReadTransport, Unclear, Unreachable, WriteTransport
from bulkreset.providers.reads import Clock, Reader, Sleep
from bulkreset.providers.requirements import policy_from
from bulkreset.providers.zendesk_answers import SETTING_ADVICE, read_answer, rule, rule_revocation
from bulkreset.providers.zendesk_auth import ZendeskAuth
from bulkreset.providers.zendesk_users import ZendeskUsers, is_user_id
from bulkreset.secret import Secret

_SCOPE_ADVICE: Final = (
    "not readable by the token itself: the password call refuses tokens scoped users:write, it needs `write`"
)


class Zendesk:
    """One Zendesk account, reached with an admin's API token or with an OAuth token."""

    ids_required = True

    def __init__(
        self,
        *,
        account: str,
        api_url: str,
        email: str | None = None,
        api_token: Secret | None = None,
        oauth_token: Secret | None = None,
        transport: ReadTransport,
        sleep: Sleep = asyncio.sleep,
        clock: Clock = lambda: datetime.now(UTC),
    ) -> None:
        self.account = account
        self.auth = ZendeskAuth(account=account, email=email, api_token=api_token, oauth_token=oauth_token)
        self._api = f"{api_url.rstrip('/')}/api/v2"
        self._by_oauth = oauth_token is not None
        self._clock = clock
        self._reader = Reader(account, "Zendesk", self.auth, transport, read_answer, sleep, clock)
        self._users = ZendeskUsers(self._reader, self._api)

    def label(self, action: Action) -> str:  # noqa: ARG002  (one pot for every action)
        """Return `default`: Zendesk counts every call in one pot."""
        return "default"

    def check_ref(self, user_ref: str) -> str | None:
        """Return why this cannot be a Zendesk user id, or None."""
        return None if is_user_id(user_ref) else "a Zendesk user is named by a numeric id"

    def set_password(self, user_ref: str, password: Secret) -> Call:
        """Build the call that sets this user's password."""
        body = json.dumps({"password": password.reveal()}).encode()
        return Call("POST", f"{self._user(user_ref)}/password", body)

    def classify(self, answer: Answer, *, now: datetime, mask: Iterable[str] = ()) -> Verdict:
        """Say what an answer to `set_password` means; only a 200 with nothing in it is a success."""
        told = read_answer(answer)
        return self._verdict(answer, told, rule(answer, told, now), mask)

    def revoke_sessions(self, user_ref: str) -> Call:
        """Build the call that ends all sessions of this user; nothing says that API or OAuth tokens end too."""
        return Call("DELETE", f"{self._user(user_ref)}/sessions.json")

    def classify_revocation(self, answer: Answer, *, now: datetime, mask: Iterable[str] = ()) -> Verdict:
        """Say what an answer to `revoke_sessions` means; only a 204 is a success."""
        told = read_answer(answer)
        return self._verdict(answer, told, rule_revocation(answer, told, now), mask)

    async def own_password(self, transport: WriteTransport, old: Secret, new: Secret, pace: Pace) -> Verdict:
        """Change the API user's own password, which needs the one before; sends one write, outside of any task."""
        user_id = (await self._users.me(pace)).user_id
        body = json.dumps({"previous_password": old.reveal(), "password": new.reveal()}).encode()
        await pace()
        try:
            answer = await transport.send(
                Call("PUT", f"{self._api}/users/{user_id}/password", body), self.auth.headers()
            )
        except Unreachable as error:
            return Verdict(Outcome.UNREACHABLE, message=str(error))
        except Unclear as error:
            return Verdict(Outcome.UNKNOWN, message=str(error))
        return self.classify(answer, now=self._clock(), mask=(old.reveal(), new.reveal()))

    async def policy(self, pace: Pace) -> Policy:
        """Read the requirements that Zendesk states for the API user; never weaker than the strongest form."""
        user_id = (await self._users.me(pace)).user_id
        answer = await self._reader.get(f"{self._api}/users/{user_id}/password/requirements", pace)
        stated = table(read_json(answer.body)).get("requirements")
        if answer.status == 200 and isinstance(stated, list):
            return policy_from([said for item in stated if (said := text(item))])
        why = f"the strongest form, since Zendesk does not show its requirements: {self._reader.words(answer)}"
        return dataclasses.replace(STRONGEST, source=why)

    async def check(self, pace: Pace, *, revokes: bool = False) -> list[Finding]:  # noqa: ARG002  (an admin may)
        """Log in, look at the role, and read the requirements; sends no write."""
        try:
            me = await self._users.me(pace)
        except ProviderError as error:
            return [Finding("login", ok=False, detail=str(error))]
        findings = [Finding("login", ok=True, detail=f"Zendesk accepts the credentials of user {me.user_id}")]
        is_admin = me.role is Role.ADMIN
        detail = "admin" if is_admin else f"{me.role or 'none'}: only admins may set passwords"
        findings.append(Finding("role", ok=is_admin, detail=detail))
        if self._by_oauth:
            findings.append(Finding("scopes", ok=True, detail=_SCOPE_ADVICE))
        try:
            policy = await self.policy(pace)
        except ProviderError as error:
            findings.append(Finding("policy", ok=False, detail=str(error)))
        else:
            findings.append(Finding("policy", ok=True, detail=policy.source))
        findings.append(
            Finding("setting", ok=True, detail=f"not readable by API, off by default: {SETTING_ADVICE}")
        )
        return findings

    def directory(self, pace: Pace) -> AsyncIterator[list[DirectoryUser]]:
        """List the account's users, 100 a page."""
        return self._users.directory(pace)

    async def headcount(self, pace: Pace) -> int:
        """Return how many users Zendesk counts; above 100,000 an estimate of the day."""
        return await self._users.headcount(pace)

    async def me(self, pace: Pace) -> DirectoryUser:
        """Return the user whose token this is. Raises ProviderRefused where Zendesk names nobody."""
        return await self._users.me(pace)

    async def login(self, user_ref: str, pace: Pace) -> Login | None:  # noqa: ARG002  (there is nothing to ask)
        """Return None: no documented field of a user tells how it signs in, and none refuses a password."""
        return None

    def _user(self, user_ref: str) -> str:
        """Return the address of one user; raise ValueError for a reference that cannot be one."""
        if reason := self.check_ref(user_ref):
            raise ValueError(reason)
        return f"{self._api}/users/{user_ref}"

    def _verdict(self, answer: Answer, told: Told, ruling: Ruling, mask: Iterable[str]) -> Verdict:
        return verdict(answer, ruling, told, request_id="x-request-id", mask=lambda: (*mask, *self.auth.secrets()))

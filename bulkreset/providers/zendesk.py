"""Zendesk: the call that sets a password, the password requirements, the users.

Sources, where a fact has no other beside it: developer.zendesk.com/api-reference/ticketing/users/user_passwords
and /users/users; paging: /api-reference/introduction/pagination.
"""

import asyncio
import dataclasses
import json
import re
from collections.abc import AsyncIterator, Iterable, Mapping
from datetime import UTC, datetime
from typing import Final

from yarl import URL

from bulkreset.errors import ProviderError, ProviderRefused, ProviderUnavailable
from bulkreset.model import Action, Outcome, Verdict
from bulkreset.passwords.policy import STRONGEST, Policy
from bulkreset.providers.answers import read_json, rows, table, text, verdict
from bulkreset.providers.base import Answer, Call, DirectoryUser, Finding, Pace
from bulkreset.providers.http import ReadTransport, Unclear, Unreachable, WriteTransport
from bulkreset.providers.reads import Clock, Reader, Sleep
from bulkreset.providers.requirements import policy_from
from bulkreset.providers.zendesk_answers import SETTING_ADVICE, read_answer, rule
from bulkreset.providers.zendesk_auth import ZendeskAuth
from bulkreset.secret import Secret

PAGE_SIZE: Final = 100
_SCOPE_ADVICE: Final = (
    "not readable by the token itself: the password call refuses tokens scoped users:write, it needs `write`"
)

_NUMBER = re.compile(r"[1-9][0-9]{0,18}", re.ASCII)
_LINK = re.compile(r"[\x21-\x7e]+")


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

    def label(self, action: Action) -> str:  # noqa: ARG002  (one pot for every action)
        """Return `default`: Zendesk counts every call in one pot."""
        return "default"

    def check_ref(self, user_ref: str) -> str | None:
        """Return why this cannot be a Zendesk user id, or None."""
        if _NUMBER.fullmatch(user_ref):
            return None
        return "a Zendesk user is named by a numeric id"

    def set_password(self, user_ref: str, password: Secret) -> Call:
        """Build the call that sets this user's password."""
        if reason := self.check_ref(user_ref):
            raise ValueError(reason)
        body = json.dumps({"password": password.reveal()}).encode()
        return Call("POST", f"{self._api}/users/{user_ref}/password", body)

    def classify(self, answer: Answer, *, now: datetime, mask: Iterable[str] = ()) -> Verdict:
        """Say what an answer to `set_password` means; only a 200 that is empty or JSON is a success."""
        told = read_answer(answer)
        ruling = rule(answer, told, now)
        return verdict(answer, ruling, told, request_id="x-request-id", mask=lambda: (*mask, *self.auth.secrets()))

    async def own_password(self, transport: WriteTransport, old: Secret, new: Secret, pace: Pace) -> Verdict:
        """Change the API user's own password, which needs the one before; sends one write, outside of any task."""
        user_id, _ = await self._me(pace)
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
        user_id, _ = await self._me(pace)
        answer = await self._reader.get(f"{self._api}/users/{user_id}/password/requirements", pace)
        stated = table(read_json(answer.body)).get("requirements")
        if answer.status == 200 and isinstance(stated, list):
            return policy_from([said for item in stated if (said := text(item))])
        why = f"the strongest form, since Zendesk does not show its requirements: {self._reader.words(answer)}"
        return dataclasses.replace(STRONGEST, source=why)

    async def check(self, pace: Pace) -> list[Finding]:
        """Log in, look at the role, and read the requirements; sends no write."""
        try:
            user_id, role = await self._me(pace)
        except ProviderError as error:
            return [Finding("login", ok=False, detail=str(error))]
        findings = [Finding("login", ok=True, detail=f"Zendesk accepts the credentials of user {user_id}")]
        detail = "admin" if role == "admin" else f"{role or 'none'}: only admins may set passwords"
        findings.append(Finding("role", ok=role == "admin", detail=detail))
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

    async def directory(self, pace: Pace) -> AsyncIterator[list[DirectoryUser]]:
        """List the account's users, 100 a page, by cursor: paging by number ends with a 400 after 10,000 users."""
        url = f"{self._api}/users.json?page%5Bsize%5D={PAGE_SIZE}"
        while True:
            answer = await self._reader.get(url, pace)
            body = table(read_json(answer.body))
            users = body.get("users")
            if answer.status != 200:
                raise ProviderRefused(self._reader.says("does not list its users", answer))
            if not isinstance(users, list):
                raise ProviderUnavailable(self._reader.says("broke off the listing of users; start again", answer))
            if page := [user for row in rows(users) if (user := _user(row))]:
                yield page
            following = text(table(body.get("links")).get("next"))
            if table(body.get("meta")).get("has_more") is not True or following is None:
                return
            if following == url:
                raise ProviderUnavailable(f"account {self.account!r}: Zendesk's listing of users does not move on")
            url = self._same_place(following)

    async def _me(self, pace: Pace) -> tuple[str, str | None]:
        """Return the API user's id and role; to nobody logged in Zendesk answers with an anonymous user."""
        answer = await self._reader.get(f"{self._api}/users/me.json", pace)
        user = table(table(read_json(answer.body)).get("user"))
        user_id = text(user.get("id"))
        if answer.status != 200 or user_id is None or self.check_ref(user_id):
            raise ProviderRefused(self._reader.says("does not say who is logged in; check the token", answer))
        return user_id, text(user.get("role"))

    def _same_place(self, link: str) -> str:
        """Return a link that stays with this account's API; credentials are sent to no other address."""
        home = URL(self._api, encoded=True)
        try:
            target = URL(link, encoded=True)
            stays = (
                bool(_LINK.fullmatch(link))
                and "\\" not in link
                and target.origin() == home.origin()
                and target.user is None
                and target.raw_path.startswith(f"{home.raw_path}/")
                and not re.search(r"(?i)/\.|%2e|%2f|%5c|;", target.raw_path)
            )
        except ValueError:
            stays = False
        if not stays:
            raise ProviderRefused(
                f"account {self.account!r}: Zendesk's listing of users points to another address than api_url;"
                " check api_url"
            )
        return link


def _user(row: Mapping[str, object]) -> DirectoryUser | None:
    user_id = text(row.get("id"))
    if user_id is None:
        return None
    status = "active" if row.get("active") is not False else "inactive"
    if row.get("suspended") is True:
        status = "suspended"
    return DirectoryUser(user_id, text(row.get("email")), text(row.get("role")), status)

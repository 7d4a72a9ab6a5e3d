"""Zendesk: the calls that set a password and end sessions, and the password requirements.

Sources, where a fact has no other beside it: developer.zendesk.com/api-reference/ticketing/users/user_passwords
and /ticketing/account-configuration/sessions.
"""

import asyncio
import dataclasses
import json
from collections.abc import AsyncIterator, Callable, Collection, Iterable
from datetime import UTC, datetime, timedelta
from time import monotonic
from typing import Final

from bulkreset.errors import ConfigError, ProviderError
from bulkreset.limits.rates import MINUTE, Rate
from bulkreset.model import Action, Outcome, Verdict
from bulkreset.passwords.policy import STRONGEST, Policy
from bulkreset.providers.answers import Ruling, Told, moment, read_json, table, text, verdict
from bulkreset.providers.base import (
    Answer,
    Call,
    Checkup,
    DirectoryUser,
    Finding,
    Login,
    Pace,
    Remark,
    Role,
)
from bulkreset.providers.credentials import Credential
from bulkreset.providers.http import ReadTransport, WriteTransport
from bulkreset.providers.no_answer import Unclear, Unreachable
from bulkreset.providers.reads import Clock, Reader, Sleep, WrongAddress
from bulkreset.providers.tokens import TokenAuth, scopes_in
from bulkreset.providers.zendesk.auth import FixedToken, ZendeskGrant
from bulkreset.providers.zendesk.directory import NEEDS, ZendeskUsers
from bulkreset.providers.zendesk.password_requirements import policy_from
from bulkreset.providers.zendesk.references import invalid_ref
from bulkreset.providers.zendesk.responses import SETTING_ADVICE, read_answer, rule, rule_revocation
from bulkreset.providers.zendesk.settings import LABELS
from bulkreset.secret import Secret

_SHORT: Final = timedelta(days=1)  # a token that ends sooner than this is worth a word


class Zendesk:
    """One Zendesk account, reached as an OAuth client, with an OAuth token, or with an admin's API token."""

    ids_required = True
    tells_limit = True

    def __init__(
        self,
        *,
        account: str,
        api_url: str,
        email: str | None = None,
        api_token: Credential | Secret | None = None,
        oauth_token: Credential | Secret | None = None,
        client_id: Credential | Secret | None = None,
        client_secret: Credential | Secret | None = None,
        token_lifetime: int | None = None,
        transport: ReadTransport,
        monotonic: Callable[[], float] = monotonic,
        sleep: Sleep = asyncio.sleep,
        clock: Clock = lambda: datetime.now(UTC),
    ) -> None:
        self.account = account
        self.auth: FixedToken | TokenAuth
        if client_id is not None and client_secret is not None:
            grant = ZendeskGrant(
                url=api_url,
                client_id=Credential.of(client_id),
                client_secret=Credential.of(client_secret),
                lifetime_s=token_lifetime,
                transport=transport,
            )
            self.auth = TokenAuth(account=account, grant=grant, monotonic=monotonic)
        elif oauth_token is not None:
            self.auth = FixedToken(account=account, token=Credential.of(oauth_token))
        elif api_token is not None and email:
            self.auth = FixedToken(account=account, token=Credential.of(api_token), email=email)
        else:
            raise ConfigError(
                f"account {account!r} has no credentials; give client_id and client_secret, or oauth_token, or "
                "email and api_token"
            )
        self._api = f"{api_url.rstrip('/')}/api/v2"
        self._by_oauth = api_token is None
        self._clock = clock
        self._told: Rate | None = None
        self._reader = Reader(
            account,
            "Zendesk",
            self.auth,
            transport,
            read_answer,
            sleep,
            clock,
            known_404=frozenset({"RecordNotFound"}),
            address=f"check subdomain or api_url ({api_url}): the account's own address, without /api/v2",
            heed=self._heed,
        )
        self._users = ZendeskUsers(self._reader, self._api)

    @property
    def base_url(self) -> str:
        """What the address of every call begins with."""
        return self._api

    def label(self, action: Action) -> str:
        """Return `default`: Zendesk counts every call in one pot."""
        return LABELS[action]

    def check_ref(self, user_ref: str) -> str | None:
        """Return why this cannot be a Zendesk user id, or None."""
        return invalid_ref(user_ref)

    def set_password(self, user_ref: str, password: Secret) -> Call:
        """Build the call that sets this user's password."""
        body = json.dumps({"password": password.reveal()}).encode()
        return Call("POST", f"{self._user(user_ref)}/password", body)

    def classify(self, answer: Answer, *, now: datetime, mask: Iterable[str] = ()) -> Verdict:
        """Say what an answer to `set_password` means; only a 200 with nothing in it is a success."""
        told = read_answer(answer)
        self._heed(answer)
        return self._verdict(answer, told, rule(answer, told, now), mask)

    def revoke_sessions(self, user_ref: str) -> Call:
        """Build the call that ends all sessions of this user; nothing says that API or OAuth tokens end too."""
        return Call("DELETE", f"{self._user(user_ref)}/sessions.json")

    def classify_revocation(self, answer: Answer, *, now: datetime, mask: Iterable[str] = ()) -> Verdict:
        """Say what an answer to `revoke_sessions` means; only a 204 is a success."""
        told = read_answer(answer)
        self._heed(answer)
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
        return await self._requirements((await self._users.me(pace)).user_id, pace)

    def told_rate(self, label: str) -> Rate | None:  # noqa: ARG002  (one pot for every action)
        """Return the account's limit a minute, which Zendesk tells with every answer; None before the first."""
        return self._told

    async def check(self, pace: Pace, *, revokes: bool = False) -> Checkup:  # noqa: ARG002  (an admin may)
        """Log in, look at the role, the token and the requirements; sends no write."""
        try:
            me = await self._users.me(pace)
        except WrongAddress as error:
            return Checkup((Finding("address", ok=False, detail=str(error)),))
        except ProviderError as error:
            return Checkup((Finding("login", ok=False, detail=str(error)),))
        is_admin = me.role is Role.ADMIN
        detail = "admin" if is_admin else f"{me.role or 'none'}: only admins may set passwords"
        findings = [
            Finding("login", ok=True, detail=f"Zendesk accepts the credentials of user {me.user_id}"),
            Finding("role", ok=is_admin, detail=detail),
            *await self._check_token(pace),
        ]
        policy: Policy | None = None
        try:
            policy = await self._requirements(me.user_id, pace)
        except ProviderError as error:
            findings.append(Finding("policy", ok=False, detail=str(error)))
        else:
            remark = Remark.UNKNOWN if policy.source.startswith(_STRONGEST) else None
            findings.append(Finding("policy", ok=True, detail=policy.source, remark=remark))
        setting = f"not readable by API, off by default: {SETTING_ADVICE}"
        findings.append(Finding("setting", ok=True, detail=setting, remark=Remark.UNKNOWN))
        return Checkup(tuple(findings), policy)

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

    async def _requirements(self, user_id: str, pace: Pace) -> Policy:
        answer = await self._reader.get(f"{self._api}/users/{user_id}/password/requirements", pace)
        stated = table(read_json(answer.body)).get("requirements")
        if answer.status == 200 and isinstance(stated, list):
            return policy_from([said for item in stated if (said := text(item))])
        why = f"{_STRONGEST}, since Zendesk does not show its requirements: {self._reader.words(answer)}"
        return dataclasses.replace(STRONGEST, source=why)

    async def _check_token(self, pace: Pace) -> list[Finding]:
        """Look at what the credentials may do and how long they live.

        A token tells it itself: GET /api/v2/oauth/tokens/current (/api-reference/ticketing/oauth/oauth_tokens).
        """
        if not self._by_oauth:
            warning = self.auth.warning or ""
            return [Finding("token", ok=True, detail=warning, remark=Remark.WARNING)]
        try:
            answer = await self._reader.get(f"{self._api}/oauth/tokens/current", pace)
        except WrongAddress:
            return [scopes_finding(self.auth.scopes)]
        except ProviderError as error:
            return [Finding("scopes", ok=True, detail=str(error), remark=Remark.UNKNOWN)]
        if answer.status == 403:
            return [Finding("scopes", ok=False, detail=f"{self._reader.words(answer)}; {NEEDS}")]
        token = table(table(read_json(answer.body)).get("token"))
        findings = [scopes_finding(scopes_in(token.get("scopes")) or self.auth.scopes)]
        ends_at = moment(token.get("expires_at"))
        if isinstance(self.auth, FixedToken):
            self.auth.ends_at = ends_at
            findings.append(end_finding(ends_at, self._clock()))
        return findings

    def _heed(self, answer: Answer) -> None:
        """Note the account's limit, which every answer tells (/api-reference/introduction/rate-limits)."""
        told = answer.headers.get("x-rate-limit")
        if told is not None and told.isascii() and told.isdigit() and int(told[:9]) > 0:
            self._told = Rate(int(told[:9]), MINUTE)

    def _user(self, user_ref: str) -> str:
        """Return the address of one user; raise ValueError for a reference that cannot be one."""
        if reason := self.check_ref(user_ref):
            raise ValueError(reason)
        return f"{self._api}/users/{user_ref}"

    def _verdict(self, answer: Answer, told: Told, ruling: Ruling, mask: Iterable[str]) -> Verdict:
        return verdict(answer, ruling, told, request_id="x-request-id", mask=lambda: (*mask, *self.auth.secrets()))


def scopes_finding(scopes: Collection[str]) -> Finding:
    """Say whether a token's scopes let a reset through: both broad ones, since the call refuses `users:*`."""
    held = " ".join(sorted(scopes))
    if not scopes:
        detail = f"Zendesk does not name the token's scopes; {NEEDS}"
        return Finding("scopes", ok=True, detail=detail, remark=Remark.UNKNOWN)
    if {"read", "write"} <= set(scopes):
        return Finding("scopes", ok=True, detail=f"{held}: users can be read and passwords set")
    refused = ", and the password call refuses tokens scoped users:…"
    narrow = refused if any(":" in scope for scope in scopes) else ""
    return Finding("scopes", ok=False, detail=f"the token has only `{held}`; it needs `read write`{narrow}")


def end_finding(ends_at: datetime | None, now: datetime) -> Finding:
    """Say when a token that is not renewed ends."""
    if ends_at is None:
        return Finding("token", ok=True, detail="Zendesk names no end of it")
    minutes = max(0, round((ends_at - now).total_seconds() / 60))
    left = f"{minutes:,} min" if minutes < 120 else f"{minutes // 60:,} h"
    detail = f"ends {ends_at:%Y-%m-%d %H:%M} UTC, in {left}, and is not renewed"
    if ends_at - now >= _SHORT:
        return Finding("token", ok=True, detail=detail)
    advice = "; an OAuth client (client_id and client_secret) renews its own"
    return Finding("token", ok=True, detail=detail + advice, remark=Remark.WARNING)


_STRONGEST: Final = "the strongest form"

"""Zoom: the calls that set a password and end sessions, and the password requirement.

Sources, where a fact has no other beside it: Zoom's OpenAPI text of July 2022 (PUT /users/{userId}/password,
DELETE /users/{userId}/token, GET /accounts/{accountId}/settings); labels:
developers.zoom.us/docs/commerce/rate-limits.
"""

import asyncio
import dataclasses
import json
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping
from datetime import UTC, datetime
from typing import Final
from urllib.parse import quote

from bulkreset.errors import ProviderError, ProviderRefused
from bulkreset.limits.rates import SECOND, Rate
from bulkreset.model import Action, Verdict
from bulkreset.passwords.policy import STRONGEST, Policy
from bulkreset.providers.answers import Ruling, Told, count, read_json, table, verdict
from bulkreset.providers.base import Answer, Call, Checkup, DirectoryUser, Finding, Login, Pace, Remark
from bulkreset.providers.credentials import Credential
from bulkreset.providers.http import ReadTransport
from bulkreset.providers.reads import Clock, Reader, Sleep, WrongAddress
from bulkreset.providers.tokens import TokenAuth
from bulkreset.providers.zoom.auth import ZoomGrant
from bulkreset.providers.zoom.directory import ZoomUsers
from bulkreset.providers.zoom.references import invalid_ref
from bulkreset.providers.zoom.responses import read_answer, rule, rule_call
from bulkreset.providers.zoom.settings import LABELS
from bulkreset.secret import Secret

MAX_LENGTH: Final = 31  # "Should be less than 32 characters"
BASIC_LENGTH: Final = 8  # the basic requirement, which cannot be turned off (Zoom support KB0064901)

RESET_SCOPES: Final = ("user:write:admin", "user:update:password:admin")  # classic, granular; one is enough
REVOKE_SCOPES: Final = ("user:write:admin", "user:delete:token:admin")
POLICY_SCOPES: Final = ("account:read:admin", "account:read:settings:admin")


class Zoom:
    """One Zoom account, reached as a server-to-server OAuth app."""

    ids_required = False
    tells_limit = False

    def __init__(
        self,
        *,
        account: str,
        api_url: str,
        oauth_url: str,
        account_id: str,
        client_id: Credential | Secret,
        client_secret: Credential | Secret,
        transport: ReadTransport,
        monotonic: Callable[[], float],
        sleep: Sleep = asyncio.sleep,
        clock: Clock = lambda: datetime.now(UTC),
    ) -> None:
        self.account = account
        grant = ZoomGrant(
            oauth_url=oauth_url,
            account_id=account_id,
            client_id=Credential.of(client_id),
            client_secret=Credential.of(client_secret),
            transport=transport,
        )
        self.auth = TokenAuth(account=account, grant=grant, monotonic=monotonic)
        self._api = api_url.rstrip("/")
        self._told: dict[str, Rate] = {}
        self._reader = Reader(
            account,
            "Zoom",
            self.auth,
            transport,
            read_answer,
            sleep,
            clock,
            known_404=_KNOWN_404,
            address=f"check api_url ({self._api}): it ends in /v2, as in https://api.zoom.us/v2",
            heed=self._heed,
        )
        self._users = ZoomUsers(self._reader, self._api)

    @property
    def base_url(self) -> str:
        """What the address of every call begins with."""
        return self._api

    def label(self, action: Action) -> str:
        """Return `medium`, or `light` for ending sessions."""
        return LABELS[action]

    def check_ref(self, user_ref: str) -> str | None:
        """Return why this cannot be a Zoom user id or e-mail address, or None."""
        return invalid_ref(user_ref)

    def set_password(self, user_ref: str, password: Secret) -> Call:
        """Build the call that sets this user's password; Zoom mails the user about it.

        JSON, as the current documentation has it; multipart/form-data is the form of 2021.
        """
        body = json.dumps({"password": password.reveal()}).encode()
        return Call("PUT", f"{self._user(user_ref)}/password", body)

    def classify(self, answer: Answer, *, now: datetime, mask: Iterable[str] = ()) -> Verdict:
        """Say what an answer to `set_password` means; only a 204 is a success."""
        told = read_answer(answer)
        self._heed(answer)
        return self._verdict(answer, told, rule(answer, told, now), mask)

    def revoke_sessions(self, user_ref: str) -> Call:
        """Build the call that revokes this user's SSO token, which signs an SSO user out.

        For users with a Zoom password the effect is not documented, and neither is whether a new password
        ends their sessions.
        """
        return Call("DELETE", f"{self._user(user_ref)}/token")

    def classify_revocation(self, answer: Answer, *, now: datetime, mask: Iterable[str] = ()) -> Verdict:
        """Say what an answer to `revoke_sessions` means; only a 204 is a success."""
        told = read_answer(answer)
        self._heed(answer)
        return self._verdict(answer, told, rule_call(answer, told, now), mask)

    async def policy(self, pace: Pace) -> Policy:
        """Read the account's password requirement; the strongest form where Zoom does not show it."""
        answer = await self._reader.get(f"{self._api}/accounts/me/settings?option=security", pace)
        body = table(read_json(answer.body))
        requirement = table(body.get("security")).get("password_requirement")
        # Under a Free account: HTTP 200 with code 200, "Only available for paid accounts."
        if answer.status == 200 and isinstance(requirement, dict):
            return _policy(requirement)
        return _strongest(f"Zoom does not show its password requirement: {self._reader.words(answer)}")

    def told_rate(self, label: str) -> Rate | None:
        """Return the limit a second under a label that Zoom's last refusal named; None before there was one."""
        return self._told.get(label)

    async def check(self, pace: Pace, *, revokes: bool = False) -> Checkup:
        """Log in, look at the scopes, and read the policy and a page of users; sends no write."""
        try:
            await self.auth.prepare()
        except ProviderError as error:
            return Checkup((Finding("login", ok=False, detail=str(error)),))
        accepted = f"Zoom accepts the app; token with {len(self.auth.scopes)} scopes"
        findings = [Finding("login", ok=True, detail=accepted), self._check_scopes(revokes=revokes)]
        policy: Policy | None = None
        try:
            try:
                policy = await self.policy(pace)
            except WrongAddress:
                raise
            except ProviderError as error:
                findings.append(Finding("policy", ok=False, detail=str(error)))
            else:
                findings.append(_policy_finding(policy))
            findings.append(await self._check_listing(pace))
        except WrongAddress as error:
            findings.append(Finding("address", ok=False, detail=str(error)))
        return Checkup(tuple(findings), policy)

    def directory(self, pace: Pace) -> AsyncIterator[list[DirectoryUser]]:
        """List active, inactive and pending users; a user may come twice where the listing began anew."""
        return self._users.directory(pace)

    async def headcount(self, pace: Pace) -> int:
        """Return how many users Zoom counts, active, inactive and pending; takes three calls."""
        return await self._users.headcount(pace)

    async def me(self, pace: Pace) -> DirectoryUser | None:
        """Return the account's owner, for whom a server-to-server app acts; None where Zoom refuses to say."""
        return await self._users.me(pace)

    async def login(self, user_ref: str, pace: Pace) -> Login | None:
        """Ask how one user signs in: one call under the label `light`, so pass that label's pace.

        None for a user that Zoom does not know or says nothing about. Raises ProviderRefused where the app
        may not read single users: the next one would be refused as well.
        """
        return await self._users.login(self._user(user_ref), pace)

    def _user(self, user_ref: str) -> str:
        """Return the address of one user; raise ValueError for a reference that cannot be one."""
        if reason := self.check_ref(user_ref):
            raise ValueError(reason)
        return f"{self._api}/users/{quote(user_ref, safe='')}"

    def _verdict(self, answer: Answer, told: Told, ruling: Ruling, mask: Iterable[str]) -> Verdict:
        return verdict(
            answer,
            ruling,
            told,
            request_id="x-zm-trackingid",
            mask=lambda: (*mask, *self.auth.secrets()),
        )

    def _check_scopes(self, *, revokes: bool) -> Finding:
        held = _as_admin(self.auth.scopes)
        if not held:
            detail = "Zoom's login names no scopes; the first call will tell"
            return Finding("scopes", ok=True, detail=detail, remark=Remark.UNKNOWN)
        if any(scope in held for scope in RESET_SCOPES):
            ending = any(scope in held for scope in REVOKE_SCOPES)
            more = "sessions may be ended" if ending else f"to end sessions, add {' or '.join(REVOKE_SCOPES)}"
            return Finding("scopes", ok=ending or not revokes, detail=f"passwords may be set; {more}")
        wanted = " or ".join(RESET_SCOPES)
        return Finding("scopes", ok=False, detail=f"missing: {wanted}; add it in the Zoom App Marketplace")

    async def _check_listing(self, pace: Pace) -> Finding:
        try:
            await self._users.check_listing(pace)
        except WrongAddress:
            raise
        except ProviderRefused as error:
            detail = f"{error}; only needed to take the users from the account"
            return Finding("listing", ok=True, detail=detail, remark=Remark.WARNING)
        except ProviderError as error:
            return Finding("listing", ok=False, detail=str(error))
        return Finding("listing", ok=True, detail="users can be listed")

    def _heed(self, answer: Answer) -> None:
        """Note the limit a second that a 429 names, with the label it holds for.

        `X-RateLimit-Category`, `-Type` (`QPS` or `Daily-limit`) and `-Limit` are documented for refusals alone
        (marketplace.zoom.us/docs/api-reference/rate-limits).
        """
        if answer.status != 429 or answer.headers.get("x-ratelimit-type", "").upper() != "QPS":
            return
        told = answer.headers.get("x-ratelimit-limit", "")
        if told.isascii() and told.isdigit() and int(told[:9]) > 0:
            self._told[answer.headers.get("x-ratelimit-category", "").lower()] = Rate(int(told[:9]), SECOND)


def _policy_finding(policy: Policy) -> Finding:
    if policy.source == _SOURCE:
        return Finding("policy", ok=True, detail=policy.source)
    detail = f"{policy.source} (it needs {' or '.join(POLICY_SCOPES)})"
    return Finding("policy", ok=True, detail=detail, remark=Remark.UNKNOWN)


def _as_admin(scopes: Collection[str]) -> frozenset[str]:
    """Return scopes with those of a master account, documented beside `:admin`, counted as `:admin`."""
    spread = {"user:master": ("user:read:admin", "user:write:admin"), "account:master": ("account:read:admin",)}
    held = {f"{scope.removesuffix(':master')}:admin" if scope.endswith(":master") else scope for scope in scopes}
    return frozenset(held.union(*(also for scope, also in spread.items() if scope in scopes)))


_KNOWN_404: Final = frozenset({"1001", "1010", "1120", "2001"})  # no such user, invitation, account

_SOURCE: Final = "Zoom account settings"


def _policy(requirement: Mapping[str, object]) -> Policy:
    """Turn Zoom's four fields into a policy; letters, digits and both cases are always required.

    `consecutive_characters_length` n (4 to 8, 0 for off) allows runs of n - 1. The basic requirement forbids
    runs too, without a number, so that no run above 2 is ever built.
    """
    least = count(requirement.get("minimum_password_length")) or 0
    run = count(requirement.get("consecutive_characters_length")) or 0
    return dataclasses.replace(
        STRONGEST,
        min_length=min(max(least, BASIC_LENGTH), MAX_LENGTH),
        max_length=MAX_LENGTH,
        letter=True,
        digit=True,
        special=requirement.get("have_special_character") is not False,
        upper_and_lower=True,
        max_run=1 if run == 2 else 2,
        source=_SOURCE,
    )


def _strongest(source: str) -> Policy:
    return dataclasses.replace(STRONGEST, max_length=MAX_LENGTH, source=f"the strongest form, since {source}")

"""Zoom: the call that sets a password, the password requirement, the users.

Sources, where a fact has no other beside it: Zoom's OpenAPI text of July 2022 (operations `userPassword`,
`users`, `accountSettings`); labels: developers.zoom.us/docs/commerce/rate-limits.
"""

import asyncio
import dataclasses
import json
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Final
from urllib.parse import quote, urlencode

from bulkreset.errors import ProviderError, ProviderRefused, ProviderUnavailable
from bulkreset.model import Action, Verdict
from bulkreset.passwords.policy import STRONGEST, Policy
from bulkreset.providers.answers import read_json, rows, table, text, verdict, whole
from bulkreset.providers.base import Answer, Call, DirectoryUser, Finding, Pace
from bulkreset.providers.http import ReadTransport
from bulkreset.providers.reads import Clock, Reader, Sleep
from bulkreset.providers.zoom_answers import read_answer, rule
from bulkreset.providers.zoom_auth import ZoomAuth
from bulkreset.secret import Secret

MAX_LENGTH: Final = 31  # "Should be less than 32 characters"
BASIC_LENGTH: Final = 8  # the basic requirement, which cannot be turned off (Zoom support KB0064901)
PAGE_SIZE: Final = 300

RESET_SCOPES: Final = ("user:write:admin", "user:update:password:admin")  # classic, granular; one is enough
POLICY_SCOPES: Final = ("account:read:admin", "account:read:settings:admin")
LISTING_SCOPES: Final = ("user:read:admin", "user:read:list_users:admin")


class Zoom:
    """One Zoom account, reached as a server-to-server OAuth app."""

    ids_required = False

    def __init__(
        self,
        *,
        account: str,
        api_url: str,
        oauth_url: str,
        account_id: str,
        client_id: Secret,
        client_secret: Secret,
        transport: ReadTransport,
        monotonic: Callable[[], float],
        sleep: Sleep = asyncio.sleep,
        clock: Clock = lambda: datetime.now(UTC),
    ) -> None:
        self.account = account
        self.auth = ZoomAuth(
            account=account,
            oauth_url=oauth_url,
            account_id=account_id,
            client_id=client_id,
            client_secret=client_secret,
            transport=transport,
            monotonic=monotonic,
        )
        self._api = api_url.rstrip("/")
        self._reader = Reader(account, "Zoom", self.auth, transport, read_answer, sleep, clock)

    def label(self, action: Action) -> str:
        """Return `medium`, or `light` for ending sessions."""
        return "light" if action is Action.REVOKE_SESSIONS else "medium"

    def check_ref(self, user_ref: str) -> str | None:
        """Return why this cannot be a Zoom user id or e-mail address, or None."""
        if not user_ref or len(user_ref) > 254:
            return "a Zoom user is named by an id or an e-mail address of at most 254 characters"
        if user_ref in (".", "..") or user_ref.casefold() == "me":
            return f"{user_ref!r} is no Zoom user id or e-mail address"  # `me` is the app's own user
        if not user_ref.isprintable() or " " in user_ref:
            return "a Zoom user id or e-mail address holds no spaces or control characters"
        return None

    def set_password(self, user_ref: str, password: Secret) -> Call:
        """Build the call that sets this user's password; Zoom mails the user about it.

        JSON, as the current documentation has it; multipart/form-data is the form of 2021.
        """
        if reason := self.check_ref(user_ref):
            raise ValueError(reason)
        body = json.dumps({"password": password.reveal()}).encode()
        return Call("PUT", f"{self._api}/users/{quote(user_ref, safe='')}/password", body)

    def classify(self, answer: Answer, *, now: datetime, mask: Iterable[str] = ()) -> Verdict:
        """Say what an answer to `set_password` means; only a 204 is a success."""
        told = read_answer(answer)
        ruling = rule(answer, told, now)
        return verdict(
            answer,
            ruling,
            told,
            request_id="x-zm-trackingid",
            mask=lambda: (*mask, *self.auth.secrets()),
        )

    async def policy(self, pace: Pace) -> Policy:
        """Read the account's password requirement; the strongest form where Zoom does not show it."""
        answer = await self._reader.get(f"{self._api}/accounts/me/settings?option=security", pace)
        body = table(read_json(answer.body))
        requirement = table(body.get("security")).get("password_requirement")
        # Under a Free account: HTTP 200 with code 200, "Only available for paid accounts."
        if answer.status == 200 and isinstance(requirement, dict):
            return _policy(requirement)
        return _strongest(f"Zoom does not show its password requirement: {self._reader.words(answer)}")

    async def check(self, pace: Pace) -> list[Finding]:
        """Log in, look at the scopes, and read the policy and a page of users; sends no write."""
        try:
            await self.auth.prepare()
        except ProviderError as error:
            return [Finding("login", ok=False, detail=str(error))]
        return [
            Finding("login", ok=True, detail=f"Zoom accepts the app; token with {len(self.auth.scopes)} scopes"),
            self._check_scopes(),
            await self._check_policy(pace),
            await self._check_listing(pace),
        ]

    async def directory(self, pace: Pace) -> AsyncIterator[list[DirectoryUser]]:
        """List active, inactive and pending users, up to 300 a page; without `status` Zoom shows active ones."""
        for status in ("active", "inactive", "pending"):
            page_token: str | None = None
            while True:
                query = {"status": status, "page_size": PAGE_SIZE}
                if page_token is not None:
                    query["next_page_token"] = page_token
                answer = await self._reader.get(f"{self._api}/users?{urlencode(query)}", pace)
                page, next_token = self._page(answer, status, started=page_token is not None)
                if page:
                    yield page
                if not next_token:
                    break
                if next_token == page_token:
                    raise ProviderUnavailable(f"account {self.account!r}: Zoom's listing does not move on")
                page_token = next_token

    def _page(self, answer: Answer, status: str, *, started: bool) -> tuple[list[DirectoryUser], str | None]:
        body = read_json(answer.body)
        users = table(body).get("users")
        if answer.status == 200 and isinstance(users, list):
            return [user for row in rows(users) if (user := _user(row, status))], text(
                table(body).get("next_page_token")
            )
        if answer.status == 200 or started:  # a next_page_token lives for 15 minutes
            raise ProviderUnavailable(self._reader.says("broke off the listing of users; start it again", answer))
        raise ProviderRefused(
            self._reader.says(
                f"does not list its users; the app needs the scope {' or '.join(LISTING_SCOPES)}", answer
            )
        )

    def _check_scopes(self) -> Finding:
        held = self.auth.scopes
        if not held:
            return Finding("scopes", ok=True, detail="Zoom's login names no scopes; the first call will tell")
        if any(scope in held for scope in RESET_SCOPES):
            return Finding("scopes", ok=True, detail="passwords may be set")
        wanted = " or ".join(RESET_SCOPES)
        return Finding("scopes", ok=False, detail=f"missing: {wanted}; add it in the Zoom App Marketplace")

    async def _check_policy(self, pace: Pace) -> Finding:
        try:
            policy = await self.policy(pace)
        except ProviderError as error:
            return Finding("policy", ok=False, detail=str(error))
        advice = "" if policy.source == _SOURCE else f" (it needs {' or '.join(POLICY_SCOPES)})"
        return Finding("policy", ok=True, detail=policy.source + advice)

    async def _check_listing(self, pace: Pace) -> Finding:
        try:
            answer = await self._reader.get(f"{self._api}/users?status=active&page_size=1", pace)
            self._page(answer, "active", started=False)
        except ProviderRefused as error:
            return Finding("listing", ok=True, detail=f"{error}; only needed to take the users from the account")
        except ProviderError as error:
            return Finding("listing", ok=False, detail=str(error))
        return Finding("listing", ok=True, detail="users can be listed")


_SOURCE: Final = "Zoom account settings"


def _policy(requirement: Mapping[str, object]) -> Policy:
    """Turn Zoom's four fields into a policy; letters, digits and both cases are always required.

    `consecutive_characters_length` n (4 to 8, 0 for off) allows runs of n - 1. The basic requirement forbids
    runs too, without a number, so that no run above 2 is ever built.
    """
    least = whole(requirement.get("minimum_password_length")) or 0
    run = whole(requirement.get("consecutive_characters_length")) or 0
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


def _user(row: Mapping[str, object], status: str) -> DirectoryUser | None:
    email = text(row.get("email"))
    # A pending user has no id yet and is named by the address.
    user_id = text(row.get("id")) or email
    return DirectoryUser(user_id, email, text(row.get("role_id")), status) if user_id else None

"""Zoom's users: the listing by status, the count, the app's own user, and how a single user signs in.

Sources, where a fact has no other beside it: Zoom's OpenAPI text of July 2022 (GET /users, GET /users/{userId})
and Zoom's own SDK (zoom/rivet-javascript, users.d.ts). Which `role_id` is whose: 0 owner, 1 admin, 2 member, and
longer ones for roles of the account's own making.
"""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlencode

from bulkreset.errors import ProviderRefused, ProviderUnavailable
from bulkreset.model import Outcome
from bulkreset.providers.answers import moment, plain, read_json, rows, table, text, whole
from bulkreset.providers.base import Answer, DirectoryUser, Login, Pace, Role, Status
from bulkreset.providers.reads import Paging, Reader, WrongAddress
from bulkreset.providers.zoom.responses import read_answer, rule_call

PAGE_SIZE: Final = 300
RESTARTS: Final = 3  # of one status's listing: at 300 users a page, only a long pause lets a token die
LISTING_SCOPES: Final = ("user:read:admin", "user:read:list_users:admin")
USER_SCOPES: Final = ("user:read:admin", "user:read:user:admin")

STATUSES: Final = (Status.ACTIVE, Status.INACTIVE, Status.PENDING)

WORK_EMAIL: Final = 100  # a Zoom password: the one login type that can be reset
SSO: Final = 101

_LOGIN_TYPES: Final[Mapping[int, str]] = {
    0: "Facebook",
    1: "Google",
    11: "a phone number",
    21: "WeChat",
    23: "Alipay",
    24: "Apple",
    27: "Microsoft",
    97: "a mobile device",
    98: "RingCentral",
    99: "an API user",
    SSO: "SSO",
}
_PENDING: Final = Login(resettable=False, reason="the invitation is pending")


class _DeadToken(Exception):  # noqa: N818  (never leaves this module)
    """A next_page_token outlived its 15 minutes."""


@dataclass(frozen=True, slots=True)
class ZoomUsers:
    """The users of one account, read through its `reader`; `api` is the address up to `/v2`."""

    reader: Reader
    api: str

    async def directory(self, pace: Pace) -> AsyncIterator[list[DirectoryUser]]:
        """List active, inactive and pending users, up to 300 a page; without `status` Zoom shows active ones.

        A listing whose page token died begins anew, a few times, so that a user may come twice and none is
        missed. Raises ProviderUnavailable where it breaks off, ProviderRefused where it is not allowed.
        """
        for status in STATUSES:
            for restart in range(RESTARTS + 1):
                try:
                    async for page in self._list(status, pace):
                        yield page
                except _DeadToken:
                    if restart == RESTARTS:
                        raise ProviderUnavailable(
                            f"account {self.reader.account!r}: Zoom broke off its listing of {status} users"
                            f" {RESTARTS + 1} times; start it again when the account has calls to spare"
                        ) from None
                else:
                    break

    async def headcount(self, pace: Pace) -> int:
        """Return the sum of Zoom's own counts by status. Raises ProviderUnavailable where one cannot be read."""
        total = 0
        for status in STATUSES:
            answer = await self._first(status, 1, pace)
            count = whole(table(read_json(answer.body)).get("total_records"))
            if answer.status != 200 or count is None or count < 0:
                raise ProviderUnavailable(
                    self.reader.says(f"does not tell how many {status} users it has", answer)
                )
            total += count
        return total

    async def me(self, pace: Pace) -> DirectoryUser | None:
        """Return the user that the app acts for; None where Zoom refuses to say (a scope is missing)."""
        answer = await self.reader.get(f"{self.api}/users/me", pace)
        if answer.status != 200:
            return None
        user = _user(table(read_json(answer.body)))
        if user is None:
            raise ProviderUnavailable(self.reader.says("does not say who the app acts for; try again", answer))
        return user

    async def login(self, address: str, pace: Pace) -> Login | None:
        """Ask how the user at this address signs in; None where there is none or Zoom does not say."""
        answer = await self.reader.get(address, pace)
        if answer.status == 200:
            return _login(table(read_json(answer.body)))
        ruling = rule_call(answer, read_answer(answer), self.reader.clock())
        if ruling.outcome is Outcome.NOT_RESETTABLE:  # 1120
            return _PENDING
        if ruling.outcome in (Outcome.FORBIDDEN, Outcome.UNAUTHORIZED):
            scopes = " or ".join(USER_SCOPES)
            raise ProviderRefused(
                self.reader.says(f"does not show single users; the app needs the scope {scopes}", answer)
            )
        return None

    async def check_listing(self, pace: Pace) -> None:
        """Read one user; raise what a listing would."""
        answer = await self._first(Status.ACTIVE, 1, pace)
        if answer.status == 200 and "users" not in table(read_json(answer.body)):
            raise WrongAddress(
                f"account {self.reader.account!r}: what answers (HTTP 200) does not list users, as Zoom does; "
                f"{self.reader.address}"
            )
        self._page(answer, Status.ACTIVE, started=False)

    async def _list(self, status: Status, pace: Pace) -> AsyncIterator[list[DirectoryUser]]:
        page_token: str | None = None
        paging = Paging(f"account {self.reader.account!r}: Zoom's listing of {status} users")
        answer = await self._first(status, PAGE_SIZE, pace)
        while True:
            page, next_token = self._page(answer, status, started=page_token is not None)
            paging.page(len(page))
            yield page
            if not next_token:
                return
            paging.turn(next_token)
            page_token = next_token
            query = urlencode({"status": status, "page_size": PAGE_SIZE, "next_page_token": page_token})
            answer = await self.reader.get(f"{self.api}/users?{query}", pace)

    async def _first(self, status: Status, size: int, pace: Pace) -> Answer:
        return await self.reader.get(f"{self.api}/users?{urlencode({'status': status, 'page_size': size})}", pace)

    def _page(self, answer: Answer, status: Status, *, started: bool) -> tuple[list[DirectoryUser], str | None]:
        body = read_json(answer.body)
        users = table(body).get("users")
        if answer.status == 200 and isinstance(users, list):
            page = [user for row in rows(users) if (user := _user(row, status))]
            return page, text(table(body).get("next_page_token"))
        if started and _token_died(answer):
            raise _DeadToken
        if answer.status == 200 or started:
            raise ProviderUnavailable(self.reader.says("broke off the listing of users; start it again", answer))
        raise ProviderRefused(
            self.reader.says(
                f"does not list its users; the app needs the scope {' or '.join(LISTING_SCOPES)}", answer
            )
        )


def _token_died(answer: Answer) -> bool:
    """Tell a refused page token: 300 is Zoom's code for a wrong parameter, and the only one that changes is it."""
    told = read_answer(answer)
    return answer.status == 400 and (told.code == "300" or "page token" in plain(told.message))


def _user(row: Mapping[str, object], status: Status | None = None) -> DirectoryUser | None:
    """Read a user with the status it was listed under; a pending one has no id and is named by the address."""
    email = text(row.get("email"))
    user_id = text(row.get("id")) or email
    if user_id is None:
        return None
    groups = row.get("group_ids")
    return DirectoryUser(
        user_id,
        email,
        _role(text(row.get("role_id"))),
        status or _status(text(row.get("status"))),
        tuple(filter(None, map(text, groups))) if isinstance(groups, list) else (),
        moment(row.get("created_at")) or moment(row.get("user_created_at")),
        moment(row.get("last_login_time")),
    )


def _role(role_id: str | None) -> Role | None:
    if role_id is None:
        return None
    return {"0": Role.OWNER, "1": Role.ADMIN}.get(role_id, Role.MEMBER)


def _status(said: str | None) -> Status | None:
    return Status(said) if said in STATUSES else None


def _login(row: Mapping[str, object]) -> Login | None:
    """Read the login types of a user; older answers have a single one."""
    given = row.get("login_types")
    types = [kind for item in (given if isinstance(given, list) else []) if (kind := whole(item)) is not None]
    single = whole(row.get("login_type"))
    if not types and single is not None:
        types = [single]
    if WORK_EMAIL in types:
        return Login(resettable=True)
    if row.get("status") == Status.PENDING:
        return _PENDING
    if not types:
        return None
    if types == [SSO]:
        return Login(resettable=False, reason="signs in by SSO only", sso=True)
    names = " or ".join(_LOGIN_TYPES.get(kind, f"login type {kind}") for kind in types)
    return Login(resettable=False, reason=f"signs in with {names}", sso=SSO in types)

"""Zendesk's users: the listing by cursor, the count, and whose token it is.

Sources, where a fact has no other beside it: developer.zendesk.com/api-reference/ticketing/users/users; paging:
/api-reference/introduction/pagination. Nothing there says who owns the account (the owner is an admin among
admins), how a user signs in, or that a user is a machine.
"""

import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Final

from yarl import URL

from bulkreset.errors import ProviderRefused, ProviderUnavailable
from bulkreset.providers.answers import moment, read_json, rows, table, text, whole
from bulkreset.providers.base import DirectoryUser, Pace, Role, Status
from bulkreset.providers.reads import Paging, Reader, WrongAddress
from bulkreset.providers.zendesk.references import is_user_id

PAGE_SIZE: Final = 100
NEEDS: Final = "an OAuth token needs the scopes `read write`: `write` alone reads nothing"

_LINK = re.compile(r"[\x21-\x7e]+")
_ROLES: Final[Mapping[str | None, Role]] = {"admin": Role.ADMIN, "agent": Role.AGENT, "end-user": Role.MEMBER}


@dataclass(frozen=True, slots=True)
class ZendeskUsers:
    """The users of one account, read through its `reader`; `api` is the address up to `/api/v2`."""

    reader: Reader
    api: str

    async def directory(self, pace: Pace) -> AsyncIterator[list[DirectoryUser]]:
        """List the account's users, 100 a page, by cursor: paging by number ends with a 400 after 10,000 users."""
        url = f"{self.api}/users.json?page%5Bsize%5D={PAGE_SIZE}"
        paging = Paging(f"account {self.reader.account!r}: Zendesk's listing of users")
        paging.turn(url)
        while True:
            answer = await self.reader.get(url, pace)
            body = table(read_json(answer.body))
            users = body.get("users")
            if answer.status != 200:
                raise ProviderRefused(self.reader.says("does not list its users", answer))
            if not isinstance(users, list):
                raise ProviderUnavailable(self.reader.says("broke off the listing of users; start again", answer))
            page = [user for row in rows(users) if (user := _user(row))]
            paging.page(len(page))
            yield page
            meta = table(body.get("meta"))
            following = text(table(body.get("links")).get("next"))
            if meta.get("has_more") is not True or following is None:
                return
            paging.turn(following, text(meta.get("after_cursor")))
            url = self._same_place(following)

    async def headcount(self, pace: Pace) -> int:
        """Return Zendesk's own count; above 100,000 it is counted once a day, and 100,000 until that is done.

        Raises ProviderUnavailable where it cannot be read.
        """
        answer = await self.reader.get(f"{self.api}/users/count.json", pace)
        count = whole(table(table(read_json(answer.body)).get("count")).get("value"))
        if answer.status != 200 or count is None or count < 0:
            raise ProviderUnavailable(self.reader.says("does not tell how many users it has", answer))
        return count

    async def me(self, pace: Pace) -> DirectoryUser:
        """Return the API user.

        Raises ProviderRefused for nobody (then Zendesk answers with an anonymous user), and WrongAddress where an
        answer speaks of no user at all.
        """
        answer = await self.reader.get(f"{self.api}/users/me.json", pace)
        row = table(read_json(answer.body)).get("user")
        if answer.status == 200 and not isinstance(row, dict):
            raise WrongAddress(
                f"account {self.reader.account!r}: what answers (HTTP 200) does not speak of a user, as Zendesk "
                f"does; {self.reader.address}"
            )
        user = _user(table(row))
        if answer.status != 200 or user is None or not is_user_id(user.user_id):
            refusal = self.reader.says("does not say who is logged in; check the credentials", answer)
            raise ProviderRefused(refusal + (f"; {NEEDS}" if answer.status == 403 else ""))
        return user

    def _same_place(self, link: str) -> str:
        """Return a link that stays with this account's API; credentials are sent to no other address."""
        home = URL(self.api, encoded=True)
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
                f"account {self.reader.account!r}: Zendesk's listing of users points to another address than"
                " api_url; check api_url"
            )
        return link


def _user(row: Mapping[str, object]) -> DirectoryUser | None:
    user_id = text(row.get("id"))
    if user_id is None:
        return None
    group = text(row.get("default_group_id"))
    return DirectoryUser(
        user_id,
        text(row.get("email")),
        _ROLES.get(text(row.get("role"))),
        _status(row),
        (group,) if group is not None else (),
        moment(row.get("created_at")),
        moment(row.get("last_login_at")),
    )


def _status(row: Mapping[str, object]) -> Status:
    if row.get("suspended") is True:
        return Status.SUSPENDED
    return Status.INACTIVE if row.get("active") is False else Status.ACTIVE

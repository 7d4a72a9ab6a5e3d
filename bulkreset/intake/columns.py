"""What the header of a list of users means: which columns name people, whosever export it is.

`email`, `user_id` and `priority` are bulkreset's own. Other headers are those that these exports have: Google's
console (`Email Address [Required]`) and GAM (`primaryEmail`), Okta (`login`, `profile.email`), Entra and Active
Directory (`userPrincipalName`, `mail`), Exchange (`PrimarySmtpAddress`), providers' own portals (`Email`), and
reports of bulkreset itself (`user_ref`). An `id` is never read: it is the id of whoever made the export.
"""

import re
import unicodedata
from collections.abc import Sequence
from typing import Final, NamedTuple

from bulkreset.address import folded, unseen
from bulkreset.errors import InputError
from bulkreset.intake.naming import Naming
from bulkreset.intake.user_line import UserLine, read_email, read_id, read_name

PRIORITY_LIMIT: Final = 1_000


class Layout(NamedTuple):
    """Which column is which; `emails` are all that hold the login address, `titles` the header as it is shown.

    `user_ref` is set for a report of bulkreset itself; `escaped` tells that its cells have an apostrophe where a
    spreadsheet would take them for a formula.
    """

    emails: tuple[int, ...]
    user_id: int | None
    priority: int | None
    titles: tuple[str, ...]
    user_ref: int | None = None
    user: int | None = None
    account: int | None = None
    escaped: bool = False


def layout(header: Sequence[str], place: str, *, escaped: bool = True) -> Layout | None:
    """Read a header; None where it names nobody. Raises InputError where a column of ours stands there twice."""
    names = [_plain(title) for title in header]
    titles = tuple(shown(title, number) for number, title in enumerate(header, 1))

    def column(name: str) -> int | None:
        at = [number for number, found in enumerate(names) if found == name]
        if len(at) > 1:
            raise InputError(f"{place}: the header names {name!r} twice; rename or remove one of them")
        return at[0] if at else None

    if "user_ref" in names and "user" in names:
        places = (column("user_ref"), column("user"), column("account"))
        return Layout((), None, column("priority"), titles, *places, escaped=escaped)
    for wanted in ({"email"}, ADDRESSES, LOGINS):
        if emails := tuple(
            at for name in dict.fromkeys(names) if name in wanted and (at := column(name)) is not None
        ):
            break
    if not emails and "user_id" not in names:
        return None
    return Layout(emails, column("user_id"), column("priority"), titles)


def read_row(of: Layout, row: Sequence[str], number: int, place: str, naming: Naming) -> UserLine | None:
    """Read the user of a row; None where all that could name one is empty. Raises InputError with the place."""
    if of.user_ref is not None:
        names = _reported(of, row, place, naming)
    else:
        email = _email(of, row, place)
        user_id = row[of.user_id].strip() if of.user_id is not None else ""
        names = (
            read_email(email, place) if email else None,
            read_id(user_id, place, naming) if user_id else None,
        )
    if names == (None, None):
        return None
    return UserLine(number, *names, 0 if of.priority is None else _priority(row[of.priority].strip(), place))


def is_repeated(of: Layout | None, user: UserLine, last: UserLine | None) -> bool:
    """Tell a further row of one person: a report has one for each thing that was done to them."""
    return of is not None and of.user_ref is not None and last is not None and user[1:3] == last[1:3]


def check_account(account: str, place: str, naming: Naming) -> None:
    """Refuse the report of another account than the order's. Raises InputError."""
    if account and naming.account is not None and account != naming.account:
        raise InputError(
            f"{place}: is from a report of account {account!r}, and the order is for {naming.account!r}; take a "
            "report of that account"
        )


def nobody(place: str) -> InputError:
    """Return what is said of a row without a name."""
    return InputError(f"{place}: the row has neither email nor user_id; fill one in or remove the row")


def unknown(header: Sequence[str], following: Sequence[Sequence[str]], place: str) -> InputError:
    """Return what is said of a header without a name: the columns that it has, and which of them has addresses."""
    titles = [shown(title, number) for number, title in enumerate(header, 1) if title.strip()]
    shape = [row for row in following if any(row)]
    found = (
        number
        for number in range(len(header))
        if shape and all(number < len(row) and "@" in row[number] for row in shape)
    )
    addresses = [shown(header[number], number + 1) for number in found]
    columns = ", ".join(titles[:_SHOWN]) or "no titles"
    columns += f" and {len(titles) - _SHOWN} more" if len(titles) > _SHOWN else ""
    advice = f"call {addresses[0]} email" if len(addresses) == 1 else "call the column with the addresses email"
    return InputError(
        f"{place}: the header names neither email nor user_id; it has {columns}: {advice}, or the one with the "
        "provider's own ids user_id"
    )


def shown(title: str, number: int) -> str:
    """Return a title as errors may show it: only what is surely no password that somebody pasted."""
    title = " ".join(title.split())
    if (letter := unseen(title)) is not None:
        return f"column {number} with {letter}"
    return repr(title) if _TITLE(title) else f"column {number}"


def is_title(text: str) -> bool:
    """Tell whether this is the title of a column that names people."""
    return _plain(text) in _TITLES


ADDRESSES: Final = frozenset(
    {
        "mail",
        "e-mail",
        "emails",
        "emailaddress",
        "email_address",
        "email address",
        "email-address",
        "e-mail address",
    }
    | {"email addresses", "email-addresses", "email address [required]", "user email", "user_email", "useremail"}
    | {"primaryemail", "primary email", "primary_email", "primary email address", "work email"}
    | {"primarysmtpaddress", "primary smtp address"}
    | {"userprincipalname", "user principal name", "upn", "profile.email", "profile.login"}
)
LOGINS: Final = frozenset({"login", "user login", "username", "user name", "user_name"})
"""Titles that hold an address in some exports, and a short name in others: read where no other names people."""

_TITLES: Final = (
    ADDRESSES
    | LOGINS
    | {"email", "user_id", "id", "userid", "user id", "user", "users", "name", "address", "adresse", "benutzer"}
)
_SHOWN: Final = 8
_TITLE: Final = re.compile(r"[^\W\d_](?:[^\W\d]|[ .()\[\]/-]){0,39}+").fullmatch
# What a spreadsheet runs as a formula stands behind an apostrophe in a report.
_ESCAPED: Final = re.compile("'+[=+\\-@\t\r\n\uff1d\uff0b\uff0d\uff20]").match


def _plain(title: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", title).casefold().split())


def _email(of: Layout, row: Sequence[str], place: str) -> str:
    """Return the address of a row; where several columns hold one they must be the same, for nobody can tell."""
    given = [(at, email) for at in of.emails if (email := row[at].strip())]
    if len({folded(email) for _, email in given}) > 1:
        names = " and ".join(of.titles[at] for at, _ in given)
        raise InputError(
            f"{place}: {names} name different addresses, and which of them the account knows cannot be told; "
            "call the right column email"
        )
    return given[0][1] if given else ""


def _reported(of: Layout, row: Sequence[str], place: str, naming: Naming) -> tuple[str | None, str | None]:
    """Read a row of a report: the reference that was called, and the address that was shown with an id."""

    def cell(at: int) -> str:
        text = row[at].strip()
        return text[1:] if of.escaped and _ESCAPED(text) else text

    assert of.user_ref is not None
    assert of.user is not None
    if of.account is not None:
        check_account(cell(of.account), place, naming)
    reference, display = cell(of.user_ref), cell(of.user)
    if not reference:
        return None, None
    email, user_id = read_name(reference, place, naming, reported=True)
    if email is None and "@" in display:
        try:
            email = read_email(display, place, reported=True)
        except InputError:  # shown as the provider has it, which need be no address; the id is what counts
            email = None
    return email, user_id


def _priority(text: str, place: str) -> int:
    if not text:
        return 0
    if text.isascii() and text.isdecimal() and len(text) <= 10 and int(text) <= PRIORITY_LIMIT:
        return int(text)
    raise InputError(
        f"{place}: the priority is not a whole number from 0 to {PRIORITY_LIMIT}; correct or empty it"
    )

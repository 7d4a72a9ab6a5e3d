"""One user as a list names them, and the one strictness that all lists of people are read with.

Messages never repeat what a line holds, because people paste all kinds of things.
"""

import re
import unicodedata
from typing import Final, NamedTuple

from bulkreset.address import odd_dot, unseen
from bulkreset.errors import InputError
from bulkreset.intake.naming import Naming

EMAIL_LIMIT: Final = 254


class UserLine(NamedTuple):
    """One user as the file names it: by e-mail address, by user id, or by both; who has more priority goes first.

    A tuple, not a dataclass: it is made a million times a file and handed to the database as it is.
    """

    line: int
    email: str | None
    user_id: str | None
    priority: int = 0


def user_line(text: str, number: int, name: str, naming: Naming | None = None) -> UserLine:
    """Read one user from line `number` of `name`; without `naming` the id of any provider will do."""
    return UserLine(number, *read_name(text, f"{name}:{number}", naming))


def read_name(
    text: str, place: str, naming: Naming | None, *, reported: bool = False
) -> tuple[str | None, str | None]:
    """Return the address, which has an '@', or the id that this is. Raises InputError with the place."""
    name = text.strip()
    if "@" in name:
        return read_email(name, place, reported=reported), None
    return None, read_id(name, place, naming)


def read_email(text: str, place: str, *, reported: bool = False) -> str:
    """Return an address, its letters composed. Raises InputError with the place and the reason.

    An apostrophe before it is a spreadsheet's mark, except where bulkreset itself has `reported` the address.
    """
    if _EMAIL(text):
        if text[0] == "'" and not reported:
            raise InputError(
                f"{place}: the address begins with an apostrophe, as a spreadsheet marks text; remove that, or "
                "name the user by id if it is really there"
            )
        return text
    if (letter := unseen(text)) is not None:
        raise InputError(f"{place}: is not an e-mail address: it holds {letter}; remove that character")
    if (dot := odd_dot(text)) is not None:
        raise InputError(f"{place}: is not an e-mail address: it holds {dot}; write a plain full stop")
    if not text.isascii():
        text = unicodedata.normalize("NFC", text)
        if _EMAIL_BEYOND_ASCII("".join(letter for letter in text if unicodedata.category(letter)[0] != "M")):
            return text
    elif text.endswith(".") and _EMAIL(text[:-1]):
        raise InputError(f"{place}: is not an e-mail address: it ends with a full stop; remove that")
    raise InputError(f"{place}: is not an e-mail address; correct or remove it")


def read_id(text: str, place: str, naming: Naming | None) -> str:
    """Return a user id that the provider could have given. Raises InputError with the place and the reason."""
    if text.casefold() in _NOTHING:
        raise InputError(
            f"{place}: a word for an empty field stands where a user should; name the user or remove it"
        )
    fault = None if naming is None else naming.id_fault(text)
    if fault is None and _USER_ID(text):
        return text
    if (letter := unseen(text)) is not None:
        raise InputError(
            f"{place}: is neither an e-mail address nor a user id: it holds {letter}; remove that character"
        )
    if fault is not None:
        raise InputError(f"{place}: {fault}{'' if ';' in fault else '; correct or remove it'}")
    raise InputError(
        f"{place}: is neither an e-mail address nor a user id"
        " (at most 128 letters, digits and . _ ~ + = -); correct or remove it"
    )


# What databases and programs write where there is no value.
_NOTHING: Final = frozenset({"null", "none", "nil", "nan", "undefined", "true", "false", "n/a", "#n/a", "-"})
# Possessive throughout: a hostile line must not take longer than a friendly one.
_WITHIN_LIMIT: Final = rf"(?!.{{{EMAIL_LIMIT + 1}}})"
_ATOM: Final = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]++"
_LABEL: Final = r"[A-Za-z0-9][A-Za-z0-9-]{0,62}+(?<!-)"
# An address as RFC 5322 writes it without quotes, in ASCII or with letters beyond.
_EMAIL: Final = re.compile(rf"{_WITHIN_LIMIT}{_ATOM}(?:\.{_ATOM})*+@{_LABEL}(?:\.{_LABEL})++").fullmatch
_WIDE_ATOM: Final = r"[\w!#$%&'*+/=?^`{|}~-]++"
_WIDE_LABEL: Final = r"[^\W_](?:[^\W_]|-){0,62}+(?<!-)"
_EMAIL_BEYOND_ASCII: Final = re.compile(
    rf"{_WITHIN_LIMIT}{_WIDE_ATOM}(?:\.{_WIDE_ATOM})*+@{_WIDE_LABEL}(?:\.{_WIDE_LABEL})++"
).fullmatch
# An id can be nothing else in a path: no '/', '?', '#', '%', and not '..'.
_USER_ID: Final = re.compile(r"(?!\.\.?\Z)[A-Za-z0-9._~+=-]{1,128}").fullmatch

"""Characters that must not reach a terminal, a log or a database from outside: the one set of them.

Controls and escapes, line and paragraph separators, everything that turns the direction of text or is not shown at
all, and lone surrogates, which no database stores. Variation selectors are left in: many an emoji has one.

Sources: Unicode's general categories Cc, Cf, Cs, Zl and Zp, and its property Default_Ignorable_Code_Point
(unicode.org/reports/tr44); what direction marks do to readers: trojansource.codes.
"""

import re
import unicodedata
from typing import Final

UNSAFE: Final = re.compile(
    "[\x00-\x1f\x7f-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e"
    "\u2060-\u206f\u3164\ufeff\uffa0\ufff0-\ufffb\U0001bca0-\U0001bca3\U0001d173-\U0001d17a"
    "\U000e0000-\U000e0fff\ud800-\udfff]"
)
"""One unsafe character."""

_RUN: Final = re.compile(f"{UNSAFE.pattern}+")


def cleaned(text: str) -> str:
    """Return text with a blank in the place of each run of unsafe characters. Pure and idempotent."""
    return _RUN.sub(" ", text).strip()


def escaped(text: str) -> str:
    r"""Return text with each unsafe character written out, as in JSON: `\u202e`. Pure; nothing is lost."""
    return UNSAFE.sub(_written_out, text)


def named(text: str) -> str | None:
    """Name the first unsafe character of a text, such as 'U+200B ZERO WIDTH SPACE', or return None."""
    found = UNSAFE.search(text)
    return None if found is None else code_point(found[0])


def code_point(letter: str) -> str:
    """Name a character by its code point, and by its name where it has one."""
    return f"U+{ord(letter):04X} {unicodedata.name(letter, '')}".rstrip()


def _written_out(found: re.Match[str]) -> str:
    code = ord(found[0])
    if code > 0xFFFF:  # as two halves, as JSON has it
        code -= 0x10000
        return f"\\u{0xD800 + (code >> 10):04x}\\u{0xDC00 + (code & 0x3FF):04x}"
    return f"\\u{code:04x}"

"""Characters that must not get through: one set, for all that comes from outside."""

import json
import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkreset.unsafe import UNSAFE, cleaned, escaped, named

_LETTERS = st.characters(codec=None)  # lone surrogates too
ANY = st.text(st.one_of(_LETTERS, st.from_regex(UNSAFE, fullmatch=True, alphabet=_LETTERS)))


def test_every_control_direction_mark_separator_and_surrogate_is_unsafe():
    """All of Unicode is gone through: only format characters that are seen, as Arabic number signs, are left."""
    visible = {*range(0x600, 0x606), 0x6DD, 0x70F, 0x890, 0x891, 0x8E2, 0x110BD, 0x110CD, *range(0x13430, 0x13440)}
    for code in range(sys.maxunicode + 1):
        letter = chr(code)
        if unicodedata.category(letter) in ("Cc", "Cf", "Cs", "Zl", "Zp") and code not in visible:
            assert UNSAFE.fullmatch(letter), hex(code)


@pytest.mark.parametrize("seen", ["Zoë Bücher", "日本語", "naïve “quoted” … №", "⚠\ufe0f", "a\u00a0b", "👩"])
def test_what_people_write_is_safe(seen):
    """Letters of any language, punctuation and emoji stay as they are."""
    assert named(seen) is None
    assert cleaned(seen) == escaped(seen) == seen


@given(ANY)
def test_cleaned_text_holds_nothing_unsafe(text):
    """It can be stored by any database and shown on any terminal; cleaning it again changes nothing."""
    kept = cleaned(text)
    assert not UNSAFE.search(kept)
    kept.encode()
    assert cleaned(kept) == kept


@given(ANY)
def test_escaped_text_holds_nothing_unsafe_and_loses_nothing(text):
    """What is written out can be read back, as from JSON; two texts are never made one."""
    kept = escaped(text.replace("\\", "/"))
    assert not UNSAFE.search(kept)
    kept.encode()
    # JSON takes two halves for one character, as two surrogates beside each other are.
    whole = text.replace("\\", "/").encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")
    assert json.loads('"' + kept.replace('"', '\\"') + '"') == whole


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("a\u202eb", "U+202E RIGHT-TO-LEFT OVERRIDE"),
        ("\x1b[31m", "U+001B"),
        ("x\u200by", "U+200B ZERO WIDTH SPACE"),
        ("ok", None),
    ],
)
def test_the_first_unsafe_character_is_named(text, name):
    """An error can name what nobody sees."""
    assert named(text) == name

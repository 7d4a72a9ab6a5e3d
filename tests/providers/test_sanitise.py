"""Provider text before it is stored or shown."""

import html
import json
import re
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkreset.providers.base import MESSAGE_LIMIT, sanitise
from bulkreset.secret import MASK

AWKWARD = "p&<\"'ä/ +%\\x9"


@pytest.mark.parametrize(
    "spelling",
    [
        AWKWARD,
        json.dumps(AWKWARD)[1:-1],
        json.dumps(AWKWARD, ensure_ascii=False)[1:-1],
        html.escape(AWKWARD),
        html.escape(AWKWARD).replace("&#x27;", "&#39;"),
        quote(AWKWARD, safe=""),
        quote_plus(AWKWARD),
        re.sub("%..", lambda found: found[0].lower(), quote(AWKWARD, safe="")),
        json.dumps(AWKWARD)[1:-1].replace("/", "\\/"),
        html.escape(AWKWARD).replace("&#x27;", "&#39;").replace("&quot;", "&#34;"),
    ],
)
def test_a_secret_is_masked_however_it_is_echoed(spelling):
    """A password stays hidden as plain text, and inside JSON, HTML and URLs."""
    assert sanitise(f"the value {spelling} is bad", [AWKWARD]) == f"the value {MASK} is bad"


def test_a_secret_that_holds_another_is_masked_whole():
    """The longer of two secrets goes first, so that none of it stays."""
    assert sanitise("abcdef", ["abc", "abcdef", ""]) == MASK


@given(st.text(st.characters(codec=None), max_size=2 * MESSAGE_LIMIT))
def test_what_is_kept_can_be_stored_and_shown(text):
    """No control, direction or surrogate character gets through, nor more than the limit."""
    kept = sanitise(text)
    assert len(kept) <= MESSAGE_LIMIT
    kept.encode()
    assert not any(ord(c) < 32 or 0x7F <= ord(c) < 0xA0 or 0x202A <= ord(c) <= 0x202E for c in kept)


@given(
    st.text(min_size=4),
    st.sampled_from([str, lambda secret: json.dumps(secret)[1:-1], html.escape, quote_plus]),
)
def test_no_secret_survives_in_a_form_it_may_be_echoed_in(secret, spell):
    """Any secret is masked in any usual spelling, whatever characters it is made of."""
    assert sanitise(f"[{spell(secret)}]", [secret]) == f"[{MASK}]"

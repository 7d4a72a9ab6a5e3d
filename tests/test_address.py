"""When two spellings are one e-mail address."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkreset.address import canonical, folded, folded_domain, unseen

LETTERS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="@"), min_size=1, max_size=12)
ADDRESSES = st.builds(lambda local, domain: f"{local}@{domain}.org", LETTERS, LETTERS)

ONE_ADDRESS = [
    ("ceo@b\u00fccher.example", "ceo@xn--bcher-kva.example"),
    ("ceo@b\u00fccher.example", "CEO@XN--BCHER-KVA.EXAMPLE"),
    ("ceo@b\u00fccher.example", "ceo@bu\u0308cher.example."),
    ("ceo@x.org", "ceo@x.org."),
    ("ceo@x.org", "ceo@x\u3002org"),
    ("ceo@x.org", "ceo@x\uff0eorg"),
    ("ceo@x.org", "\U0001d402eo@x.org"),
    ("ceo@x.org", "\uff43\uff45\uff4f@x.org"),
    ("jos\u00e9@x.org", "JOSE\u0301@x.org"),
    ("x@\u2603.example", "x@xn--n3h.example"),
    ("\u1fb7@x.org", "\u1fbc\u0342@x.org"),
]
SPARED_ALIKE = [
    ("ceo@x.org", "c\u00adeo@x.org"),
    ("ceo@x.org", "ceo\u200b@x.org"),
    ("ceo@x.org", "\u202eceo@x.org"),
    ("ceo@x.org", "ceo @x.org"),
    ("ceo@x.org", "ceo@x\u2060.org"),
    ("strasse@x.org", "stra\u00dfe@x.org"),
    ("a@strasse.de", "a@xn--strae-oqa.de"),
]
OTHERS = [
    ("ceo@x.org", "ceo@y.org"),
    ("ceo@x.org", "ceo+a@x.org"),
    ("jose@x.org", "jos\u00e9@x.org"),
    ("i@x.org", "\u0131@x.org"),
    ("ceo@x.org", "ceo@x.orgs"),
    ("ceo@xn--bcher-kva.example", "ceo@xn--bchr-2qa.example"),
]


@pytest.mark.parametrize(("one", "other"), ONE_ADDRESS)
def test_two_spellings_of_one_address_are_one_in_both_forms(one, other):
    """Case, composition, compatibility forms, a domain's two spellings and its last dot do not matter."""
    assert canonical(one) == canonical(other)
    assert folded(one) == folded(other)


@pytest.mark.parametrize(("one", "other"), SPARED_ALIKE)
def test_whoever_could_be_meant_is_spared_and_nobody_else_is_reset(one, other):
    """The wide form leaves out what nobody sees and folds case in full; what says who is meant does not."""
    assert folded(one) == folded(other)
    assert canonical(one) != canonical(other)


@pytest.mark.parametrize(("one", "other"), OTHERS)
def test_other_addresses_stay_others(one, other):
    """No form makes one person of two who are two."""
    assert canonical(one) != canonical(other)
    assert folded(one) != folded(other)


@given(ADDRESSES | LETTERS)
def test_the_forms_are_fixed_points(name):
    """To bring a name into a form twice changes nothing; the narrow form keeps what the wide one needs."""
    assert canonical(canonical(name)) == canonical(name)
    assert folded(folded(name)) == folded(name)
    assert folded(canonical(name)) == folded(name)


@given(ADDRESSES)
def test_the_widest_form_knows_no_case_and_no_normal_form(address):
    """However an address is typed, it is spared; only the dotless i has a capital that is another letter's."""
    address = address.replace("\u0131", "i")
    for variant in (str.upper, str.lower, str.casefold, str.swapcase):
        assert folded(variant(address)) == folded(address)
    for form in ("NFC", "NFD", "NFKC", "NFKD"):
        assert folded(unicodedata.normalize(form, address)) == folded(address)


def test_no_character_escapes_its_capital_or_its_small_letter():
    """One round of folding leaves 638 characters that a second one would change; there are none any more."""
    for code in (*range(0x80, 0x3000), *range(0xA640, 0xAC00), *range(0xF900, 0x10000), *range(0x1D400, 0x1D800)):
        letter = chr(code)
        if letter == "\u0131" or unicodedata.category(letter) == "Cs":
            continue
        form = folded(f"a{letter}b@x.org")
        assert folded(form) == form, hex(code)
        assert {folded(f"a{other}b@x.org") for other in (letter.upper(), letter.lower(), letter.casefold())} == {
            form
        }, hex(code)


@pytest.mark.parametrize("label", ["xn--", "xn---", "xn--\u00fc", "xn--0000000000", "xn--" + "a" * 70, "xn--a-"])
def test_what_is_no_punycode_stays_as_it_is(label):
    """A damaged domain is compared by its letters and breaks nothing."""
    assert canonical(f"a@{label}.org") == canonical(f"A@{label}.org.")
    assert folded(f"a@{label}.org") == folded(canonical(f"a@{label}.org"))


@pytest.mark.parametrize("name", ["7", "KdYKjnimT4KPd8FFgQt9FQ==", "AbC", "\u00e4"])
def test_ids_are_exact(name):
    """What has no '@' is an id, whose case is a part of it."""
    assert canonical(name) == name


def test_a_domain_by_itself_is_folded_as_in_an_address():
    """A filter by domain finds both of its spellings."""
    assert folded_domain("XN--BCHER-KVA.example.") == folded("a@b\u00fccher.example").removeprefix("a@")


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("a\u200bb", "U+200B ZERO WIDTH SPACE"),
        ("a\u00adb", "U+00AD SOFT HYPHEN"),
        ("a\u00a0b", "U+00A0 NO-BREAK SPACE"),
        ("a\u2066b", "U+2066 LEFT-TO-RIGHT ISOLATE"),
        ("a\x00b", "U+0000"),
        ("J\u00fcrgen\u3002", None),
    ],
)
def test_what_nobody_sees_is_named_by_its_code_point(text, named):
    """A message can say what cannot be shown."""
    assert unseen(text) == named

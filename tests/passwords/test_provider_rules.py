"""What providers ask of a password, as their stand-ins enforce it, against what is made for it in either style."""

import random
import re

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from bulkreset.passwords.generator import LONGEST_RUN, generate
from bulkreset.passwords.policy import LONGEST, PREFERRED_LENGTH, Style, Wishes, longest_run
from bulkreset.providers.zendesk.password_requirements import policy_from
from bulkreset.providers.zoom import account as zoom
from bulkreset.runner.keyring import taboo
from bulkreset.sandbox import policy as stand_in
from bulkreset.sandbox.policy import ZendeskPolicy, ZoomPolicy, zendesk_objections, zoom_objection

SETTINGS = settings(max_examples=300)

seeds = st.integers(0, 2**64)
wishes = st.builds(
    Wishes,
    length=st.sampled_from([0, PREFERRED_LENGTH, 28, 31, 32, 48, LONGEST]),
    style=st.sampled_from(Style),
)
# Names of few letters come up in passwords soon, with those of a passphrase's syllables the more.
names = st.text("abdeknorz", min_size=1, max_size=6) | st.text("abcdexyzäé0129", min_size=1, max_size=9)
addresses = st.builds(
    "{}{}{}@{}.{}".format, names, st.sampled_from([".", "_", "-", "+", "7"]), names, names, names
)
zoom_policies = st.builds(
    ZoomPolicy,
    minimum_password_length=st.sampled_from([0, *range(8, 15)]),
    have_special_character=st.booleans(),
    consecutive_characters_length=st.sampled_from([0, 4, 5, 6, 7, 8]),
    weak_enhance_detection=st.booleans(),
)
said_by_zendesk = st.one_of(
    st.integers(1, 60).map("must be at least {} characters".format),
    st.integers(20, 200).map("must be fewer than {} characters".format),
    st.sampled_from(
        [
            "must be different from email address",
            "must include letters in mixed case and numbers",
            "must include uppercase and lowercase letters",
            "must include numbers",
            "must include a character that is not a letter or number",
            "must not include the word zendesk",
            "must not have more than 4 consecutive letters or numbers",
            "must be different from the previous 5 passwords",
        ]
    ),
)


def made(policy, wished, seed, address):
    """Make a password as a runner does, but from these bytes."""
    return generate(policy.with_wishes(wished), random.Random(seed).randbytes, taboo(address)).reveal()


def asked_by(policy):
    """Return what is read out of the account's settings, as the stand-in shows them."""
    return zoom._policy({name: getattr(policy, name) for name in ZoomPolicy.__slots__})


def holds_in_any_case(password, address):
    """Whether a part of the name, the address or the domain stands in a password."""
    parts = re.split(r"[^a-zäé0-9]", address.lower())
    return any(len(part) >= 3 and part in password.lower() for part in parts)


def check_what_no_provider_says(password, address):
    """Hold a password against the rules that are kept whatever an account asks for."""
    assert longest_run(password) <= LONGEST_RUN
    assert stand_in.longest_run(password) <= LONGEST_RUN
    assert not holds_in_any_case(password, address)
    assert password[0] not in "=+-@\t\r", "a spreadsheet would take it for a formula"
    assert not set(password) & set("Il1O0"), "one character reads like another"
    assert password.isascii()
    assert password.isprintable()
    assert " " not in password


@SETTINGS
@given(zoom_policies, wishes, seeds, addresses)
def test_zoom_has_no_objection(policy, wished, seed, address):
    """None of the codes 1124 to 1128, 1130, 1131 and 1136 for any of its settings, and at most 31 characters."""
    password = made(asked_by(policy), wished, seed, address)
    assert zoom_objection(password, policy) is None
    assert max(8, policy.minimum_password_length) <= PREFERRED_LENGTH <= len(password) <= 31
    assert any(character.islower() for character in password)
    assert any(character.isupper() for character in password)
    assert any(character.isdigit() for character in password)
    assert not password.isalnum() or not policy.have_special_character
    check_what_no_provider_says(password, address)


@SETTINGS
@given(st.lists(said_by_zendesk, max_size=6), wishes, seeds, addresses)
def test_zendesk_has_no_objection(requirements, wished, seed, address):
    """Whatever its requirements say, one by one or together, a password meets them unless none can."""
    policy = policy_from(requirements)
    assume(policy.impossible() is None)
    password = made(policy, wished, seed, address)
    assert zendesk_objections(password, ZendeskPolicy(tuple(requirements)), address) == []
    assert policy.violations(password, taboo(address)) == []
    check_what_no_provider_says(password, address)


@pytest.mark.parametrize("style", Style)
@pytest.mark.parametrize("special", [False, True])
@pytest.mark.parametrize("run", [0, 4, 5, 6, 7, 8])
@pytest.mark.parametrize("least", [0, 8, 9, 10, 11, 12, 13, 14])
def test_every_setting_of_zoom_is_met_many_times(least, run, special, style):
    """Each of the 96 combinations, with the search for weak words on, 40 times in each style."""
    policy = ZoomPolicy(least, special, run, weak_enhance_detection=True)
    rng = random.Random(f"{least} {run} {special}").randbytes
    wanted = asked_by(policy).with_wishes(Wishes(style=style))
    passwords = [generate(wanted, rng).reveal() for _ in range(40)]
    assert [zoom_objection(password, policy) for password in passwords] == [None] * 40
    assert len(set(passwords)) == 40
    length = {Style.CHARACTERS: PREFERRED_LENGTH, Style.PASSPHRASE: 28}[style]
    assert {len(password) for password in passwords} == {length}


@given(st.text(max_size=30), names, names)
def test_each_part_of_a_name_and_an_address_is_avoided(noise, first, domain):
    """Parts of three characters and more, of the domain too, and a name without its number."""
    parts = taboo(f"{first}.{noise}@{domain}.example")
    assert all(len(part) >= 3 and "." not in part and "@" not in part for part in parts)
    assert "example" in parts
    assert len(first) < 3 or first in parts
    assert len(domain) < 3 or domain in parts
    assert {"jane77", "jane", "smith", "acme"} <= set(taboo("jane77.SMITH_x@acme.io".lower()))
    assert "io" not in taboo("jane77@acme.io")


def test_the_stand_ins_would_object():
    """The stand-ins tell a bad password from a good one, so that their silence means something."""
    strict = ZoomPolicy(
        14, have_special_character=True, consecutive_characters_length=4, weak_enhance_detection=True
    )
    told = {
        "Xk7!mQ2?": 1124,
        "72!59?72!59?72!5": 1125,
        "Xk!mQ?Xk!mQ?Xk!m": 1126,
        "Xk7mQ2Xk7mQ2Xk7m": 1127,
        "xk7!m2?xk7!m2?xk": 1128,
        "Xk7!mQ2?abcdXk7!": 1131,
        "Xk7!mQ2?qWeRXk7!": 1131,
        "Xk7!mQ2?Xk7!Zoom": 1136,
    }
    assert {password: (zoom_objection(password, strict) or (0,))[0] for password in told} == told
    stated = ZendeskPolicy(("must be at least 9 characters", "must include numbers"))
    assert zendesk_objections("Xk!", stated, "a@b.c") == list(stated.requirements)

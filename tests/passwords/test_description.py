"""A policy in words."""

import random
import re
from dataclasses import asdict, replace

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from bulkreset.passwords.description import describe
from bulkreset.passwords.generator import generate
from bulkreset.passwords.policy import LONGEST, STRONGEST, Policy, Style, Wishes

ZOOM = Policy(
    9, 31, letter=True, digit=True, special=False, upper_and_lower=True, max_run=2, source="Zoom account settings"
)
PASSPHRASE = Wishes(style=Style.PASSPHRASE)
NO_ROOM, USED = 'style = "passphrase" has no room', '"characters" is used'
LEGEND = {
    "A": str.isupper,
    "a": str.islower,
    "C": str.isupper,
    "c": str.islower,
    "v": lambda character: character in "aeou",
    "9": str.isdigit,
    "#": lambda character: not character.isalnum(),
}


def test_characters_are_described():
    """Lengths, classes, runs, style, where the policy comes from, and the shape: a phrase each."""
    assert asdict(describe(ZOOM)) == {
        "source": "Zoom account settings",
        "length": "24 characters; the policy takes 9 to 31",
        "classes": "uppercase, lowercase, digits and special characters;"
        " the policy asks for uppercase, lowercase and digits",
        "runs": "never more than 2 in a row that are equal, consecutive or neighbours on a keyboard",
        "style": "characters, each drawn from 64",
        "shape": "Aa9#Aa9#Aa9#Aa9#Aa9#Aa9# (A is uppercase, a lowercase, 9 a digit, # a special character;"
        " in any order)",
        "unmet": (),
    }


def test_a_passphrase_is_described():
    """The same for syllables, with what they are worth."""
    told = describe(ZOOM.with_wishes(PASSPHRASE))
    assert told.length == "28 characters; the policy takes 9 to 31"
    assert told.classes.startswith(
        "an uppercase letter, lowercase letters, 1 digit and # as special character; the policy asks"
    )
    assert told.style == "passphrase, 12 syllables in 4 words: 75 bits, and no rule takes it below 64"
    assert told.shape.startswith(
        "Cvcvcv#cvcvcv#cvcvcv#cvcvcv9 (c is a consonant, C an uppercase one, v a vowel, 9"
    )
    plain = describe(replace(ZOOM, digit=False, upper_and_lower=False).with_wishes(PASSPHRASE))
    assert plain.classes == "lowercase letters and # as special character; the policy asks for letters"
    assert plain.shape == "cvcvcv#cvcvcv#cvcvcv#cvcvcv (c is a consonant, v a vowel)"


@pytest.mark.parametrize(
    ("policy", "wishes", "unmet"),
    [
        (ZOOM, Wishes(31), []),
        (ZOOM, Wishes(40), ["length = 40 is more than this policy takes; 31 is used"]),
        (ZOOM, Wishes(40, Style.PASSPHRASE), ["length = 40 is more than this policy takes; 31 is used"]),
        (
            replace(ZOOM, min_length=40, max_length=64),
            Wishes(30, Style.PASSPHRASE),
            ["length = 30 is less than this policy takes; 40 is used"],
        ),
        (
            replace(ZOOM, max_length=27),
            Wishes(28, Style.PASSPHRASE),
            [
                f"{NO_ROOM}: 64 bits take 28 characters, this policy 27 at most; {USED}",
                "length = 28 is more than this policy takes; 27 is used",
            ],
        ),
        (replace(ZOOM, digit=False, max_length=27), PASSPHRASE, []),
        (STRONGEST, Wishes(24, Style.PASSPHRASE), []),
    ],
)
def test_wishes_that_give_way_are_told(policy, wishes, unmet):
    """Each wish that the policy has no room for is named, with what is done instead; others are not."""
    assert list(describe(policy.with_wishes(wishes)).unmet) == unmet


policies = st.builds(
    Policy,
    min_length=st.integers(0, LONGEST),
    max_length=st.integers(8, LONGEST * 2),
    letter=st.booleans(),
    digit=st.booleans(),
    special=st.booleans(),
    upper_and_lower=st.booleans(),
    max_run=st.integers(2, 9),
    length=st.integers(0, LONGEST),
    style=st.sampled_from(Style),
)


@given(policies, st.integers(0, 2**32))
def test_what_is_described_is_what_is_made(policy, seed):
    """A generated password has the length, the style and, of a passphrase, the shape that the words say."""
    assume(policy.impossible() is None)
    told = describe(policy)
    password = generate(policy, random.Random(seed).randbytes).reveal()
    shape = told.shape.partition(" ")[0]
    assert told.length.startswith(f"{len(password)} characters;")
    assert len(shape) == len(password)
    assert set(shape) <= set(LEGEND)
    if told.style.startswith("passphrase"):
        assert all(LEGEND[kind](character) for kind, character in zip(shape, password, strict=True))
    assert not re.search(r"\n|\s\s", str(told))
    assert bool(told.unmet) == (
        policy.length > policy.max_length
        or 0 < policy.length < policy.min_length
        or (policy.style is Style.PASSPHRASE and told.style.startswith("characters"))
    )

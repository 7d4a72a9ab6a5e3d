"""Passphrases: what they look like, how many there are, and that none is favoured."""

import random
import re
from collections import Counter
from dataclasses import replace
from functools import cache
from itertools import product
from math import log2

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkreset.passwords import passphrase
from bulkreset.passwords.alphabet import ALPHABET, DIGITS, SPECIALS
from bulkreset.passwords.generator import generate
from bulkreset.passwords.passphrase import (
    CONSONANTS,
    FEWEST,
    SEPARATOR,
    SYLLABLES,
    VOWELS,
    Shape,
    fewest_characters,
    shape_for,
)
from bulkreset.passwords.policy import LONGEST, Policy, Style, longest_run
from bulkreset.sandbox.policy import WEAK

ZOOM = Policy(
    8,
    31,
    letter=True,
    digit=True,
    special=True,
    upper_and_lower=True,
    max_run=2,
    source="zoom",
    style=Style.PASSPHRASE,
)
SPOKEN = re.compile(
    f"[{CONSONANTS.upper()}{CONSONANTS}][{VOWELS}]([{CONSONANTS}][{VOWELS}]){{0,2}}[{DIGITS}]?"
    f"({SEPARATOR}([{CONSONANTS}][{VOWELS}]){{2,3}}[{DIGITS}]?){{3,}}"
)


def seeded(seed=0):
    return random.Random(seed).randbytes


@st.composite
def with_room(draw):
    """Draw a policy that a passphrase of 64 bits can meet."""
    digit, least = draw(st.booleans()), draw(st.integers(0, LONGEST))
    return Policy(
        min_length=least,
        max_length=draw(st.integers(max(27 + digit, least), 300)),
        letter=draw(st.booleans()),
        digit=digit,
        special=draw(st.booleans()),
        upper_and_lower=draw(st.booleans()),
        max_run=draw(st.integers(1, 9)),
        length=draw(st.integers(0, LONGEST)),
        style=Style.PASSPHRASE,
    )


@given(with_room(), st.integers(0, 2**32), st.lists(st.text("abdeknoru", min_size=1, max_size=6), max_size=4))
def test_every_passphrase_meets_its_policy_and_can_be_said(policy, seed, taboo):
    """Whatever an account asks for and whoever the user is, no rule is broken, and it is words of syllables."""
    password = generate(policy, seeded(seed), taboo).reveal()
    assert policy.violations(password, taboo) == []
    assert longest_run(password) <= 2
    assert SPOKEN.fullmatch(password), password
    assert len(password) == min(max(27 + policy.digit, policy.length, policy.min_length), policy.max_length)


@given(with_room(), st.integers(0, 2**32))
def test_capitals_and_digits_stand_only_where_they_are_asked_for(policy, seed):
    """One capital, at the beginning; one digit, and up to two more only where the length needs them."""
    password = generate(policy, seeded(seed)).reveal()
    assert sum(map(str.isupper, password)) == policy.upper_and_lower
    assert password[0].isupper() == policy.upper_and_lower
    assert policy.digit <= sum(map(str.isdigit, password)) <= policy.digit + 2
    unwished = replace(policy, length=0, min_length=0)
    assert sum(map(str.isdigit, generate(unwished, seeded(seed)).reveal())) == policy.digit


@pytest.mark.parametrize("max_run", [1, 2, 8])
@pytest.mark.parametrize(("digit", "room"), [(True, 28), (False, 27)])
def test_where_there_is_no_room_for_64_bits_it_is_characters(max_run, digit, room):
    """One character less than the shortest passphrase has, and the password is built of characters."""
    policy = replace(ZOOM, min_length=0, digit=digit, max_run=max_run, length=LONGEST)
    assert fewest_characters(policy) == room
    assert shape_for(replace(policy, max_length=room)) == Shape(12, int(digit), capital=True)
    short = replace(policy, max_length=room - 1)
    assert shape_for(short) is None
    password = generate(short, seeded()).reveal()
    assert not SPOKEN.fullmatch(password)
    assert password == generate(replace(short, style=Style.CHARACTERS), seeded()).reveal()


@cache
def neighbours(max_run):
    """Return for each syllable that has no longer run those that may come after it."""
    fine = [syllable for syllable in SYLLABLES if longest_run(syllable) <= max_run]
    return {first: [second for second in fine if longest_run(first + second) <= max_run] for first in fine}


def acceptable(syllables, words, max_run):
    """Count the passphrases without a longer run, exactly: words do not touch, and a run spans two syllables.

    A pair, and a run of three, lies within two syllables next to each other.
    """
    each, longer = divmod(syllables, words)
    total = 1
    for place in range(words):
        ends = Counter(neighbours(max_run).keys())
        for _ in range(each + (place < longer) - 1):
            before, ends = ends, Counter()
            for first, ways in before.items():
                for second in neighbours(max_run)[first]:
                    ends[second] += ways
        total *= sum(ends.values())
    return total


@pytest.mark.parametrize("max_run", [1, 2])
def test_the_count_of_passphrases_is_exact(max_run):
    """The count below agrees with trying every word of two and, for a part, of three syllables."""
    two = sum(longest_run("".join(word)) <= max_run for word in product(SYLLABLES, repeat=2))
    assert acceptable(2, 1, max_run) == two
    assert acceptable(4, 2, max_run) == two**2
    some = SYLLABLES[4:16] + SYLLABLES[36:48]
    three = sum(longest_run("".join(word)) <= max_run for word in product(some, repeat=3))
    after = neighbours(max_run)
    assert three == sum(b in after.get(a, ()) and c in after.get(b, ()) for a, b, c in product(some, repeat=3))


@pytest.mark.parametrize(("max_run", "least", "most"), [(1, 67.3, 67.4), (2, 71.9, 72.0)])
def test_the_shortest_passphrase_has_more_than_64_bits(max_run, least, most):
    """Counted after what the rule about runs takes away, and without the digit that most policies add."""
    shape = shape_for(replace(ZOOM, digit=False, max_run=max_run))
    assert shape == shape_for(replace(ZOOM, digit=False, max_run=max_run, length=27, max_length=27))
    assert (shape.syllables, shape.words, shape.digits, shape.bits) == (FEWEST, 4, 0, 72)
    assert least < log2(acceptable(shape.syllables, shape.words, max_run)) < most


@given(with_room())
def test_every_longer_passphrase_has_more(policy):
    """What is longer has more syllables, and is worth as many bits as it says, less what runs take."""
    shape = shape_for(policy)
    bits = log2(acceptable(shape.syllables, shape.words, min(policy.max_run, 2))) + 3 * shape.digits
    assert 64 < bits <= shape.bits
    assert shape.bits == 6 * shape.syllables + 3 * shape.digits
    assert len(shape.example()) == shape.length


def test_a_name_takes_less_than_a_tenth_of_a_bit():
    """Among many draws fewer than one in fifteen hold the likeliest of names, three letters with one consonant."""
    rng, shape = seeded(4), shape_for(ZOOM)
    names = ("eda", "ana", "ada", "ude", "dan", "dave")
    drawn = [shape.spell(rng).decode() for _ in range(4_000)]
    for name in names:
        assert sum(name in text.lower() for text in drawn) / len(drawn) < 1 - 2**-0.1


def test_the_syllables_are_64_that_are_heard_and_read_as_they_are():
    """A power of two, no two alike, of the characters that read like no other, whole and in capitals."""
    assert len(set(SYLLABLES)) == len(SYLLABLES) == 64
    assert set("".join(SYLLABLES) + CONSONANTS.upper() + SEPARATOR) <= set(ALPHABET)
    assert SEPARATOR in SPECIALS
    assert len(SEPARATOR) == 1
    assert not set(CONSONANTS) & set(VOWELS)


def test_no_weak_word_can_be_spelled():
    """No word of a provider's list fits between consonants and vowels by turns."""
    spoken = re.compile(f"[{VOWELS}]?([{CONSONANTS}][{VOWELS}])*[{CONSONANTS}]?")
    assert spoken.fullmatch("edanoda")
    assert not [word for word in WEAK if spoken.fullmatch(word)]


def test_every_syllable_and_digit_stands_for_the_same_number_of_bytes():
    """All 256 bytes fall on the 64 syllables four times each and on the 8 digits 32 times each."""
    assert Counter(passphrase._BY_BYTE) == {syllable.encode(): 4 for syllable in SYLLABLES}
    assert Counter(passphrase._DIGIT_BY_BYTE) == dict.fromkeys(DIGITS.encode(), 32)


def chi_square(seen, kinds):
    """Return how far the counts are from being equal, over this many kinds."""
    expected = sum(seen.values()) / kinds
    return sum((count - expected) ** 2 / expected for count in seen.values()) + (kinds - len(seen)) * expected


def bound(kinds, sigmas=3.09):
    """Return what chi-square passes by chance once in a thousand times, by Wilson and Hilferty."""
    free = kinds - 1
    return free * (1 - 2 / (9 * free) + sigmas * (2 / (9 * free)) ** 0.5) ** 3


def syllables_of(text):
    letters = re.sub("[^a-z]", "", text.lower())
    return [letters[n : n + 2] for n in range(0, len(letters), 2)]


def test_drawn_syllables_pass_a_chi_square_test():
    """Over many draws the 64 syllables come up equally often: at each place, in all, and next to each other."""
    rng, shape = seeded(5), shape_for(replace(ZOOM, length=31, digit=False))
    drawn = [shape.spell(rng).decode() for _ in range(20_000)]
    spoken = [syllables_of(text) for text in drawn]
    assert all(len(one) == shape.syllables == 13 for one in spoken)
    for place in range(shape.syllables):
        assert chi_square(Counter(one[place] for one in spoken), 64) < bound(64, sigmas=3.8)
    assert chi_square(Counter(syllable for one in spoken for syllable in one), 64) < bound(64)
    pairs = Counter(pair for one in spoken for pair in zip(one[::2], one[1::2], strict=False))
    assert chi_square(pairs, 4096) < bound(4096)
    assert shape.digits == 1
    assert chi_square(
        Counter(character for text in drawn for character in text if character.isdigit()), 8
    ) < bound(8)


def test_what_is_kept_is_as_likely_as_what_else_is_kept():
    """Syllables that no rule about runs touches come up equally often in the passwords that are given out."""
    rng = seeded(6)
    touched = {part for pair in product(SYLLABLES, repeat=2) if longest_run("".join(pair)) > 2 for part in pair}
    others = set(SYLLABLES) - touched
    assert len(others) >= 16
    kept = Counter(part for _ in range(6_000) for part in syllables_of(generate(ZOOM, rng).reveal()))
    assert chi_square({part: kept[part] for part in others}, len(others)) < bound(len(others))
    for part in SYLLABLES:
        assert 0.85 < kept[part] / (6_000 * 12 / 64) < 1.15


def test_the_same_bytes_give_the_same_passphrase_and_show_nothing():
    """Nothing but the bytes and the policy goes in, and what comes out is masked."""
    secret = generate(ZOOM, seeded(5))
    assert secret.reveal() == generate(ZOOM, seeded(5)).reveal() != generate(ZOOM, seeded(6)).reveal()
    assert secret.reveal() not in f"{secret} {secret!r}"


def test_a_draw_with_a_piece_of_the_name_is_thrown_away():
    """The passphrase that these bytes would give is not given to the user whose name it holds."""
    first = generate(ZOOM, seeded(1)).reveal()
    for piece in (first[:4].swapcase(), first[8:11]):
        other = generate(ZOOM, seeded(1), [piece]).reveal()
        assert piece.lower() not in other.lower()
    assert generate(ZOOM, seeded(1), [first[:2]]).reveal() == first

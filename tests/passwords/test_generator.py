"""Passwords out of random bytes."""

import random
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkreset.errors import ProviderRefused
from bulkreset.passwords import generator
from bulkreset.passwords.generator import ALPHABET, DIGITS, LOWER, SPECIALS, UPPER, generate
from bulkreset.passwords.passphrase import SYLLABLES
from bulkreset.passwords.policy import LONGEST, PREFERRED_LENGTH, SHORTEST, STRONGEST, Policy, longest_run
from bulkreset.providers import KINDS
from bulkreset.sandbox.policy import WEAK

ZOOM = Policy(8, 31, letter=True, digit=True, special=False, upper_and_lower=True, max_run=3, source="zoom")


def seeded(seed=0):
    return random.Random(seed).randbytes


def chi_square(seen, kinds):
    """Return how far the counts are from being equal, over this many kinds."""
    expected = sum(seen.values()) / kinds
    return sum((count - expected) ** 2 / expected for count in seen.values()) + (kinds - len(seen)) * expected


@st.composite
def possible_policies(draw):
    max_length = draw(st.integers(SHORTEST, 300))
    return Policy(
        min_length=draw(st.integers(0, min(max_length, LONGEST))),
        max_length=max_length,
        letter=draw(st.booleans()),
        digit=draw(st.booleans()),
        special=draw(st.booleans()),
        upper_and_lower=draw(st.booleans()),
        max_run=draw(st.integers(2, 9)),
        length=draw(st.sampled_from([0, *range(PREFERRED_LENGTH, LONGEST + 1)])),
    )


@given(possible_policies(), st.integers(0, 2**32), st.lists(st.text(max_size=12), max_size=3))
def test_every_password_meets_its_policy(policy, seed, taboo):
    """Whatever an account asks for and whoever the user is, no rule is broken."""
    password = generate(policy, seeded(seed), taboo).reveal()
    assert policy.violations(password, taboo) == []
    wanted = policy.length or PREFERRED_LENGTH
    assert len(password) == min(max(wanted, policy.min_length), policy.max_length)


@given(possible_policies(), st.integers(0, 2**32))
def test_every_password_is_stronger_than_its_policy(policy, seed):
    """All four classes and no run of three, whatever little the account asks for."""
    password = set(generate(policy, seeded(seed)).reveal())
    assert all(password & set(kind) for kind in (UPPER, LOWER, DIGITS, SPECIALS))
    assert longest_run(generate(policy, seeded(seed)).reveal()) <= 2


@given(st.integers(SHORTEST, 31), st.integers(0, 2**32))
def test_not_even_a_pair_where_none_is_allowed(length, seed):
    """The hardest rule about runs is kept too."""
    policy = Policy(length, length, letter=False, digit=False, special=False, upper_and_lower=False, max_run=1)
    assert longest_run(generate(policy, seeded(seed)).reveal()) == 1


@pytest.mark.parametrize("length", [1, 4, 11])
def test_no_password_is_made_that_can_be_guessed(length):
    """Where a policy has room for less than twelve characters the account is told, and nothing is sent."""
    with pytest.raises(ProviderRefused, match=f"at most {length} characters; none with fewer than 12 are made"):
        generate(replace(STRONGEST, min_length=1, max_length=length), seeded())


def test_the_same_bytes_give_the_same_password():
    """Nothing but the bytes and the policy goes into a password."""
    assert generate(ZOOM, seeded(5)).reveal() == generate(ZOOM, seeded(5)).reveal()
    assert generate(ZOOM, seeded(5)).reveal() != generate(ZOOM, seeded(6)).reveal()


def test_a_draw_with_a_piece_of_the_name_is_thrown_away():
    """The password that these bytes would give is not given to the user whose name it holds."""
    first = generate(STRONGEST, seeded(1)).reveal()
    for piece in (first[:3].swapcase(), first[10:14], first[-3:].upper()):
        other = generate(STRONGEST, seeded(1), ["nobody", piece]).reveal()
        assert other != first
        assert piece.lower() not in other.lower()
    assert generate(STRONGEST, seeded(1), [first[:2], ""]).reveal() == first


@pytest.mark.parametrize("word", generator._EASY)
def test_a_draw_with_a_word_that_everybody_tries_is_thrown_away(word):
    """Bytes that spell such a word, in either case, give way to the next ones, whoever the user is."""
    spelled = "".join(c.upper() if c.upper() in ALPHABET and n % 2 else c for n, c in enumerate(word))
    spelled = "".join(c if c in ALPHABET else c.swapcase() for c in spelled)
    first = spelled + "7?Xr5!Vd8:Ws$Kh3*Uc9.Tg6"[len(spelled) :]
    draws = [bytes(ALPHABET.index(c) for c in first), *(seeded(n)(PREFERRED_LENGTH) for n in range(20))]
    password = generate(ZOOM, lambda _: draws.pop(0)).reveal()
    assert word not in password.lower()
    assert len(draws) < 20, "the first draw was taken"
    assert STRONGEST.violations(first) == [], "the first draw had other faults as well"


def test_the_letters_that_give_such_a_word_away_take_nothing_from_passphrases():
    """Each word holds its three letters, and none of them stands between consonants and vowels by turns."""
    assert all(len(letters) == 3 and letters in word for word, letters in generator._EASY.items())
    for letters in generator._EASY.values():
        assert not any(letters in one + two for one in SYLLABLES for two in SYLLABLES)


def test_every_weak_word_of_the_stand_in_is_known_or_cannot_be_spelled():
    """What a provider that looks for weak words would refuse is thrown away before it is sent."""
    letters = set(ALPHABET.lower())
    spellable = {word for word in WEAK if set(word) <= letters and longest_run(word) <= generator.LONGEST_RUN}
    assert {"zoom", "password", "iloveyou"} <= spellable <= {*generator._EASY, *KINDS}  # of these a keyring thinks


@pytest.mark.parametrize(
    "policy",
    [
        Policy(
            40,
            31,
            letter=True,
            digit=True,
            special=True,
            upper_and_lower=True,
            max_run=2,
            source="the Zoom account",
        ),
        Policy(
            8,
            31,
            letter=True,
            digit=True,
            special=True,
            upper_and_lower=True,
            max_run=0,
            source="the Zoom account",
        ),
    ],
)
def test_an_impossible_policy_is_refused(policy):
    """A contradiction ends in one clear line and not in an endless search."""
    with pytest.raises(ProviderRefused, match=r"no password can meet.*the Zoom account.*change the policy there"):
        generate(policy, seeded())


def test_bytes_that_never_fit_are_given_up(monkeypatch):
    """A broken source of randomness ends in an error, too."""
    monkeypatch.setattr(generator, "_DRAWS", 100)
    with pytest.raises(ProviderRefused, match="none of 100 random ones does"):
        generate(STRONGEST, bytes)


def test_the_alphabet_is_64_harmless_characters():
    """Nothing that reads like another, and nothing that JSON, forms, CSV or a shell's quotes stumble over."""
    assert len(set(ALPHABET)) == len(ALPHABET) == 64
    assert not set(ALPHABET) & set("Il1O0")
    assert not set(ALPHABET) & set("\"'\\`,;&%+=<>@-_/ ")


def test_every_character_stands_for_the_same_number_of_bytes():
    """All 256 bytes fall on the 64 characters four times each: no character is favoured."""
    assert Counter(generator._BY_BYTE) == dict.fromkeys(ALPHABET.encode(), 4)


def test_drawn_characters_pass_a_chi_square_test():
    """Before any is thrown away, all 64 characters and all 4,096 pairs of them come up equally often."""
    drawn = seeded(7)(400_000).translate(generator._BY_BYTE)
    # The bounds are what chance passes once in a thousand times.
    assert chi_square(Counter(drawn), 64) < 103.4
    assert chi_square(Counter(zip(drawn[::2], drawn[1::2], strict=True)), 4096) < 4380


def test_every_place_of_a_password_is_drawn_alike():
    """The specials, which no rule about runs touches, are as likely at each place of those that are kept."""
    rng = seeded(12)
    passwords = [generate(ZOOM, rng).reveal() for _ in range(6_000)]
    seen = Counter(place for text in passwords for place, character in enumerate(text) if character in SPECIALS)
    assert chi_square(seen, PREFERRED_LENGTH) < 49.7


def test_characters_come_up_equally_often():
    """Over many passwords the characters of each class pass a chi-square test at its 99.9 % bound."""
    rng = seeded(20)
    seen = Counter("".join(generate(ZOOM, rng).reveal() for _ in range(4_000)))
    # The rules about runs touch letters unequally ('s' has more neighbours than 'z'): only these are exchangeable.
    for kind, bound in ((SPECIALS, 22.46), (DIGITS, 24.32)):
        expected = sum(seen[c] for c in kind) / len(kind)
        assert sum((seen[c] - expected) ** 2 / expected for c in kind) < bound
    for c in ALPHABET:
        assert 0.9 < seen[c] / (4_000 * PREFERRED_LENGTH / 64) < 1.15


def test_a_class_is_not_tied_to_a_place():
    """Each class comes up at each place of the password."""
    rng = seeded(3)
    passwords = [generate(ZOOM, rng).reveal() for _ in range(500)]
    for place in range(PREFERRED_LENGTH):
        here = {password[place] for password in passwords}
        assert all(here & set(kind) for kind in (UPPER, LOWER, DIGITS, SPECIALS))


def test_the_password_comes_masked():
    """What is returned shows nothing by itself."""
    secret = generate(STRONGEST, seeded())
    assert secret.reveal() not in f"{secret} {secret!r}"

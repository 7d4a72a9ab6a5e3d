"""Zendesk's sentences about passwords."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkreset.passwords.generator import generate
from bulkreset.passwords.policy import LONGEST, SHORTEST, STRONGEST
from bulkreset.providers.zendesk.password_requirements import policy_from


@pytest.mark.parametrize(
    ("sentences", "least", "most", "run"),
    [
        (["must be at least 5 characters", "must be different from email address"], 20, LONGEST, 2),
        (["must be at least 40 characters", "must be fewer than 128 characters"], 40, LONGEST, 2),
        (["Must be fewer than 16 characters."], 15, 15, 2),
        (["must be at most 30 characters"], 20, 30, 2),
        (["must not have more than 1 consecutive letters or numbers"], 20, LONGEST, 1),
        (["must not have more than 4 consecutive letters or numbers"], 20, LONGEST, 2),
        (
            [
                "must include letters in mixed case and numbers",
                "must include a character that is not a letter or number",
                "must include a special character that is not a letter or number",
                "must include a number",
                "must include letters in mixed case",
                "must be different from the previous 5 passwords",
                'must not include the word "Zendesk"',
                "must not resemble an email address",
            ],
            20,
            LONGEST,
            2,
        ),
    ],
)
def test_known_sentences_tighten_the_strongest_form(sentences, least, most, run):
    """Lengths and runs are taken over; classes of characters are always asked for in full."""
    policy = policy_from(sentences)
    assert (policy.min_length, policy.max_length, policy.max_run) == (least, most, run)
    assert policy.letter
    assert policy.digit
    assert policy.special
    assert policy.upper_and_lower
    assert "all understood" in policy.source


def test_an_unknown_sentence_is_named():
    """What is not understood is shown to the operator; the strongest form stands."""
    policy = policy_from(["must be at least 5 characters", "must rhyme with\x1b orange"])
    assert policy.source == "Zendesk: 2 requirements, not understood: must rhyme with  orange"
    assert (policy.min_length, policy.special) == (STRONGEST.min_length, True)


def test_a_contradiction_is_left_for_the_operator_to_see():
    """Rules that no password can meet make a policy that says so, not one that quietly drops a rule."""
    assert policy_from(["must be at least 30 characters", "must be at most 20 characters"]).impossible()


@pytest.mark.parametrize("most", [0, 1, 4, 5, 7, 11])
@pytest.mark.parametrize(
    "words", ["must be at most {}", "must be fewer than {}+1", "must contain no more than {}"]
)
def test_no_text_makes_a_password_that_can_be_guessed(words, most):
    """A text that forces less than twelve characters makes no password at all; twelve are made."""
    said = words.replace("{}+1", str(most + 1)).format(most) + " characters"
    assert f"at most {most} characters" in policy_from([said]).impossible()
    assert policy_from(["must be at most 12 characters"]).impossible() is None


SENTENCES = st.text() | st.builds(
    "must be {} {} characters".format,
    st.sampled_from(["at least", "at most", "fewer than", "no more than"]),
    st.integers(0, 200),
)


@given(st.lists(SENTENCES, max_size=5))
def test_whatever_is_said_a_password_is_long_or_not_made(sentences):
    """The shortest password that any text leads to has twelve characters."""
    policy = policy_from(sentences)
    if policy.impossible() is None:
        assert len(generate(policy, random.Random(0).randbytes).reveal()) >= SHORTEST


@given(st.lists(st.text(), max_size=5))
def test_no_sentence_breaks_it(sentences):
    """Any text makes a policy that is no weaker than the strongest form, unless it must be shorter."""
    policy = policy_from(sentences)
    assert policy.min_length >= min(STRONGEST.min_length, policy.max_length)
    assert policy.max_run <= STRONGEST.max_run

"""Password policies as values."""

import dataclasses
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkreset.errors import StoreError
from bulkreset.passwords.policy import LONGEST, STRONGEST, Policy, Style, Wishes, longest_run

LAX = Policy(1, 128, letter=False, digit=False, special=False, upper_and_lower=False, max_run=128)


@pytest.mark.parametrize(
    ("policy", "password", "rule"),
    [
        (dataclasses.replace(LAX, min_length=9), "Xk7!mQ2?", "has fewer than 9 characters"),
        (dataclasses.replace(LAX, max_length=7), "Xk7!mQ2?", "has more than 7 characters"),
        (dataclasses.replace(LAX, letter=True), "72!59?", "has no letter"),
        (dataclasses.replace(LAX, digit=True), "Xk!mQ?", "has no digit"),
        (dataclasses.replace(LAX, special=True), "Xk7mQ2", "has no special character"),
        (dataclasses.replace(LAX, upper_and_lower=True), "xk7!m", "has not both upper and lower case letters"),
        (dataclasses.replace(LAX, upper_and_lower=True), "XK7!M", "has not both upper and lower case letters"),
        (
            dataclasses.replace(LAX, max_run=2),
            "Xk7aBc",
            "has a run of more than 2 equal, consecutive or neighbouring characters",
        ),
    ],
)
def test_each_broken_rule_is_named(policy, password, rule):
    """A password that breaks one rule gets exactly that rule's name."""
    assert policy.violations(password) == [rule]


def test_a_password_that_meets_every_rule_breaks_none():
    """The strongest form is met by a password with every class and no run."""
    assert STRONGEST.violations("mU4!kE9?wP7#rB5$vG8*") == []


@pytest.mark.parametrize(("taboo", "held"), [(["JANE"], True), (["mith", "zz"], True), (["k7", "doe"], False)])
def test_pieces_of_a_name_are_found_in_either_case_from_three_characters_on(taboo, held):
    """A name counts however it is written; two letters of it do not."""
    assert bool(LAX.violations("xk7Janesmith", taboo)) == held


@given(st.text(min_size=1, max_size=40), st.lists(st.text(min_size=3, max_size=10), max_size=3))
def test_no_violation_shows_the_password(password, taboo):
    """What is said about a password is the same for every password that breaks the same rules."""
    marked = f"\u2603{password}\u2603"
    assert not any("\u2603" in rule for rule in STRONGEST.violations(marked, [*taboo, marked]))


@pytest.mark.parametrize(
    ("text", "length"),
    [
        ("", 0),
        ("x", 1),
        ("aAaA", 4),
        ("!!!", 3),
        ("abx12", 2),
        ("aBcD", 4),
        ("x4321x", 4),
        ("qWeR", 4),
        ("lkjh", 4),
        ("7890", 4),
        ("efghjk", 5),  # e-f-g-h in the alphabet, f-g-h-j-k on the keyboard
        ("aab", 2),  # equal, then consecutive: two runs, not one
        ("!#$", 1),
    ],
)
def test_the_longest_run_goes_on_in_one_direction(text, length):
    """Equal, rising, falling and keyboard runs each count by themselves, in either case."""
    assert longest_run(text) == length


@given(st.text(st.sampled_from("abcfghj1289qwe!A"), max_size=20))
def test_a_run_reads_the_same_backwards(text):
    """Turning a password round turns its runs round and leaves their lengths."""
    assert longest_run(text) == longest_run(text[::-1])


policies = st.builds(
    Policy,
    min_length=st.integers(-1, LONGEST * 2),
    max_length=st.integers(-1, LONGEST * 2),
    letter=st.booleans(),
    digit=st.booleans(),
    special=st.booleans(),
    upper_and_lower=st.booleans(),
    max_run=st.integers(-1, 9),
    source=st.text(max_size=20),
    length=st.integers(0, LONGEST * 2),
    style=st.sampled_from(Style),
)


@given(policies)
def test_a_policy_survives_its_text(policy):
    """What a batch keeps is what the account said."""
    assert Policy.from_json(policy.as_json()) == policy


WRITTEN_BEFORE_WISHES = (
    '{"min_length":8,"max_length":31,"letter":true,"digit":true,"special":false,"upper_and_lower":true,'
    '"max_run":2,"source":"Zoom account settings"}'
)


def test_a_policy_from_before_there_were_wishes_is_read_and_written_as_ever():
    """What older batches hold is a policy without wishes, and such a policy is written as it was then."""
    policy = Policy.from_json(WRITTEN_BEFORE_WISHES)
    assert (policy.length, policy.style) == (0, Style.CHARACTERS)
    assert (policy.min_length, policy.source) == (8, "Zoom account settings")
    assert policy.as_json() == WRITTEN_BEFORE_WISHES


@given(policies, st.builds(Wishes, length=st.integers(0, LONGEST), style=st.sampled_from(Style)))
def test_wishes_replace_wishes_and_nothing_else(policy, wishes):
    """Whatever is wished for, the provider's own rules stay as they were read, and the last wish counts."""
    wished = policy.with_wishes(Wishes(7, Style.PASSPHRASE)).with_wishes(wishes)
    assert (wished.length, wished.style) == (wishes.length, wishes.style)
    assert dataclasses.replace(wished, length=policy.length, style=policy.style) == policy
    assert wished.impossible() == policy.impossible()
    assert json.loads(wished.as_json()).get("style", "characters") == wishes.style


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "[]",
        "{}",
        STRONGEST.as_json().replace('"min_length":20', '"min_length":"20"'),
        STRONGEST.as_json().replace('"min_length":20', '"min_length":true'),
        STRONGEST.as_json().replace('"min_length":20,', ""),
        STRONGEST.as_json().replace("{", '{"more":1,'),
        STRONGEST.as_json().replace("{", '{"length":"30",'),
        STRONGEST.as_json().replace("{", '{"length":true,'),
        STRONGEST.as_json().replace("{", '{"style":"sonnet",'),
        STRONGEST.as_json().replace("{", '{"style":null,'),
        STRONGEST.as_json().replace("{", '{"style":["characters"],'),
    ],
)
def test_a_text_that_was_not_written_here_is_refused(text):
    """A policy is never made up out of a damaged row."""
    with pytest.raises(StoreError, match="restore a backup"):
        Policy.from_json(text)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"min_length": 32}, "at least 32 and at most 31"),
        ({"min_length": 0, "max_length": 11}, "at most 11 characters; none with fewer than 12 are made"),
        ({"min_length": 4, "max_length": 4}, "at most 4 characters; none with fewer than 12 are made"),
        ({"min_length": 0, "max_length": 0}, "at most 0 characters"),
        ({"min_length": 65, "max_length": 100}, "more than 64 are not made"),
        ({"max_run": 0}, "no run longer than 0"),
    ],
)
def test_rules_that_no_password_meets_are_told(change, reason):
    """A contradiction says which rules it is between."""
    assert reason in (dataclasses.replace(STRONGEST, **change).impossible() or "")


def test_the_strongest_form_is_possible():
    """What stands in where nothing can be read can be met."""
    assert STRONGEST.impossible() is None

"""Sealing at rest."""

import copy
import pickle
import re

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from bulkreset.errors import ConfigError, KeyMismatch
from bulkreset.passwords.vault import KEY_PREFIX, BatchKey, MasterKey, new_master_key_text
from bulkreset.secret import Secret

ids = st.integers(0, 2**63 - 1)


def a_master():
    return MasterKey.parse(Secret(new_master_key_text()))


MASTER = a_master()
BATCH = MASTER.new_batch_key()
# Made once: data is drawn to fit them, and drawing must go alike whenever it is repeated.
WRAPPED = MASTER.wrap(BATCH)
SEALED = BATCH.seal(7, 1, Secret("mU4!kE9?wP7#rB5$vG8*x2"))


@given(ids, ids, st.text(st.characters(exclude_categories=["Cs"])))
def test_a_sealed_password_opens_in_its_place(task_id, number, password):
    """What was sealed comes back unchanged."""
    assert BATCH.open(task_id, number, BATCH.seal(task_id, number, Secret(password))).reveal() == password


@given(ids, ids, ids, ids)
def test_a_sealed_password_opens_in_no_other_place(task_id, number, other_task, other_number):
    """A blob moved to another task or number is refused."""
    assume((task_id, number) != (other_task, other_number))
    sealed = BATCH.seal(task_id, number, Secret("mU4!kE9?wP7#"))
    with pytest.raises(KeyMismatch, match=f"password {other_number} of task {other_task} does not open"):
        BATCH.open(other_task, other_number, sealed)


def test_a_place_is_not_the_digits_of_its_numbers():
    """Task 1, number 11 and task 11, number 1 are two places."""
    with pytest.raises(KeyMismatch):
        BATCH.open(11, 1, BATCH.seal(1, 11, Secret("mU4!kE9?wP7#")))


def test_a_sealed_password_opens_under_no_other_key():
    """Neither another batch's key nor the same bytes under another name will do."""
    sealed = BATCH.seal(7, 1, Secret("mU4!kE9?wP7#"))
    for other in (MASTER.new_batch_key(), BatchKey(BATCH.reveal(), key_id="0" * 16)):
        with pytest.raises(KeyMismatch):
            other.open(7, 1, sealed)


@given(st.data())
def test_a_changed_text_is_refused(data):
    """One other character anywhere, or a cut, and it does not open; the error shows nothing."""
    at = data.draw(st.integers(0, len(SEALED) - 2))  # the last character has bits that belong to no byte
    other = data.draw(st.sampled_from("ABYZabyz0189-_").filter(lambda c: c != SEALED[at]))
    for changed in (SEALED[:at] + other + SEALED[at + 1 :], SEALED[:at], "", "\u2603", SEALED + "AAAA"):
        with pytest.raises(KeyMismatch) as caught:
            BATCH.open(7, 1, changed)
        assert "mU4" not in str(caught.value)
        assert caught.value.__cause__ is None


def test_the_same_password_is_sealed_differently_each_time():
    """Equal passwords cannot be told by their sealed forms, which fit into a URL."""
    sealed = {BATCH.seal(7, 1, Secret("mU4!kE9?wP7#")) for _ in range(50)}
    assert len(sealed) == 50
    assert all(re.fullmatch(r"[A-Za-z0-9_-]+", text) for text in sealed)


def test_a_batch_key_survives_its_wrapping():
    """A key that was wrapped and unwrapped opens what it sealed before."""
    sealed = BATCH.seal(7, 1, Secret("mU4!kE9?wP7#"))
    again = MASTER.unwrap(MASTER.wrap(BATCH))
    assert again.key_id == BATCH.key_id
    assert again.open(7, 1, sealed).reveal() == "mU4!kE9?wP7#"


def test_a_master_key_can_be_rotated():
    """A batch key taken out with the old master key and wrapped with the new one opens what it sealed."""
    new = a_master()
    sealed = BATCH.seal(7, 1, Secret("mU4!kE9?wP7#"))
    rewrapped = new.wrap(MASTER.unwrap(MASTER.wrap(BATCH)))
    assert new.unwrap(rewrapped).open(7, 1, sealed).reveal() == "mU4!kE9?wP7#"


def test_another_master_key_is_named_with_the_right_one():
    """The error tells which key is configured and which is needed."""
    other = a_master()
    with pytest.raises(KeyMismatch, match=f"{MASTER.fingerprint}.*{other.fingerprint}; configure the key"):
        other.unwrap(MASTER.wrap(BATCH))


@given(st.data())
def test_an_altered_wrapping_is_refused(data):
    """A changed fingerprint, key id or ciphertext never gives a key."""
    at = data.draw(st.integers(0, len(WRAPPED) - 1))
    other = data.draw(st.sampled_from("0189abyz-_.").filter(lambda c: c != WRAPPED[at]))
    for changed in (WRAPPED[:at] + other + WRAPPED[at + 1 :], WRAPPED[:at], ""):
        with pytest.raises(KeyMismatch):
            MASTER.unwrap(changed)


def test_a_wrapping_that_claims_this_key_is_still_checked():
    """Writing the right fingerprint onto another key's wrapping does not help; both are named."""
    other = a_master()
    forged = other.wrap(BATCH).replace(other.fingerprint, MASTER.fingerprint)
    with pytest.raises(KeyMismatch, match=f"{MASTER.fingerprint}.*{MASTER.fingerprint}.*altered"):
        MASTER.unwrap(forged)


def test_a_master_key_text_reads_as_the_same_key_and_each_is_new():
    """The text is one line with its prefix; its fingerprint is stable and no other key's."""
    texts = [new_master_key_text() for _ in range(20)]
    assert all(re.fullmatch(re.escape(KEY_PREFIX) + r"[A-Za-z0-9_-]{43}", text) for text in texts)
    prints = {MasterKey.parse(Secret(text)).fingerprint for text in texts}
    assert len(prints) == 20
    assert all(re.fullmatch(r"[0-9a-f]{12}", each) for each in prints)
    assert MasterKey.parse(Secret(f" {texts[0]}\n")).fingerprint == MasterKey.parse(Secret(texts[0])).fingerprint


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "empty"),
        ("hunter2hunter2", "does not begin with"),
        (KEY_PREFIX.upper() + "A" * 43, "does not begin with"),
        (KEY_PREFIX + "hunter2", "7 characters follow"),
        (KEY_PREFIX + "hunter2" * 7, "49 characters follow"),
        (KEY_PREFIX + "hunter2" * 6 + "!", "other than letters"),
    ],
)
def test_an_unusable_master_key_is_explained_without_being_shown(text, fault):
    """The error says what is wrong and holds nothing of the text."""
    with pytest.raises(ConfigError, match=fault) as caught:
        MasterKey.parse(Secret(text))
    assert "hunter2" not in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("key", [MASTER, BATCH], ids=["master", "batch"])
def test_keys_are_masked_and_stay_in_their_process(key):
    """No repr shows a key, and it can be neither pickled nor copied."""
    assert "********" in repr(key)
    assert BATCH.reveal().hex() not in repr(key)
    for leave in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="cannot be pickled"):
            leave(key)


def test_a_key_of_another_size_is_refused():
    """AES-128 cannot slip in through a short key."""
    with pytest.raises(ValueError, match="32 bytes"):
        MasterKey(b"x" * 16)

"""What is stored of a batch's options: read back as it was, or refused as damaged."""

import json
from dataclasses import fields

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkreset.errors import DamagedBatch
from bulkreset.options import Options

WHOLE = Options(
    revoke_sessions=True,
    escrow_to=("age1one", "age1two"),
    canary=20,
    ramp_s=600,
    halt_at=0.5,
    listing={"roles": ["member"]},
    sends_sha256="0" * 64,
    accepted={"not_listed": 3},
)


def test_options_are_read_as_they_were_written():
    """Nothing is lost on the way through the table."""
    assert Options.from_json(WHOLE.as_json()) == WHOLE


def test_options_of_an_older_release_have_defaults_for_what_came_later():
    """A batch that was ordered before an option existed is worked on as it always was."""
    assert Options.from_json('{"canary": 3}') == Options(canary=3)


@pytest.mark.parametrize(
    "text", ["", "{", "null", "[]", "7", '"x"', '{"canary": "20"}', '{"escrow_to": "age1"}', '{"escrow_to": [1]}']
)
def test_what_was_not_written_here_is_damaged(text):
    """Nothing is guessed: the batch stops, and whoever only looks at it sees plain options."""
    with pytest.raises(DamagedBatch, match="its options are damaged"):
        Options.from_json(text)
    with pytest.raises(DamagedBatch, match=r"^batch 7: its options are damaged"):
        Options.of_batch(7, text)
    assert Options.or_plain(text) == Options()


@given(
    st.sampled_from([each.name for each in fields(Options)]), st.sampled_from(["x", [], {}, 1.5, None, True, 3])
)
def test_a_value_of_another_type_is_damaged(name, value):
    """Whatever field it is in, a value is of its own type or refuses the whole; never half read."""
    text = json.dumps({**json.loads(WHOLE.as_json()), name: value})
    try:
        read = getattr(Options.from_json(text), name)
    except DamagedBatch:
        return
    assert type(read) in (type(getattr(WHOLE, name)), type(getattr(Options(), name)), int)
    assert (list(read) if isinstance(read, tuple) else read) == value


@given(st.text())
def test_any_text_is_read_or_refused(text):
    """No text ends in another error."""
    try:
        Options.from_json(text)
    except DamagedBatch:
        assert Options.or_plain(text) == Options()

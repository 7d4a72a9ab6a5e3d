"""A secret shows itself to nobody who does not ask by name."""

import copy
import json
import logging
import pickle
import traceback

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkreset.logs import drop_secrets
from bulkreset.secret import MASK, Secret


@given(st.text(alphabet="abcdefghijklmnopqrstuvwxyz0123456789", min_size=12))
def test_no_way_of_showing_it_shows_it(text):
    """repr, str, format, % and containers all mask."""
    secret = Secret(text)
    shown = [repr(secret), str(secret), f"{secret}", f"{secret:>20}", f"{secret} {secret!r}", repr([secret])]
    assert not any(text in one for one in shown)
    assert secret.reveal() == text


@pytest.mark.parametrize("act", [pickle.dumps, copy.deepcopy, copy.copy])
def test_it_cannot_be_carried_away(act):
    """Neither pickled nor copied."""
    with pytest.raises(TypeError, match="cannot be pickled"):
        act(Secret("hunter2"))


def test_json_cannot_write_it():
    """A careless dump fails instead of leaking."""
    with pytest.raises(TypeError):
        json.dumps({"password": Secret("hunter2")})


def test_a_traceback_does_not_hold_it():
    """An exception raised with it masks it too."""
    shown = "".join(traceback.format_exception(ValueError("refused", Secret("hunter2"))))
    assert "hunter2" not in shown
    assert MASK in shown


def test_log_fields_that_name_a_secret_are_masked():
    """The last net: a field called password, or one that holds a Secret, is masked whatever it holds."""
    event = drop_secrets(
        logging.getLogger(), "info", {"password": "hunter2", "x": Secret("hunter2"), "user": "ada"}
    )
    assert event == {"password": MASK, "x": MASK, "user": "ada"}

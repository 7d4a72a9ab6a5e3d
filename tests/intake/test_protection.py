"""Protected users: read from the configuration, covered by any name."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkreset.errors import ConfigError, InputError
from bulkreset.intake.protection import Protected, load
from bulkreset.providers.zoom.settings import ZoomSettings

SETTINGS = {"provider": "zoom", "account_id": "a", "client_id": "c", "client_secret": {"env": "X"}}


def account(**told):
    return ZoomSettings.model_validate({**SETTINGS, **told})


def test_nothing_said_is_not_the_same_as_nobody(tmp_path):
    """An order for all users needs a decision, which silence is not."""
    assert load(account(), tmp_path) is None
    nobody = load(account(protected="none"), tmp_path)
    assert nobody is not None
    assert not nobody.covers("a@x.org", "7")


def test_a_list_covers_by_id_and_by_address_in_any_case(tmp_path):
    """Whichever name somebody is known by, and however it is written, is enough."""
    protected = load(account(protected=["BreakGlass@Example.org", " 4711 ", "stra\u00dfe@x.org"]), tmp_path)
    assert protected.covers("breakglass@EXAMPLE.org")
    assert protected.covers("9", None, "BREAKGLASS@example.org")
    assert protected.covers("4711", None)
    assert protected.covers("STRASSE@x.org")
    assert not protected.covers("glass@example.org", "471", None)
    assert not protected.covers()


@given(st.text(min_size=1).filter(str.strip))
def test_a_name_covers_itself_however_it_is_cased(name):
    """Case folding is applied to both sides alike."""
    protected = Protected.of(name)
    assert protected.covers(name)
    assert protected.covers(name.casefold())


@pytest.mark.parametrize("names", [[], ["a@x.org", " "]])
def test_an_empty_list_is_refused(names, tmp_path):
    """Nobody is said by "none": an empty list is more likely a mistake."""
    with pytest.raises(ConfigError, match='write "none"'):
        load(account(protected=names), tmp_path)


def test_a_file_is_read_anew_when_it_changes_and_only_then(tmp_path):
    """A running worker sees who was added, at the price of a stat."""
    file = tmp_path / "protected.txt"
    file.write_text("a@x.org\n")
    first = load(account(protected={"file": "protected.txt"}), tmp_path)
    assert first.covers("A@x.org")
    assert first.refreshed() is first
    file.write_text("email,user_id\na@x.org,\nB@x.org,8\n")
    second = first.refreshed()
    assert second.covers("b@x.org")
    assert second.covers("8")
    assert not first.covers("8")
    assert second.refreshed() is second
    replaced = tmp_path / "new.txt"
    replaced.write_text("email,user_id\na@x.org,\nC@x.org,8\n")  # as long as before
    os.utime(replaced, ns=(file.stat().st_atime_ns, file.stat().st_mtime_ns))
    replaced.rename(file)
    assert second.refreshed().covers("c@x.org")


@pytest.mark.parametrize("content", [None, "", "not a user!\n"])
def test_a_file_that_cannot_be_trusted_is_refused(content, tmp_path):
    """Missing, empty or wrong: nothing is sent before that is put right, and the message names the file."""
    file = tmp_path / "protected.txt"
    file.write_text("a@x.org\n")
    protected = load(account(protected={"file": "protected.txt"}), tmp_path)
    file.unlink()
    if content is not None:
        file.write_text(content)
    with pytest.raises((ConfigError, InputError), match=r"protected\.txt"):
        load(account(protected={"file": "protected.txt"}), tmp_path)
    with pytest.raises((ConfigError, InputError), match=r"protected\.txt"):
        protected.refreshed()

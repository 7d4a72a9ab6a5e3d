"""Files that commands write: for the owner alone, whole or not at all."""

import os
import stat

import pytest

from bulkreset.cli.output import text_output, whole_file
from bulkreset.errors import StoreError, UsageError


@pytest.fixture
def target(tmp_path):
    return tmp_path / "folder" / "out"


@pytest.fixture(autouse=True)
def made(target):
    target.parent.mkdir()


def names(target):
    return sorted(path.name for path in target.parent.iterdir())


@pytest.mark.parametrize("replace", [True, False])
def test_a_file_has_its_name_only_at_the_end(target, replace):
    """While it is written nothing stands under the name; then all of it, mode 0600, and no litter."""
    before = os.umask(0)
    try:
        with whole_file(target, replace=replace) as out:
            out.write(b"content")
            assert not target.exists()
    finally:
        os.umask(before)
    assert target.read_bytes() == b"content"
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert target.stat().st_nlink == 1
    assert names(target) == ["out"]


@pytest.mark.parametrize("replace", [True, False])
def test_a_block_that_fails_leaves_nothing(target, replace):
    """What the block raised goes through, and neither the file nor a part of it is left."""
    with pytest.raises(LookupError), whole_file(target, replace=replace) as out:
        {}[out.write(b"half")]
    assert names(target) == []


@pytest.mark.parametrize("kind", ["file", "folder", "dangling link"])
def test_what_stands_already_is_not_touched(target, kind):
    """Whatever has the name, it is refused before anything is done."""
    {"file": target.touch, "folder": target.mkdir, "dangling link": lambda: target.symlink_to("x")}[kind]()
    with pytest.raises(UsageError, match="exists already"), whole_file(target, replace=False):
        pytest.fail("begun all the same")
    assert names(target) == ["out"]


def test_what_came_meanwhile_is_not_touched(target):
    """A file that somebody else makes under the name in the meantime stays as it is."""
    with pytest.raises(UsageError, match="exists already"), whole_file(target, replace=False):
        target.write_text("theirs")
    assert target.read_text() == "theirs"
    assert names(target) == ["out"]


def test_a_file_system_without_links_gets_the_file_too(target, monkeypatch):
    """Where no hard link can be made the file is renamed into its place."""

    def refuse(*_):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr("pathlib.Path.hardlink_to", refuse)
    with whole_file(target, replace=False) as out:
        out.write(b"content")
    assert (target.read_bytes(), names(target)) == (b"content", ["out"])


def test_only_a_file_is_ever_replaced(target):
    """A folder or a device under the name is refused; behind a link it is the file that is replaced."""
    target.mkdir()
    with pytest.raises(UsageError, match="not a regular file"), whole_file(target, replace=True):
        pytest.fail("begun all the same")
    target.rmdir()
    link = target.with_name("link")
    link.symlink_to(target)
    with whole_file(link, replace=True) as out:
        out.write(b"content")
    assert (link.is_symlink(), target.read_bytes()) == (True, b"content")


def test_a_folder_that_is_not_there_is_named(target):
    """One line with the folder that cannot be written to."""
    with (
        pytest.raises(StoreError, match=r"cannot write to .*absent"),
        whole_file(target.parent / "absent" / "out", replace=False),
    ):
        pytest.fail("begun all the same")


def test_text_that_was_not_flushed_is_there(target):
    """Text is written as UTF-8, its line ends as they are."""
    with text_output(target) as out:
        out.write("Ω\r\n")
    assert target.read_bytes() == "Ω\r\n".encode()

"""Files that hold one secret."""

import os
import stat

import pytest

from bulkreset.errors import ConfigError
from bulkreset.passwords import keyfile
from bulkreset.passwords.keyfile import _refuse_unsafe, read_secret_file, write_key_file
from bulkreset.passwords.vault import MasterKey


@pytest.fixture
def path(tmp_path):
    return tmp_path / "master key"


def put(path, content, mode=0o600):
    path.write_bytes(content)
    path.chmod(mode)
    return path


def refusal(path):
    with pytest.raises(ConfigError) as caught:
        read_secret_file(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    assert "hunter2" not in message
    return message


def test_a_written_key_file_reads_as_the_key(path):
    """What is written is what is read, for the owner alone, whatever the umask."""
    before = os.umask(0o777)
    try:
        written = write_key_file(path)
    finally:
        os.umask(before)
    assert MasterKey.parse(read_secret_file(path)).fingerprint == written.fingerprint
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.read_text().endswith("\n")


def test_a_key_file_is_never_overwritten(path):
    """A second key in the same place is refused, and the first one stays."""
    write_key_file(path)
    content = path.read_bytes()
    with pytest.raises(ConfigError, match="not overwritten"):
        write_key_file(path)
    assert path.read_bytes() == content


def test_a_link_is_not_followed_when_a_key_is_written(tmp_path, path):
    """A link planted where the key will stand does not lead it elsewhere."""
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigError, match="not overwritten"):
        write_key_file(path)
    assert not (tmp_path / "elsewhere").exists()


def test_a_folder_that_is_not_there_is_told(tmp_path):
    """The error names the file and the reason."""
    with pytest.raises(ConfigError, match="cannot be made: No such file or directory"):
        write_key_file(tmp_path / "none" / "key")


def test_a_key_that_did_not_reach_the_disk_is_taken_away(path, monkeypatch):
    """After a failed write nothing stands there that looks like a key."""

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(keyfile.os, "fsync", full)
    with pytest.raises(ConfigError, match="cannot be made: No space left on device"):
        write_key_file(path)
    assert not path.exists()


@pytest.mark.parametrize(
    ("content", "secret"),
    [
        (b"hunter2", "hunter2"),
        (b"hunter2\n", "hunter2"),
        (b"hunter2\r\n", "hunter2"),
        (b" hunter2\n\n", " hunter2\n"),
        ("h\u00fcnter2".encode(), "h\u00fcnter2"),
        (b"x" * 64 * 1024, "x" * 64 * 1024),
    ],
)
def test_one_last_newline_is_left_out(path, content, secret):
    """All else in the file belongs to the secret."""
    assert read_secret_file(put(path, content)).reveal() == secret


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o666])
def test_a_file_that_others_can_open_is_refused_with_the_remedy(path, mode):
    """The command to run stands in the error, quoted for the shell."""
    message = refusal(put(path, b"hunter2", mode))
    assert message.endswith(f"run: chmod 600 '{path}'")
    assert f"mode {mode:04o}" in message


def test_it_is_the_opened_file_that_is_looked_at(path, tmp_path, monkeypatch):
    """A file put into its place after it was opened changes nothing."""
    put(path, b"hunter2")
    real = os.open

    def exchange(*args, **kwargs):
        descriptor = real(*args, **kwargs)
        path.unlink()
        put(path, b"another", 0o666)
        return descriptor

    monkeypatch.setattr(keyfile.os, "open", exchange)
    assert read_secret_file(path).reveal() == "hunter2"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is empty"),
        (b"\n", "is empty"),
        (b" \t\r\n", "is empty"),
        (b"hunter2\0", "NUL"),
        (b"hunter2\xff", "not UTF-8"),
        (b"hunter2" * 10_000, "larger than 64 KiB"),
        (b"x" * (64 * 1024 + 1), "larger than 64 KiB"),
    ],
)
def test_content_that_is_no_secret_is_refused(path, content, reason):
    """Empty, binary and huge files are named for what they are."""
    assert reason in refusal(put(path, content))


def test_a_missing_file_is_told(path):
    """The error says that the file is not there."""
    assert "no such secret file" in refusal(path)


def test_a_path_below_a_file_is_told(path):
    """Other reasons of the system are passed on."""
    assert "cannot be read: Not a directory" in refusal(put(path, b"hunter2") / "deeper")


def test_a_folder_is_refused(tmp_path):
    """A folder is not a secret."""
    tmp_path.chmod(0o700)
    assert "not a regular file" in refusal(tmp_path)


def test_a_pipe_is_refused_at_once(path):
    """A pipe that nobody writes to does not make the program wait."""
    os.mkfifo(path, 0o600)
    assert "not a regular file" in refusal(path)


@pytest.mark.parametrize(
    ("mode", "uid", "gid", "good"),
    [
        (0o440, 0, 2000, True),  # Kubernetes with fsGroup
        (0o400, 1000, 1000, True),
        (0o440, 0, 0, True),  # a credential of systemd: its list of access rights shows as the group's
        (0o440, 0, 3000, False),
        (0o444, 0, 2000, False),
        (0o460, 0, 2000, False),
        (0o440, 1000, 2000, False),
        (0o600, 1001, 2000, False),
    ],
)
def test_a_secret_that_root_hands_to_a_group_of_ours_is_taken(monkeypatch, path, mode, uid, gid, good):
    """Kubernetes and systemd do it so; anything wider, and anybody else's file, is refused."""
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    monkeypatch.setattr("os.getegid", lambda: 1000)
    monkeypatch.setattr("os.getgroups", lambda: [2000])
    status = os.stat_result((stat.S_IFREG | mode, 1, 1, 1, uid, gid, 10, 0, 0, 0))
    if good:
        _refuse_unsafe(path, status)
    else:
        with pytest.raises(ConfigError, match="run: ch"):
            _refuse_unsafe(path, status)


def test_a_byte_order_mark_is_no_part_of_a_secret(tmp_path):
    """Editors of Windows put one before the text; a login with it would be refused."""
    assert read_secret_file(put(tmp_path / "secret", b"\xef\xbb\xbfhunter2\r\n")).reveal() == "hunter2"

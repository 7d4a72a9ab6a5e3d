"""The edge of the process: its memory, its standard streams, the words it is called with, whose its files are."""

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from cli_program import ROOT, emails, refused
from hypothesis import given
from hypothesis import strategies as st

from bulkreset.cli.arguments import hoisted
from bulkreset.cli.process import _escape
from bulkreset.config.discovery import find
from bulkreset.errors import ConfigError


def called(folder, words, shell='exec "$0" -m bulkreset "$@"', **environment):
    """Run the program from a shell in a process of its own; return code and what it wrote, as bytes."""
    return subprocess.run(
        ["/bin/sh", "-c", shell, sys.executable, *map(str, words)],
        env={**folder.environment, **environment},
        cwd=folder.path,
        stdin=subprocess.DEVNULL,
        check=False,
        capture_output=True,
        timeout=120,
    )


@pytest.fixture
def reported(folder, zoom):
    """A batch on record, with a person whose address ASCII cannot hold."""
    folder.create("zoom", ["zoë@example.org", *emails(1)])
    return folder


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_closed_stream_stops_no_command(folder, closed):
    """The work is done, and nothing that is printed goes into a file that took the stream's number."""
    before = folder.database.read_bytes()
    ended = called(folder, ["batch", "list"], f'exec "$0" -m bulkreset "$@" {closed}')
    assert (ended.returncode, ended.stderr) == (0, b"")
    assert folder.database.read_bytes() == before


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_a_stream_that_cannot_hold_a_character_gets_it_escaped(reported, encoding):
    """Table, CSV and help are shown in ASCII, and JSON is whole."""
    table = called(reported, ["report", 1], PYTHONIOENCODING=encoding)
    assert (table.returncode, table.stderr) == (0, b"")
    whole = called(reported, ["report", 1, "--format", "json"], PYTHONIOENCODING=encoding)
    assert "zoë@example.org" in [task["user"] for task in json.loads(whole.stdout.decode(encoding))["tasks"]]
    if encoding == "ascii":
        assert b"zo\\u00eb@example.org" in table.stdout
        shown = called(reported, ["--help"], PYTHONIOENCODING=encoding)
        assert (shown.returncode, shown.stderr) == (0, b"")
        assert b"+-" in shown.stdout
        assert b"\\u" not in shown.stdout


@given(st.text())
def test_what_is_escaped_is_the_same_in_json(text):
    """Whatever a text holds, lone surrogates too, its escaped form is read back as what it was."""
    if not text:
        return
    escaped, end = _escape(UnicodeEncodeError("ascii", text, 0, len(text), "cannot"))
    assert end == len(text)
    assert escaped.isascii()
    assert json.loads(f'"{escaped}"') == text


def test_a_full_disk_behind_the_output_is_one_line(folder):
    """No traceback at the end of the interpreter, and no exit code of its own."""
    ended = called(folder, ["status"], 'exec "$0" -m bulkreset "$@" >/dev/full')
    assert ended.returncode == 1
    assert ended.stderr == b"bulkreset: the output cannot be written whole: No space left on device\n"


def test_no_command_leaves_a_core_or_a_log_of_tls_secrets(tmp_path):
    """Whatever the shell allows: no core, not to be looked into by its own user, SSLKEYLOGFILE not obeyed."""
    program = (
        "import ctypes, os, resource\n"
        "from bulkreset.cli import app\n"
        "def look(*_, **__):\n"
        "    print(resource.getrlimit(resource.RLIMIT_CORE)[0], ctypes.CDLL(None).prctl(3, 0, 0, 0, 0),\n"
        "          os.environ.get('SSLKEYLOGFILE'))\n"
        "app.app = look\n"
        "app.main()\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": str(ROOT), "SSLKEYLOGFILE": str(tmp_path / "keys")},
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    dumpable = 0 if sys.platform == "linux" else -1
    assert (ended.stdout, ended.stderr) == (f"0 {dumpable} None\n", "")
    assert resource.getrlimit(resource.RLIMIT_CORE) is not None


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
def test_a_configuration_that_others_may_write_is_refused(folder, mode):
    """Who writes it decides where credentials go; the line says how to mend it."""
    folder.config.chmod(mode)
    refused(folder.run("batch", "list"), str(folder.config), f"{mode:04o}", "chmod go-w")


def test_files_of_somebody_else_are_refused(folder):
    """Configuration, key and database must be ours or root's, also where root could read them."""
    if os.geteuid() != 0:
        pytest.skip("only root can give a file away")
    for path in (folder.config, folder.key, folder.database):
        os.chown(path, 65534, -1)
        refused(folder.run("key", "show"), str(path), "belongs to", "chown root")
        os.chown(path, 0, -1)


def test_a_database_that_others_may_write_is_refused(folder):
    """Who can write it can order a reset."""
    folder.database.chmod(0o666)
    refused(folder.run("batch", "list"), str(folder.database), "0666", "chmod go-w")


def test_a_folder_in_which_anybody_may_exchange_the_configuration_is_refused(folder):
    """Unless it is one like /tmp, where only the owner of a file may."""
    folder.path.chmod(0o777)
    refused(folder.run("batch", "list"), str(folder.path), "chmod o-w")
    folder.path.chmod(0o1777)
    assert folder.run("batch", "list").code == 0


def test_a_secret_as_kubernetes_mounts_it_is_taken(folder):
    """Links through a folder that is exchanged as a whole; paths count from the link's own folder."""
    data = folder.path / "..2026"
    data.mkdir()
    for path in (folder.config, folder.key):
        path.rename(data / path.name)
        path.symlink_to(Path("..data") / path.name)
    (folder.path / "..data").symlink_to("..2026")
    assert folder.run("key", "show").code == 0


def test_config_and_debug_may_stand_after_the_command(folder):
    """As everybody types them."""
    environment = {"BULKRESET_CONFIG": ""}
    assert folder.run("batch", "list", "--config", folder.config, environment=environment).code == 0
    assert folder.run("batch", f"--config={folder.config}", "list", "--debug", environment=environment).code == 0
    refused(folder.run("batch", "list", "--config", "absent.toml"), "absent.toml")


@pytest.mark.parametrize(
    ("words", "first"),
    [
        (["status", "--config", "c"], ["--config", "c", "status"]),
        (["batch", "--debug", "list", "--config=c"], ["--debug", "--config=c", "batch", "list"]),
        (["report", "1", "--", "--config", "c"], ["report", "1", "--", "--config", "c"]),
        (["status", "--config"], ["--config", "status"]),
        (["help", "batch", "create"], ["batch", "create", "--help"]),
        (["help"], ["--help"]),
        ([], []),
    ],
)
def test_the_common_options_come_first(words, first):
    """Their order stays, and nothing behind `--` is touched."""
    assert hoisted(words) == first


def test_the_configuration_is_looked_for_in_order(monkeypatch, tmp_path):
    """In this folder, the user's, the machine's; where there is none, the line says where it looked."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "xdg"))
    with pytest.raises(ConfigError) as caught:
        find()
    for place in ("./config.toml", f"{tmp_path}/xdg/bulkreset/config.toml", "/etc/bulkreset/config.toml"):
        assert place in str(caught.value)
    user = tmp_path / "xdg" / "bulkreset" / "config.toml"
    user.parent.mkdir(parents=True)
    user.touch()
    assert find() == user
    (tmp_path / "config.toml").touch()
    assert find() == Path("config.toml")
    monkeypatch.setenv("XDG_CONFIG_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "config.toml").unlink()
    with pytest.raises(ConfigError, match=r"home/\.config/bulkreset/config\.toml"):
        find()


def test_a_number_and_a_state_are_asked_for_in_plain_words(folder):
    """No name of a type of the program, and no words of a library."""
    said = refused(folder.run("report", "abc"), "ID", "must be a whole number")
    assert "pars" not in said
    said = refused(folder.run("report", "1", "--state", "fialed"), "'fialed'", "failed")
    assert "TaskState" not in said


def test_a_database_of_a_later_version_asks_for_a_newer_program(folder):
    """Neither `db upgrade` nor any other command can bring tables back."""
    folder.query("UPDATE alembic_version SET version_num = '9999'")
    for words in (["batch", "list"], ["db", "upgrade"]):
        refused(folder.run(*words), "9999", "newer than this program", "upgrade bulkreset", code=1)
    ended = folder.run("db", "check")
    assert ended.code == 1
    assert "newer than this program" in ended.out


def completed(folder, *words):
    """Return what the shell would offer for the last word."""
    number = str(len(words))
    ended = folder.run(
        environment={
            "_BULKRESET_COMPLETE": "complete_bash",
            "COMP_WORDS": " ".join(["bulkreset", *words]),
            "COMP_CWORD": number,
        }
    )
    assert ended.err == ""
    return ended.out.split()


def test_the_shell_completes_accounts_and_batches(reported):
    """By the configuration and the database, whichever command asks for one."""
    assert completed(reported, "check", "zo") == ["zoom"]
    assert completed(reported, "batch", "create", "--account", "z") == ["zoom", "zendesk"]
    assert completed(reported, "run", "--account", "ze") == ["zendesk"]
    for words in (["report"], ["batch", "show"], ["batch", "cancel"], ["escrow", "export"]):
        assert completed(reported, *words, "1") == ["1"]


def test_completion_is_silent_where_there_is_nothing_to_ask(folder):
    """No error breaks into the line that is being typed."""
    folder.database.unlink()
    assert completed(folder, "report", "1") == []
    folder.config.write_text("nonsense")
    assert completed(folder, "check", "z") == []


def test_there_is_a_manual_page_for_every_command(folder, tmp_path):
    """With its arguments and options, and nothing that roff would take for a request."""
    ended = folder.run("man", tmp_path / "man1")
    assert (ended.code, ended.err) == (0, "")
    pages = {path.name: path.read_text() for path in (tmp_path / "man1").iterdir()}
    assert {"bulkreset.1", "bulkreset-batch-create.1", "bulkreset-db-upgrade.1"} <= pages.keys()
    assert ".B \\-\\-incident ID" in pages["bulkreset-batch-create.1"]
    assert ".B bulkreset report [OPTIONS] ID" in pages["bulkreset-report.1"]
    for text in pages.values():
        for line in text.splitlines():
            assert not line.startswith("'")
            assert not line.startswith(".") or line.split()[0] in {".TH", ".SH", ".PP", ".TP", ".B", ".BR"}


def test_a_list_of_protected_people_that_others_may_write_is_refused(folder, zoom):
    """Who can take a name off it decides who is reset."""
    folder.configure(zoom='protected = { file = "protected.txt" }')
    folder.write("protected.txt", "ceo@example.com\n")
    (folder.path / "protected.txt").chmod(0o666)
    refused(folder.run(*folder.order("zoom"), stdin=b"a@example.com\n"), "protected.txt", "chmod go-w")


def test_an_error_is_json_where_json_was_asked_for(folder):
    """One object with the words and the exit code on standard output; the line stays on standard error."""
    ended = folder.run("batch", "show", 77, "--json")
    assert (ended.code, ended.err.count("\n")) == (2, 1)
    assert ended.json == {"error": ended.err.removeprefix("bulkreset: ").strip(), "exit_code": 2}
    ended = folder.run("batch", "show", "--json")
    assert (ended.code, ended.json["exit_code"]) == (2, 2)

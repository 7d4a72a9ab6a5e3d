"""`bulkreset escrow`: what is set is read by the recipients and by nobody else."""

import csv
import hashlib
import io
import json
import re
import shutil
import subprocess
from base64 import b64decode, b64encode, urlsafe_b64encode
from datetime import UTC, datetime, timedelta
from stat import S_IMODE

import pyrage
import pytest
from cli_program import ROOT, emails, refused

from bulkreset.errors import KeyMismatch
from bulkreset.options import Options
from bulkreset.passwords.escrow import recipients
from bulkreset.passwords.generator import ALPHABET
from bulkreset.passwords.keyfile import read_secret_file
from bulkreset.passwords.vault import MasterKey
from bulkreset.report.render import harmless
from bulkreset.secret import Secret
from bulkreset.store.column_types import time_text

IDENTITY, OTHER = pyrage.x25519.Identity.generate(), pyrage.x25519.Identity.generate()
TO = tuple(str(key.to_public()) for key in (IDENTITY, OTHER))
NOW = datetime.now(UTC)
MARKER = "planted-password-9vQ"


@pytest.fixture
def keep(folder, zoom):
    """Order a batch and put these passwords of its users into escrow, as results are recorded."""

    def put(passwords, *, to=TO, sealed_to=TO, days=30):
        folder.create("zoom", emails(*range(1, len(passwords) + 1)))
        [(batch_id,)] = folder.query("SELECT max(id) FROM batch")
        folder.query("UPDATE batch SET options = ? WHERE id = ?", Options(escrow_to=to).as_json(), batch_id)
        tasks = folder.query("SELECT id FROM task WHERE batch_id = ? ORDER BY id", batch_id)
        for (task_id,), password in zip(tasks, passwords, strict=True):
            folder.query(
                "INSERT INTO escrow (task_id, batch_id, sealed_at, expires_at, sealed) VALUES (?, ?, ?, ?, ?)",
                task_id,
                batch_id,
                time_text(NOW),
                time_text(NOW + timedelta(days=days)),
                recipients(sealed_to).seal(Secret(password)),
            )
        return batch_id

    return put


@pytest.fixture
def identity(folder):
    """A recipient's identity file, as age-keygen writes it."""
    name = folder.write("key.txt", f"# created: today\n# public key: {TO[0]}\n{IDENTITY}\n")
    (folder.path / name).chmod(0o600)
    return name


def lines(text):
    return list(csv.DictReader(io.StringIO(text)))


def trail(folder):
    """Return the entries after the creation of the batch: kind, actor and detail."""
    found = folder.query("SELECT kind, actor, detail FROM event ORDER BY seq")[1:]
    return [(kind, actor, json.loads(detail)) for kind, actor, detail in found]


class TestExport:
    def test_a_recipient_opens_it_to_the_list(self, folder, keep):
        """The format's own library gives a CSV, and in its last column each password as a file of its own."""
        keep([f"{MARKER}{n}" for n in range(3)])
        ended = folder.run("escrow", "export", "1", "--output", "out.age", umask=0)
        assert (ended.code, ended.err) == (0, "")
        assert "3 passwords of batch 1" in ended.out
        made = folder.path / "out.age"
        assert S_IMODE(made.stat().st_mode) == 0o600
        for key in (IDENTITY, OTHER):
            found = lines(pyrage.decrypt(made.read_bytes(), [key]).decode())
            assert list(found[0]) == ["user", "user_ref", "set_at", "password_age"]
            assert [line["user"] for line in found] == emails(1, 2, 3)
            opened = [pyrage.decrypt(b64decode(line["password_age"]), [key]).decode() for line in found]
            assert opened == [f"{MARKER}{n}" for n in range(3)]
            assert all(
                line["set_at"] == f"{NOW:%Y-%m-%dT%H:%M:%S}.{NOW.microsecond // 1000:03}Z" for line in found
            )

    def test_each_export_is_in_the_trail(self, folder, keep):
        """Who, how many, for whom, and the hash by which the file can be told."""
        keep([MARKER])
        ended = folder.run("escrow", "export", "1", "--output", "out.age", "--json")
        digest = hashlib.sha256((folder.path / "out.age").read_bytes()).hexdigest()
        assert ended.json == {"batch": 1, "rows": 1, "sha256": digest, "recipients": list(TO)}
        [(kind, actor, detail)] = trail(folder)
        assert (kind, detail) == ("escrow_exported", {"rows": 1, "sha256": digest, "recipients": list(TO)})
        assert actor == folder.query("SELECT requested_by FROM batch")[0][0]

    def test_no_file_without_its_entry(self, folder, keep):
        """Where the trail cannot be written there is no file, though all of it was ready."""
        keep([MARKER])
        folder.query("CREATE TRIGGER no BEFORE INSERT ON event BEGIN SELECT RAISE(ABORT, 'no room'); END")
        before = sorted(path.name for path in folder.path.iterdir())
        refused(folder.run("escrow", "export", "1", "--output", "out.age"), "no room", code=1)
        assert sorted(path.name for path in folder.path.iterdir()) == before

    def test_a_file_that_stands_is_kept(self, folder, keep):
        """It is replaced with --force only, and a refusal leaves no entry."""
        keep([MARKER])
        folder.write("out.age", "mine")
        refused(folder.run("escrow", "export", "1", "--output", "out.age"), "out.age", "exists already")
        assert (folder.path / "out.age").read_text() == "mine"
        assert trail(folder) == []
        assert folder.run("escrow", "export", "1", "--output", "out.age", "--force").code == 0
        assert (folder.path / "out.age").read_bytes().startswith(b"age-encryption.org/v1\n")

    def test_it_needs_no_key(self, folder, keep):
        """The passwords are not the program's to open: it hands them out without its master key."""
        keep([MARKER])
        folder.key.unlink()
        assert folder.run("escrow", "export", "1", "--output", "out.age").code == 0

    def test_a_disk_that_is_full_leaves_nothing(self, folder, keep):
        """Neither a file nor an entry, and one line that names the file."""
        keep([MARKER] * 20)
        folder.query("UPDATE escrow SET sealed = ?", "A" * 20_000)
        kept = folder.path / "handed out"
        kept.mkdir()
        ended = folder.run("escrow", "export", "1", "--output", "handed out/out.age", largest_file=200_000)
        refused(ended, "handed out/out.age", code=1)
        assert list(kept.iterdir()) == []
        assert trail(folder) == []

    def test_nothing_to_hand_out_is_said(self, folder, keep, identity):
        """No such batch, one without escrow, one whose passwords are gone: no file, no entry."""
        keep([MARKER], to=())
        keep([MARKER], days=-1)
        for batch, words in (
            ("9", "no batch 9"),
            ("1", "ordered without escrow"),
            ("2", "no passwords of batch 2"),
        ):
            refused(folder.run("escrow", "export", batch, "--output", "out.age"), words)
        assert not (folder.path / "out.age").exists()


class TestOpen:
    @pytest.fixture
    def exported(self, folder, keep, identity):
        keep([f"{MARKER}{n}" for n in range(3)])
        assert folder.run("escrow", "export", "1", "--output", "out.age").code == 0
        return folder

    def test_it_needs_nothing_of_the_installation(self, exported, tmp_path):
        """Neither configuration nor database nor key: the recipient is somebody else on another machine."""
        exported.config.unlink()
        exported.database.unlink()
        exported.key.unlink()
        ended = exported.run(
            "escrow", "open", "out.age", "--identity", "key.txt", "--output", "clear.csv", umask=0
        )
        assert (ended.code, ended.err) == (0, "")
        assert MARKER not in ended.out
        made = exported.path / "clear.csv"
        assert S_IMODE(made.stat().st_mode) == 0o600
        found = lines(made.read_text())
        assert list(found[0]) == ["user", "user_ref", "set_at", "password"]
        passwords = {line["user"]: line["password"] for line in found}
        assert passwords == {user: f"{MARKER}{n}" for n, user in enumerate(emails(1, 2, 3))}

    def test_a_pipe_is_allowed(self, exported):
        """Into another program; nothing but the list is on standard output."""
        opening = exported.fresh("escrow", "open", "out.age", "--identity", "key.txt")
        out, err = opening.communicate(timeout=30)
        assert (opening.returncode, err) == (0, "")
        assert [line["password"] for line in lines(out)] == [f"{MARKER}{n}" for n in range(3)]

    def test_a_terminal_is_refused(self, exported, terminal):
        """A password on a screen is read by who stands behind, and kept by what scrolls back."""
        with exported.started("escrow", "open", "out.age", "--identity", "key.txt", terminal=terminal.name) as end:
            assert end().code == 2
        assert "not shown on a terminal" in " ".join(terminal.rest().split())
        assert MARKER not in terminal.shown

    def test_an_open_file_is_refused(self, exported):
        """A shell's redirection makes a file that others can read: then nothing is written."""
        said = refused(exported.run("escrow", "open", "out.age", "--identity", "key.txt"), "others can read")
        assert MARKER not in said

    def test_a_file_that_stands_is_kept(self, exported):
        """A list of passwords replaces nothing."""
        exported.write("clear.csv", "mine")
        ended = exported.run("escrow", "open", "out.age", "--identity", "key.txt", "--output", "clear.csv")
        refused(ended, "clear.csv", "exists already")
        assert (exported.path / "clear.csv").read_text() == "mine"

    def test_the_identity_must_be_private(self, exported):
        """One that others can read is refused with the command that mends it."""
        (exported.path / "key.txt").chmod(0o644)
        refused(exported.run("escrow", "open", "out.age", "--identity", "key.txt"), "key.txt", "chmod 600")

    @pytest.mark.parametrize("wrong", ["not an age file", "cut", "other recipients", "no text", "another list"])
    def test_a_file_that_does_not_open_is_named(self, exported, wrong):
        """One line, and nothing is written."""
        whole = (exported.path / "out.age").read_bytes()
        contents = {
            "not an age file": (b"user,password\n", "damaged"),
            "cut": (whole[:-1], "damaged"),
            "other recipients": (pyrage.encrypt(b"", [pyrage.x25519.Identity.generate().to_public()]), "other"),
            "no text": (pyrage.encrypt(b"user\n\xff", [IDENTITY.to_public()]), "no CSV in UTF-8"),
            "another list": (pyrage.encrypt(b"user,password\n", [IDENTITY.to_public()]), "no escrow export"),
        }
        content, words = contents[wrong]
        exported.write("bad.age", content)
        ended = exported.run("escrow", "open", "bad.age", "--identity", "key.txt", "--output", "clear.csv")
        refused(ended, "bad.age", words)
        assert not (exported.path / "clear.csv").exists()

    def test_one_that_does_not_open_holds_up_no_other(self, folder, keep, identity):
        """Its cell is empty, its line is named, and the exit code says that something is missing."""
        keep([f"{MARKER}{n}" for n in range(3)])
        folder.query("UPDATE escrow SET sealed = 'AAAA' WHERE task_id = 2")
        assert folder.run("escrow", "export", "1", "--output", "out.age").code == 0
        ended = folder.run("escrow", "open", "out.age", "--identity", identity, "--output", "clear.csv")
        assert ended.code == 3
        assert re.fullmatch(r"bulkreset: out.age: 1 passwords do not open .*\(lines 3\).*\n", ended.err)
        found = lines((folder.path / "clear.csv").read_text())
        assert [line["password"] for line in found] == [f"{MARKER}0", "", f"{MARKER}2"]

    def test_the_wrong_identity_for_all_passwords_writes_nothing(self, folder, keep, identity):
        """The list opens but no password does: that is an error, not a list of empty cells."""
        keep([MARKER, MARKER], sealed_to=TO[1:])
        assert folder.run("escrow", "export", "1", "--output", "out.age").code == 0
        ended = folder.run("escrow", "open", "out.age", "--identity", identity, "--output", "clear.csv")
        refused(ended, "no password in it opens")
        assert not (folder.path / "clear.csv").exists()

    def test_no_cell_is_a_formula(self, folder, keep, identity):
        """Not a user's name, and not a password that somebody else sealed; those made here stay as they are."""
        keep([f"=HYPERLINK({MARKER})", MARKER])
        folder.query("UPDATE task SET display = '=cmd|x', user_ref = '@sum' WHERE id = 1")
        assert folder.run("escrow", "export", "1", "--output", "out.age").code == 0
        ended = folder.run("escrow", "open", "out.age", "--identity", identity, "--output", "clear.csv")
        assert ended.code == 0
        for line in lines((folder.path / "clear.csv").read_text()):
            assert not [cell for cell in line.values() if cell.startswith(("=", "@", "+", "-"))]
        assert [character for character in ALPHABET if harmless(character) != character] == []
        assert not set(ALPHABET) & set("\",'\n")


class TestListAndPurge:
    def test_what_is_held_is_listed(self, folder, keep):
        """How many, until when and for whom; nothing at all is said too."""
        assert "no passwords are in escrow" in folder.run("escrow", "list").out
        keep([MARKER, MARKER])
        shown = folder.run("escrow", "list").out
        for words in ("batch 1 at zoom", "2 passwords", f"{NOW + timedelta(days=30):%Y-%m-%d %H:%M}", *TO):
            assert words in shown
        [held] = folder.run("escrow", "list", "--json").json
        assert set(held) == {
            *{"batch_id", "account", "rows", "since", "expires_first", "expires_last", "recipients"}
        }
        assert (held["rows"], held["recipients"]) == (2, list(TO))

    def test_a_purge_that_nobody_can_confirm_is_refused(self, folder, keep):
        """Exit 2 with what a script must say, and every password is still held."""
        keep([MARKER, MARKER])
        refused(folder.run("escrow", "purge", "1"), "batch 1", "--yes")
        assert folder.query("SELECT count(*) FROM escrow") == [(2,)]
        assert trail(folder) == []

    @pytest.mark.parametrize(("typed", "code", "held"), [("n", 2, 2), ("", 2, 2), ("y", 0, 0)])
    def test_a_purge_asks_on_a_terminal(self, folder, keep, terminal, typed, code, held):
        """Only a yes deletes; no answer is a no."""
        keep([MARKER, MARKER])
        with folder.started("escrow", "purge", "1", terminal=terminal.name) as end:
            terminal.wait_for("Delete the escrowed passwords of batch 1 for good? [y/N]: ")
            terminal.type(typed)
            assert end().code == code
        assert ("not confirmed; nothing was changed" in terminal.rest()) == bool(code)
        assert folder.query("SELECT count(*) FROM escrow") == [(held,)]

    def test_a_purge_leaves_nothing_to_hand_out(self, folder, keep):
        """It says how many it deleted, and the trail says who did it."""
        keep([MARKER, MARKER])
        assert "2 passwords deleted" in folder.run("escrow", "purge", "1", "--yes").out
        assert folder.run("escrow", "purge", "1", "--yes", "--json").json == {"batch": 1, "purged": 0}
        assert [(kind, detail) for kind, _, detail in trail(folder)] == [("escrow_purged", {"rows": 2})]
        assert folder.query("SELECT count(*) FROM escrow") == [(0,)]
        refused(folder.run("escrow", "purge", "9", "--yes"), "no batch 9")
        refused(folder.run("escrow", "export", "1", "--output", "out.age"), "purged")


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("", ["list", "export", "open", "purge"]),
        ("list", ["--json"]),
        ("export", ["ID", "--output", "--force", "--json"]),
        ("open", ["FILE", "--identity", "--output"]),
        ("purge", ["ID", "--yes", "--json"]),
    ],
)
def test_every_command_explains_itself(folder, command, words):
    """--help names every option, needs no configuration, and no option takes a secret."""
    ended = folder.run("escrow", *command.split(), "--help", environment={"BULKRESET_CONFIG": "absent.toml"})
    assert (ended.code, ended.err) == (0, "")
    shown = re.findall(r"[^\s│,|<>{}()]+", ended.out)
    assert [word for word in words if word not in shown] == []
    assert not re.search(r"--[a-z-]*(pass|secret|token|key)", ended.out)


def test_a_password_in_escrow_is_nowhere_in_clear(folder, keep, identity):
    """Not in the database, the export or any output with all logs on; only the identity gives it back."""
    keep([MARKER])
    outputs = []
    for arguments in (
        ["escrow", "export", "1", "--output", "out.age"],
        ["escrow", "export", "1", "--output", "out.age"],
        ["escrow", "list", "--json"],
        ["report", "1", "--format", "json"],
        ["escrow", "open", "out.age", "--identity", identity],
        ["escrow", "open", "key.txt", "--identity", identity],
        ["escrow", "open", "out.age", "--identity", "out.age"],
        ["escrow", "export", "9", "--output", "x"],
    ):
        ended = folder.run("--debug", *arguments, environment={"BULKRESET_LOG_LEVEL": "debug"})
        outputs += [ended.out.encode(), ended.err.encode()]
    assert any(b"Traceback" in output for output in outputs)
    written = [path.read_bytes() for path in folder.path.iterdir() if path.name != "key.txt"]
    secrets = [MARKER.encode(), str(IDENTITY).encode(), str(IDENTITY)[16:40].encode()]
    secrets += [b64encode(MARKER.encode()), urlsafe_b64encode(MARKER.encode()), MARKER.encode().hex().encode()]
    assert [secret for secret in secrets for text in (*outputs, *written) if secret in text] == []

    [(sealed, wrapped)] = folder.query("SELECT escrow.sealed, wrapped_key FROM escrow, batch")
    assert pyrage.decrypt(b64decode(sealed), [IDENTITY]).decode() == MARKER
    master = MasterKey.parse(read_secret_file(folder.key))
    for number in range(3):
        with pytest.raises(KeyMismatch):
            master.unwrap(wrapped).open(1, number, sealed)
    with pytest.raises(KeyMismatch):
        master.unwrap(sealed)
    with pytest.raises(pyrage.DecryptError):
        pyrage.decrypt(b64decode(sealed), [pyrage.x25519.Identity.generate()])


@pytest.mark.skipif(shutil.which("age") is None, reason="the age tool is not installed")
def test_the_documented_way_without_this_program_works(folder, keep, identity):
    """The lines of docs/security.md, run as they stand, by the stock tool: the same list."""
    keep([f"{MARKER}{n}" for n in range(3)])
    assert folder.run("escrow", "export", "1", "--output", "escrow-1.age").code == 0
    ended = folder.run("escrow", "open", "escrow-1.age", "--identity", identity, "--output", "ours.csv")
    assert ended.code == 0
    [script] = re.findall(r"```sh\n(umask 077\n.*?)```", (ROOT / "docs" / "security.md").read_text(), re.DOTALL)
    subprocess.run(["sh", "-eu", "-c", script], cwd=folder.path, check=True, timeout=30)
    assert (folder.path / "passwords.csv").read_text() == (folder.path / "ours.csv").read_text()
    assert S_IMODE((folder.path / "passwords.csv").stat().st_mode) == 0o600

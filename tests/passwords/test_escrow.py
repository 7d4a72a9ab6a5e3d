"""Sealing to the recipients of an escrow."""

import io
import pickle
import re
import shutil
import subprocess
from base64 import b64decode
from datetime import UTC, datetime, timedelta

import pyrage
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkreset.errors import ConfigError, InputError, KeyMismatch
from bulkreset.passwords.escrow import Identities, kept_until, recipients
from bulkreset.passwords.vault import MasterKey, new_master_key_text
from bulkreset.secret import Secret

IDENTITY, OTHER = pyrage.x25519.Identity.generate(), pyrage.x25519.Identity.generate()
PUBLIC, OTHER_PUBLIC = str(IDENTITY.to_public()), str(OTHER.to_public())
PASSWORD = "mU4!kE9?wP7#rB5$vG8*x2"
SEALED = recipients([PUBLIC]).seal(Secret(PASSWORD))


def identities(*keys):
    return Identities.parse(Secret("\n".join(["# a comment", "", *map(str, keys)])), "key.txt")


def refusal(texts):
    with pytest.raises(InputError) as caught:
        recipients(texts)
    message = str(caught.value)
    assert "\n" not in message
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
    return message


class TestSealing:
    def test_each_recipient_opens_it_alone(self):
        """Any one identity is enough, and one that is none of them is told so."""
        sealed = recipients([PUBLIC, OTHER_PUBLIC]).seal(Secret(PASSWORD))
        for key in (IDENTITY, OTHER):
            assert identities(key).open(sealed).reveal() == PASSWORD
        with pytest.raises(InputError, match="sealed to other recipients"):
            identities(pyrage.x25519.Identity.generate()).open(sealed)

    def test_it_is_one_line_of_an_age_file(self):
        """Base64 of the binary format, as `base64 -d | age -d` takes it; nothing in it is special to a CSV."""
        assert re.fullmatch(r"[A-Za-z0-9+/]+=*", SEALED)
        assert b64decode(SEALED).startswith(b"age-encryption.org/v1\n-> X25519 ")
        assert recipients([PUBLIC]).seal(Secret(PASSWORD)) != SEALED

    @given(st.text(st.characters(exclude_categories=["Cs"])))
    def test_every_password_comes_back(self, password):
        """Whatever text it is, to the character."""
        sealed = recipients([PUBLIC]).seal(Secret(password))
        assert identities(IDENTITY).open(sealed).reveal() == password

    # Not the last characters: some bits of these stand for nothing.
    @given(st.integers(0, len(SEALED) - 5), st.sampled_from("ABab01+/=\n "))
    def test_a_damaged_one_never_opens(self, at, put):
        """Any character changed: a refusal in one line that holds no part of it."""
        damaged = SEALED[:at] + put + SEALED[at + 1 :]
        if damaged != SEALED:
            with pytest.raises(InputError) as caught:
                identities(IDENTITY).open(damaged)
            assert "\n" not in str(caught.value)

    def test_no_key_of_ours_opens_it(self):
        """Neither the master key nor a batch key can do anything with it."""
        master = MasterKey.parse(Secret(new_master_key_text()))
        with pytest.raises(KeyMismatch):
            master.unwrap(SEALED)
        for text in (SEALED, SEALED.rstrip("=")):
            with pytest.raises(KeyMismatch):
                master.new_batch_key().open(1, 1, text)

    @pytest.mark.skipif(shutil.which("age") is None, reason="the age tool is not installed")
    def test_the_stock_tool_opens_it(self, tmp_path):
        """The program `age` itself, with the identity file."""
        (tmp_path / "key.txt").write_text(f"{IDENTITY}\n")
        opened = subprocess.run(
            ["age", "-d", "-i", tmp_path / "key.txt"], input=b64decode(SEALED), capture_output=True, check=True
        )
        assert opened.stdout.decode() == PASSWORD

    def test_an_ssh_key_can_be_a_recipient(self, tmp_path):
        """An ssh-ed25519 line with its comment seals, beside others, and the private key opens."""
        if shutil.which("ssh-keygen") is None:
            pytest.skip("ssh-keygen is not installed")
        make = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "me@host", "-f", tmp_path / "key"]
        subprocess.run(make, check=True)
        sealed = recipients([PUBLIC, (tmp_path / "key.pub").read_text()]).seal(Secret(PASSWORD))
        for key in (Secret((tmp_path / "key").read_text().rstrip()), Secret(str(IDENTITY))):
            assert Identities.parse(key, "key").open(sealed).reveal() == PASSWORD


class TestRecipients:
    def test_they_are_read_once(self):
        """A runner seals many thousand times to the same ones."""
        assert recipients([PUBLIC, OTHER_PUBLIC]) is recipients((PUBLIC, OTHER_PUBLIC))
        assert recipients([PUBLIC]) is not recipients([OTHER_PUBLIC])

    def test_space_and_repetition_do_no_harm(self):
        """Each recipient counts once, as it is written down for the trail."""
        assert recipients([f" {PUBLIC}\n", PUBLIC]).texts == (PUBLIC,)

    def test_none_at_all_is_refused(self):
        """Nothing can be sealed to nobody."""
        assert "no recipients" in refusal([])

    @pytest.mark.parametrize(
        "wrong",
        ["", "age1", PUBLIC[:-1], f"{PUBLIC[:-1]}!", "ssh-rsa AAAA", "ops@example.com\n\x1b"],
        ids=["empty", "a beginning", "cut", "its last letter changed", "of SSH", "an address"],
    )
    def test_the_wrong_one_is_named(self, wrong):
        """By its place and by twelve characters of it at most."""
        said = refusal([PUBLIC, wrong])
        assert "escrow recipient 2" in said
        assert repr(wrong.strip()[:12]) in said
        assert wrong.strip()[:13] not in said or len(wrong.strip()) <= 12

    @pytest.mark.parametrize(
        "secret",
        [
            str(IDENTITY),
            str(IDENTITY).lower(),
            f" {IDENTITY} ",
            f"# key: {IDENTITY}",
            "AGE-PLUGIN-YUBIKEY-1QQQQ",
            "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNza",
        ],
        ids=["as it is", "in small letters", "between blanks", "as a comment", "of a plugin", "of SSH"],
    )
    def test_an_identity_is_refused_and_not_repeated(self, secret):
        """Whoever gives the secret half by mistake is told so, without a character of it."""
        said = refusal([secret])
        assert "escrow recipient 1 is an identity" in said
        assert secret.strip()[:12].lower() not in said.lower()
        assert str(IDENTITY)[16:24].lower() not in said.lower()


class TestIdentities:
    def test_an_identity_file_may_have_comments_and_several_keys(self):
        """As age-keygen writes it, and with more than one line."""
        sealed = recipients([OTHER_PUBLIC]).seal(Secret(PASSWORD))
        assert identities(IDENTITY, OTHER).open(sealed).reveal() == PASSWORD

    @pytest.mark.parametrize(
        "text",
        ["# only a comment", f"# one\n{PUBLIC}", f"# one\n{str(IDENTITY)[:-1]}", "-----BEGIN x"],
        ids=["no key", "a recipient", "a key that is cut", "another kind of key"],
    )
    def test_another_file_is_refused(self, text):
        """The file and the line are named; nothing of the content is."""
        with pytest.raises(ConfigError) as caught:
            Identities.parse(Secret(text), "key.txt")
        said = str(caught.value)
        assert said.startswith("key.txt: ")
        assert "\n" not in said
        assert str(IDENTITY)[16:24] not in said
        assert ("line 2" in said) == text.startswith("# one")

    def test_nothing_shows_them(self):
        """No repr holds a key, and no pickle can be made."""
        assert str(IDENTITY)[16:24] not in repr(identities(IDENTITY))
        with pytest.raises(TypeError, match="cannot be pickled"):
            pickle.dumps(identities(IDENTITY))


class TestFiles:
    BLOCKS = (b"one,", b"", b"x" * 200_000, b",end")

    def encrypted(self):
        out = io.BytesIO()
        recipients([PUBLIC]).encrypt(self.BLOCKS, out.write)
        return out.getvalue()

    def test_a_file_of_blocks_comes_back_whole(self):
        """However the blocks are cut, an identity gives back their sum."""
        out = io.BytesIO()
        identities(IDENTITY).decrypt(io.BytesIO(self.encrypted()), out.write)
        assert out.getvalue() == b"".join(self.BLOCKS)

    @pytest.mark.parametrize("kept", ["nothing", "ten bytes", "a block", "all but a byte"])
    def test_a_file_that_was_cut_does_not_open(self, kept):
        """Not even where a block of the format ends: a shorter list never passes for the list."""
        whole = self.encrypted()
        head = len(whole) - len(b"".join(self.BLOCKS)) - 4 * 16  # before the four blocks, which have a tag each
        size = {"nothing": 0, "ten bytes": 10, "a block": head + 65_536 + 16, "all but a byte": len(whole) - 1}
        with pytest.raises(InputError, match="damaged"):
            identities(IDENTITY).decrypt(io.BytesIO(whole[: size[kept]]), io.BytesIO().write)

    def test_other_recipients_are_told_from_damage(self):
        """With the wrong identity it says so."""
        with pytest.raises(InputError, match="sealed to other recipients"):
            identities(OTHER).decrypt(io.BytesIO(self.encrypted()), io.BytesIO().write)

    def test_what_either_end_raises_goes_through(self):
        """A database or a disk that fails is not mistaken for a fault of the cipher."""

        def failing():
            yield b"a"
            raise KeyError("ours")

        def full(_):
            raise OSError(28, "No space left on device")

        with pytest.raises(KeyError, match="ours"):
            recipients([PUBLIC]).encrypt(failing(), io.BytesIO().write)
        with pytest.raises(OSError, match="No space"):
            recipients([PUBLIC]).encrypt(self.BLOCKS, full)
        with pytest.raises(OSError, match="No space"):
            identities(IDENTITY).decrypt(io.BytesIO(self.encrypted()), full)


AT = datetime(2026, 1, 31, 12, tzinfo=UTC)


@pytest.mark.parametrize(("past", "hour"), [(0, 12), (1e-6, 13), (3599.9, 13), (3600, 13)])
def test_a_password_is_kept_for_its_days_and_up_to_an_hour(past, hour):
    """Never shorter than ordered, and always to a full hour."""
    until = kept_until(AT + timedelta(seconds=past), 30)
    assert until == datetime(2026, 3, 2, hour, tzinfo=UTC)

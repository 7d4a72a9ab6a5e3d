"""Zendesk's fixed tokens: a new one in the file is taken up, and a refused one says what to do."""

import pytest
from test_logins_of_all import write

from bulkreset.errors import ConfigError, ProviderRefused
from bulkreset.providers.credentials import Credential
from bulkreset.providers.zendesk.auth import FixedToken
from bulkreset.secret import Secret
from bulkreset.settings import SecretSource


@pytest.fixture
def file(tmp_path):
    write(tmp_path / "token", "first")
    return tmp_path / "token"


@pytest.fixture(params=[None, "admin@example.com"], ids=["oauth", "api"])
def auth(request, file):
    credential = Credential.read(SecretSource(file=file.name), file.parent, "accounts.a.token")
    return FixedToken(account="a", token=credential, email=request.param)


async def test_a_new_token_in_the_file_is_taken_up(auth, file):
    """Without a refusal too, and as another generation, so that late answers for the old one are told apart."""
    before = auth.headers()
    await auth.prepare()
    assert (auth.headers(), auth.generation) == (before, 0)
    write(file, "second")
    await auth.prepare()
    assert auth.headers() != before
    assert auth.generation == 1
    assert {"first", "second"} <= set(auth.secrets())


async def test_a_refusal_reads_the_file_even_where_it_looks_the_same(auth, file, monkeypatch):
    """A file whose time and size did not change is read all the same after a 401."""
    monkeypatch.setattr(Credential, "_look", lambda _: (0, 0, 0))
    write(file, "second")
    auth.invalidate(auth.generation + 1)
    await auth.prepare()
    assert auth.generation == 1  # the stamp differs from the first reading's
    write(file, "third")
    await auth.prepare()
    assert auth.generation == 1
    auth.invalidate(1)
    await auth.prepare()
    assert auth.generation == 2


async def test_a_file_that_is_away_matters_after_a_refusal_only(auth, file):
    """While the token serves nothing is said; when it is refused, one line names the file."""
    file.unlink()
    await auth.prepare()
    auth.invalidate(0)
    with pytest.raises(ProviderRefused, match=r"refuses the token, and .*token: no such secret file"):
        await auth.prepare()
    write(file, "second")
    await auth.prepare()
    assert auth.generation == 1


async def test_a_token_that_cannot_be_sent_is_not_taken_up(file):
    """A mangled token in the file is an error with the account's name, and never a header."""
    credential = Credential.read(SecretSource(file=file.name), file.parent, "accounts.a.token")
    auth = FixedToken(account="a", token=credential)
    write(file, "two\nlines")
    await auth.prepare()
    assert auth.headers() == {"Authorization": "Bearer first"}
    auth.invalidate(0)
    with pytest.raises(ProviderRefused, match="space or control character"):
        await auth.prepare()


def test_the_advice_names_the_place(file, monkeypatch):
    """A file is named with its path; a variable needs the workers to start again, and the advice says so."""
    monkeypatch.setenv("TOKEN", "first")
    in_file = Credential.read(SecretSource(file=file.name), file.parent, "accounts.a.token")
    assert f"put the new one into {file}" in FixedToken(account="a", token=in_file).advice
    in_variable = Credential.read(SecretSource(env="TOKEN"), file.parent, "accounts.a.token")
    assert (
        "set TOKEN to the new one and start the workers again" in FixedToken(account="a", token=in_variable).advice
    )


def test_an_api_token_that_is_refused_is_not_to_be_made_anew():
    """No new one can be made: the advice is the OAuth client."""
    auth = FixedToken(account="a", token=Credential(Secret("x")), email="a@example.com")
    assert "make an OAuth client" in auth.advice
    assert "2027-04-30" in auth.warning


def test_a_secret_that_cannot_be_read_is_an_error_of_the_configuration(tmp_path):
    """At the start there is nothing to go on with."""
    with pytest.raises(ConfigError, match="no such secret file"):
        Credential.read(SecretSource(file="absent"), tmp_path, "accounts.a.token")

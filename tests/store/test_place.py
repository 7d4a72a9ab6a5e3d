"""Where the database is: judged by where the way really leads, whatever says so."""

import os
from pathlib import Path

import pytest

from bulkreset.errors import ConfigError
from bulkreset.settings import DatabaseSettings, SecretSource
from bulkreset.store.place import place_of
from bulkreset.store.postgres_tls import tls_of

PG = (
    "HOST HOSTADDR PORT USER SERVICE SERVICEFILE SSLMODE SSLROOTCERT SSLCERT SSLKEY SSLCRL SSLMINPROTOCOLVERSION "
    "SSLMAXPROTOCOLVERSION"
)


@pytest.fixture(autouse=True)
def environment(monkeypatch, tmp_path):
    for name in PG.split():
        monkeypatch.delenv(f"PG{name}", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    return monkeypatch


def place(url, base=Path("/etc/bulkreset")):
    return place_of(DatabaseSettings(url=url), base)


def refusal(url, base=Path("/etc/bulkreset")):
    with pytest.raises(ConfigError) as caught:
        tls_of(place(url, base).tls)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u@127.0.0.1/x",
        "postgresql://u@[::1]:5433/x",
        "postgresql://u@localhost,127.0.0.2:5433/x",
        "postgresql://%2Fvar%2Frun%2Fpostgresql/x",
        "postgresql:///x?host=/tmp",
        "postgresql:///x",
        "postgresql://u@127.0.0.1/x?sslmode=prefer",
    ],
)
def test_this_machine_is_reached_without_a_word_about_tls(url):
    """A socket and loopback need no protection."""
    assert place(url).tls.mode in (None, "prefer")


@pytest.mark.parametrize("host", ["db.invalid", "127.0.0.1,db.invalid", "10.0.0.1:5433", "[2001:db8::1]"])
@pytest.mark.parametrize("form", ["address", "option", "environment"])
def test_another_host_is_refused_until_the_way_is_protected(environment, host, form):
    """The host counts wherever it is written; a mode that says nothing of protection is none."""
    url = f"postgresql://u@{host}/x" if form == "address" else "postgresql://u@/x"
    options = [f"host={host}"] if form == "option" else []
    if form == "environment":
        environment.setenv("PGHOST", host)
    for mode in (None, "allow", "prefer"):
        more = [*options, *([f"sslmode={mode}"] if mode else [])]
        said = refusal(f"{url}?{'&'.join(more)}" if more else url)
        assert "sslmode=verify-full" in said
        assert "protected" in said
    for mode in ("require", "disable"):
        found = place(f"{url}?{'&'.join([*options, f'sslmode={mode}'])}")
        assert found.tls.mode == mode
        assert host in found.name
        assert form == "address" or "host=" in found.dsn.reveal()  # the driver is told, and looks nowhere else


@pytest.mark.parametrize(("mode", "good"), [("prefer", False), ("allow", False), ("require", True)])
def test_the_mode_may_come_from_the_environment(environment, mode, good):
    """PGSSLMODE is obeyed by the driver, so it is judged as the option is."""
    environment.setenv("PGSSLMODE", mode)
    url = "postgresql://u@db.invalid/x"
    if good:
        assert place(url).tls.mode == mode
    else:
        assert mode in refusal(url)


@pytest.mark.parametrize("name", ["PGHOSTADDR", "PGSERVICE"])
def test_what_the_driver_does_not_obey_is_named(environment, name):
    """Somebody who set it means another server than the driver would go to."""
    environment.setenv(name, "somewhere")
    assert name in refusal("postgresql:///x")
    assert place("postgresql://localhost/x").name == "localhost/x"


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("postgresql://u@127.0.0.1/x?sslmode=bogus", "sslmode must be one of"),
        ("postgresql://u@127.0.0.1/x?sslmode=mro", "sslmode must be one of"),
        ("postgresql://u@127.0.0.1/x?sslmode=verify-full", "sslrootcert=FILE"),
        ("postgresql://u@127.0.0.1/x?sslmode=verify-ca", "sslrootcert=FILE"),
        ("postgresql://u@127.0.0.1/x?sslmode=verify-full&sslrootcert=nope.pem", "/etc/bulkreset/nope.pem"),
        ("postgresql://u@127.0.0.1/x?sslmode=require&sslcert=nope.pem", "/etc/bulkreset/nope.pem"),
        ("postgresql://u@127.0.0.1/x?sslmode=require&ssl_min_protocol_version=SSLv3", "TLSv1.2"),
        ("postgresql://u@127.0.0.1:five/x", "port"),
        ("postgresql://u@127.0.0.1,/x", "empty"),
        ("postgresql://u@127.0.0.1#@db.invalid/x", "%23"),
        ("postgresql://u@h@db.invalid/x?sslmode=disable", "%40"),
    ],
)
def test_a_mistake_in_the_address_is_told_as_one(url, words):
    """Each is a fault of database.url, named before any server is asked."""
    said = refusal(url)
    assert "database.url" in said
    assert words in said


def test_a_password_that_breaks_the_address_is_not_repeated(tmp_path):
    """A / in the password of a secret address ends the host early; what comes before it is nobody's host."""
    secret = tmp_path / "url"
    secret.write_text("postgresql://keeper:hunter2/more@localhost/x")
    secret.chmod(0o600)
    with pytest.raises(ConfigError) as caught:
        place_of(DatabaseSettings(url=SecretSource(file=secret)), tmp_path)
    assert "hunter2" not in str(caught.value)


def test_a_home_that_cannot_be_read_costs_the_client_certificate_only(environment, monkeypatch):
    """The driver would give up there; so it is told not to look."""

    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    assert tls_of(place("postgresql://u@127.0.0.1/x").tls) is None
    monkeypatch.setattr(Path, "open", refuse)
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert tls_of(place("postgresql://u@127.0.0.1/x").tls) is False
    assert not isinstance(tls_of(place("postgresql://u@127.0.0.1/x?sslmode=require").tls), str)
    assert "root.crt" in refusal("postgresql://u@127.0.0.1/x?sslmode=verify-full")


def test_no_tls_secrets_are_written_for_whoever_asks(environment, tmp_path):
    """SSLKEYLOGFILE is not obeyed."""
    environment.setenv("SSLKEYLOGFILE", str(tmp_path / "keys"))
    context = tls_of(place("postgresql://u@127.0.0.1/x?sslmode=require").tls)
    assert context.keylog_filename is None

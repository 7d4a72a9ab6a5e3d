"""The way to PostgreSQL: errors in one line that name the place and never the password, and TLS."""

import asyncio
import ipaddress
import logging
import ssl
import struct
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import quote

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from databases import run_apart
from one_line import PASSWORD, one_line
from postgres_rounds import a_round, claim_from, place_order
from sqlalchemy import text

from benchmarks.cluster import Cluster, execute
from bulkreset.errors import ConfigError, SchemaBehind, StoreError
from bulkreset.settings import DatabaseSettings, SecretSource
from bulkreset.store.engine import open_store
from bulkreset.store.migrate import upgrade
from bulkreset.store.place import place_of


@pytest.fixture
def database_url(postgres_server):
    return postgres_server.fresh()


# Errors, in one line and without the password.


@pytest.fixture(scope="module")
def guarded(tmp_path_factory):
    """A server of our own with TLS and passwords; the authority of its certificate lies in `ca.pem`."""
    folder = tmp_path_factory.mktemp("certificates")
    cluster = Cluster()
    try:
        certificates(folder)
        cluster.start()
        quoted = PASSWORD.replace("'", "''")
        run_apart(
            execute(
                cluster.url("postgres"),
                f"CREATE ROLE keeper LOGIN PASSWORD '{quoted}' SUPERUSER",
                "CREATE DATABASE jobs",
            )
        )
        run_apart(upgrade(place_of(DatabaseSettings(url=cluster.url("jobs")), Path())))
        rules = "host all keeper 127.0.0.1/32 scram-sha-256\nhost all postgres 127.0.0.1/32 trust\n"
        (cluster.folder / "pg_hba.conf").write_text(rules)
        run_apart(execute(cluster.url("postgres"), "SELECT pg_reload_conf()"))
        cluster.certificates = folder
        yield cluster
    finally:
        cluster.remove()


def certificates(folder):
    """Write an authority `ca.pem`, another one `other.pem`, and `server.pem` for 127.0.0.1 by the first."""
    keys = {name: ec.generate_private_key(ec.SECP256R1()) for name in ("ca", "other", "server")}
    names = {name: x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]) for name in keys}
    address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    authority = x509.BasicConstraints(ca=True, path_length=None)
    for name, by, extension in (
        ("ca",) * 2 + (authority,),
        ("other",) * 2 + (authority,),
        ("server", "ca", address),
    ):
        made = signed(names[name], keys[name].public_key(), names[by], keys[by], extension)
        content = made.public_bytes(serialization.Encoding.PEM)
        if name == "server":
            content += keys[name].private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        (folder / f"{name}.pem").write_bytes(content)


@pytest.fixture
async def tls(guarded):
    """A way to the guarded server that takes TLS only, as the server's own build need not know it."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(guarded.certificates / "server.pem")
    sessions = []

    async def copy(reader, writer):
        with suppress(ConnectionError, ssl.SSLError):
            while data := await reader.read(65_536):
                writer.write(data)
                await writer.drain()
        writer.close()

    async def serve(reader, writer):
        with suppress(ConnectionError, ssl.SSLError, asyncio.IncompleteReadError):
            assert await reader.readexactly(8) == struct.pack("!ii", 8, 80_877_103), "not a request for TLS"
            writer.write(b"S")
            await writer.start_tls(context)
            sessions.append(writer.get_extra_info("ssl_object").version())
            there, back = await asyncio.open_connection("127.0.0.1", guarded.port)
            await asyncio.gather(copy(reader, back), copy(there, writer))
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1], sessions
    server.close()


def signed(subject, public_key, issuer, key, extension):
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(
        issuer, subject, public_key, x509.random_serial_number(), now - timedelta(days=1), now + timedelta(days=2)
    )
    builder = builder.add_extension(extension, critical=isinstance(extension, x509.BasicConstraints))
    return builder.add_extension(
        x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False
    ).sign(key, hashes.SHA256())


@asynccontextmanager
async def keeper(guarded, monkeypatch, options="", database="jobs", password=PASSWORD, port=None):
    """Open the guarded server with its password out of the environment."""
    monkeypatch.setenv("TEST_DB_PASSWORD", password)
    url = f"postgresql://keeper@127.0.0.1:{port or guarded.port}/{database}{options}"
    settings = DatabaseSettings(url=url, password=SecretSource(env="TEST_DB_PASSWORD"))
    store = await open_store(settings, guarded.certificates)
    try:
        yield store
    finally:
        await store.close()


async def test_a_server_that_is_not_there_is_named(opened, unused_tcp_port):
    """Refused: host, port and database, and what to check."""
    with pytest.raises(StoreError) as caught:
        await opened(f"postgresql://postgres@127.0.0.1:{unused_tcp_port}/jobs")
    one_line(caught, f"127.0.0.1:{unused_tcp_port}/jobs", "cannot be reached")


async def test_a_wrong_password_is_refused_without_being_told(guarded, monkeypatch):
    """The login fails: where, and which setting to check, but neither the right nor the wrong password."""
    with pytest.raises(StoreError) as caught:
        async with keeper(guarded, monkeypatch, password="wrong-Ω"):
            pass
    assert "wrong" not in one_line(caught, f"127.0.0.1:{guarded.port}/jobs", "refused the login")


async def test_a_missing_database_is_named(guarded, monkeypatch):
    """No such database: how to make it."""
    with pytest.raises(StoreError) as caught:
        async with keeper(guarded, monkeypatch, database="nowhere"):
            pass
    one_line(caught, f"127.0.0.1:{guarded.port}/nowhere", "createdb")


async def test_missing_tables_ask_for_the_upgrade(opened, postgres_server):
    """An empty database: `db upgrade`."""
    with pytest.raises(SchemaBehind) as caught:
        await opened(postgres_server.fresh(tables=False))
    one_line(caught, "bulkreset db upgrade")


async def test_a_database_that_is_read_only_says_so_before_anything_is_sent(opened, database_url):
    """On a standby nothing can be claimed, and the line says why."""
    store = await opened(database_url)
    await place_order(store, ["a"])
    await execute(
        database_url,
        f'ALTER DATABASE "{database_url.rpartition("/")[2]}" SET default_transaction_read_only = on',
    )
    await store.close()
    for act in (store.prove_writable(), claim_from(store)):
        with pytest.raises(StoreError) as caught:
            await act
        one_line(caught, database_url.rpartition("@")[2], "read-only")


async def test_a_server_that_goes_and_comes_back_is_used_again(guarded, monkeypatch):
    """Every call while it is away fails in one line; the same store goes on when it is back."""
    async with keeper(guarded, monkeypatch) as store:
        await place_order(store, ["a", "b", "c"], "restart")
        assert len(await claim_from(store, "restart", 1)) == 1
        guarded.stop("immediate")
        try:
            for _ in range(2):
                with pytest.raises(StoreError) as caught:
                    await claim_from(store, "restart", 1)
                one_line(caught, f"127.0.0.1:{guarded.port}/jobs")
        finally:
            guarded.start()
        assert len(await claim_from(store, "restart", 1)) == 1
        guarded.stop("fast")
        guarded.start()
        with suppress(StoreError):  # the first to find its connection cut may fail, and only that one
            await claim_from(store, "restart", 1)
        await claim_from(store, "restart", 1)
        async with store.read() as conn:
            running = text("SELECT count(*) FROM task WHERE account = 'restart' AND state = 'running'")
            assert (await conn.execute(running)).scalar_one() == 3


# The way there.


@pytest.mark.parametrize("options", ["?sslmode=verify-full&sslrootcert=ca.pem", "?sslmode=require"])
async def test_the_connection_is_encrypted_where_that_is_asked_for(guarded, tls, monkeypatch, options):
    """All that goes over the way is under TLS; certificates count from the configuration's folder."""
    port, sessions = tls
    async with keeper(guarded, monkeypatch, options, port=port) as store, store.read() as conn:
        assert (await conn.execute(text("SELECT 1"))).scalar_one() == 1
    assert len(sessions) == 1


async def test_a_server_that_another_authority_vouches_for_is_refused(guarded, tls, monkeypatch):
    """verify-full with the wrong authority: one line, and the session never began."""
    port, sessions = tls
    with pytest.raises(StoreError) as caught:
        async with keeper(guarded, monkeypatch, "?sslmode=verify-full&sslrootcert=other.pem", port=port):
            pass
    one_line(caught, f"127.0.0.1:{port}/jobs", "certificate")
    assert sessions == []


async def test_a_server_without_tls_is_refused_where_tls_is_asked_for(guarded, monkeypatch):
    """sslmode=require is never given up for a connection in clear."""
    with pytest.raises(StoreError) as caught:
        async with keeper(guarded, monkeypatch, "?sslmode=require"):
            pass
    one_line(caught, f"127.0.0.1:{guarded.port}/jobs", "SSL")


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("postgresql://bulkreset@db.example.com/jobs", "sslmode"),
        ("postgresql://bulkreset@127.0.0.1,db.example.com/jobs", "sslmode"),
        ("postgresql:///jobs?host=db.example.com", "sslmode"),
        ("postgresql://bulkreset:hunter2@127.0.0.1/jobs", "holds a password"),
        ("postgresql://bulkreset@127.0.0.1/jobs?password=hunter2", "password"),
        ("postgresql://bulkreset@127.0.0.1/jobs?passwrd=hunter2", "unknown option"),
    ],
)
def test_an_address_that_would_give_something_away_is_refused(url, words):
    """An unprotected way over a network, and a password in the configuration: refused, and not repeated."""
    with pytest.raises(ConfigError, match=words) as caught:
        place_of(DatabaseSettings(url=url), Path())
    assert "hunter2" not in str(caught.value)


async def test_an_address_with_a_password_may_come_from_the_environment_and_is_shown_nowhere(
    guarded, monkeypatch, caplog
):
    """It works, and neither repr, text, error nor the libraries' debug log holds the password."""
    monkeypatch.setenv(
        "TEST_DB_URL", f"postgresql://keeper:{quote(PASSWORD, safe='')}@127.0.0.1:{guarded.port}/jobs"
    )
    settings = DatabaseSettings(url=SecretSource(env="TEST_DB_URL"))
    for name in ("asyncpg", "sqlalchemy", "sqlalchemy.engine", "sqlalchemy.pool", "asyncio"):
        caplog.set_level(logging.DEBUG, logger=name)
    store = await open_store(settings, Path())
    try:
        await a_round(store)
        shown = [repr(settings), repr(store.place), str(store.place), repr(store.engine), str(store.engine.url)]
        shown += [repr(vars(store)), f"{store.place!r}"]
    finally:
        await store.close()
    assert len(caplog.records) > 10
    for secret in (PASSWORD, quote(PASSWORD, safe=""), quote(PASSWORD)):
        assert not any(secret in line for line in shown)
        assert secret not in caplog.text
        assert not any(secret in repr(record.__dict__) for record in caplog.records)

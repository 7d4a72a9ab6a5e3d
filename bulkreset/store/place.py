"""Where the database is: a SQLite file, or a PostgreSQL server. Reads the address; opens nothing.

What the driver would take from the environment, we give it: a host in PGHOST is judged as one in the address.
asyncpg takes PGHOST, PGPORT, PGUSER, PGSSLMODE and the names of certificates; PGHOSTADDR and services it does not
obey (see asyncpg/connect_utils.py), so where they alone say where the server is, the address is refused.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, cast, get_args
from urllib.parse import parse_qsl, quote, unquote, urlsplit, urlunsplit

from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from bulkreset.errors import ConfigError
from bulkreset.secret import Secret
from bulkreset.settings import DatabaseSettings, SecretSource, is_loopback

_POSTGRESQL: Final = ("postgresql", "postgres")
# What asyncpg takes from an address; it hands anything else to the server, which a pooler refuses.
_KNOWN: Final = frozenset(
    {"host", "port", "user", "dbname", "passfile", "sslmode", "sslrootcert", "sslcert", "sslkey", "sslcrl"}
    | {"ssl_min_protocol_version", "ssl_max_protocol_version", "target_session_attrs", "krbsrvname", "gsslib"}
)
# asyncpg takes a file of each from the address first, then from the environment.
_FILES: Final = ("sslrootcert", "sslcert", "sslkey", "sslcrl", "passfile")

SslMode = Literal["disable", "allow", "prefer", "require", "verify-ca", "verify-full"]
_PROTECTING: Final = ("disable", "require", "verify-ca", "verify-full")


@dataclass(frozen=True, slots=True)
class Tls:
    """How the way to a server is protected; without a mode it leads to this machine, and TLS is tried."""

    mode: SslMode | None = None
    rootcert: Path | None = None
    cert: Path | None = None
    key: Path | None = None
    crl: Path | None = None
    oldest: str = "TLSv1.2"
    newest: str | None = None


@dataclass(frozen=True, slots=True)
class SqlitePlace:
    """A file, by its real path, so that every link to it leads to the same lock."""

    path: Path

    def __str__(self) -> str:
        return str(self.path)


@dataclass(frozen=True, slots=True)
class PostgresPlace:
    """A server. `dsn` may hold a password; `name` is host, port and database, fit to be shown."""

    dsn: Secret
    name: str
    password: Secret | None
    pooled: bool
    connections: int
    tls: Tls = Tls()

    def __str__(self) -> str:
        return self.name


Place = SqlitePlace | PostgresPlace


def place_of(settings: DatabaseSettings, base: Path) -> Place:
    """Read the address of the configured database. Raises ConfigError."""
    if isinstance(settings.url, SecretSource):
        url = settings.url.read(base, "database.url").reveal().strip()
        inline = False
    else:
        url, inline = settings.url, True
    scheme = url.partition(":")[0]
    if scheme in _POSTGRESQL:
        return _postgres(url, settings, base, inline=inline)
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise ConfigError(
            "database.url is not a database URL; write sqlite:///PATH or postgresql://USER@HOST/DATABASE"
        ) from None
    if parsed.drivername != "sqlite":
        raise ConfigError(
            f"database.url: {parsed.drivername} is not supported; "
            "write sqlite:///PATH or postgresql://USER@HOST/DATABASE"
        )
    if not parsed.database or parsed.database == ":memory:" or parsed.query:
        raise ConfigError("database.url must name a file, as in sqlite:///bulkreset.db")
    return SqlitePlace((base / parsed.database).resolve())


def _postgres(url: str, settings: DatabaseSettings, base: Path, *, inline: bool) -> PostgresPlace:
    try:
        parts = urlsplit(url)
    except ValueError:
        raise ConfigError("database.url is not a URL; write postgresql://USER@HOST/DATABASE") from None
    user, _, servers = parts.netloc.rpartition("@")
    if inline and ":" in user:
        raise ConfigError(
            "database.url holds a password; take it out and add password = "
            '{ env = "NAME" } or { file = "PATH" } to [database]'
        )
    if "@" in user or "#" in url or any(character.isspace() for character in url):
        raise ConfigError("database.url: a blank, # or @ inside a name is written %20, %23 or %40")
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    if unknown := sorted(options.keys() - _KNOWN):
        raise ConfigError(f"database.url: unknown option {unknown[0]!r}; there is: {', '.join(sorted(_KNOWN))}")
    if inline and "password" in options:
        raise ConfigError('database.url holds a password; put it into [database] password = { env = "NAME" }')
    listed, hosts = _servers(servers, options)
    mode = _mode(options, hosts)
    # Like every path in the file, certificates count from its folder.
    for name in _FILES:
        if name in options:
            options[name] = str(base / options[name])
    options.pop("host", None)
    if listed and not servers:
        options["host"] = listed
    query = "&".join(f"{name}={quote(value, safe='/')}" for name, value in options.items())
    dsn = urlunsplit(("postgresql", parts.netloc, parts.path, query, ""))
    database = unquote(parts.path.lstrip("/")) or options.get("dbname", "")
    if not database:
        raise ConfigError("database.url names no database; write postgresql://USER@HOST/DATABASE")
    return PostgresPlace(
        dsn=Secret(dsn),
        name=f"{listed or 'this machine'}/{database}",
        password=None if settings.password is None else settings.password.read(base, "database.password"),
        pooled=settings.pooled,
        connections=settings.connections,
        tls=_tls(mode, options),
    )


def _servers(servers: str, options: dict[str, str]) -> tuple[str, list[str]]:
    """Return the servers, and each one's host, in the order that the driver tries them; none for this machine."""
    listed, where = servers or options.get("host", ""), "database.url"
    if not listed:
        listed, where = os.environ.get("PGHOST", ""), "PGHOST"
    if not listed:
        for name in ("PGHOSTADDR", "PGSERVICE"):
            if os.environ.get(name):
                raise ConfigError(
                    f"{name} is set and is not obeyed; write the host into database.url, or unset it"
                )
        return "", []
    hosts = []
    for server in listed.split(","):
        host, port = _host_and_port(server, encoded=bool(servers))
        if not host or (port and not (port.isascii() and port.isdigit())):
            raise ConfigError(
                f"{where}: a host is empty or a port is no number; write postgresql://USER@HOST:PORT/DATABASE, "
                "and a / in a name as %2F"
            )
        hosts.append(host)
    return listed, hosts


def _mode(options: dict[str, str], hosts: list[str]) -> SslMode | None:
    """Return how the way is protected, which another host than this machine is not reached without."""
    where = "database.url: sslmode" if "sslmode" in options else "PGSSLMODE"
    mode = options.get("sslmode") or os.environ.get("PGSSLMODE") or None
    modes = get_args(SslMode)
    if mode is not None and (mode := mode.replace("_", "-")) not in modes:
        raise ConfigError(f"{where} must be one of {', '.join(modes)}")
    far = next((host for host in hosts if not _is_local(host)), None)
    if far is not None and mode not in _PROTECTING:
        unclear = "" if mode is None else f" ({mode} sends all in clear to whoever answers that there is no TLS)"
        raise ConfigError(
            f"database.url: say how the way to {far} is protected{unclear}: add "
            "?sslmode=verify-full&sslrootcert=FILE (or sslmode=require, or sslmode=disable on a network that you "
            "trust)"
        )
    return cast("SslMode | None", mode)


def _tls(mode: SslMode | None, options: dict[str, str]) -> Tls:
    def file(name: str) -> Path | None:
        value = options.get(name) or os.environ.get(f"PG{name.upper()}")
        return Path(value) if value else None

    return Tls(
        mode,
        file("sslrootcert"),
        file("sslcert"),
        file("sslkey"),
        file("sslcrl"),
        options.get("ssl_min_protocol_version") or os.environ.get("PGSSLMINPROTOCOLVERSION") or "TLSv1.2",
        options.get("ssl_max_protocol_version") or os.environ.get("PGSSLMAXPROTOCOLVERSION") or None,
    )


def _host_and_port(server: str, *, encoded: bool) -> tuple[str, str]:
    """Take a server apart as the driver does: [IPv6]:port, or all up to the first colon.

    In the address itself, but neither in an option nor in PGHOST, a host may be written with %2F and the like.
    """
    if server.startswith("["):
        host, _, rest = server[1:].partition("]")
        return host, rest.removeprefix(":")
    if server.startswith("/"):
        return server, ""
    host, _, port = server.partition(":")
    return (unquote(host) if encoded else host), port


def _is_local(host: str) -> bool:
    return host.startswith("/") or is_loopback(host)

"""Where the database is: a SQLite file, or a PostgreSQL server. Reads the address; opens nothing."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import parse_qsl, quote, unquote, urlsplit, urlunsplit

from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from bulkreset.config import DatabaseSettings, SecretSource, is_loopback
from bulkreset.errors import ConfigError
from bulkreset.secret import Secret

_POSTGRESQL: Final = ("postgresql", "postgres")
# What asyncpg takes from an address; it hands anything else to the server, which a pooler refuses.
_KNOWN: Final = frozenset(
    {"host", "port", "user", "dbname", "passfile", "sslmode", "sslrootcert", "sslcert", "sslkey", "sslcrl"}
    | {"ssl_min_protocol_version", "ssl_max_protocol_version", "target_session_attrs", "krbsrvname", "gsslib"}
)


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
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    if unknown := sorted(options.keys() - _KNOWN):
        raise ConfigError(f"database.url: unknown option {unknown[0]!r}; there is: {', '.join(sorted(_KNOWN))}")
    if inline and "password" in options:
        raise ConfigError('database.url holds a password; put it into [database] password = { env = "NAME" }')
    hosts = [_host(server) for server in (servers or options.get("host", "")).split(",")]
    if "sslmode" not in options and not all(_is_local(host) for host in hosts):
        raise ConfigError(
            f"database.url: say how the way to {hosts[0]} is protected: add ?sslmode=verify-full&sslrootcert=FILE "
            "(or sslmode=require, or sslmode=disable on a network that you trust)"
        )
    # Like every path in the file, certificates count from its folder.
    for name in ("sslrootcert", "sslcert", "sslkey", "sslcrl", "passfile"):
        if name in options:
            options[name] = str(base / options[name])
    query = "&".join(f"{name}={quote(value, safe='/')}" for name, value in options.items())
    dsn = urlunsplit(("postgresql", parts.netloc, parts.path, query, ""))
    database = unquote(parts.path.lstrip("/")) or options.get("dbname", "")
    if not database:
        raise ConfigError("database.url names no database; write postgresql://USER@HOST/DATABASE")
    return PostgresPlace(
        dsn=Secret(dsn),
        name=f"{servers or options.get('host', 'this machine')}/{database}",
        password=None if settings.password is None else settings.password.read(base, "database.password"),
        pooled=settings.pooled,
        connections=settings.connections,
    )


def _host(server: str) -> str:
    if server.startswith("["):
        return server[1:].partition("]")[0]
    return unquote(server.partition(":")[0]) if server.count(":") < 2 else server


def _is_local(host: str) -> bool:
    return not host or host.startswith("/") or is_loopback(host)

"""TLS to a PostgreSQL: the certificates as libpq knows them; what is wrong with them is told at once.

The driver would do it too, but it gives up with a HOME that it cannot read (`sudo -E`, supervisord), takes a
missing file for a server that is away, and writes TLS secrets where SSLKEYLOGFILE says.
Names and defaults: https://www.postgresql.org/docs/current/libpq-ssl.html
"""

import os
import ssl
from collections.abc import Callable
from pathlib import Path

from bulkreset.errors import ConfigError
from bulkreset.ownership import check_file
from bulkreset.store.place import Tls


def tls_of(tls: Tls) -> ssl.SSLContext | str | bool | None:
    """Return what the driver is to do about TLS. Raises ConfigError where a file cannot be used."""
    if tls.mode == "disable":
        return False
    if tls.mode in (None, "allow", "prefer"):
        # Only to this machine. The driver looks into HOME for certificates, which it must be able to.
        return tls.mode if _home_can_be_read() else False
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = tls.mode == "verify-full"
    context.verify_mode = ssl.CERT_NONE if tls.mode == "require" else ssl.CERT_REQUIRED
    root = _file("sslrootcert", tls.rootcert, "root.crt")
    if root is not None:
        check_file(root)
        _use("sslrootcert", root, lambda: context.load_verify_locations(cafile=root))
        context.verify_mode = ssl.CERT_REQUIRED  # with a root certificate, require verifies as well
    elif tls.mode != "require":
        raise ConfigError(
            f"database.url: sslmode={tls.mode} needs the certificate of the server's authority: add "
            "&sslrootcert=FILE (there is none in ~/.postgresql/root.crt that can be read)"
        )
    crl = _file("sslcrl", tls.crl, "root.crl")
    if crl is not None and root is not None:
        _use("sslcrl", crl, lambda: context.load_verify_locations(cafile=crl))
        context.verify_flags |= ssl.VERIFY_CRL_CHECK_CHAIN
    cert, key = _file("sslcert", tls.cert, "postgresql.crt"), _file("sslkey", tls.key, "postgresql.key")
    if cert is not None:
        _use("sslcert", cert, lambda: context.load_cert_chain(cert, key, password=lambda: ""))
    context.minimum_version = _version(tls.oldest)
    if tls.newest is not None:
        context.maximum_version = _version(tls.newest)
    context.keylog_filename = None  # type: ignore[assignment]
    return context


def _file(option: str, named: Path | None, default: str) -> Path | None:
    """Return the file that is named, which must be there, or the one in HOME, if that can be read."""
    if named is not None:
        try:
            named.open("rb").close()
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise ConfigError(f"database.url: {option} {named} cannot be read: {reason}") from None
        return named
    try:
        path = Path.home() / ".postgresql" / default
    except (RuntimeError, KeyError):
        return None
    return path if os.access(path, os.R_OK) else None


def _use(option: str, path: Path, load: Callable[[], None]) -> None:
    try:
        load()
    except (OSError, ValueError):  # SSLError is an OSError
        raise ConfigError(
            f"database.url: {option} {path} cannot be used: not PEM, or its key is another one or needs a password"
        ) from None


def _version(name: str) -> ssl.TLSVersion:
    if name not in ("TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3"):
        raise ConfigError("database.url: a TLS version is written TLSv1.2 or TLSv1.3")
    return ssl.TLSVersion[name.replace(".", "_")]


def _home_can_be_read() -> bool:
    """Whether the driver can look for its certificates in HOME; that there are none is well."""
    try:
        folder = Path.home() / ".postgresql"
    except (RuntimeError, KeyError):
        return True
    for name in ("root.crl", "postgresql.key", "postgresql.crt"):
        try:
            (folder / name).open("rb").close()
        except PermissionError:
            return False
        except OSError:
            continue
    return True

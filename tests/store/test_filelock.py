"""One runner a database file, whatever happens to the lock file, and none on a file that was replaced."""

import asyncio
import subprocess
import sys

import pytest
from sqlalchemy import text

from bulkreset.errors import DatabaseReplaced, RunnerActive, StoreError
from bulkreset.settings import DatabaseSettings
from bulkreset.store.engine import open_store
from bulkreset.store.filelock import file_lock, is_locked
from bulkreset.store.migrate import upgrade
from bulkreset.store.place import place_of

SETTINGS = DatabaseSettings(url="sqlite:///t.db")

ON_THE_FILE = pytest.mark.skipif(sys.platform != "linux", reason="only Linux locks the file itself")


@pytest.fixture
async def path(tmp_path):
    await upgrade(place_of(SETTINGS, tmp_path))
    return tmp_path / "t.db"


def lock_file(path):
    return path.with_name("t.db.lock")


def remove(path):
    lock_file(path).unlink()


def replace(path):
    path.with_name("other.lock").touch()
    path.with_name("other.lock").rename(lock_file(path))


@ON_THE_FILE
@pytest.mark.parametrize("lose", [remove, replace])
def test_a_lost_lock_file_lets_nobody_in(path, lose):
    """Removed or replaced under a runner, the lock file is made again by the next one, who is refused still."""
    with file_lock(path):
        lose(path)
        with pytest.raises(RunnerActive), file_lock(path):
            pass
    with file_lock(path):
        pass


@ON_THE_FILE
def test_another_name_of_the_file_lets_nobody_in(path):
    """A hard link has a lock file of its own, and leads to the same database."""
    path.with_name("alias.db").hardlink_to(path)
    with file_lock(path), pytest.raises(RunnerActive), file_lock(path.with_name("alias.db")):
        pass


def test_a_restored_file_lets_nobody_in_beside_the_runner_of_the_one_before(path):
    """The lock file holds for the path, whichever file is there."""
    with file_lock(path):
        path.rename(path.with_name("before.db"))
        path.touch()
        with pytest.raises(RunnerActive), file_lock(path):
            pass


@ON_THE_FILE
def test_whether_a_file_is_locked_is_told_without_a_lock(path):
    """To ask takes nothing: a runner can begin before, meanwhile and after."""
    assert not is_locked(path)
    with file_lock(path):
        assert is_locked(path)
    assert not is_locked(path)


@ON_THE_FILE
def test_a_killed_runner_holds_nothing(path):
    """The system gives both locks back."""
    code = (
        "import os, signal; from pathlib import Path; from bulkreset.store.filelock import file_lock\n"
        f"with file_lock(Path({str(path)!r})): os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", code], check=False)
    assert not is_locked(path)
    with file_lock(path):
        pass


@ON_THE_FILE
async def test_locks_of_sqlite_outlive_the_runner_s(path, tmp_path):
    """To give the runner's lock back must not drop the locks that SQLite holds on the file in this process."""
    store = await open_store(SETTINGS, tmp_path)
    try:
        async with store.write() as conn:
            await conn.execute(text("UPDATE alembic_version SET version_num = version_num"))
            with file_lock(path):
                pass
            is_locked(path)
            code = f"import sqlite3; c = sqlite3.connect({str(path)!r}, timeout=0); c.execute('BEGIN IMMEDIATE')"
            other = await asyncio.create_subprocess_exec(sys.executable, "-c", code, stderr=subprocess.PIPE)
            _, said = await other.communicate()
            assert b"database is locked" in said
    finally:
        await store.close()


async def test_a_replaced_file_is_noticed(path, tmp_path):
    """By whoever asks, and by each connection that would be opened to the other file."""
    store = await open_store(SETTINGS, tmp_path)
    try:
        store.prove_in_place()
        path.rename(path.with_name("before.db"))
        with pytest.raises(DatabaseReplaced, match="replaced or removed"):
            store.prove_in_place()
        await store.engine.dispose()
        with pytest.raises(DatabaseReplaced):
            await store.prove_writable()
    finally:
        await store.close()


@pytest.mark.parametrize("there", [True, False])
def test_a_lock_file_that_is_a_link_is_refused(tmp_path, there):
    """Nothing is locked or made behind it."""
    path, behind = tmp_path / "bulkreset.db", tmp_path / "elsewhere"
    path.touch()
    if there:
        behind.touch()
    path.with_name("bulkreset.db.lock").symlink_to(behind)
    with pytest.raises(StoreError, match="is a link; remove it"), file_lock(path):
        pass
    assert behind.exists() is there

"""`bulkreset key`: the master key is exchanged with no pause, and never by halves."""

import re
from stat import S_IMODE

import pytest
from cli_program import calls, emails, meanwhile, refused

OLD, NEW = '{ file = "bulkreset.key" }', '{ file = "new.key" }'


@pytest.fixture
def keys(folder):
    """Configure the first of these keys as the key, and the rest beside it."""

    def configure(key, *others):
        text = folder.config.read_text()
        table = f"[passwords]\nkey = {key}\nother_keys = [{', '.join(others)}]\n"
        folder.config.write_text(re.sub(r"\[passwords\]\n(?:\w+ = .*\n)+", table, text))

    assert folder.run("key", "new", "new.key").code == 0
    return configure


def shown(folder):
    return [(one["use"], one["batches"]) for one in folder.run("key", "show", "--json").json["keys"]]


def test_a_new_key_is_private_and_overwrites_nothing(folder):
    """Mode 0600, a fingerprint and no key on the screen; a file that exists already is refused."""
    ended = folder.run("key", "new", "new.key")
    assert ended.code == 0
    assert S_IMODE((folder.path / "new.key").stat().st_mode) == 0o600
    text = (folder.path / "new.key").read_text()
    assert text.strip() not in ended.out
    refused(folder.run("key", "new", "new.key"), "new.key", "exists already")
    assert (folder.path / "new.key").read_text() == text


def test_a_key_is_exchanged_and_the_old_one_opens_nothing_any_more(folder, zoom, keys):
    """Before: both keys side by side. After: the batch goes on with the new key, and not with the old one."""
    folder.create("zoom", emails(1, 2, 3))
    keys(NEW, OLD)
    assert shown(folder) == [("seals new batches", 0), ("opens what it sealed, seals nothing", 1)]
    ended = folder.run("key", "rotate", "--json")
    assert (ended.code, ended.json["rewrapped"]) == (0, [1])
    assert folder.run("key", "rotate", "--json").json["rewrapped"] == []
    keys(OLD)
    assert folder.run("run", "--once").code == 4
    assert "configure the key it was sealed under" in folder.run("status").out
    assert calls(zoom, "PUT") == []
    keys(NEW)
    assert folder.run("batch", "resume", 1).code == 0
    assert folder.run("run", "--once").code == 0
    assert len(calls(zoom, "PUT")) == 3
    kinds = [kind for (kind,) in folder.query("SELECT kind FROM event ORDER BY seq")]
    assert kinds == ["created", "rewrapped", "halted", "resumed", "started", "done"]


def test_a_sealed_password_goes_on_through_an_exchange(folder, stand_ins, keys):
    """One that was sent without an answer is sent again after the exchange, and is the same one."""
    tenant = stand_ins.add("zoom", "zoom", faults=[{"kind": "hang", "applied": True, "times": 1}])
    folder.configure("[http]\ntotal_timeout = 60")
    folder.create("zoom", emails(1))
    runner = folder.fresh("run")
    meanwhile(runner, lambda: calls(tenant, "PUT"))
    runner.kill()
    runner.communicate()
    keys(NEW, OLD)
    assert folder.run("key", "rotate").code == 0
    keys(NEW)
    assert folder.run("run", "--once").code == 0
    first, second = calls(tenant, "PUT")
    assert first.password_sha256 == second.password_sha256
    assert folder.query("SELECT outcome FROM task") == [("confirmed",)]


def test_a_running_worker_goes_on_through_an_exchange(folder, stand_ins, keys):
    """It knows both keys, so it need not be stopped: everybody is reset, and nobody twice."""
    tenant = stand_ins.add("zoom", "zoom", count=200)
    folder.configure(zoom="requests_per_second = 100")
    keys(OLD, NEW)
    folder.create("zoom", emails(*range(1, 201)))
    runner = folder.fresh("run", "--once")
    meanwhile(runner, lambda: len(calls(tenant, "PUT")) > 20)
    keys(NEW, OLD)
    assert folder.run("key", "rotate", "--json").json["rewrapped"] == [1]
    out, err = runner.communicate(timeout=30)
    assert runner.returncode == 0, (out, err)
    assert len(calls(tenant, "PUT")) == 200


def test_an_exchange_without_the_old_key_changes_nothing(folder, zoom, keys):
    """Both fingerprints are named, and no batch is half-way."""
    folder.create("zoom", emails(1))
    keys(NEW, OLD)
    folder.create("zoom", emails(2))
    before = folder.query("SELECT id, wrapped_key FROM batch")
    keys(NEW)
    refused(folder.run("key", "rotate"), "sealed under master key", "configure the key")
    assert folder.query("SELECT id, wrapped_key FROM batch") == before
    assert [use for use, _ in shown(folder)] == ["seals new batches", "not configured: its batches cannot go on"]

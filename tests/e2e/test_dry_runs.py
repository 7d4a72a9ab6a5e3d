"""A dry run cannot write: it passes where building a write, a password or a way to write is an error."""

import asyncio
import contextlib
from dataclasses import replace

import pytest
from installation import addresses, writes

from bulkreset.cli import rehearsal
from bulkreset.config import load
from bulkreset.intake.filters import filters_for
from bulkreset.options import Options
from bulkreset.passwords import generator
from bulkreset.passwords.vault import MasterKey
from bulkreset.providers import KINDS
from bulkreset.providers.http import ReadTransport, WriteTransport
from bulkreset.providers.zendesk.account import Zendesk
from bulkreset.providers.zoom.account import Zoom
from bulkreset.runner import keyring
from bulkreset.runner.keyring import Keyring

SEAMS = {
    "Zoom.set_password": (Zoom, "set_password"),
    "Zoom.revoke_sessions": (Zoom, "revoke_sessions"),
    "Zendesk.set_password": (Zendesk, "set_password"),
    "Zendesk.revoke_sessions": (Zendesk, "revoke_sessions"),
    "WriteTransport": (WriteTransport, "__init__"),
    "WriteTransport.send": (WriteTransport, "send"),
    "Keyring.fresh": (Keyring, "fresh"),
    "generate": (generator, "generate"),
    "generate, as the keyring knows it": (keyring, "generate"),
    "new batch key": (MasterKey, "new_batch_key"),
}


class WriteBuiltError(Exception):
    """Something was made that only a write needs."""


@pytest.fixture
def forbid(monkeypatch):
    """Make building any of these an error, and note it in case the error is caught somewhere."""
    built = []

    def forbid(*names):
        for name in names:

            def refuse(*_arguments, _name=name, **_options):
                built.append(_name)
                raise WriteBuiltError(_name)

            place, attribute = SEAMS[name]
            assert hasattr(place, attribute)
            monkeypatch.setattr(place, attribute, refuse)
        return built

    return forbid


@pytest.fixture
def two_accounts(zoom, zendesk):
    return {
        "zoom": zoom(30, generate={"count": 30, "kinds": {"owner": 1, "admin": 1, "sso": 2}}, account=NOBODY),
        "zendesk": zendesk(30, generate={"count": 30, "kinds": {"suspended": 2}}, account=NOBODY),
    }


NOBODY = {"protected": "none"}
ALL = Options(revoke_sessions=True, canary=2)


def content(installation):
    """Return every row of every table but the quotas: reads are paid from those."""
    names = [name for (name,) in installation.query("SELECT name FROM sqlite_master WHERE type = 'table'")]
    return {name: installation.query(f"SELECT * FROM {name}") for name in names if name != "quota"}


async def rehearse(installation):
    return await rehearsal.rehearse(load(installation.config), [])


@pytest.mark.parametrize("account", ["zoom", "zendesk"])
@pytest.mark.parametrize("whole", [False, True], ids=["users file", "all users"])
async def test_a_dry_order_builds_no_write_and_writes_nothing(two_accounts, installation, forbid, account, whole):
    """It finds out all that the order would, without a key, and leaves no row; the account sees reads only."""
    before = content(installation)
    built = forbid(*SEAMS)
    (installation.folder / "bulkreset.key").unlink()
    more = (
        {"all_users": filters_for(KINDS[account]), "listed": True} if whole else {"users": addresses(30, account)}
    )
    placed = await installation.order(
        account, dry_run=True, preflight=True, options=ALL, check_logins=account == "zoom", **more
    )
    assert placed.id is None
    assert placed.skipped == {"zoom": {"admin": 1, "self": 1, "sso": 2}, "zendesk": {"suspended": 2}}[account]
    assert (placed.sends, placed.calls) == {"zoom": (26, 54), "zendesk": (28, 56)}[account]
    assert built == []
    assert content(installation) == before
    assert {call.method for call in two_accounts[account].log.calls if "/oauth/" not in call.path} == {"GET"}


async def test_a_dry_run_builds_no_write_and_writes_nothing(two_accounts, installation, forbid):
    """It says of every open batch what would be sent; not even the key is read."""
    for account, tenant in two_accounts.items():
        await installation.order(account, addresses(30, account), preflight=True, options=ALL)
        tenant.forget_calls()
    before = content(installation)
    built = forbid(*SEAMS)
    (installation.folder / "bulkreset.key").unlink()
    found = await rehearse(installation)
    assert [(one.batch.account, one.passwords, one.sessions, one.would_halt) for one in found] == [
        ("zoom", 28, 28, ()),
        ("zendesk", 28, 28, ()),
    ]
    assert built == []
    assert content(installation) == before
    for tenant in two_accounts.values():
        assert writes(tenant) == []
        assert tenant.log.calls


@pytest.mark.parametrize("name", [name for name in SEAMS if name not in ("generate", "new batch key")])
async def test_the_same_error_meets_every_real_run(two_accounts, installation, forbid, name):
    """Each of these seams alone is reached by a run that is not dry, so that a dry one would have met it."""
    account = "zendesk" if name.startswith("Zendesk") else "zoom"
    await installation.order(account, addresses(3, account), options=Options(revoke_sessions=True))
    built = forbid(name)

    async def stop(worker):
        while not built:  # noqa: ASYNC110  (what is forbidden has no event)
            await asyncio.sleep(0.01)
        worker.stop()

    async with asyncio.timeout(60):
        with contextlib.suppress(WriteBuiltError):
            if name == "WriteTransport":
                await installation.run()
            else:
                await installation.run(once=False, meanwhile=stop)
    assert set(built) == {name}
    if not name.endswith("revoke_sessions"):
        assert not any(user.applied for user in two_accounts[account].users)


async def test_the_same_error_meets_every_real_order(two_accounts, installation, forbid):
    """An order that is not dry makes a key, which is forbidden here."""
    built = forbid("new batch key")
    with pytest.raises(WriteBuiltError):
        await installation.order("zoom", addresses(3))
    assert built == ["new batch key"]


def test_the_way_of_a_dry_run_has_nothing_that_writes():
    """Neither `send` nor anything else beyond reading and logging in is there to be called."""
    public = {name for name in dir(ReadTransport) if not name.startswith("_")}
    assert public == {"get", "post_form", "post_grant"}
    assert {name for name in dir(WriteTransport) if not name.startswith("_")} - public == {"send", "connections"}


async def test_a_rehearsal_names_who_is_protected_since(two_accounts, installation):
    """Whoever became protected after the order is counted apart, as the run will skip them."""
    await installation.order("zoom", addresses(30), preflight=True, options=Options(revoke_sessions=True))
    installation.zoom("zoom", requests_per_second=1000, protected=[addresses(30)[20].upper()])
    [found] = await rehearse(installation)
    assert (found.passwords, found.sessions, found.protected) == (27, 27, (addresses(30)[20],))


async def test_a_rehearsal_says_what_would_halt_a_run(two_accounts, installation):
    """What the account would refuse is found out by reading."""
    await installation.order("zoom", addresses(5))
    tenant = two_accounts["zoom"]
    tenant.change(replace(tenant.spec, scopes=("user:read:admin", "account:read:admin")))
    installation.zoom("zoom", requests_per_second=1000)
    [found] = await rehearse(installation)
    assert len(found.would_halt) == 1
    assert "scope" in found.would_halt[0]
    assert writes(tenant) == []

"""Whom an order must never reach, told by another name than the one that the order has, or by none at all."""

import pytest
from databases import ask
from fake_account import user

from bulkreset.errors import ConfigError, InputError, ProviderRefused
from bulkreset.intake import protection
from bulkreset.intake.protection import Protected
from bulkreset.providers.zoom.settings import ZoomSettings


def tasks(desk, columns="user_ref, state, code"):
    return ask("sqlite:///bulkreset.db", desk.url, f"SELECT {columns} FROM task ORDER BY user_ref")


async def test_an_id_that_zendesk_does_not_list_is_not_called(desk):
    """Whether its user is an admin is not known then; a listing of many users may lack a few."""
    desk.account([user("1", "a@x.org")], kind="zendesk")
    placed = await desk.order("1", "2")
    assert tasks(desk) == [("1", "pending", None), ("2", "skipped", "not_listed")]
    assert placed.skipped == {"not_listed": 1}


async def test_a_user_whose_role_zendesk_does_not_tell_is_not_called(desk):
    """It may be an admin's; with admins asked for it does not matter."""
    desk.account([user("1", "a@x.org"), user("2", "b@x.org", None)], kind="zendesk")
    await desk.order("1", "b@x.org")
    assert tasks(desk) == [("1", "pending", None), ("2", "skipped", "admin")]


async def test_zoom_refuses_its_admins_by_itself(desk):
    """There a role that is not told is no reason to leave somebody out; not to be listed is."""
    desk.account([user("1", "a@x.org", None)])
    await desk.order("1", "2")
    assert tasks(desk) == [("1", "pending", None), ("2", "skipped", "not_listed")]


@pytest.mark.parametrize(("protected", "named"), [("vip@x.org", "7"), ("7", "vip@x.org")])
async def test_without_a_listing_protected_people_of_another_kind_of_name_are_a_refusal(desk, protected, named):
    """An id cannot be told from an address then: the protected one could be among those who are called."""
    account = desk.account([user("7", "vip@x.org")], settings={"protected": [protected]})
    account.refuses = {"directory": ProviderRefused("no scope")}
    with pytest.raises(InputError, match=r"protected .* could be missed"):
        await desk.order(named)
    assert tasks(desk) == []


@pytest.mark.parametrize(
    ("protected", "named"), [("vip@x.org", "a@x.org"), ("7", "8"), ("vip@x.org", "Vip@X.org")]
)
async def test_without_a_listing_names_of_one_kind_are_compared(desk, protected, named):
    """Where both are addresses, or both ids, nothing is in doubt and the order goes on."""
    account = desk.account([user("7", "vip@x.org")], settings={"protected": [protected]})
    account.refuses = {"directory": ProviderRefused("no scope")}
    await desk.order(named, "b@x.org" if "@" in named else "9")
    assert "pending" in {state for _, state, _ in tasks(desk)}
    assert len(tasks(desk)) == 2


async def test_somebody_named_by_id_is_shown_by_the_address_that_is_listed(desk):
    """Protection is asked once more at send time, by the names that the task has: both of them."""
    desk.account([user("7", "Vip@X.org"), user("8", None)])
    await desk.order("7", "8")
    assert tasks(desk, "user_ref, display") == [("7", "Vip@X.org"), ("8", "8")]


@pytest.mark.parametrize("name", ["Break Glass <bg@x.org>", "bg@x", "bg@x.org,other@x.org", "bg at x.org", "*"])
def test_a_protected_name_that_can_be_nobodys_is_refused(tmp_path, name):
    """It would protect nobody, unseen."""
    told = {"provider": "zoom", "account_id": "a", "client_id": "c", "client_secret": {"env": "NONE"}}
    account = ZoomSettings.model_validate({**told, "protected": ["ok@x.org", name]})
    with pytest.raises(ConfigError, match="protected"):
        protection.load(account, tmp_path)


def test_the_same_letters_written_in_another_way_are_protected():
    """An accent may be a letter of its own or a part of one; both are one person's address."""
    assert Protected.of("jos\u00e9@x.org").covers("jose\u0301@x.org")
    assert Protected.of("jose\u0301@x.org").covers("JOS\u00c9@x.org")
    assert not Protected.of("jose@x.org").covers("jos\u00e9@x.org")

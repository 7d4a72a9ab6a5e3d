"""A kind of provider that declares nothing: whoever might be spared is, until its capabilities say otherwise."""

from dataclasses import replace
from types import MappingProxyType

import pytest
from fake_account import user
from made_up import KIND

from bulkreset import providers
from bulkreset.errors import ConfigError, InputError
from bulkreset.intake.filters import filters_for
from bulkreset.options import Options
from bulkreset.providers.base import Role, Status
from bulkreset.providers.capabilities import Capabilities


def made_up(**declared):
    return replace(KIND, capabilities=Capabilities(**declared))


@pytest.fixture
def order_at(desk, monkeypatch):
    """Place an order at an account of a kind that declares what a test says."""

    async def order(*users, listed, declared=None, settings=None, **told):
        kind = made_up(**(declared or {}))
        monkeypatch.setattr(providers, "KINDS", MappingProxyType({"made_up": kind}))
        desk.account(listed, kind="made_up", settings=settings)
        return await desk.order(*users, **told)

    return order


async def skips(desk, placed):
    async with desk.store.read() as conn:
        rows = await conn.exec_driver_sql(
            "SELECT user_ref, code FROM task WHERE state = 'skipped' ORDER BY user_ref"
        )
        return dict(rows.all())


ADMINS = {"include_admins": True}


async def test_a_role_that_is_not_told_is_an_admins(desk, order_at):
    """An API whose listing has no roles would have every admin reset."""
    placed = await order_at("1", "2", listed=[user("1", "a@x.org", None), user("2", "b@x.org", Role.MEMBER)])
    assert await skips(desk, placed) == {"1": "admin"}


async def test_where_the_provider_refuses_admins_an_unknown_role_is_called(desk, order_at):
    """That is declared, with its source."""
    placed = await order_at("1", listed=[user("1", "a@x.org", None)], declared={"refuses_admins": True})
    assert await skips(desk, placed) == {}


async def test_who_is_not_listed_is_skipped(desk, order_at):
    """Nothing is known of them."""
    placed = await order_at("1", "2", listed=[user("1", "a@x.org")])
    assert await skips(desk, placed) == {"2": "not_listed"}


async def test_who_is_inactive_is_skipped_unless_they_may_be_reset(desk, order_at):
    """At some providers a new password opens a closed account again."""
    listed = [user("1", "a@x.org", status=Status.INACTIVE), user("2", "b@x.org")]
    assert await skips(desk, await order_at("1", "2", listed=listed)) == {"1": "inactive"}


async def test_who_is_inactive_is_called_where_that_is_declared(desk, order_at):
    """As it was always done where no page speaks against it."""
    listed = [user("1", "a@x.org", status=Status.INACTIVE), user("2", "b@x.org")]
    assert await skips(desk, await order_at("1", "2", listed=listed, declared={"resets_inactive": True})) == {}


async def test_admins_are_reset_only_beside_a_known_owner(desk, order_at):
    """The owner could be any of them."""
    listed = [user("1", "a@x.org", Role.ADMIN), user("2", "boss@x.org", Role.ADMIN)]
    with pytest.raises(ConfigError, match="Made Up does not tell the account's owner"):
        await order_at("1", "2", listed=listed, options=Options(**ADMINS))
    placed = await order_at("1", "2", listed=listed, options=Options(**ADMINS), settings={"owner": "boss@x.org"})
    assert await skips(desk, placed) == {"2": "owner"}


async def test_no_order_goes_without_the_listing(order_at):
    """It is what tells the admins from other users."""
    with pytest.raises(InputError, match="only the listing tells Made Up's admins"):
        await order_at("1", listed=[user("1", "a@x.org")], preflight=False)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ({"roles": ["admin"]}, "there is no role 'admin' at made_up; there is: none"),
        ({"statuses": ["active"]}, "there is no status 'active' at made_up; there is: none"),
        ({"groups": ["g"]}, "does not say who is in which group"),
    ],
)
def test_no_filter_is_taken_that_the_listing_may_not_tell(words, told):
    """It would leave everybody in, or everybody out."""
    with pytest.raises(InputError, match=told):
        filters_for(made_up(), **words)

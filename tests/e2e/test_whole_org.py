"""An order for all users takes the whole account or nobody, spares whom it must, and is held against it again."""

from datetime import UTC, datetime, timedelta

import pytest
from installation import addresses, check_books, resets, writes

from bulkreset.cli import closing
from bulkreset.config import load
from bulkreset.errors import ConfigError, InputError, ProviderUnavailable
from bulkreset.intake.filters import filters_for
from bulkreset.options import Options
from bulkreset.providers import KINDS
from bulkreset.sandbox import UserSpec, generated_user
from bulkreset.sandbox import zendesk as zendesk_stand_in
from bulkreset.sandbox.zoomusers import UserPages

NOBODY = {"protected": "none"}


def user(number, **more):
    return {"id": f"{900 + number}", "email": f"u{number:02d}@example.com", **more}


async def order_all(installation, account, **filters):
    options = filters.pop("options", Options())
    return await installation.order(
        account, listed=True, all_users=filters_for(KINDS[account], **filters), options=options
    )


def called(tenant):
    return {call.user for call in resets(tenant)}


def skips(installation):
    return dict(installation.query("SELECT code, count(*) FROM task WHERE state = 'skipped' GROUP BY code"))


async def test_the_whole_of_a_zoom_account_is_listed(zoom, installation):
    """Over all pages and all three statuses; owner, admins and the invited are rows with a reason, never calls."""
    kinds = {"owner": 1, "admin": 2, "sso": 1, "pending": 3, "inactive": 4}
    tenant = zoom(650, generate={"count": 650, "kinds": kinds}, account=NOBODY)
    placed = await order_all(installation, "zoom")
    assert (placed.total, placed.listed, placed.sends) == (650, 650, 644)
    assert placed.skipped == {"self": 1, "admin": 2, "pending_invitation": 3}
    assert all(user.listed for user in tenant.users)
    await installation.run()
    check_books(installation, tenant)
    spared = {user.id for user in tenant.users if user.kind in ("owner", "admin", "pending")}
    assert called(tenant) == {user.id for user in tenant.users} - spared
    batch = await installation.batch(placed.id)
    assert (batch.state, batch.outcomes) == ("done", {"ok": 643, "not_resettable": 1})
    assert skips(installation) == {"self": 1, "admin": 2, "pending_invitation": 3, "1123": 1}


async def test_the_whole_of_a_zendesk_account_is_listed(zendesk, installation):
    """Agents are reset; the owner, the identity that we work as, other admins and the suspended are not."""
    users = [
        user(1, email="admin@example.com", kind="admin"),
        user(2, email="Owner@example.com", kind="owner"),
        user(3, kind="admin"),
        user(4, kind="agent"),
        user(5, kind="suspended"),
        *(user(n) for n in range(6, 16)),
    ]
    tenant = zendesk(users=users, account={**NOBODY, "owner": "owner@Example.com"})
    placed = await order_all(installation, "zendesk")
    assert (placed.total, placed.sends) == (15, 11)
    assert placed.skipped == {"self": 1, "owner": 1, "admin": 1, "suspended": 1}
    await installation.run()
    check_books(installation, tenant)
    assert called(tenant) == {"904", *(f"{900 + n}" for n in range(6, 16))}
    assert len(writes(tenant)) == 11


async def test_admins_that_are_asked_for_are_reset_and_the_owner_never(zendesk, installation):
    """With admins included the owner and the own identity are spared all the same."""
    users = [
        user(1, email="admin@example.com", kind="admin"),
        user(2, email="owner@example.com", kind="owner"),
        user(3, kind="admin"),
        user(4),
    ]
    options = Options(include_admins=True)
    tenant = zendesk(users=users, account=NOBODY)
    with pytest.raises(ConfigError, match="owner"):
        await order_all(installation, "zendesk", options=options)
    installation.zendesk("zendesk", requests_per_minute=60_000, owner="owner@example.com", **NOBODY)
    placed = await order_all(installation, "zendesk", options=options)
    assert placed.skipped == {"self": 1, "owner": 1}
    await installation.run()
    assert called(tenant) == {"903", "904"}


async def test_protected_users_are_spared_and_must_be_thought_of(zoom, installation):
    """Without a word about protection nothing is listed; with it, they are on the roster and never called."""
    tenant = zoom(20)
    with pytest.raises(ConfigError, match="protected"):
        await order_all(installation, "zoom")
    assert tenant.log.total == 0
    glass, other = generated_user("zoom", 4), generated_user("zoom", 9)
    installation.zoom("zoom", requests_per_second=1000, protected=[glass.email.upper(), other.id])
    placed = await order_all(installation, "zoom")
    assert (placed.total, placed.sends, placed.skipped) == (20, 18, {"protected": 2})
    await installation.run()
    assert not called(tenant) & {glass.id, other.id}
    assert len(called(tenant)) == 18


@pytest.mark.parametrize("provider", ["zoom", "zendesk"])
async def test_a_listing_that_ends_short_is_refused(provider, request, installation, monkeypatch):
    """Fewer than the provider itself counts is no roster: one error with both numbers, no batch, no call."""
    tenant = request.getfixturevalue(provider)(350, account=NOBODY)
    whole = UserPages.page

    def first_page(pages, query):
        page = whole(pages, query)
        return page | {"next_page_token": ""} if isinstance(page, dict) else page

    cursor = zendesk_stand_in.cursor_page

    def first_cursor(*arguments):
        page = cursor(*arguments)
        return page | {"meta": page["meta"] | {"has_more": False}} if isinstance(page, dict) else page

    monkeypatch.setattr(UserPages, "page", first_page)
    monkeypatch.setattr(zendesk_stand_in, "cursor_page", first_cursor)
    listed = {"zoom": 300, "zendesk": 100}[provider]
    with pytest.raises(ProviderUnavailable, match=f"ended with {listed} users and the provider counts 350"):
        await installation.order(
            provider, listed=True, all_users=filters_for(KINDS[provider]), accepts=frozenset()
        )
    assert installation.query("SELECT count(*) FROM batch") == [(0,)]
    assert writes(tenant) == []


async def test_filters_say_who_is_meant(zoom, installation):
    """Domain, group and date each leave people out of the roster, whom the listing has and nobody calls."""
    users = [
        user(1, kind="owner"),
        user(2, groups=["g1"]),
        user(3, groups=["g2"]),
        user(4, groups=["g1"], email="u04@sub.example.com"),
        user(5, groups=["g1"], email="u05@EXAMPLE.com"),
        user(6, groups=["g1"], created_at="2026-01-01T00:00:00Z"),
        user(7, groups=["g1"], kind="inactive"),
    ]
    tenant = zoom(users=users, account=NOBODY)
    placed = await order_all(
        installation,
        "zoom",
        domains=["Example.com"],
        groups=["g1"],
        statuses=["active"],
        created_before=datetime(2025, 1, 1, tzinfo=UTC),
    )
    assert (placed.listed, placed.total) == (7, 2)
    await installation.run()
    assert called(tenant) == {"902", "905"}
    assert (await installation.batch(placed.id)).options.listing == {
        "statuses": ["active"],
        "domains": ["example.com"],
        "groups": ["g1"],
        "created_before": "2025-01-01T00:00:00+00:00",
    }


async def test_filters_that_leave_nobody_are_refused(zoom, installation):
    """An empty roster is an error, not a batch that is done at once."""
    zoom(5, account=NOBODY)
    with pytest.raises(InputError, match="no user of account 'zoom' passes the filters"):
        await order_all(installation, "zoom", domains=["elsewhere.example"])
    assert installation.query("SELECT count(*) FROM batch") == [(0,)]


async def test_people_in_another_batch_or_reset_lately_are_left_out(zoom, installation):
    """Both are rows with a reason, and nobody is reset twice."""
    tenant = zoom(20, account=NOBODY)
    first = await installation.order("zoom", addresses(20)[:5])
    await installation.run()
    await installation.order("zoom", addresses(20)[5:8])
    placed = await installation.order(
        "zoom",
        listed=True,
        all_users=filters_for(KINDS["zoom"]),
        skip_if_reset_since=(await installation.batch(first.id)).created_at - timedelta(seconds=1),
    )
    assert placed.skipped == {"open_elsewhere": 3, "recently_reset": 5}
    await installation.run()
    check_books(installation, tenant)
    assert {user.applied for user in tenant.users} == {1}


class TestCloseOut:
    @pytest.fixture
    async def done(self, zoom, installation):
        """A finished batch of all users, and its tenant."""
        tenant = zoom(12, generate={"count": 12, "kinds": {"owner": 1}}, account=NOBODY)
        placed = await order_all(installation, "zoom", options=Options(revoke_sessions=True, canary=2))
        await installation.run()
        assert (await installation.batch(placed.id)).state == "done"
        return placed.id, tenant

    async def test_what_did_not_change_is_settled(self, done, installation):
        """Nobody new, nobody gone, nobody open: closed, and exit code 0."""
        batch_id, _ = done
        found = await closing.close(load(installation.config), batch_id, top_up=False)
        assert (found.is_closed, closing.exit_code(found), found.topped_up) == (True, 0, None)
        assert [one.count for one in found.parts.values()] == [0, 0, 0, 0, 0]
        assert (await installation.batch(batch_id)).closed_at is not None

    async def test_who_came_and_who_left_are_named_and_topped_up(self, done, installation):
        """The close names both; a top-up orders the new ones under the same options, and they are reset."""
        batch_id, tenant = done
        gone = generated_user("zoom", 5)
        came = [UserSpec("new1", "new1@example.com"), UserSpec("new2", "new2@example.com", "pending")]
        tenant.change_users(add=came, remove=[gone.email])
        before = len(writes(tenant))
        looked = await closing.close(load(installation.config), batch_id, top_up=False)
        assert (closing.exit_code(looked), looked.topped_up) == (4, None)
        assert {str(part): [p.display for p in one.sample] for part, one in looked.parts.items()} == {
            "created": ["new1@example.com"],
            "left_out": [],
            "vanished": [gone.email],
            "open": [],
            "maybe_changed": [],
        }
        assert len(writes(tenant)) == before

        found = await closing.close(load(installation.config), batch_id, top_up=True)
        assert closing.exit_code(found) == 0
        assert (found.topped_up.total, found.topped_up.sends) == (1, 1)
        more = await installation.batch(found.topped_up.id)
        assert (more.incident, more.options.revoke_sessions, more.options.canary) == ("INC-1", True, 0)
        await installation.run()
        new = tenant.directory.by_email("new1@example.com")
        assert (new.applied, new.sessions) == (1, 0)
        assert [call.user for call in writes(tenant)[before:]] == ["new1", "new1"]
        again = await closing.close(load(installation.config), batch_id, top_up=True)
        assert (closing.exit_code(again), again.topped_up) == (0, None)

    async def test_what_is_still_open_is_named_and_not_closed(self, zoom, installation):
        """A batch that has not ended can be looked at, and is closed only when it has."""
        zoom(6, account=NOBODY)
        placed = await order_all(installation, "zoom")
        found = await closing.close(load(installation.config), placed.id, top_up=False)
        assert (found.is_closed, closing.exit_code(found)) == (False, 4)
        assert [one.count for one in found.parts.values()] == [0, 0, 0, 6, 0]
        await installation.run()
        found = await closing.close(load(installation.config), placed.id, top_up=False)
        assert (found.is_closed, closing.exit_code(found)) == (True, 0)

    async def test_who_failed_is_still_open(self, zoom, installation):
        """The batch is closed, and the exit code says that somebody has the old password."""
        failing = addresses(1)
        odd = {"kind": "answer", "status": 400, "body": '{"code":9,"message":"odd"}', "users": failing}
        zoom(6, account=NOBODY, faults=[odd])
        placed = await order_all(installation, "zoom")
        await installation.run()
        found = await closing.close(load(installation.config), placed.id, top_up=False)
        assert (found.is_closed, closing.exit_code(found)) == (True, 3)
        assert found.parts["open"].sample[0].display == failing[0]

    async def test_who_was_protected_is_no_difference(self, zoom, installation):
        """Protected users are on the roster and skipped, so they are neither new nor open."""
        tenant = zoom(6, account={"protected": [addresses(3)[2]]})
        placed = await order_all(installation, "zoom")
        await installation.run()
        found = await closing.close(load(installation.config), placed.id, top_up=True)
        assert (closing.exit_code(found), found.topped_up) == (0, None)
        assert len(resets(tenant)) == 5

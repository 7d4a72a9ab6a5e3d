"""What an order is asked about before it is placed: names that are nobody's, strangers, people just reset."""

from datetime import timedelta

import pytest
from databases import ask
from fake_account import user

from bulkreset.errors import InputError
from bulkreset.intake.concerns import Concern
from bulkreset.intake.filters import Filters
from bulkreset.intake.users_file import user_line
from bulkreset.options import Options
from bulkreset.providers.base import Role

NOTHING = frozenset()
USERS = [user(str(number), f"u{number}@x.org") for number in range(1, 41)]
ALL = Filters()


def query(desk, sql, *parameters):
    return ask("sqlite:///bulkreset.db", desk.url, sql, *parameters)


def finish(desk, ago=timedelta(minutes=7)):
    """Let everybody who waits have been reset, so long ago."""
    at = f"strftime('%Y-%m-%d %H:%M:%f000', 'now', '-{int(ago.total_seconds())} seconds')"
    query(desk, f"UPDATE task SET state = 'succeeded', outcome = 'ok', finished_at = {at} WHERE state = 'pending'")
    query(desk, f"UPDATE batch SET state = 'done', finished_at = {at}")


@pytest.mark.parametrize("kind", ["zoom", "zendesk"])
async def test_names_that_are_nobodys_are_told_for_each_list(desk, kind):
    """How many, and which, of the exclusions, the protected and those to do first; half is no refusal."""
    desk.account(USERS, kind=kind, settings={"protected": ["U1@X.org", "2", "gone@x.org"]})
    placed = await desk.order(
        all_users=ALL,
        excluded=["u3@x.org", "u4@exmaple.org"],
        first=(user_line("u5@x.org", 1, "first"), user_line("999", 2, "first")),
        accepts=NOTHING,
        dry_run=True,
    )
    assert [(each.list, each.named, each.nobody, each.names) for each in placed.nobody] == [
        ("--exclude", 2, 1, ("u4@exmaple.org",)),
        ("protected", 3, 1, ("gone@x.org",)),
        ("--first", 2, 1, ("999",)),
    ]


@pytest.mark.parametrize("dry_run", [True, False])
async def test_a_list_most_of_whose_names_are_nobodys_is_refused(desk, dry_run):
    """It is another account's, or written wrongly; who means it says so, and that is on record."""
    desk.account(USERS)
    order = {"all_users": ALL, "excluded": [f"u{n}@exmaple.org" for n in range(12)], "dry_run": dry_run}
    with pytest.raises(InputError, match=r"12 of 12 names in --exclude are nobody's here: .* and 2 more; nothing"):
        await desk.order(**order, accepts=NOTHING)
    assert query(desk, "SELECT count(*) FROM batch") == [(0,)]
    await desk.order(**order, accepts=frozenset({Concern.UNKNOWN_NAMES}))
    if not dry_run:
        [(told,)] = query(desk, "SELECT options FROM batch")
        assert Options.from_json(told).accepted == {"unknown_names": 12}


async def test_one_protected_person_who_has_left_is_told_and_stops_no_order(desk):
    """A standing list may be of one name; of two that are nobody's it is another account's."""
    desk.account(USERS, settings={"protected": ["gone@x.org"]})
    placed = await desk.order(all_users=ALL, accepts=NOTHING, dry_run=True)
    assert [str(each) for each in placed.nobody] == ["1 of 1 names in protected are nobody's here: gone@x.org"]
    desk.account(USERS, settings={"protected": ["gone@x.org", "lost@x.org"]})
    with pytest.raises(InputError, match="2 of 2 names in protected are nobody's here"):
        await desk.order(all_users=ALL, accepts=NOTHING, dry_run=True)


async def test_a_name_on_the_users_file_is_somebodys(desk):
    """Who is excluded from a file need not be listed."""
    desk.account(USERS)
    users = [f"u{n}@x.org" for n in range(1, 41)]
    placed = await desk.order(*users, "new@x.org", excluded=["new@x.org"], accepts=NOTHING)
    assert placed.nobody[0].nobody == 0


@pytest.mark.parametrize("strangers", [["gone@x.org"], ["gone@x.org", "lost@x.org"]])
async def test_users_who_are_not_listed_are_told_apart_and_not_called(desk, strangers):
    """At Zoom too: nothing is known of them, not even whether they are protected under another name."""
    desk.account(USERS)
    placed = await desk.order(*(each.email for each in USERS), *strangers, accepts=NOTHING)
    assert (placed.not_listed, placed.not_listed_first) == (len(strangers), tuple(strangers))
    assert placed.skipped == {"not_listed": len(strangers)}
    assert placed.sends == len(USERS)


@pytest.mark.parametrize(
    ("kind", "names"), [("zoom", "{}@exmaple.org"), ("zendesk", "{}@exmaple.org"), ("zendesk", "9{}")]
)
async def test_many_who_are_not_listed_are_asked_about(desk, kind, names):
    """More than one in twenty: another account's file, perhaps; whoever is asked sees how many and who."""
    desk.account(USERS, kind=kind)
    users = [*(each.email for each in USERS), *(names.format(n) for n in range(10, 13))]
    with pytest.raises(
        InputError, match=r"3 of the 43 users are not listed by account 'acme': .* order with --yes"
    ):
        await desk.order(*users, accepts=NOTHING)
    assert query(desk, "SELECT count(*) FROM batch") == [(0,)]
    dry = await desk.order(*users, accepts=NOTHING, dry_run=True)
    assert len(dry.doubts) == 1
    placed = await desk.order(*users, accepts=frozenset({Concern.NOT_LISTED}))
    assert placed.sends == len(USERS)


@pytest.mark.parametrize("kind", ["zoom", "zendesk"])
async def test_a_second_reset_within_a_day_is_asked_about(desk, kind):
    """By whichever batch, and by whatever name the first one knew them."""
    desk.account([*USERS, user("a", "admin@x.org", Role.ADMIN)], kind=kind)
    await desk.order("u1@x.org", "2")
    finish(desk)
    with pytest.raises(
        InputError, match=r"2 of the 40 who would be called were reset by batch 1, 7 minutes ago; .*--again"
    ):
        await desk.order(all_users=ALL, accepts=NOTHING)
    await desk.order(all_users=ALL, accepts=frozenset({Concern.AGAIN}))
    [(told,)] = query(desk, "SELECT options FROM batch WHERE id = 2")
    assert Options.from_json(told).accepted == {"again": 2}
    finish(desk)
    with pytest.raises(InputError, match="1 of the 1 who would be called was reset by batch 2, 7 minutes ago"):
        await desk.order("u1@x.org", accepts=NOTHING)  # by the latest


async def test_a_reset_of_the_day_before_is_not_asked_about(desk):
    """Nor are people who failed, or whom another order skipped."""
    desk.account(USERS)
    await desk.order(all_users=ALL)
    finish(desk, timedelta(hours=25))
    await desk.order(all_users=ALL, accepts=NOTHING)

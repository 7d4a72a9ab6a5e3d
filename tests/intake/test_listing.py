"""Listings: whole, each user once, or an error."""

import pytest
from fake_account import Account, no_pace, user

from bulkreset.errors import ProviderRefused, ProviderUnavailable
from bulkreset.intake.filters import filters_for
from bulkreset.intake.listing import RESTARTS, list_account
from bulkreset.intake.roster import Roster
from bulkreset.providers.base import Role

USERS = [user(str(number), f"u{number}@x.org") for number in range(8)]


class Nap:
    """A sleep that only counts."""

    def __init__(self):
        self.naps = []

    async def __call__(self, seconds):
        self.naps.append(seconds)


async def listing(account, **options):
    nap = Nap()
    with Roster() as roster:
        return await list_account(roster, account, no_pace, sleep=nap, **options), nap.naps


async def test_all_users_are_listed_with_progress():
    """After each page it is told how many there are and how many are to come."""
    told = []
    counted, naps = await listing(Account(USERS), progress=lambda *numbers: told.append(numbers))
    assert counted == (8, 8, 0)
    assert told == [(3, 8), (6, 8), (8, 8)]
    assert naps == []


async def test_filters_say_who_is_meant():
    """Everybody is listed all the same: that is what the count is held against."""
    users = [*USERS, user("9", role=Role.ADMIN), user("10", role=None)]
    counted, _ = await listing(Account(users), filters=filters_for("zoom", roles=["member"]))
    assert counted == (10, 9, 1)


async def test_a_listing_that_breaks_off_begins_again_and_keeps_what_it_has():
    """Nobody is counted twice, and the pauses grow."""
    account = Account(USERS, breaks=[ProviderUnavailable("away")] * 3)
    told = []
    counted, naps = await listing(account, progress=lambda *numbers: told.append(numbers))
    assert counted == (8, 8, 0)
    assert naps == [5, 10, 20]
    assert [numbers[0] for numbers in told] == [3, 3, 3, 3, 6, 8]


async def test_a_listing_that_always_breaks_off_is_an_error():
    """It is tried a few times, and then says why."""
    account = Account(USERS, breaks=[ProviderUnavailable("away")] * (RESTARTS + 1))
    with pytest.raises(ProviderUnavailable, match="away"):
        await listing(account)
    assert account.breaks == []


async def test_a_refused_listing_is_not_tried_again():
    """Repeating it would not help."""
    account = Account(USERS)
    account.refuses["directory"] = ProviderRefused("no scope")
    with pytest.raises(ProviderRefused):
        await listing(account)


async def test_a_short_listing_is_an_error_with_both_numbers():
    """Page one is not the organisation."""
    with pytest.raises(ProviderUnavailable, match=r"ended with 8 users and the provider counts 1,200") as caught:
        await listing(Account(USERS, counts=[1_200]))
    assert "\n" not in str(caught.value)


async def test_people_may_leave_while_they_are_listed():
    """The count is read once more before a listing is called short."""
    counted, _ = await listing(Account(USERS, counts=[9, 8]))
    assert counted.users == 8


async def test_an_empty_listing_is_held_against_the_count_too():
    """No page at all is the shortest listing."""
    with pytest.raises(ProviderUnavailable, match="ended with 0 users"):
        await listing(Account([], counts=[4]))


@pytest.mark.parametrize(("counts", "fits"), [([200, 200], True), ([202, 202], True), ([203, 203], False)])
async def test_a_count_that_is_a_day_old_may_be_a_little_too_high(counts, fits):
    """Where the provider counts once a day, a hundredth may have left since; more is a short listing."""
    account = Account([user(str(number)) for number in range(200)], counts=counts)
    if fits:
        assert (await listing(account, stale_above=200))[0].users == 200
    else:
        with pytest.raises(ProviderUnavailable):
            await listing(account, stale_above=200)


async def test_a_count_that_is_exact_may_not_be_missed_by_one():
    """Below the bound nothing is forgiven."""
    account = Account([user(str(number)) for number in range(200)], counts=[201])
    with pytest.raises(ProviderUnavailable):
        await listing(account, stale_above=1_000)


async def test_a_roster_trusts_a_listing_only_when_it_is_at_its_end():
    """One that broke off says nothing about who is missing from it."""
    account = Account(USERS, breaks=[ProviderRefused("no more")])
    with Roster() as roster:
        with pytest.raises(ProviderRefused):
            await list_account(roster, account, no_pace, sleep=Nap())
        assert not roster.listed

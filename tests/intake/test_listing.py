"""Listings: whole, each user once, or an error."""

import pytest
from fake_account import Account, no_pace, user
from hypothesis import given
from hypothesis import strategies as st

from bulkreset.errors import ListingFault, ProviderRefused, ProviderUnavailable
from bulkreset.intake.filters import filters_for
from bulkreset.intake.listing import LONGEST_NAME, RESTARTS, _shown, list_account
from bulkreset.intake.roster import Roster
from bulkreset.providers import KINDS
from bulkreset.providers.base import DirectoryUser, Role
from bulkreset.unsafe import UNSAFE, escaped

USERS = [user(str(number), f"u{number}@x.org") for number in range(8)]


class Nap:
    """A sleep that takes no time, and the clock that it moves."""

    def __init__(self):
        self.naps = []
        self.now = 0.0

    async def __call__(self, seconds):
        self.naps.append(seconds)
        self.now += seconds

    def monotonic(self):
        return self.now


async def listing(account, nap=None, **options):
    nap = nap or Nap()
    with Roster() as roster:
        found = await list_account(roster, account, no_pace, sleep=nap, monotonic=nap.monotonic, **options)
        return found, nap.naps


async def test_all_users_are_listed_with_progress():
    """After each page it is told how many there are and how many are to come."""
    told = []
    counted, naps = await listing(Account(USERS), progress=lambda *numbers: told.append(numbers))
    assert counted == (8, 8, 0, 0)
    assert told == [(3, 8), (6, 8), (8, 8)]
    assert naps == []


async def test_filters_say_who_is_meant():
    """Everybody is listed all the same: that is what the count is held against."""
    users = [*USERS, user("9", role=Role.ADMIN), user("10", role=None)]
    counted, _ = await listing(Account(users), filters=filters_for(KINDS["zoom"], roles=["member"]))
    assert counted == (10, 9, 1, 0)


async def test_a_listing_that_breaks_off_begins_again_and_keeps_what_it_has():
    """Nobody is counted twice, and the pauses grow."""
    account = Account(USERS, breaks=[ProviderUnavailable("away")] * 3)
    told = []
    counted, naps = await listing(account, progress=lambda *numbers: told.append(numbers))
    assert counted == (8, 8, 0, 0)
    assert naps == [5, 10, 20]
    assert [numbers[0] for numbers in told] == [3, 3, 3, 3, 6, 8]


async def test_a_listing_that_always_breaks_off_is_an_error():
    """It is tried for about a minute, and then says why."""
    account = Account(USERS, breaks=[ProviderUnavailable("away")] * 10)
    nap = Nap()
    with pytest.raises(ProviderUnavailable, match="away"):
        await listing(account, nap)
    assert nap.naps == [5, 10, 20]


async def test_a_listing_that_brings_somebody_new_is_begun_again_longer(monkeypatch):
    """The minute counts from the last user who was new, not from the start."""
    account = Account(USERS)
    lengths = [0, 1, 2, 3, 4]
    nap = Nap()

    async def directory(pace):
        yield USERS[: lengths.pop(0)]
        raise ProviderUnavailable("away")

    account.directory = directory
    with pytest.raises(IndexError):
        await listing(account, nap)
    assert nap.naps == [5, 10, 20, 40, 60][:RESTARTS]


def endless(pages, counts=(10,)):
    account = Account(USERS, counts=list(counts))
    account.sent = 0

    async def directory(pace):
        for number in range(10**6):
            account.sent += 1
            yield pages(number)

    account.directory = directory
    return account


@pytest.mark.parametrize(
    ("pages", "words"),
    [
        (lambda n: [user(f"u{n}-{k}") for k in range(100)], "does not end: 1,100 users on 11 pages"),
        (lambda n: [], "empty pages, 20 in a row: 0 users on 20 pages"),
        (lambda n: [user(str(k)) for k in range(100)], "the same users over and over: 100 users on 12 pages"),
        (lambda n: [user("1")] if n == 0 else [], "empty pages, 20 in a row: 1 users on 21 pages"),
    ],
)
async def test_a_listing_without_an_end_is_given_up_with_what_was_seen(pages, words):
    """New users for ever, nothing for ever, the same for ever: none is begun again, and each is said."""
    account, nap = endless(pages), Nap()
    with pytest.raises(
        ListingFault, match=f"account 'acme': .*{words}, where the provider counts 10; it is given up"
    ):
        await listing(account, nap)
    assert account.sent <= 21
    assert nap.naps == []


async def test_many_may_come_while_the_account_is_listed():
    """The count is read once more before a listing is said not to end."""
    account = Account([user(str(number)) for number in range(1_100)], counts=[10, 1_100])
    assert (await listing(account))[0].users == 1_100


async def test_a_count_that_is_a_day_old_may_be_far_too_low():
    """Zendesk says 100,000 until it has counted; the listing of a larger account is not endless."""
    account = Account([user(str(number)) for number in range(2_000)], counts=[300])
    assert (await listing(account, stale_above=300))[0].users == 2_000


async def test_a_difference_to_the_count_can_be_accepted():
    """How many are missing is told on, so that it can be put on record."""
    with pytest.raises(ListingFault, match=r"counts 11, 3 more than its 3 pages show; .* --accept-listing"):
        await listing(Account(USERS, counts=[11]))
    assert (await listing(Account(USERS, counts=[11]), accept_short=True))[0] == (8, 8, 0, 3)


BAD = "\x1b]0;PWNED\x07x\u202e\nforged@example.org   succeeded   ok@example.org"


@pytest.mark.parametrize("kind", ["zoom", "zendesk"])
@pytest.mark.parametrize(
    ("odd", "shown"),
    [
        (user("9", BAD), ("9", escaped(BAD))),
        (user(BAD), (escaped(BAD), "")),
        (user("9", "a\x00b@x.org"), ("9", "a\\u0000b@x.org")),
        (user("9", "\ud800@x.org"), ("9", "\\ud800@x.org")),
        (user("9 9", "ok@x.org"), ("9 9", "ok@x.org")),  # the provider's own rule for references
    ],
)
async def test_who_is_listed_with_names_that_cannot_be_shown_is_noted_and_stops_nobody(kind, odd, shown):
    """Such a name is kept written out, counted like any other, and marked as unreadable."""
    account, nap = Account([*USERS, odd], kind=kind), Nap()
    with Roster() as roster:
        counted = await list_account(roster, account, no_pace, sleep=nap, monotonic=nap.monotonic)
        assert counted == (9, 9, 0, 0)
        assert roster.staging.rows("SELECT * FROM unreadable") == [shown[:1]]
        kept = roster.staging.rows("SELECT user_id, shown FROM account_user WHERE user_id = ?", shown[:1])
        assert kept == [shown]


@given(
    st.text(st.characters(codec=None), max_size=600), st.none() | st.text(st.characters(codec=None), max_size=600)
)
def test_any_name_that_a_listing_has_can_be_stored_and_shown(user_id, email):
    """Whatever it is: no unsafe character, no more than an index holds, and two names are never made one."""
    seen = _shown(DirectoryUser(user_id, email))
    for name in filter(None, (seen.user_id, seen.email)):
        assert not UNSAFE.search(name)
        assert len(name) <= LONGEST_NAME
        name.encode()
    assert _shown(seen) is seen
    if "\\" not in user_id:
        assert (seen.user_id == user_id) == (not UNSAFE.search(user_id) and len(user_id) <= LONGEST_NAME)


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

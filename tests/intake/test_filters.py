"""Filters: who of an account is meant."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from fake_account import user
from hypothesis import given
from hypothesis import strategies as st

from bulkreset.errors import InputError
from bulkreset.intake.filters import Filters, filters_for
from bulkreset.providers import KINDS
from bulkreset.providers.base import DirectoryUser, Role, Status

ZOOM, ZENDESK = KINDS["zoom"], KINDS["zendesk"]
T = datetime(2026, 3, 1, tzinfo=UTC)
DAY = timedelta(days=1)


def test_without_a_filter_everybody_is_meant_and_nothing_is_told():
    """An order for all users is an empty filter, not none."""
    filters = filters_for(ZOOM)
    assert filters.keeps(DirectoryUser("7", None))
    assert not filters.undecided(DirectoryUser("7", None))
    assert filters.as_dict() == {}
    assert Filters.from_dict({}) == filters


@pytest.mark.parametrize(
    ("filters", "kept", "dropped"),
    [
        (
            filters_for(ZOOM, roles=["Member", "admin"]),
            user("1", role=Role.ADMIN),
            user("2", role=Role.OWNER),
        ),
        (filters_for(ZOOM, statuses=["inactive"]), user("1", status=Status.INACTIVE), user("2")),
        (
            filters_for(ZOOM, domains=["@Example.COM"]),
            user("1", "a@EXAMPLE.com"),
            user("2", "a@example.org"),
        ),
        (
            filters_for(ZOOM, domains=["example.com"]),
            user("1", "a@example.com"),
            user("2", "a@x.example.com"),
        ),
        (
            filters_for(ZOOM, domains=["example.com"]),
            user("1", "a@example.com"),
            user("2", "a@badexample.com"),
        ),
        (filters_for(ZOOM, domains=["example.com"]), user("1", "a@example.com"), user("2", None)),
        (
            filters_for(ZOOM, domains=["stra\u00dfe.de"]),
            user("1", "a@STRASSE.de"),
            user("2", "a@strase.de"),
        ),
        (
            filters_for(ZOOM, groups=["g1", "g2"]),
            user("1", groups=("g0", "g2")),
            user("2", groups=("g3",)),
        ),
        (filters_for(ZOOM, groups=["g1"]), user("1", groups=("g1",)), user("2")),
        (filters_for(ZOOM, created_before=T), user("1", created_at=T - DAY), user("2", created_at=T)),
        (
            filters_for(ZENDESK, last_login_after=T),
            user("1", last_login_at=T),
            user("2", last_login_at=T - timedelta(seconds=1)),
        ),
        (
            filters_for(ZOOM, last_login_after=T),  # what Zoom shows may be three days old
            user("1", last_login_at=T - 3 * DAY),
            user("2", last_login_at=T - 4 * DAY),
        ),
        (
            filters_for(ZOOM, roles=["member"], domains=["x.org"]),
            user("1", "a@x.org"),
            user("2", "a@x.org", role=Role.ADMIN),
        ),
    ],
)
def test_a_filter_keeps_and_drops(filters, kept, dropped):
    """Words of one filter are alternatives, filters add up, and domains are whole names."""
    assert filters.keeps(kept)
    assert not filters.undecided(kept)
    assert not filters.keeps(dropped)
    assert not filters.undecided(dropped)


@pytest.mark.parametrize(
    "filters",
    [
        filters_for(ZOOM, roles=["member"]),
        filters_for(ZOOM, statuses=["active"]),
        filters_for(ZOOM, created_before=T),
        filters_for(ZOOM, last_login_after=T),
    ],
)
def test_who_is_not_known_is_kept_and_told(filters):
    """What the listing does not say drops nobody from a reset; it is counted as undecided."""
    assert filters.keeps(DirectoryUser("7", "a@x.org"))
    assert filters.undecided(DirectoryUser("7", "a@x.org"))


def test_another_filter_may_still_drop_who_is_not_known():
    """Not to know one thing is no reason to keep somebody whom another filter leaves out."""
    filters = filters_for(ZOOM, roles=["member"], domains=["x.org"])
    assert not filters.keeps(DirectoryUser("7", "a@y.org"))
    assert not filters.undecided(DirectoryUser("7", "a@y.org"))


@pytest.mark.parametrize(
    ("provider", "words", "told"),
    [
        ("zoom", {"roles": ["agent"]}, "no role 'agent' at zoom; there is: owner, admin, member"),
        ("zendesk", {"roles": ["owner"]}, "there is: admin, agent, member"),
        ("zendesk", {"statuses": ["pending"]}, "there is: active, inactive, suspended"),
        ("zoom", {"statuses": ["suspended"]}, "there is: active, inactive, pending"),
        ("zendesk", {"groups": ["g1"]}, "does not say who is in which group"),
        ("zoom", {"groups": [" "]}, "one is empty"),
        ("zoom", {"domains": ["a@x.org"]}, "is not a domain"),
        ("zoom", {"domains": ["localhost"]}, "is not a domain"),
        ("zoom", {"domains": ["x .org"]}, "is not a domain"),
    ],
)
def test_words_that_no_listing_has_are_refused(provider, words, told):
    """A filter that could never hold, or is misspelled, would leave everybody out: it is refused by name."""
    with pytest.raises(InputError, match=told) as caught:
        filters_for(KINDS[provider], **words)
    assert "\n" not in str(caught.value)


times = st.none() | st.datetimes(min_value=datetime(2000, 1, 1), max_value=datetime(2100, 1, 1))  # noqa: DTZ001


@given(st.sampled_from(sorted(KINDS.values(), key=lambda kind: kind.name)), st.data(), times, times)
def test_filters_survive_json(kind, data, created_before, last_login_after):
    """What stands in the options of a batch gives the same filters back, for the close-out."""
    filters = filters_for(
        kind,
        roles=data.draw(st.lists(st.sampled_from(kind.capabilities.roles))),
        statuses=data.draw(st.lists(st.sampled_from(kind.capabilities.statuses))),
        domains=data.draw(st.lists(st.sampled_from(["x.org", "Y.example"]))),
        groups=data.draw(st.lists(st.sampled_from(["a", "b"]))) if kind.capabilities.groups else (),
        created_before=created_before,
        last_login_after=last_login_after,
    )
    assert Filters.from_dict(json.loads(json.dumps(filters.as_dict()))) == filters

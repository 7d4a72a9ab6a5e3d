"""Workers whose configurations of an account differ: who works, who waits, and until when."""

import json

import pytest

from bulkreset.store import agreement
from bulkreset.store.agreement import LEASE, Difference, differences

BASE = {
    "limits": {"medium": "54/s"},
    "plan": "business",
    "share": 0.9,
    "requests_per_second": None,
    "protected": "3 names (aaaa)",
    "require_approval": 1,
    "allow_emergency": False,
}
PRO = {"limits": {"medium": "18/s"}, "plan": "pro"}
LIST = {"protected": "4 names (bbbb)"}


def told(**values):
    return {"zoom": json.dumps({**BASE, **values})}


class Fleet:
    """Workers of one database, each with its own configuration."""

    def __init__(self, store, hand):
        self.store, self.hand, self.configured = store, hand, {}

    async def arrive(self, name, **values):
        self.configured[name] = told(**values)
        self.hand.pass_(0.1)
        await agreement.arrive(self.store, name, self.configured[name])

    async def waits(self, name):
        """Let one look; return the workers that it waits for."""
        found = await agreement.renew(self.store, name, self.configured[name])
        return sorted(one.other for one in found.get("zoom", []))

    async def ends(self, name):
        await agreement.leave(self.store, name)


@pytest.fixture
def fleet(store, hand):
    store.exclusive = False  # the rules are the same on both databases; a file has one runner only
    return Fleet(store, hand)


@pytest.mark.parametrize(
    "differs",
    [PRO, LIST, {"require_approval": 0}, {"allow_emergency": True}, {"share": 0.5, "limits": {"m": "30/s"}}],
)
async def test_a_worker_that_differs_waits_until_the_other_has_gone(fleet, differs):
    """It begins by itself at its first look after that; the one before is not disturbed."""
    await fleet.arrive("a")
    assert await fleet.waits("a") == []
    await fleet.arrive("b", **differs)
    assert await fleet.waits("b") == ["a"]
    assert await fleet.waits("a") == []
    await fleet.ends("a")
    assert await fleet.waits("b") == []


async def test_workers_that_agree_work_side_by_side(fleet):
    """Whatever else differs: what comes to the same limit is the same."""
    await fleet.arrive("a")
    await fleet.arrive("b", plan=None, requests_per_second=60.0)
    assert [await fleet.waits(name) for name in "ab"] == [[], []]


async def test_of_two_that_arrive_together_the_first_begins(fleet):
    """Whichever looks first."""
    await fleet.arrive("a")
    await fleet.arrive("b", **PRO)
    assert await fleet.waits("b") == ["a"]
    assert await fleet.waits("a") == []


async def test_a_killed_worker_is_waited_for_as_long_as_a_lease(fleet):
    """It cannot say goodbye; after a lease it counts no more."""
    await fleet.arrive("a")
    await fleet.waits("a")
    await fleet.arrive("b", **PRO)
    fleet.hand.pass_(LEASE.total_seconds() - 1)
    assert await fleet.waits("b") == ["a"]
    fleet.hand.pass_(1)
    assert await fleet.waits("b") == []


async def test_a_worker_that_comes_back_after_a_lease_has_lost_its_place(fleet):
    """Stopped for a minute, it finds another one at work, and waits."""
    await fleet.arrive("a")
    await fleet.waits("a")
    await fleet.arrive("b", **PRO)
    fleet.hand.pass_(60)
    assert await fleet.waits("b") == []
    assert await fleet.waits("a") == ["b"]
    assert await fleet.waits("b") == []


async def test_a_restart_of_one_after_the_other_rolls_a_change_over(fleet):
    """The new value waits while any worker has the old one, and then all have the new one."""
    for name in "ab":
        await fleet.arrive(name)
        assert await fleet.waits(name) == []
    await fleet.ends("a")
    await fleet.arrive("a2", **PRO)
    assert [await fleet.waits("a2"), await fleet.waits("b")] == [["b"], []]
    await fleet.ends("b")
    await fleet.arrive("b2", **PRO)
    assert [await fleet.waits("b2"), await fleet.waits("a2")] == [[], []]


async def test_while_lists_of_protected_users_differ_under_way_nobody_works(fleet):
    """A new list on one host stops both, so that nobody on either is reset; the same list on the other goes on."""
    for name in "ab":
        await fleet.arrive(name)
        await fleet.waits(name)
    fleet.configured["a"] = told(**LIST)
    assert [await fleet.waits("a"), await fleet.waits("b")] == [["b"], ["a"]]
    fleet.configured["b"] = told(**LIST)
    assert [await fleet.waits("b"), await fleet.waits("a")] == [[], []]


async def test_the_one_with_the_new_list_goes_on_when_the_other_leaves(fleet):
    """And one that comes back with the old list waits; a stranger that waits stops nobody."""
    for name in "ab":
        await fleet.arrive(name)
        await fleet.waits(name)
    await fleet.arrive("stranger", **PRO)
    fleet.configured["a"] = told(**LIST)
    await fleet.waits("a")
    await fleet.ends("b")
    assert await fleet.waits("a") == []
    await fleet.arrive("b")
    assert await fleet.waits("b") == ["a"]
    assert await fleet.waits("a") == []


async def test_a_stranger_that_waits_holds_up_nobody_who_agrees(fleet):
    """One more worker with the value that is at work begins, though the stranger was there before."""
    await fleet.arrive("a")
    await fleet.waits("a")
    await fleet.arrive("stranger", **PRO)
    await fleet.arrive("b")
    assert [await fleet.waits(name) for name in ("b", "stranger")] == [[], ["a", "b"]]


async def test_who_waits_is_read_from_the_table(fleet, store, hand):
    """With the keys, and both values; accounts do not mix."""
    await fleet.arrive("a")
    await fleet.waits("a")
    await fleet.arrive("b", **PRO, **LIST)
    await agreement.arrive(store, "c", {"other": told(**PRO)["zoom"]})
    async with store.read() as conn:
        [found] = agreement.waiting(await agreement.at_work(conn), hand.now)
    assert (found.worker, found.other) == ("b", "a")
    assert [(one.key, one.here, one.there) for one in found.differences] == [
        ("plan", "pro", "business"),
        ("protected", "4 names (bbbb)", "3 names (aaaa)"),
    ]
    assert "plan is pro here and business at a" in str(found)


async def test_the_one_runner_of_a_file_waits_for_nobody(store, hand):
    """A runner that was killed has lost the file's lock; nobody else can be at work."""
    if not store.sqlite:
        pytest.skip("at PostgreSQL others can be at work")
    await agreement.arrive(store, "killed", told())
    await agreement.renew(store, "killed", told())
    await agreement.arrive(store, "next", told(**PRO))
    assert await agreement.renew(store, "next", told(**PRO)) == {}


def test_a_limit_that_only_its_number_tells_is_named_by_it():
    """Plan and share may be alike where a table of limits has changed between versions."""
    other = {**BASE, "limits": {"medium": "60/s"}}
    assert differences(BASE, other) == [Difference("limits", '{"medium": "54/s"}', '{"medium": "60/s"}')]

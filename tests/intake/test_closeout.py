"""Close-outs: who came, who vanished, who is still open; and the order for whoever came."""

from datetime import timedelta

import pytest
from databases import ask
from fake_account import user

from bulkreset.errors import ConfigError, InputError, ProviderUnavailable, UsageError
from bulkreset.intake.closeout import SAMPLE, Part, close_out, top_up
from bulkreset.intake.filters import Filters, filters_for
from bulkreset.intake.users_file import user_line
from bulkreset.options import Options
from bulkreset.providers import KINDS
from bulkreset.providers.base import Role, Status
from bulkreset.store import lifecycle
from bulkreset.store.engine import system_clock

ALL = Filters()


def query(desk, sql, *parameters):
    return ask("sqlite:///bulkreset.db", desk.url, sql, *parameters)


def end(desk, *refs, state="succeeded", outcome="ok", attempt=1):
    """Let tasks end; of all that wait where none is named."""
    moment = system_clock().strftime("%Y-%m-%d %H:%M:%S.%f")
    sql = "UPDATE task SET state = ?, outcome = ?, attempt = ?, finished_at = ? WHERE state = 'pending'"
    for ref in refs or [None]:
        more = ("", ()) if ref is None else (" AND user_ref = ?", (ref,))
        query(desk, sql + more[0], state, outcome, attempt, moment, *more[1])


def later(user_id, email=None, **more):
    """Make a user who came after everything else in the test."""
    return user(user_id, email, created_at=system_clock() + timedelta(minutes=1), **more)


def closed(desk, batch_id=1):
    async def at_once(_):
        pass

    return close_out(desk.store, desk.settings, None, batch_id, sleep=at_once)


def refs(found, part):
    return [person.user_ref for people in found.people(part) for person in people]


async def test_an_account_that_did_not_change_has_no_differences(desk):
    """Skipped people are on the roster, and nobody is new, gone or open."""
    desk.account([user("1", "a@x.org"), user("2", "b@x.org", Role.ADMIN)])
    await desk.order(all_users=ALL)
    end(desk)
    async with closed(desk) as found:
        assert found.whole
        assert found.listed == 2
        assert list(found.parts) == list(Part)
        for part in found.parts.values():
            assert part == (part.__class__)(0, ())


async def test_who_came_is_told_unless_they_would_not_be_called(desk):
    """New people who pass the filters are counted; protected, admins, bots and others are none of them."""
    account = desk.account([user("1", "a@x.org")], settings={"protected": ["glass@x.org"]})
    await desk.order(all_users=filters_for(KINDS["zoom"], domains=["x.org"]))
    end(desk)
    account.users += [
        later("2", "New@x.org"),
        later("3", "glass@x.org"),
        later("4", "c@x.org", role=Role.ADMIN),
        later("5", "d@x.org", bot=True),
        later("6@x.org", "6@x.org", status=Status.PENDING),
        later("7", "e@elsewhere.org"),
    ]
    account.myself = later("8", "me@x.org")
    account.users.append(account.myself)
    async with closed(desk) as found:
        assert refs(found, Part.CREATED) == ["2"]
        assert found.parts[Part.CREATED].count == 1
        assert found.parts[Part.CREATED].sample == (("2", "New@x.org", None),)
        assert found.parts[Part.LEFT_OUT].count == 0


async def test_who_was_excluded_is_not_taken_for_new(desk):
    """With exclusions in the order only who came after the freeze is new; the others are told apart."""
    account = desk.account([user("1", "a@x.org"), user("2", "b@x.org")])
    await desk.order(all_users=ALL, excluded=["b@x.org"])
    end(desk)
    account.users += [later("3", "c@x.org"), user("4", "d@x.org", created_at=None)]
    async with closed(desk) as found:
        assert refs(found, Part.CREATED) == ["3"]
        assert refs(found, Part.LEFT_OUT) == ["2", "4"]


async def test_without_exclusions_whoever_is_not_on_the_roster_is_new(desk):
    """Also somebody who was there before, and passes the filters only now."""
    account = desk.account([user("1", "a@x.org"), user("2", "b@x.org", status=Status.INACTIVE)])
    await desk.order(all_users=filters_for(KINDS["zoom"], statuses=["active"]))
    end(desk)
    account.users[1] = user("2", "b@x.org")
    account.users.append(user("3", "c@x.org", created_at=None))
    async with closed(desk) as found:
        assert refs(found, Part.CREATED) == ["2", "3"]


async def test_who_was_called_and_is_not_listed_any_more_has_vanished(desk):
    """By id, and by address in any case; who was never called is not told."""
    account = desk.account([user(str(number), f"U{number}@x.org") for number in range(1, 6)])
    await desk.order("1", "2", "u3@x.org", "u4@x.org", "5", "typo@x.org")
    end(desk, "typo@x.org", state="failed", outcome="user_not_found")
    end(desk, "5", state="cancelled", outcome=None, attempt=0)
    end(desk)
    account.users = [account.users[0], account.users[2]]
    async with closed(desk) as found:
        assert refs(found, Part.VANISHED) == ["2", "u4@x.org"]
        assert found.parts[Part.VANISHED].sample[0].detail == "succeeded, ok"
        assert not found.whole
        assert found.parts[Part.CREATED].count == found.parts[Part.LEFT_OUT].count == 0


async def test_who_vanished_before_the_call_counts_in_an_order_for_all_users(desk):
    """The listing had them: that they were not found is no typing error."""
    account = desk.account([user("1", "a@x.org"), user("2", "b@x.org")])
    await desk.order(all_users=ALL)
    end(desk, "2", state="failed", outcome="user_not_found")
    account.users = account.users[:1]
    async with closed(desk) as found:
        assert refs(found, Part.VANISHED) == ["2"]


async def test_who_is_still_open_is_told_with_how_far_it_came(desk):
    """Waiting, under way, failed and cancelled; not who succeeded or was skipped."""
    desk.account([user(str(number)) for number in range(1, 6)])
    await desk.order("1", "2", "3", "4", "5", options=Options(revoke_sessions=True))
    end(desk, "1", state="failed", outcome="policy_rejected")
    end(desk, "5", state="cancelled", outcome=None)
    end(desk, "2")
    query(desk, "UPDATE task SET state = 'running' WHERE user_ref = '3' AND action = 'set_password'")
    async with closed(desk) as found:
        assert found.parts[Part.OPEN].count == 4
        told = [(person.user_ref, person.detail) for person in found.parts[Part.OPEN].sample]
        assert told == [("1", "failed, policy_rejected"), ("3", "running"), ("4", "pending"), ("5", "cancelled")]


async def test_who_may_have_a_new_password_is_not_told_as_without_one(desk):
    """Failed, skipped or cancelled after a call that may have landed: a part of their own, until one is set."""
    desk.account([user(str(number)) for number in range(1, 6)])
    await desk.order("1", "2", "3", "4", "5")
    end(desk, "1", state="failed", outcome="unexpected")
    end(desk, "2", state="skipped", outcome="not_resettable")
    end(desk, "3", state="cancelled", outcome="unknown")
    end(desk, "4", state="failed", outcome="unexpected")
    query(desk, "UPDATE task SET maybe_changed = TRUE WHERE user_ref IN ('1', '2', '3')")
    end(desk)
    async with closed(desk) as found:
        assert refs(found, Part.OPEN) == ["4"]
        assert refs(found, Part.MAYBE_CHANGED) == ["1", "2", "3"]
        told = [person.detail for person in found.parts[Part.MAYBE_CHANGED].sample]
        assert told == ["failed, unexpected", "skipped, not_resettable", "cancelled, unknown"]
    await desk.order("1", "2", "3")
    end(desk)
    async with closed(desk) as found:
        assert refs(found, Part.MAYBE_CHANGED) == []


async def test_large_differences_are_read_in_chunks_and_again(desk):
    """The sample is bounded, and everybody can be read, in order, more than once."""
    account = desk.account([user("0")])
    await desk.order(all_users=ALL)
    account.users += [later(f"{number:04}") for number in range(1, 90)]
    async with closed(desk) as found:
        assert found.parts[Part.CREATED].count == 89
        assert len(found.parts[Part.CREATED].sample) == SAMPLE
        expected = [f"{number:04}" for number in range(1, 90)]
        assert refs(found, Part.CREATED) == refs(found, Part.CREATED) == expected


async def test_a_close_out_writes_nothing_and_needs_a_whole_listing(desk):
    """It is a reading; half an account would show people as vanished."""
    account = desk.account([user("1"), user("2")])
    await desk.order(all_users=ALL)
    before = (
        query(desk, "SELECT * FROM batch"),
        query(desk, "SELECT * FROM task"),
        query(desk, "SELECT * FROM event"),
    )
    async with closed(desk):
        pass
    account.counts = [5]
    with pytest.raises(ProviderUnavailable, match="ended with 2 users"):
        await closed(desk).__aenter__()
    with pytest.raises(UsageError, match="there is no batch 9"):
        await closed(desk, 9).__aenter__()
    after = (
        query(desk, "SELECT * FROM batch"),
        query(desk, "SELECT * FROM task"),
        query(desk, "SELECT * FROM event"),
    )
    assert after == before


async def test_a_top_up_orders_those_who_came_and_only_once(desk):
    """Same incident and options but for the canaries; the next close-out has nobody to add."""
    account = desk.account([user("1", "a@x.org")], kind="zendesk", settings={"require_approval": 1})
    given = Options(revoke_sessions=True, canary=1, hold_after_canary=True, halt_at=0.5)
    await desk.order(all_users=ALL, options=given)
    end(desk)
    account.users += [later("2", "New@x.org"), later("3", None), later("4", "d@x.org", role=Role.ADMIN)]
    async with closed(desk) as found:
        dry = await top_up(desk.store, desk.settings, None, None, found, "tester", dry_run=True)
        assert (dry.id, dry.sends) == (None, 2)
        excluded = _lines("3")
        placed = await top_up(desk.store, desk.settings, None, desk.master, found, "tester", excluded=excluded)
        assert (placed.total, placed.sends, placed.excluded, placed.approvals_needed) == (1, 1, 1, 1)
        placed = await top_up(desk.store, desk.settings, None, desk.master, found, "tester")
    row = query(desk, "SELECT incident, reason, requested_by, state, options FROM batch WHERE id = 2")[0]
    assert row[:4] == ("INC-1", "top-up of batch 1: a test", "tester", "draft")
    told = Options.from_json(row[4])
    assert (told.revoke_sessions, told.canary, told.hold_after_canary, told.halt_at) == (True, 0, False, 0.5)
    assert told.listing is None
    assert query(desk, "SELECT display FROM task WHERE user_ref = '2' AND batch_id = 2")[0] == ("New@x.org",)
    assert placed.skipped == {"open_elsewhere": 1}
    end(desk)
    async with closed(desk) as found:
        assert found.parts[Part.CREATED].count == 0
        with pytest.raises(InputError, match="no top-up is needed"):
            await top_up(desk.store, desk.settings, None, desk.master, found, "tester")


async def _lines(*texts):
    yield [user_line(text, 1, "excluded") for text in texts]


async def test_a_top_up_needs_what_an_order_for_all_users_needs(desk):
    """The word on protection is asked for anew: the configuration may have changed."""
    account = desk.account([user("1")])
    await desk.order(all_users=ALL)
    account.users.append(later("2"))
    async with closed(desk) as found:
        desk.told["acme"]["protected"] = None
        with pytest.raises(ConfigError, match="protected"):
            await top_up(desk.store, desk.settings, None, desk.master, found, "tester")


async def test_whoever_was_cancelled_is_still_open(desk):
    """A cancelled batch leaves people without a new password; its close-out must not say that all is well."""
    desk.account([user("1", "a@x.org"), user("2", "b@x.org")])
    await desk.order(all_users=ALL)
    end(desk, "1")
    await lifecycle.cancel(desk.store, 1, "bob")
    async with closed(desk) as found:
        assert refs(found, Part.OPEN) == ["2"]
        assert found.parts[Part.OPEN].sample[0].detail == "cancelled"


async def test_whoever_was_left_to_a_batch_that_did_not_do_it_is_still_open(desk):
    """Skipped, for another batch had them: they are done only where some batch has set their password."""
    desk.account([user("1", "a@x.org"), user("2", "b@x.org"), user("3", "c@x.org")])
    await desk.order("1", "2")
    await desk.order(all_users=ALL)
    async with closed(desk, 2) as found:
        assert refs(found, Part.OPEN) == ["1", "2", "3"]
    end(desk, "1", "3")
    await lifecycle.cancel(desk.store, 1, "bob")
    async with closed(desk, 2) as found:
        assert refs(found, Part.OPEN) == ["2"]
        assert found.parts[Part.OPEN].sample[0].detail == "skipped, already open in batch 1"

"""Who goes first, who waits for whom, and what is kept of a password: the same on both databases."""

import dataclasses
from datetime import timedelta

from closings import closing, rows, succeeded

from bulkreset.limits.quota import Spacing
from bulkreset.limits.rates import SECOND, Rate
from bulkreset.model import Action, BatchState, Outcome, Quota, Skip, TaskState, Verdict
from bulkreset.options import Options
from bulkreset.store import batches, control, due, lifecycle, results
from bulkreset.store.results import Escrowed, Ledger
from bulkreset.store.rosters import PlannedEntry

MEDIUM = Quota("zoom", "medium")
LIGHT = Quota("zoom", "light")
SESSIONS = "SELECT user_ref, state, wave FROM task WHERE action = 'revoke_sessions' ORDER BY user_ref"


def names(claimed):
    return [claim.user_ref for claim in claimed.claims]


def failed(claim, at):
    return closing(claim, Outcome.UNEXPECTED, TaskState.FAILED, at)


def chained(one):
    return dataclasses.replace(one, chained=True)


async def test_whoever_is_ahead_is_claimed_first(order, claim):
    """Priority goes before the order of the roster, and equal priority keeps that order."""
    await order(
        (), planned=[PlannedEntry("a", "a"), PlannedEntry("b", "b", ahead=5), PlannedEntry("c", "c", ahead=9)]
    )
    assert names(await claim(2)) == ["c", "b"]
    assert names(await claim(2)) == ["a"]


async def test_a_skipped_entry_is_a_row_with_its_reason_and_is_never_claimed(store, order, claim):
    """Whoever was skipped at the preflight stands in the batch with code and message, final from the start."""
    batch_id = await order(
        (),
        planned=[PlannedEntry("a", "a"), PlannedEntry("b", "b", skipped=Skip.PROTECTED, message="protected: b")],
    )
    assert names(await claim()) == ["a"]
    found = await rows(store, "SELECT user_ref, state, code, message FROM task ORDER BY user_ref")
    assert found == [("a", "running", None, None), ("b", "skipped", "protected", "protected: b")]
    assert (await batches.get(store, batch_id)).counts["skipped"] == 1


async def test_only_canaries_are_claimed_until_all_of_them_have_ended(store, order, claim, hand):
    """The rest waits for the last canary, its retries included, and is opened then."""
    entries = [PlannedEntry(name, name, wave=0 if name in "bd" else 1) for name in "abcde"]
    batch_id = await order((), planned=entries, options=Options(canary=2))
    one, two = (await claim()).claims
    assert [one.user_ref, two.user_ref] == ["b", "d"]
    again = closing(
        two, Outcome.PROVIDER_ERROR, TaskState.PENDING, hand.now, due_at=hand.now + timedelta(seconds=9)
    )
    await results.record(store, Ledger([succeeded(one, hand.now), again]))
    assert await control.advance(store) == []
    hand.pass_(10)
    (two,) = (await claim()).claims
    await results.record(store, Ledger([succeeded(two, hand.now)]))
    assert names(await claim()) == []
    assert await control.advance(store) == [batch_id]
    assert await control.advance(store) == []
    assert names(await claim()) == ["a", "c", "e"]


async def test_a_batch_may_be_held_behind_its_canaries_for_somebody_to_look(store, order, claim, hand):
    """Where it was ordered so the batch is paused with the result of the canaries, and `resume` opens the rest."""
    entries = [PlannedEntry("a", "a", wave=0), PlannedEntry("b", "b")]
    batch_id = await order((), planned=entries, options=Options(canary=1, hold_after_canary=True))
    await results.record(store, Ledger([succeeded(c, hand.now) for c in (await claim()).claims]))
    await control.advance(store)
    found = await batches.get(store, batch_id)
    assert (found.state, found.state_reason.split(";")[0]) == (BatchState.PAUSED, "0 of 1 canaries failed")
    assert names(await claim()) == []
    await lifecycle.resume(store, batch_id, "bob")
    assert names(await claim()) == ["b"]


async def test_canaries_that_fail_halt_the_batch(store, order, claim, hand):
    """More failures among the canaries than the options allow stop it before anybody else is called."""
    entries = [PlannedEntry(name, name, wave=0 if name in "ab" else 1) for name in "abc"]
    batch_id = await order((), planned=entries, options=Options(canary=2, halt_at=0.4))
    one, two = (await claim()).claims
    await results.record(store, Ledger([succeeded(one, hand.now), failed(two, hand.now)]))
    await control.advance(store)
    found = await batches.get(store, batch_id)
    assert found.state is BatchState.HALTED
    assert found.state_reason.startswith("1 of 2 canaries failed")
    assert names(await claim()) == []


async def test_sessions_are_ended_after_the_password_is_set_and_not_before(store, order, claim, hand):
    """The second task waits unclaimable, is released by the success, and the batch ends only after it."""
    batch_id = await order(["a", "b"], options=Options(revoke_sessions=True))
    assert names(await claim(which=LIGHT)) == []
    one, two = (await claim()).claims
    await results.record(store, Ledger([chained(succeeded(one, hand.now))]))
    (second,) = (await claim(which=LIGHT)).claims
    assert (second.user_ref, second.action, second.password) == ("a", Action.REVOKE_SESSIONS, None)
    await results.record(store, Ledger([chained(succeeded(two, hand.now)), succeeded(second, hand.now)]))
    assert await lifecycle.finish(store) == []
    await results.record(store, Ledger([succeeded(c, hand.now) for c in (await claim(which=LIGHT)).claims]))
    assert await lifecycle.finish(store) == [batch_id]
    found = await batches.get(store, batch_id)
    assert (found.total, found.counts["succeeded"], found.sessions["succeeded"], found.left) == (2, 2, 2, 0)


async def test_sessions_stay_where_no_password_was_set(store, order, claim, hand):
    """A failed user keeps the sessions, with a reason; a retry lets the second task wait again."""
    batch_id = await order(["a"], options=Options(revoke_sessions=True))
    await results.record(store, Ledger([chained(failed((await claim()).claims[0], hand.now))]))
    assert await rows(store, SESSIONS) == [("a", "skipped", 1)]
    await lifecycle.retry(store, batch_id, "bob", outcomes=[], fresh_key=lambda: "key")
    assert await rows(store, SESSIONS) == [("a", "pending", None)]
    await results.record(store, Ledger([chained(succeeded((await claim()).claims[0], hand.now))]))
    assert names(await claim(which=LIGHT)) == ["a"]


async def test_sessions_of_whoever_signs_in_elsewhere_are_ended_all_the_same(store, order, claim, hand):
    """No password can be set for them: known before, or told by the answer, the second task runs."""
    entries = [
        PlannedEntry("a", "a", skipped=Skip.SSO, message="signs in by SSO"),
        PlannedEntry("b", "b", skipped=Skip.PROTECTED, message="protected"),
        PlannedEntry("c", "c"),
    ]
    await order((), planned=entries, options=Options(revoke_sessions=True))
    assert names(await claim(which=LIGHT)) == ["a"]
    refused = chained(closing((await claim()).claims[0], Outcome.NOT_RESETTABLE, TaskState.SKIPPED, hand.now))
    verdict = Verdict(Outcome.NOT_RESETTABLE, 400, "1123", elsewhere=True)
    refused = dataclasses.replace(refused, result=dataclasses.replace(refused.result, verdict=verdict))
    await results.record(store, Ledger([refused]))
    assert names(await claim(which=LIGHT)) == ["c"]


async def test_a_lost_result_releases_nothing(store, order, claim, hand):
    """A late success of an attempt that was rescued does not end sessions; the one that counts does."""
    await order(["a"], options=Options(revoke_sessions=True))
    late = (await claim()).claims[0]
    hand.pass_(100)
    assert await results.rescue(store) == 1
    await results.record(store, Ledger([chained(succeeded(late, hand.now))]))
    assert names(await claim(which=LIGHT)) == []
    await results.record(store, Ledger([chained(succeeded((await claim()).claims[0], hand.now))]))
    assert names(await claim(which=LIGHT)) == ["a"]


async def test_whose_sessions_are_about_to_be_ended_elsewhere_gets_no_second_task(store, order, claim, hand):
    """The second batch of a user finds the first one's revocation still open and skips its own."""
    await order(["a"], options=Options(revoke_sessions=True))
    await results.record(store, Ledger([chained(succeeded((await claim()).claims[0], hand.now))]))
    await order(["a"], options=Options(revoke_sessions=True))
    assert await rows(store, SESSIONS) == [("a", "pending", 1), ("a", "skipped", None)]


async def test_a_canary_ends_with_its_sessions(store, order, claim, hand):
    """The gate waits for the second tasks of the canaries too."""
    entries = [PlannedEntry("a", "a", wave=0), PlannedEntry("b", "b")]
    batch_id = await order((), planned=entries, options=Options(canary=1, revoke_sessions=True))
    await results.record(store, Ledger([chained(succeeded((await claim()).claims[0], hand.now))]))
    assert await control.advance(store) == []
    await results.record(store, Ledger([succeeded(c, hand.now) for c in (await claim(which=LIGHT)).claims]))
    assert await control.advance(store) == [batch_id]


async def test_a_password_in_force_is_kept_for_the_escrow_once(store, order, claim, hand):
    """The sealed form is written with the result it belongs to; a lost lease and a repetition write nothing."""
    await order(["a", "b"])
    one, two = (await claim()).claims
    kept = Escrowed("sealed-1", hand.now + timedelta(days=30))
    good = dataclasses.replace(succeeded(one, hand.now), escrowed=kept)
    await results.record(store, Ledger([good]))
    await results.record(store, Ledger([dataclasses.replace(good, escrowed=Escrowed("other", kept.expires_at))]))
    hand.pass_(100)
    await results.rescue(store)
    await results.record(store, Ledger([dataclasses.replace(succeeded(two, hand.now), escrowed=kept)]))
    assert await rows(store, "SELECT task_id, sealed FROM escrow") == [(one.task_id, "sealed-1")]


async def test_a_ramp_begins_with_a_tenth_of_the_rate_and_leaves_the_other_slots_unused(store, order, claim, hand):
    """On a ramp of ten minutes the first seconds carry a tenth of the limit, counted as calls, not as slots."""
    await order([f"u{n:04}" for n in range(500)], options=Options(ramp_s=600))
    counts = []
    for _ in range(5):
        claimed = await claim(rate=100)
        counts.append(len(claimed.claims))
        assert claimed.held_back
        hand.pass_(1)
    assert 45 <= sum(counts) <= 55
    assert await rows(store, "SELECT used_today FROM quota") == [(sum(counts),)]


async def test_a_batch_on_its_ramp_leaves_its_slots_to_the_others(order, claim):
    """Beside a batch that is on its ramp another one uses all of the limit that is left."""
    slow = await order([f"s{n:03}" for n in range(200)], options=Options(ramp_s=600))
    await order([f"f{n:03}" for n in range(200)])
    claimed = await claim(rate=100)
    slots = Spacing.of(Rate(100, SECOND))
    assert len(claimed.claims) == 1_000_000 // slots.interval_us + 1
    assert 5 <= sum(c.batch_id == slow for c in claimed.claims) <= 15


async def test_two_labels_of_one_account_claim_from_one_batch_side_by_side(store, order, claim, hand):
    """What is due under one label does not wait until a claim under the other has ended."""
    await order(["a", "b"], options=Options(revoke_sessions=True))
    one, _ = (await claim()).claims
    await results.record(store, Ledger([chained(succeeded(one, hand.now))]))
    async with store.read() as conn:
        assert await due.next_due(conn, LIGHT) <= hand.now
        assert await due.next_due(conn, MEDIUM) is None
    assert await lifecycle.finish(store) == []

"""Orders: who is called, who is skipped and why, who goes first, and what is approved."""

import hashlib
import json
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from databases import ask
from fake_account import user

from bulkreset.errors import ConfigError, InputError, ProviderRefused, ProviderUnavailable
from bulkreset.intake.concerns import Concern
from bulkreset.intake.filters import Filters, filters_for
from bulkreset.intake.order import Order, chunks, place
from bulkreset.intake.plan import FIRST
from bulkreset.intake.preflight import LOGINS_AT_ONCE
from bulkreset.intake.users_file import UserLine, user_line
from bulkreset.options import Options
from bulkreset.passwords.policy import STRONGEST, Policy, Style
from bulkreset.passwords.vault import MasterKey
from bulkreset.providers import KINDS
from bulkreset.providers.base import DirectoryUser, Finding, Login, Role, Status
from bulkreset.store import control
from bulkreset.store.engine import system_clock
from bulkreset.unsafe import UNSAFE

ALL = Filters()


def query(desk, sql, *parameters):
    return ask("sqlite:///bulkreset.db", desk.url, sql, *parameters)


def skips(desk, batch_id=1):
    """Return the code of everybody who is skipped."""
    rows = query(
        desk,
        "SELECT user_ref, code, message FROM task WHERE batch_id = ? AND state = 'skipped'"
        " AND action = 'set_password'",
        batch_id,
    )
    assert all(message and "\n" not in message for _, _, message in rows)
    return {ref: code for ref, code, _ in rows}


def called(desk, batch_id=1):
    rows = query(desk, "SELECT user_ref FROM task WHERE batch_id = ? AND state = 'pending'", batch_id)
    return sorted(ref for (ref,) in rows)


def options(desk, batch_id=1):
    return Options.from_json(query(desk, "SELECT options FROM batch WHERE id = ?", batch_id)[0][0])


ORGANISATION = [
    user("1", "owner@x.org", Role.OWNER),
    user("2", "admin@x.org", Role.ADMIN),
    user("3", "ada@x.org"),
    user("4", "bob@x.org", status=Status.INACTIVE),
    user("new@x.org", "new@x.org", status=Status.PENDING),
    user("6", "BreakGlass@x.org"),
    user("7", "robot@x.org", bot=True),
    user("8", "me@x.org"),
    user("9", "Cleo@X.org"),
]
SETTINGS = {"protected": ["breakglass@X.org"]}


async def test_the_whole_organisation_is_listed_and_looked_at(desk):
    """Everybody has a row; who is not to be called has the reason, and the counts add up."""
    desk.account(ORGANISATION, me=ORGANISATION[7], settings=SETTINGS)
    placed = await desk.order(all_users=ALL)
    assert skips(desk) == {
        "1": "owner",
        "2": "admin",
        "new@x.org": "pending_invitation",
        "6": "protected",
        "7": "bot",
        "8": "self",
    }
    assert called(desk) == ["3", "4", "9"]  # Zoom says nothing against those who were deactivated
    assert (placed.total, placed.listed, placed.sends, placed.calls) == (9, 9, 3, 3)
    assert sum(placed.skipped.values()) == 6
    assert query(desk, "SELECT display FROM task WHERE user_ref = '9'") == [("Cleo@X.org",)]
    told = options(desk)
    assert told.listing == {}
    assert told.sends_sha256 == hashlib.sha256(b"3\n4\n9\n").hexdigest()
    assert placed.options_sha256 == told.sha256


@pytest.mark.parametrize(
    "users",
    [
        ["owner@x.org", "ADMIN@x.org", "ada@x.org", "breakglass@x.org", "robot@x.org", "me@x.org", "new@x.org"],
        ["1", "2", "3", "6", "7", "8", "new@x.org"],
    ],
)
async def test_named_users_are_looked_at_like_listed_ones(desk, users):
    """Whether a users file has ids or addresses, the same people are skipped, and references stay as given."""
    desk.account(ORGANISATION, me=DirectoryUser("8", None), settings={"protected": ["6"]})
    placed = await desk.order(*users)
    assert placed.skipped == {
        "admin": 1, "bot": 1, "owner": 1, "pending_invitation": 1, "protected": 1, "self": 1
    }  # fmt: skip
    assert called(desk) == [users[2]]
    assert options(desk).listing is None


async def test_zendesk_skips_the_suspended_and_the_deleted(desk):
    """They cannot sign in; agents and end users are called."""
    users = [
        user("1", "a@x.org", Role.AGENT),
        user("2", "b@x.org", status=Status.SUSPENDED),
        user("3", "c@x.org", status=Status.INACTIVE),
        user("4", None),
        user("5", "d@x.org", Role.ADMIN),
    ]
    desk.account(users, kind="zendesk")
    await desk.order(all_users=ALL)
    assert skips(desk) == {"2": "suspended", "3": "inactive", "5": "admin"}
    assert called(desk) == ["1", "4"]


async def test_admins_are_reset_only_when_asked_for_and_the_owner_never(desk):
    """At Zendesk the owner is an admin among admins, and is known by the configuration."""
    users = [user("1", "Owner@x.org", Role.ADMIN), user("2", "admin@x.org", Role.ADMIN), user("3", "a@x.org")]
    desk.account(users, kind="zendesk", settings={"owner": "owner@X.org"})
    await desk.order(all_users=ALL, options=Options(include_admins=True))
    assert skips(desk) == {"1": "owner"}
    assert called(desk) == ["2", "3"]


@pytest.mark.parametrize(
    ("settings", "told"),
    [({}, "name the owner's address"), ({"owner": "gone@x.org"}, "no user with the address of its `owner`")],
)
async def test_admins_at_zendesk_are_refused_while_the_owner_is_not_known(desk, settings, told):
    """Without an owner who is there, the owner could be reset among the admins."""
    desk.account([user("1", "a@x.org", Role.ADMIN)], kind="zendesk", settings=settings)
    with pytest.raises(ConfigError, match=told):
        await desk.order("a@x.org", options=Options(include_admins=True))
    assert query(desk, "SELECT count(*) FROM batch") == [(0,)]


async def test_protection_reaches_every_known_name(desk):
    """Somebody is protected by the id while the file names the address, and the other way round."""
    users = [user("1", "a@x.org"), user("2", "b@x.org"), user("3", "Stra\u00dfe@x.org"), user("4", "d@x.org")]
    desk.account(users, settings={"protected": ["1", "B@X.ORG", "STRASSE@x.org"]})
    await desk.order("a@x.org", "2", "3", "4")
    assert skips(desk) == {"a@x.org": "protected", "2": "protected", "3": "protected"}


async def test_an_order_for_all_users_needs_a_word_on_protection(desk):
    """Silence is no decision; named users may be ordered without one."""
    account = desk.account([user("1", "a@x.org")], settings={"protected": None})
    with pytest.raises(ConfigError, match=r'accounts\.acme: .*or write protected = "none"'):
        await desk.order(all_users=ALL)
    assert account.asked == []
    assert (await desk.order("a@x.org")).sends == 1


async def test_filters_choose_from_the_listing(desk):
    """Who is not meant is not on the roster; who is not known is, and is counted."""
    users = [*ORGANISATION, user("20", "x@y.org"), user("21", "z@x.org", role=None)]
    desk.account(users, settings=SETTINGS)
    placed = await desk.order(all_users=filters_for(KINDS["zoom"], domains=["x.org"], roles=["member"]))
    assert called(desk) == ["21", "3", "4", "8", "9"]
    assert (placed.listed, placed.undecided) == (11, 1)
    assert options(desk).listing == {"roles": ["member"], "domains": ["x.org"]}


async def test_filters_that_leave_nobody_are_refused(desk):
    """An order that reaches nobody is a mistake."""
    desk.account(ORGANISATION)
    with pytest.raises(InputError, match="no user of account 'acme' passes the filters"):
        await desk.order(all_users=filters_for(KINDS["zoom"], domains=["y.org"]))


async def test_exclusions_count_in_an_order_for_all_users(desk):
    """They are left out of the roster by either name."""
    desk.account(ORGANISATION, settings=SETTINGS)
    placed = await desk.order(all_users=ALL, excluded=["ADA@x.org", "4"])
    assert (placed.total, placed.excluded) == (7, 2)
    assert called(desk) == ["8", "9"]


async def test_zoom_may_refuse_its_listing_for_named_users_only(desk):
    """Zoom itself refuses owner and admins; for all users the listing is the roster."""
    account = desk.account(ORGANISATION)
    account.refuses["directory"] = ProviderRefused("no scope")
    placed = await desk.order("ada@x.org", "admin@x.org")
    assert (placed.sends, placed.listed) == (2, None)
    with pytest.raises(ProviderRefused):
        await desk.order(all_users=ALL)


async def test_zendesk_may_not_refuse_its_listing(desk):
    """Nothing else tells its admins from other users."""
    account = desk.account([user("1", "a@x.org")], kind="zendesk")
    account.refuses["directory"] = ProviderRefused("no")
    with pytest.raises(ProviderRefused):
        await desk.order("1")
    with pytest.raises(InputError, match="with the preflight"):
        await desk.order("1", preflight=False)


async def test_without_the_preflight_zoom_is_not_listed(desk):
    """Protected users and bulkreset's own are skipped all the same."""
    account = desk.account(ORGANISATION, me=ORGANISATION[7], settings=SETTINGS)
    account.refuses["directory"] = ProviderUnavailable("asked")
    await desk.order("ada@x.org", "admin@x.org", "me@x.org", "breakglass@x.org", preflight=False)
    assert skips(desk) == {"me@x.org": "self", "breakglass@x.org": "protected"}


async def test_nobody_special_is_handed_over_plainly(desk):
    """A roster of which nothing is to be said is written as before: it is the fast way in."""
    desk.account([user("1", "a@x.org"), user("2", "b@x.org")])
    placed = await desk.order("a@x.org", "b@x.org")
    assert query(desk, "SELECT code, wave FROM task") == [(None, 1), (None, 1)]
    assert options(desk).sends_sha256 == placed.roster_sha256
    assert placed.skipped == {}


async def test_users_of_an_open_batch_are_known_beforehand(desk):
    """They are skipped with the batch's number by any name, and who is called is what was hashed."""
    desk.account([user("1", "a@x.org"), user("2", "b@x.org"), user("3", "c@x.org")])
    await desk.order("1", "c@x.org")
    placed = await desk.order("a@x.org", "b@x.org", "3", dry_run=True)
    assert placed.skipped == {"open_elsewhere": 2}
    desk.told["acme"]["require_approval"] = 1
    placed = await desk.order("a@x.org", "b@x.org", "3")
    assert skips(desk, placed.id) == {"a@x.org": "open_elsewhere", "3": "open_elsewhere"}
    messages = query(desk, "SELECT DISTINCT message FROM task WHERE batch_id = ? AND code IS NOT NULL", placed.id)
    assert messages == [("already open in batch 1",)]
    assert await control.approve(desk.store, placed.id, "somebody else") == 0


async def test_people_who_were_reset_lately_are_skipped(desk):
    """Since a time that is given, by any batch of this account, whatever name that batch called them by."""
    desk.account([user("1", "a@x.org"), user("2", "b@x.org"), user("3", "c@x.org")])
    now = system_clock()
    await desk.order("a@x.org", "2", "3")
    for ref, state, at in (
        ("a@x.org", "succeeded", now),
        ("2", "succeeded", now - timedelta(days=3)),
        ("3", "failed", now),
    ):
        moment = at.strftime("%Y-%m-%d %H:%M:%S.%f")
        query(desk, "UPDATE task SET state = ?, finished_at = ? WHERE user_ref = ?", state, moment, ref)
    placed = await desk.order("1", "2", "3", skip_if_reset_since=now - timedelta(days=1))
    assert skips(desk, placed.id) == {"1": "recently_reset"}
    assert called(desk, placed.id) == ["2", "3"]


@pytest.mark.parametrize("state", ["pending", "succeeded"])
async def test_without_a_listing_people_are_known_by_the_name_that_was_shown(desk, state):
    """Whoever was named by id before, and by address now, is not reset a second time unasked."""
    account = desk.account([user("1", "a@x.org"), user("2", "b@x.org")])
    now = system_clock()
    await desk.order("1")
    moment = now.strftime("%Y-%m-%d %H:%M:%S.%f")
    query(desk, "UPDATE task SET state = ?, finished_at = ?", state, None if state == "pending" else moment)
    account.refuses = {"directory": ProviderRefused("no scope")}
    placed = await desk.order("A@x.org", "b@x.org", skip_if_reset_since=now - timedelta(days=1))
    assert len(skips(desk, placed.id)) == 1
    assert called(desk, placed.id) == ["b@x.org"]


async def test_ways_to_sign_in_are_asked_for_when_wanted(desk):
    """Who has no password is skipped; who is skipped already is not asked, and the calls are bounded."""
    users = [user(f"{number:03}", f"u{number}@x.org") for number in range(60)]
    account = desk.account([*users, user("owner", "o@x.org", Role.OWNER)])
    account.logins = {
        "000": Login(resettable=False, reason="signs in by SSO only", sso=True),
        "001": Login(resettable=False, reason="signs in with Google"),
        "002": Login(resettable=True, sso=True),
    }
    placed = await desk.order(all_users=ALL, check_logins=True, options=Options(revoke_sessions=True))
    assert skips(desk) == {"000": "sso", "001": "login", "owner": "owner"}
    assert sorted(account.asked) == [one.user_id for one in users]
    assert 1 < account.most_at_once <= LOGINS_AT_ONCE
    assert (placed.sends, placed.calls) == (58, 58 + 59)  # the sessions of the SSO user end too
    revoked = query(desk, "SELECT count(*), max(label) FROM task WHERE action = 'revoke_sessions'")
    assert revoked == [(59, "light")]


async def test_a_refusal_to_tell_how_users_sign_in_ends_the_order(desk):
    """It was asked for, and is one error, not a bundle of them."""
    account = desk.account([user(str(number)) for number in range(50)])
    account.refuses["login"] = ProviderRefused("no scope")
    with pytest.raises(ProviderRefused, match="no scope"):
        await desk.order(all_users=ALL, check_logins=True)
    assert account.at_once == 0


async def test_a_dry_run_does_all_but_write(desk, monkeypatch):
    """It says what the order would, needs no key, and makes none."""
    account = desk.account(ORGANISATION, me=ORGANISATION[7], settings=SETTINGS)
    account.findings = [Finding("scopes", ok=False, detail="missing: user:write:admin"), *account.findings]
    monkeypatch.setattr(MasterKey, "new_batch_key", None)
    dry = await desk.order(all_users=ALL, dry_run=True, master=False)
    assert dry.id is None
    assert dry.would_halt == ("scopes: missing: user:write:admin",)
    for table in ("batch", "task", "event"):
        assert query(desk, f"SELECT count(*) FROM {table}") == [(0,)]
    monkeypatch.undo()


async def test_a_dry_run_finds_what_the_order_would_fail_on(desk):
    """A reference that is none of the provider's is refused there too."""
    account = desk.account([user("1", "a@x.org")])
    account.check_ref = lambda ref: "is odd"
    account.refuses["directory"] = ProviderRefused("no scope")
    with pytest.raises(InputError, match="is odd"):
        await desk.order("odd", all_users=None, dry_run=True)


async def test_a_dry_run_says_what_the_order_says(desk):
    """Hashes, counts and options are the same: what was looked at is what is ordered."""
    desk.account(ORGANISATION, me=ORGANISATION[7], settings=SETTINGS)
    dry = await desk.order(all_users=ALL, dry_run=True, options=Options(canary=2))
    placed = await desk.order(all_users=ALL, options=Options(canary=2))
    assert replace(placed, id=None) == dry


async def test_people_go_first_by_list_and_by_priority(desk, tmp_path):
    """The list goes before any priority, and the highest number that a person has counts."""
    desk.account([user(str(number), f"u{number}@x.org") for number in range(5)])
    lines = [
        UserLine(1, "u0@x.org", None, 5),
        UserLine(2, "u0@x.org", None, 9),
        UserLine(3, "u1@x.org", None, 1_000),
    ]
    first = (user_line("U2@x.org", 1, "first"), user_line("1", 2, "first"), user_line("nobody@x.org", 3, "first"))
    await _place(desk, [*lines, UserLine(4, "u2@x.org", None), UserLine(5, "u3@x.org", None)], first=first)
    due = dict(query(desk, "SELECT user_ref, due_at FROM task"))
    base = datetime.fromisoformat(due["u3@x.org"])
    ahead = {ref: (base - datetime.fromisoformat(at)).total_seconds() for ref, at in due.items()}
    assert ahead == {"u0@x.org": 9, "u1@x.org": FIRST + 1_000, "u2@x.org": FIRST, "u3@x.org": 0}


async def _place(desk, lines, **told):
    from bulkreset.intake.order import Order, chunks, place

    order = Order("acme", "INC-1", "a test", "tester", **told)
    return await place(desk.store, desk.settings, None, desk.master, order, users=chunks(lines))


async def test_canaries_are_a_cross_section_of_those_who_are_called(desk):
    """As many as were asked for, always the same, none of them skipped, and not simply the first by name."""
    desk.account([user(f"{number:03}", role=Role.ADMIN if number < 20 else Role.MEMBER) for number in range(200)])
    placed = await desk.order(all_users=ALL, options=Options(canary=10), dry_run=True)
    assert placed.canaries == 10
    await desk.order(all_users=ALL, options=Options(canary=10))
    rows = query(desk, "SELECT user_ref, state FROM task WHERE wave = 0 ORDER BY user_ref")
    assert len(rows) == 10
    assert {state for _, state in rows} == {"pending"}
    refs = [ref for ref, _ in rows]
    assert refs != [f"{number:03}" for number in range(20, 30)]
    assert refs[0] < "080"
    assert refs[-1] > "140"
    query(desk, "UPDATE task SET state = 'failed'")
    again = await desk.order(all_users=ALL, options=Options(canary=10))
    rows = query(desk, "SELECT user_ref FROM task WHERE wave = 0 AND batch_id = ? ORDER BY user_ref", again.id)
    assert [ref for (ref,) in rows] == refs


async def test_who_is_to_go_first_is_a_canary_first(desk):
    """Volunteers are named by the list of people to do first."""
    desk.account([user(f"{number:03}") for number in range(50)])
    first = tuple(user_line(ref, 1, "first") for ref in ("007", "033"))
    await desk.order(all_users=ALL, options=Options(canary=3), first=first)
    canaries = {ref for (ref,) in query(desk, "SELECT user_ref FROM task WHERE wave = 0")}
    assert len(canaries) == 3
    assert {"007", "033"} < canaries


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"canary": -1}, "number of canaries"),
        ({"canary": 4}, "4 canaries are more than the 3 users"),
        ({"hold_after_canary": True}, "needs canaries"),
        ({"ramp_s": -1}, "a ramp lasts"),
        ({"ramp_s": 86_401}, "a ramp lasts"),
        ({"halt_at": 0.0}, "share of failures"),
        ({"halt_at": 1.01}, "share of failures"),
        ({"halt_at": float("nan")}, "share of failures"),
        ({"escrow_days": 0}, "in escrow"),
        ({"escrow_days": 366}, "in escrow"),
    ],
)
async def test_options_out_of_bounds_are_refused(desk, wrong, told):
    """Nothing is ordered with an option that means nothing."""
    desk.account([user("1"), user("2"), user("3")])
    with pytest.raises(InputError, match=told):
        await desk.order("1", "2", "3", options=Options(**wrong))
    assert query(desk, "SELECT count(*) FROM batch") == [(0,)]


async def test_approval_is_asked_for_as_configured(desk):
    """A batch starts as a draft; an emergency order does not, where the configuration allows it, and says so."""
    desk.account([user("1")], settings={"require_approval": 2})
    placed = await desk.order("1")
    assert placed.approvals_needed == 2
    assert query(desk, "SELECT state, approvals_needed FROM batch") == [("draft", 2)]
    query(desk, "UPDATE task SET state = 'failed'")
    with pytest.raises(ConfigError, match="allow_emergency = true"):
        await desk.order("1", emergency=True)
    desk.told["acme"]["allow_emergency"] = True
    placed = await desk.order("1", emergency=True)
    assert query(desk, "SELECT state FROM batch WHERE id = ?", placed.id) == [("open",)]
    assert options(desk, placed.id).emergency
    (detail,) = query(desk, "SELECT detail FROM event WHERE batch_id = ?", placed.id)[0]
    assert json.loads(detail)["options"]["emergency"] is True


@pytest.mark.parametrize("word", ["emergency", "sends_sha256", "listing"])
async def test_what_an_order_finds_out_is_not_taken_from_its_options(desk, word):
    """Nobody slips an emergency, a hash or filters in beside what was checked."""
    desk.account([user("1")], settings={"require_approval": 1})
    given = {"emergency": True, "sends_sha256": "0" * 64, "listing": {"roles": ["owner"]}}
    placed = await desk.order("1", options=Options(**{word: given[word]}))
    assert options(desk) == Options(sends_sha256=placed.roster_sha256)
    assert placed.approvals_needed == 1


async def test_the_daily_limit_is_foretold(desk):
    """Zoom Free takes 2,000 calls a day: the order says that it will be reached, and when."""
    desk.account([user(str(number)) for number in range(2_001)], settings={"share": 1.0, "plan": "free"})
    del desk.told["acme"]["requests_per_second"]
    desk.accounts["acme"].directory = _one_page(desk.accounts["acme"])
    placed = await desk.order(all_users=ALL, dry_run=True)
    assert placed.daily_limit == 2_000
    assert 1_000 <= placed.daily_limit_in_s <= 1_030
    assert placed.estimate_s > 86_400


def _one_page(account):
    async def directory(pace):
        yield account.users

    return directory


async def test_nothing_stands_where_the_account_cannot_be_asked(desk):
    """A listing that ends short ends the order."""
    desk.account(ORGANISATION, counts=[10])
    with pytest.raises(ProviderUnavailable, match="ended with 9 users"):
        await desk.order(all_users=ALL)
    assert query(desk, "SELECT count(*) FROM batch") == [(0,)]


async def test_protected_people_may_stand_in_a_file(desk, tmp_path):
    """Relative paths count from the configuration's folder, which is this one here."""
    file = tmp_path / "protected.txt"
    file.write_text("2\n")
    desk.account([user("1"), user("2")], settings={"protected": {"file": str(file)}})
    await desk.order(all_users=ALL)
    assert skips(desk) == {"2": "protected"}


@pytest.mark.parametrize("readable", [True, False])
async def test_the_batch_keeps_the_policy_with_what_is_wished_of_passwords(desk, monkeypatch, readable):
    """Length and style go into the batch beside the account's own rules, and those of the strongest form too."""
    account = desk.account([user("3", "ada@x.org")])
    asked = replace(STRONGEST, min_length=9, special=False, source="the account")

    async def policy(pace):
        if not readable:
            raise ProviderUnavailable("away")
        return asked

    monkeypatch.setattr(account, "policy", policy)
    desk.passwords |= {"length": 30, "style": "passphrase"}
    await desk.order("3")
    del desk.passwords["length"], desk.passwords["style"]
    await desk.order("3", skip_if_reset_since=None)
    wished, plain = [Policy.from_json(text) for (text,) in query(desk, "SELECT policy FROM batch ORDER BY id")]
    assert plain == (asked if readable else STRONGEST)
    assert wished == replace(plain, length=30, style=Style.PASSPHRASE)


@pytest.mark.parametrize("letter", ["\u202e", "\u2066", "\u200b", "\x1b", "\x00", "\x85", "\u2028"])
@pytest.mark.parametrize("word", ["incident", "reason", "requester"])
async def test_words_that_show_as_others_are_refused(desk, word, letter):
    """An approver could be shown another text than the one that is approved; the character is named."""
    desk.account(ORGANISATION)
    said = {"incident": "INC-1", "reason": "a test", "requester": "tester", word: f"a{letter}b"}
    with pytest.raises(
        InputError, match=rf"the {word} holds a character that nobody can see, U\+{ord(letter):04X}"
    ):
        await place(
            desk.store,
            desk.settings,
            None,
            desk.master,
            Order("acme", **said),
            users=chunks([user_line("3", 1, "u")]),
        )
    assert query(desk, "SELECT count(*) FROM batch") == [(0,)]


async def test_a_listing_that_is_short_of_the_count_can_be_accepted_on_record(desk):
    """Refused with both numbers and the option; accepted, the difference is part of what is approved."""
    desk.account(ORGANISATION, counts=[12])
    with pytest.raises(
        ProviderUnavailable, match=r"9 users and the provider counts 12, 3 more .* --accept-listing"
    ):
        await desk.order(all_users=ALL)
    assert query(desk, "SELECT count(*) FROM batch") == [(0,)]
    placed = await desk.order(all_users=ALL, accepts=frozenset({Concern.LISTING}))
    assert placed.missing == 3
    assert options(desk).accepted == {"listing": 3}
    [(detail,)] = query(desk, "SELECT detail FROM event WHERE kind = 'created'")
    assert json.loads(detail)["options"]["accepted"] == {"listing": 3}


def test_options_of_batches_before_keep_their_hash():
    """An approval is bound to it: what came later is left out where nothing was ordered of it."""
    assert "accepted" not in json.loads(Options().as_json())
    assert Options.from_json(Options(accepted={"again": 3}).as_json()).accepted == {"again": 3}


@pytest.mark.parametrize("kind", ["zoom", "zendesk"])
async def test_one_user_whom_nobody_can_read_stops_no_other(desk, kind):
    """They are skipped and counted; the others are called."""
    bad = "b\x00\x1b[31m\u202e\nforged@x.org  succeeded  ok"
    desk.account([user("1", "a@x.org"), user("2", bad), user(bad, "c@x.org"), user("a b", "d@x.org")], kind=kind)
    placed = await desk.order(all_users=ALL)
    assert placed.skipped == {"unreadable": 3}
    assert called(desk) == ["1"]
    rows = query(desk, "SELECT user_ref, display FROM task")
    assert not any(UNSAFE.search(name) for row in rows for name in row)


async def test_a_listing_of_nobody_at_all_says_nothing_about_named_users(desk):
    """An account has its owner at least; where Zoom lists nobody, it is as where it refuses to list."""
    desk.account([])
    placed = await desk.order("a@x.org", "b@x.org")
    assert (placed.listed, placed.sends, placed.skipped) == (None, 2, {})

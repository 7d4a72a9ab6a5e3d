"""Nobody who is protected is ever called, whenever they became so; where that cannot be told, nobody is."""

import pytest
from installation import addresses, calls_reach, check_books, writes

from bulkreset.errors import ConfigError
from bulkreset.intake.users_file import UserLine
from bulkreset.options import Options
from bulkreset.sandbox import generated_user
from bulkreset.store import lifecycle

SESSIONS = Options(revoke_sessions=True)
FILE = {"protected": {"file": "protected.txt"}}


@pytest.fixture
def protect(installation):
    """Write the list of protected users; with nothing, take it away."""

    def write(*names):
        path = installation.folder / "protected.txt"
        if names:
            path.write_text("\n".join(names) + "\n")
        else:
            path.unlink()

    return write


def skipped(installation):
    """Return who was skipped and why, and how often that was found when a call was about to leave."""
    tried = "SELECT count(*) FROM attempt a WHERE a.task_id = task.id AND a.outcome <> 'released'"
    return installation.query(
        f"SELECT user_ref, action, code, ({tried}) FROM task WHERE state = 'skipped' ORDER BY user_ref, action"
    )


def untouched(tenant, *emails):
    users = [tenant.directory.by_email(email) for email in emails]
    called = {call.user for call in writes(tenant)}
    return all(user.id not in called and (user.applied, user.sessions) == (0, 1) for user in users)


async def test_who_is_protected_at_the_order_is_never_called(zoom, installation):
    """By address in any case and by id, from the configuration itself."""
    users = [generated_user("zoom", number) for number in (3, 7)]
    tenant = zoom(12, account={"protected": [users[0].email.upper(), users[1].id]})
    placed = await installation.order("zoom", addresses(12), preflight=True, options=SESSIONS)
    assert placed.skipped == {"protected": 2}
    await installation.run()
    check_books(installation, tenant)
    assert untouched(tenant, *(user.email for user in users))
    assert (await installation.batch(placed.id)).outcomes == {"ok": 10}


@pytest.mark.parametrize("provider", ["zoom", "zendesk"])
async def test_who_becomes_protected_after_the_order_is_not_called(provider, request, installation, protect):
    """The list is asked once more when the call is about to leave; the row is skipped and says why."""
    protect("somebody@elsewhere.example")
    tenant = request.getfixturevalue(provider)(12, account=FILE)
    placed = await installation.order(provider, addresses(12, provider), options=SESSIONS)
    late = addresses(12, provider)[4]
    protect(late.upper())
    await installation.run()
    check_books(installation, tenant)
    assert untouched(tenant, late)
    ref = late if provider == "zoom" else generated_user("zendesk", 5).id
    assert skipped(installation) == [
        (ref, "revoke_sessions", "no_password", 0),
        (ref, "set_password", "protected", 1),
    ]
    batch = await installation.batch(placed.id)
    assert (batch.state, batch.outcomes) == ("done", {"ok": 11, "not_resettable": 1})
    assert batch.sessions["succeeded"] == 11


@pytest.mark.parametrize("named", ["address", "id"])
@pytest.mark.parametrize("ordered", ["address", "id"])
@pytest.mark.parametrize("provider", ["zoom", "zendesk"])
async def test_who_was_ordered_by_one_name_is_protected_by_the_other(
    provider, ordered, named, request, installation, protect
):
    """The listing that was read at the order knows both names, so the list may use either at any time."""
    users = [generated_user(provider, number) for number in range(1, 13)]
    late = users[4]
    protect("somebody@elsewhere.example")
    tenant = request.getfixturevalue(provider)(12, account=FILE)
    lines = [
        UserLine(number, user.email, None) if ordered == "address" else UserLine(number, None, user.id)
        for number, user in enumerate(users, 1)
    ]
    placed = await installation.order(provider, lines, preflight=True, options=SESSIONS)
    protect(late.email if named == "address" else late.id)
    await installation.run()
    check_books(installation, tenant)
    assert untouched(tenant, late.email)
    batch = await installation.batch(placed.id)
    assert batch.outcomes == {"ok": 12 - sum(placed.skipped.values()) - 1, "not_resettable": 1}


async def test_a_list_that_changes_in_the_middle_of_a_run_counts_at_once(zoom, installation, protect):
    """Those who wait are looked up again at their own call, by the id that the roster has too."""
    protect("somebody@elsewhere.example")
    tenant = zoom(40, account={"requests_per_second": 40, **FILE})
    users = [generated_user("zoom", number) for number in range(1, 41)]
    by_id = [UserLine(number, user.email, user.id) for number, user in enumerate(users, 1)]
    placed = await installation.order("zoom", by_id)
    last = sorted(users, key=lambda user: user.id)[-2:]

    async def change(worker):
        await calls_reach(tenant, tenant.log.total + 5)
        protect(last[0].id, last[1].email)

    await installation.run(meanwhile=change)
    check_books(installation, tenant)
    assert untouched(tenant, *(user.email for user in last))
    assert (await installation.batch(placed.id)).outcomes == {"ok": 38, "not_resettable": 2}


@pytest.mark.parametrize("content", [None, b"\xff\xfe\x00"], ids=["gone", "no text"])
async def test_a_list_that_cannot_be_read_halts_the_account(zoom, installation, protect, content):
    """Nobody is known to be unprotected then: nothing is sent, the halt names the file, and resume goes on."""
    protect("somebody@elsewhere.example")
    tenant = zoom(10, account=FILE)
    placed = await installation.order("zoom", addresses(10), options=SESSIONS)
    if content is None:
        protect()
    else:
        (installation.folder / "protected.txt").write_bytes(content)
    await installation.run()
    assert writes(tenant) == []
    reasons = [reason for (reason,) in installation.query("SELECT halted_reason FROM quota")]
    assert all("protected.txt" in reason for reason in reasons)
    batch = await installation.batch(placed.id)
    assert (batch.state, batch.left) == ("open", 20)
    assert installation.query("SELECT DISTINCT tries FROM task") == [(0,)]

    protect("somebody@elsewhere.example")
    await installation.steer(lifecycle.resume, placed.id)
    await installation.run()
    check_books(installation, tenant)
    assert (await installation.batch(placed.id)).outcomes == {"ok": 10}


async def test_without_its_list_no_order_is_taken(zoom, installation):
    """A file that is named and not there stops the order before the account is asked for anything."""
    tenant = zoom(5, account=FILE)
    with pytest.raises(ConfigError, match=r"protected\.txt"):
        await installation.order("zoom", addresses(5))
    assert tenant.log.total == 0

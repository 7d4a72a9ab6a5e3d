"""`batch approve` and `batch trail`: somebody else, for just this roster, and written down."""

import pytest
from cli_program import emails, refused, writes

ADA, BEA = {"SUDO_USER": "ada"}, {"SUDO_USER": "bea"}


@pytest.fixture
def asking(folder):
    """A folder whose account at Zoom asks for one approval."""
    return folder.configure(zoom="requests_per_second = 1000\nrequire_approval = 1")


def create(folder, *users, **more):
    ended = folder.run(
        *folder.order("zoom"), "--json", *more.pop("options", ()), stdin="\n".join(users).encode(), **more
    )
    assert ended.code == 0, ended.err
    return ended.json


def state(folder, batch_id=1):
    return folder.run("batch", "show", str(batch_id), "--json").json["state"]


def test_an_order_that_needs_approval_says_what_to_do(asking, zoom):
    """It is a draft, and the command for the others is there to be copied, with the beginning of the hash."""
    ended = asking.run(*asking.order("zoom"), stdin=b"\n".join(email.encode() for email in emails(1, 2)))
    assert ended.code == 0
    [(digest,)] = asking.query("SELECT roster_sha256 FROM batch")
    assert (
        f"it is a draft: one other person must run `bulkreset batch approve 1 --roster {digest[:12]}`" in ended.out
    )
    shown = asking.run("batch", "show", "1").out
    assert "batch 1 at zoom: draft" in shown
    assert "approvals  0 of 1" in shown
    assert asking.run("run", "--once").code == 4
    assert writes(zoom) == []


def test_nobody_approves_an_order_of_their_own(asking, zoom):
    """Not as root either, nor behind another sudo: the person is the same, and nothing changes."""
    create(asking, *emails(1, 2), environment=ADA)
    [(requester,)] = asking.query("SELECT requested_by FROM batch")
    assert requester.startswith("ada (as ")
    refused(asking.run("batch", "approve", "1", environment=ADA), "batch 1", "somebody else must approve")
    refused(asking.run("batch", "approve", "1", environment={"SUDO_USER": "ADA"}), "somebody else must approve")
    assert state(asking) == "draft"
    assert asking.query("SELECT count(*) FROM approval") == [(0,)]
    assert asking.run("run", "--once").code == 4
    assert writes(zoom) == []


def test_another_person_lets_it_go(asking, zoom):
    """With the hash that was looked at, in part or in whole; then the runner works, and both names stay."""
    placed = create(asking, *emails(1, 2), environment=ADA)
    ended = asking.run(
        "batch", "approve", "1", "--roster", placed["roster_sha256"][:12], "--json", environment=BEA
    )
    assert (ended.code, ended.json["state"], ended.json["approvals_needed"]) == (0, "open", 1)
    assert asking.run("run", "--once").code == 0
    assert len(writes(zoom)) == 2
    refused(asking.run("batch", "approve", "1", environment=BEA), "batch 1 is done", "only a draft")
    [who] = asking.query("SELECT approver, roster_sha256, options_sha256 FROM approval")
    assert who[0].startswith("bea (as ")
    assert who[1:] == (placed["roster_sha256"], placed["options_sha256"])


def test_an_approval_for_another_roster_is_refused(asking, zoom):
    """The hash of another batch, one that is cut too short, and one with a typing error approve nothing."""
    one = create(asking, *emails(1, 2), environment=ADA)
    other = create(asking, *emails(3, 4), environment=ADA)
    for roster in (other["roster_sha256"], one["roster_sha256"][:7], "0" * 64):
        said = asking.run("batch", "approve", "1", "--roster", roster, environment=BEA)
        refused(said, roster[:7], one["roster_sha256"], "nothing is approved")
    refused(asking.run("batch", "approve", "9", environment=BEA), "batch 9", "batch list")
    assert (state(asking, 1), state(asking, 2)) == ("draft", "draft")
    assert asking.run("run", "--once").code == 4
    assert writes(zoom) == []


def test_two_approvals_are_counted(asking, zoom):
    """The first of two says how many are missing, and one person does not count twice."""
    asking.configure(zoom="requests_per_second = 1000\nrequire_approval = 2")
    create(asking, *emails(1), environment={"SUDO_USER": "carl"})
    ended = asking.run("batch", "approve", "1", environment=ADA)
    assert (ended.code, "approved; 1 more approval is needed" in ended.out) == (0, True)
    refused(asking.run("batch", "approve", "1", environment=ADA), "has the approval of ada", "another person")
    assert state(asking) == "draft"
    assert asking.run("batch", "approve", "1", environment=BEA).code == 0
    assert state(asking) == "open"


def test_an_emergency_needs_the_configurations_consent(asking, zoom):
    """Refused without it; with it the batch starts at once, and whoever looks is told."""
    said = asking.run(*asking.order("zoom"), "--emergency", stdin=emails(1)[0].encode())
    refused(said, "accounts.zoom", "allow_emergency = true")
    assert zoom.log.total == 0
    asking.configure(zoom="requests_per_second = 1000\nrequire_approval = 1\nallow_emergency = true")
    placed = create(asking, *emails(1), options=["--emergency"])
    assert placed["approvals_needed"] == 0
    assert "emergency  started without approvals" in asking.run("batch", "show", "1").out
    assert asking.run("run", "--once").code == 0
    [created, *_] = asking.run("batch", "trail", "1", "--json").json
    assert created["detail"]["options"]["emergency"] is True


def test_the_trail_tells_who_did_what(asking, zoom):
    """Every event in its order, with its actor and detail, for people and for programs."""
    placed = create(asking, *emails(1, 2), environment=ADA)
    assert asking.run("batch", "approve", "1", environment=BEA).code == 0
    assert asking.run("batch", "pause", "1", environment=BEA).code == 0
    assert asking.run("batch", "resume", "1", environment=ADA).code == 0
    assert asking.run("run", "--once").code == 0
    found = asking.run("batch", "trail", "1", "--json").json
    assert all(set(event) == {"at", "actor", "kind", "detail"} for event in found)
    told = [(event["kind"], event["actor"].partition(" ")[0]) for event in found]
    assert told == [
        *[("created", "ada"), ("approved", "bea"), ("opened", "runner"), ("paused", "bea"), ("resumed", "ada")],
        *[("started", "runner"), ("done", "runner")],
    ]
    assert found[0]["detail"]["roster_sha256"] == found[1]["detail"]["roster_sha256"] == placed["roster_sha256"]
    assert found[1]["detail"]["options_sha256"] == placed["options_sha256"]
    # The details stand below each event, indented, and a last line says that the chain is whole.
    lines = [line for line in asking.run("batch", "trail", "1").out.splitlines() if " UTC  " in line]
    assert len(lines) == len(found)
    for line, event in zip(lines, found, strict=True):
        assert event["kind"] in line
        assert event["actor"] in line
    refused(asking.run("batch", "trail", "9"), "batch 9", "batch list")

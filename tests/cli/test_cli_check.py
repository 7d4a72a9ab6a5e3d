"""`bulkreset check`: what it finds out beyond the login, in which words, and at how many calls."""

from collections import Counter

import pytest
from cli_program import CLIENT_SECRET, calls

from bulkreset.sandbox import zendesk as zendesk_stand_in

CLIENT = """\
requests_per_minute = 60000
client_id = "sandbox-client-id"
client_secret = { env = "ZOOM_SECRET" }
"""


def finding(folder, account, topic):
    """Return one line of a check, and how the check ended."""
    ended = folder.run("check", account)
    lines = [line for line in ended.out.splitlines() if f"  {topic}: " in line]
    return (lines[0].strip() if lines else None), ended.code


@pytest.fixture
def by_client(made, tmp_path, stand_ins):
    """The account `zendesk` with an OAuth client's credentials."""

    def make(more="", **spec):
        stand_ins.add("zendesk", "zendesk", client_secret=CLIENT_SECRET, **spec)
        folder = made.copy(tmp_path / "folder").configure(zendesk=CLIENT + more)
        text = folder.config.read_text()
        login = 'email = "admin@example.com"\napi_token = { env = "ZENDESK_TOKEN" }\n'
        assert login in text
        folder.config.write_text(text.replace(login, ""))
        return folder

    return make


@pytest.mark.parametrize("account", ["zoom", "zendesk"])
def test_nothing_is_read_twice(folder, zoom, zendesk, account):
    """Each address is asked once, the policy among them."""
    assert folder.run("check", account).code == 0
    asked = Counter((call.method, call.path) for call in calls({"zoom": zoom, "zendesk": zendesk}[account]))
    assert set(asked.values()) == {1}


def test_an_oauth_client_passes_without_a_warning_of_its_token(by_client):
    """Both scopes are there and the token is renewed: nothing to act on."""
    folder = by_client('protected = "none"\n')
    ended = folder.run("check", "zendesk")
    assert ended.code == 0
    assert "warn" not in ended.out
    assert "ok    scopes: read write" in ended.out


def test_a_client_that_may_only_read_is_told_so(by_client):
    """What the client's allowed scopes lack is found at the login, with where to allow it."""
    line, code = finding(by_client(scopes=["read"]), "zendesk", "login")
    assert code == 1
    assert line.startswith("FAIL")
    assert "allowed scopes must hold read and write" in line


def test_an_api_token_is_warned_of_and_passes(folder, zendesk):
    """It still works: exit 0, and the dates of its end."""
    line, code = finding(folder, "zendesk", "token")
    assert code == 0
    assert line.startswith("warn")
    assert "2027-04-30" in line


def test_what_cannot_be_read_is_no_ok(folder, zendesk):
    """Zendesk's setting is a question, not a success."""
    line, code = finding(folder, "zendesk", "setting")
    assert (line[:1], code) == ("?", 0)


@pytest.mark.parametrize("account", ["zoom", "zendesk"])
def test_the_list_of_protected_users_is_looked_at(made, tmp_path, zoom, zendesk, account):
    """A missing file fails the check as it would refuse the order; no list at all is a warning."""
    rate = {"zoom": "requests_per_second = 1000", "zendesk": "requests_per_minute = 60000"}[account]

    def look(name, line):
        folder = made.copy(tmp_path / name).configure(**{account: f"{rate}\n{line}"})
        (folder.path / "there.txt").write_text("user00001@example.com\n")
        return finding(folder, account, "protected")

    line, code = look("missing", 'protected = { file = "absent.txt" }')
    assert code == 1
    assert line.startswith("FAIL")
    assert "absent.txt" in line
    line, code = look("unset", "")
    assert code == 0
    assert line.startswith("warn")
    assert "--all-users is refused" in line
    line, code = look("set", 'protected = { file = "there.txt" }')
    assert (line.startswith("ok"), code) == (True, 0)


@pytest.mark.parametrize("account", ["zoom", "zendesk"])
def test_protected_names_that_are_nobodys_are_named(made, tmp_path, zoom, zendesk, account):
    """Up to ten of them with a warning, a list that is mostly so is a FAIL; the account is listed once for it."""
    tenant = {"zoom": zoom, "zendesk": zendesk}[account]
    rate = {"zoom": "requests_per_second = 1000", "zendesk": "requests_per_minute = 60000"}[account]
    there = [user.email for user in tenant.users]

    def look(name, names):
        folder = made.copy(tmp_path / name).configure(**{account: f"{rate}\nprotected = {names}"})
        return finding(folder, account, "protected")

    line, code = look("all", [there[0], there[1].upper()])
    assert (line, code) == ("ok    protected: 2 names are never reset, and each is somebody's", 0)
    # Of Zoom three lists and their three counts, after the look whether it may be listed at all.
    asked = Counter(call.path.rpartition("/")[2] for call in calls(tenant))
    assert {"zoom": asked["users"], "zendesk": asked["users.json"]}[account] == {"zoom": 7, "zendesk": 1}[account]

    strangers = [f"nobody{n:02}@example.com" for n in range(12)]
    line, code = look("some", [*there[:12], *strangers])
    assert code == 0
    assert line.startswith("warn")
    assert "12 of 24 names in protected are nobody's here" in line
    assert [one for one in strangers if one in line] == strangers[:10]
    assert "and 2 more" in line

    line, code = look("most", [there[0], *strangers[:2]])
    assert code == 1
    assert line.startswith("FAIL")
    assert "2 of 3 names in protected are nobody's here: nobody00@example.com, nobody01@example.com" in line


def test_an_account_that_cannot_be_listed_leaves_a_question(folder, stand_ins, monkeypatch):
    """Whether the protected are anybody's is not known then, and that is what the line says."""
    stand_ins.add("zendesk", "zendesk", count=150)
    folder.configure(zendesk='requests_per_minute = 60000\nprotected = ["boss@example.com"]')
    whole = zendesk_stand_in.cursor_page

    def first_page(*arguments):
        page = whole(*arguments)
        return page | {"meta": page["meta"] | {"has_more": False}}

    monkeypatch.setattr(zendesk_stand_in, "cursor_page", first_page)
    line, code = finding(folder, "zendesk", "protected")
    assert code == 0
    assert line.startswith("?     protected: 1 name is never reset; whether they are anybody's cannot be told")
    assert "the listing ended with 100 users" in line


def test_the_lower_of_two_limits_is_kept_and_said(folder, stand_ins):
    """The account tells 200 a minute where 60,000 are configured: the rate is of the 200, with a warning."""
    stand_ins.add("zendesk", "zendesk", limit=200)
    line, code = finding(folder, "zendesk", "limit")
    assert code == 0
    assert line.startswith("warn")
    assert "200/min" in line
    assert folder.run("check", "zendesk", "--json").json["rate"]["text"] == "200/min"
    users = b"user00001@example.com\n"
    options = ("--account", "zendesk", "--users", "-", "--incident", "I", "--reason", "r", "--dry-run")
    ordered = folder.run("batch", "create", *options, stdin=users)
    assert ordered.code == 0
    assert "the provider tells 200/min" in ordered.out


@pytest.mark.parametrize(
    ("account", "old", "new", "words"),
    [
        ("zoom", "/zoom/v2", "/zoom", "it ends in /v2"),
        ("zoom", "/zoom/v2", "/zoom/v2/v2", "it ends in /v2"),
        ("zoom", "/zoom/oauth/token", "/zoom/oauth", "check oauth_url"),
        ("zendesk", "/zendesk", "/nobody", "without /api/v2"),
        ("zendesk", "/zendesk", "/zendesk/agent", "without /api/v2"),
    ],
)
def test_a_wrong_address_is_named(folder, zoom, zendesk, account, old, new, words):
    """Exit 1 and one line with the setting to look at; no scope and no user is blamed."""
    folder.config.write_text(folder.config.read_text().replace(f'{old}"', f'{new}"'))
    ended = folder.run("check", account)
    assert ended.code == 1
    failures = [line for line in ended.out.splitlines() if "FAIL" in line]
    assert len(failures) == 1
    assert words in failures[0]
    assert "scope" not in failures[0]


@pytest.mark.parametrize("account", ["zoom", "zendesk"])
@pytest.mark.parametrize("share", ["1", "0.5"])
def test_a_check_begins_with_the_limit_and_the_share_of_it(made, tmp_path, zoom, zendesk, account, share):
    """The option is named as in the configuration, whatever part it is."""
    folder = made.copy(tmp_path / "copy").configure()
    config = folder.config.read_text(encoding="utf-8")
    folder.config.write_text(config.replace("share = 1.0", f"share = {share}"), encoding="utf-8")
    said = {
        ("zoom", "1"): "zoom: zoom, label medium, share 1: 1000/s",
        ("zoom", "0.5"): "zoom: zoom, label medium, share 0.5: 500/s (50 % of 1000/s)",
        ("zendesk", "1"): "zendesk: zendesk, label default, share 1: 60000/min",
        ("zendesk", "0.5"): "zendesk: zendesk, label default, share 0.5: 30000/min (50 % of 60000/min)",
    }
    assert folder.run("check", account).out.splitlines()[0] == said[account, share]


def test_a_halted_account_can_be_tried(folder, stand_ins):
    """Before the halt is lifted, the check tells whether a new secret serves; the halt stays, and is told."""
    tenant = stand_ins.add("zendesk", "zendesk", faults=[{"kind": "401", "on": "writes"}])
    folder.create("zendesk", ["user00001@example.com"])
    assert folder.run("run", "--once").code == 4
    tenant.faults.clear()
    line, code = finding(folder, "zendesk", "halted")
    assert code == 0
    assert line.startswith("warn")
    assert "refuses the login" in line
    assert folder.run("run", "--once").code == 4
    assert folder.run("batch", "resume", "1").code == 0
    assert folder.run("run", "--once").code == 0

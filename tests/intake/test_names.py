"""One form of an address and one strictness, in every list that names people and wherever they are compared."""

import os

import pytest
from databases import ask
from fake_account import user

from bulkreset import config
from bulkreset.errors import ConfigError, InputError
from bulkreset.intake import protection
from bulkreset.intake.roster import Roster
from bulkreset.intake.users_file import UserLine, user_line
from bulkreset.options import Options
from bulkreset.providers.base import DirectoryUser, Role
from bulkreset.providers.zendesk.settings import ZendeskSettings
from bulkreset.providers.zoom.settings import ZoomSettings

LETTERS, PUNYCODE = "Ceo@B\u00fccher.example", "ceo@xn--bcher-kva.example"
SPELLINGS = [LETTERS, PUNYCODE, "CEO@BU\u0308CHER.example", "\uff23\uff25\uff2f@b\u00fccher.example"]
HIDDEN = ["c\u00ad\u200beo@x.org", "ceo@x.org.", "\U0001d402eo@x.org", "ceo@x\u3002org", "ceo @x.org"]


def settings(provider, **told):
    if provider == "zoom":
        account = {"account_id": "a", "client_id": "c", "client_secret": {"env": "X"}}
        return ZoomSettings.model_validate({"provider": "zoom", **account, **told})
    account = {"subdomain": "d", "plan": "team", "email": "api@x.org", "api_token": {"env": "X"}}
    return ZendeskSettings.model_validate({"provider": "zendesk", **account, **told})


def rows(desk, columns="user_ref, state, code"):
    return ask("sqlite:///bulkreset.db", desk.url, f"SELECT {columns} FROM task ORDER BY user_ref")


def frozen(users, excluded=(), listed=None, *, ids_required=False):
    with Roster("users.csv") as roster:
        roster.add(user_line(text, number, "users.csv") for number, text in enumerate(users, 1))
        roster.exclude(user_line(text, number, "excluded") for number, text in enumerate(excluded, 1))
        if listed is not None:
            roster.take_listing((DirectoryUser(*pair), True, False) for pair in listed)
            roster.end_listing()
        roster.freeze(ids_required=ids_required)
        return [(row.user_ref, row.display) for chunk in roster.rows() for row in chunk]


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_an_address_in_any_spelling_is_one_person(spelling):
    """Whoever is named twice, each time in another way, is called once, by the address as it was written first."""
    assert frozen([LETTERS, spelling, "a@x.org"]) == [("a@x.org", "a@x.org"), (LETTERS.lower(), LETTERS)]


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("listed", [LETTERS, PUNYCODE])
def test_the_provider_is_called_by_its_own_spelling(spelling, listed):
    """Where ids are needed the listing's is found; where addresses will do, the listing's own spelling is sent."""
    pairs = [("7", listed), ("8", "b@x.org")]
    assert [ref for ref, _ in frozen([spelling], (), pairs, ids_required=True)] == ["7"]
    assert [ref for ref, _ in frozen([spelling], (), pairs)] == [listed]


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("other", SPELLINGS)
def test_an_exclusion_in_any_spelling_reaches_its_person(spelling, other):
    """Named by address, listed by address, and both at once."""
    assert frozen([spelling, "a@x.org"], [other]) == [("a@x.org", "a@x.org")]
    pairs = [("7", spelling), ("8", "a@x.org")]
    assert frozen(["7", "8"], [other], pairs, ids_required=True) == [("8", "a@x.org")]


def test_an_exclusion_reaches_whoever_it_could_mean_but_nobody_is_reset_for_another():
    """A sharp s is two people to an order, and one to an exclusion."""
    people = ["stra\u00dfe@x.org", "strasse@x.org", "a@x.org"]
    assert len(frozen(people)) == 3
    assert [ref for ref, _ in frozen(people, ["STRASSE@x.org"])] == ["a@x.org"]


def test_two_listed_people_of_one_address_are_told_apart_by_its_spelling_or_not_at_all():
    """An exact spelling decides; where none does, the order is refused and asks for ids."""
    pairs = [("7", LETTERS), ("8", PUNYCODE)]
    assert [ref for ref, _ in frozen([PUNYCODE], (), pairs, ids_required=True)] == ["8"]
    assert [ref for ref, _ in frozen([LETTERS.lower()], (), [("7", LETTERS.lower()), ("8", PUNYCODE)])] == ["7"]
    with pytest.raises(InputError, match=r"users\.csv: .* is the address of 2 users .* name them by user_id"):
        frozen(["CEO@BU\u0308CHER.example"], (), [("7", "ceo@b\u00fccher.example."), ("8", PUNYCODE)])


@pytest.mark.parametrize("kind", ["zoom", "zendesk"])
@pytest.mark.parametrize("listed", [*HIDDEN, "CEO@x.org"])
async def test_a_protected_address_protects_however_it_is_listed(desk, kind, listed):
    """What cannot be seen, or folds away, in the provider's spelling is no way past the list."""
    desk.account([user("1", "a@x.org"), user("7", listed)], kind=kind, settings={"protected": ["ceo@x.org"]})
    await desk.order("1", "7")
    hidden = "unreadable" if "\u200b" in listed else "protected"
    assert rows(desk) == [("1", "pending", None), ("7", "skipped", hidden)]
    assert protection.Protected.of("ceo@x.org").covers("7", listed)


@pytest.mark.parametrize("owner", [LETTERS, PUNYCODE])
@pytest.mark.parametrize("listed", [LETTERS, PUNYCODE])
async def test_the_owner_is_found_in_any_spelling(desk, owner, listed):
    """An order that takes in admins leaves the owner out."""
    people = [user("1", "a@x.org", Role.ADMIN), user("7", listed, Role.ADMIN)]
    desk.account(people, kind="zendesk", settings={"owner": owner})
    await desk.order("1", "7", options=Options(include_admins=True))
    assert rows(desk) == [("1", "pending", None), ("7", "skipped", "owner")]


async def test_who_is_open_in_another_batch_is_found_in_another_spelling(desk):
    """Nobody is called by two batches because two people typed their address in two ways."""
    desk.account([user("1", "a@x.org"), user("7", PUNYCODE)])
    await desk.order(LETTERS)
    await desk.order(PUNYCODE, "a@x.org")
    assert rows(desk) == [
        ("a@x.org", "pending", None),
        (PUNYCODE, "pending", None),
        (PUNYCODE, "skipped", "open_elsewhere"),
    ]


async def test_the_first_to_do_are_found_in_another_spelling(desk):
    """The order of sending follows the list, whatever its spelling."""
    desk.account([user("1", "a@x.org"), user("7", PUNYCODE)])
    placed = await desk.order("a@x.org", PUNYCODE, first=(UserLine(1, LETTERS, None),))
    assert placed.first == 1


BENT = ["3.61E+11", "361000000001.0", "361,000,000,001", "'361000000001"]


@pytest.mark.parametrize("provider", ["zoom", "zendesk"])
@pytest.mark.parametrize("bent", BENT)
def test_a_bent_id_is_refused_in_the_protected_list_and_file(tmp_path, provider, bent):
    """It would protect nobody, unseen; the message names the place in the list, or the file and its line."""
    with pytest.raises(ConfigError, match=r"^protected: name 2: .*spreadsheet|^protected: name 2: .*apostrophe"):
        protection.load(settings(provider, protected=["a@x.org", bent]), tmp_path)
    (tmp_path / "protected.csv").write_text(f'name,user_id\nVIP,"{bent}"\n')
    with pytest.raises(InputError, match=r"protected\.csv:2: "):
        protection.load(settings(provider, protected={"file": "protected.csv"}), tmp_path)


@pytest.mark.parametrize("owner", ["3.61E+11", "ceo", "ceo@x.org.", "c\u00adeo@x.org"])
async def test_an_owner_that_can_be_nobodys_is_refused(desk, owner):
    """The owner would be one more admin."""
    desk.account([user("1", "a@x.org")], kind="zendesk", settings={"owner": owner})
    with pytest.raises(ConfigError, match=r"accounts\.acme\.owner: "):
        await desk.order("1")


WRONG_FORMS = ["[361000000001]", '"ceo@example.org"', '{ files = "p.txt" }', "7", "true", '["a@x.org", 7]']


@pytest.mark.parametrize("form", WRONG_FORMS)
@pytest.mark.parametrize("provider", ["zoom", "zendesk"])
def test_a_protected_list_of_a_wrong_form_is_told_how_to_write_one(tmp_path, form, provider):
    """The message never leads people to the one word that protects nobody."""
    account = {"zoom": 'account_id = "a"\nclient_id = "c"\nclient_secret = { env = "X" }'}.get(
        provider, 'subdomain = "d"\nplan = "team"\nemail = "a@x.org"\napi_token = { env = "X" }'
    )
    path = tmp_path / "config.toml"
    head = '[passwords]\nkey = { env = "K" }\n[accounts.a]\n'
    path.write_text(f'{head}provider = "{provider}"\n{account}\nprotected = {form}\n')
    with pytest.raises(ConfigError) as caught:
        config.load(path)
    said = str(caught.value)
    assert "none" not in said
    assert "protected" in said
    assert "a list of texts" in said or "did you mean 'file'" in said


def test_files_are_read_by_the_path_that_is_configured(tmp_path):
    """A release that is put in place by moving a link is followed by what runs already: list, key and secrets."""
    for name in ("r1", "r2"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "protected.txt").write_text(f"{name}@x.org\n")
        (tmp_path / name / "key").write_text(name)
        (tmp_path / name / "key").chmod(0o600)
        (tmp_path / name / "config.toml").write_text('[passwords]\nkey = { file = "key" }\n')
    current = tmp_path / "current"
    current.symlink_to("r1")
    told = config.load(current / "config.toml")
    account = settings("zoom", protected={"file": "protected.txt"})
    first = protection.load(account, told.base)
    assert told.passwords.key.read(told.base, "key").reveal() == "r1"
    (tmp_path / "next").symlink_to("r2")
    os.replace(tmp_path / "next", current)  # noqa: PTH105  (what deployments do)
    second = first.refreshed()
    assert not first.covers("r2@x.org")
    assert second.covers("r2@x.org")
    assert second.refreshed() is second
    assert told.passwords.key.read(told.base, "key").reveal() == "r2"


def test_a_list_that_is_a_link_itself_is_followed(tmp_path):
    """So Kubernetes exchanges the files of a volume."""
    for name in ("one", "two"):
        (tmp_path / name).write_text(f"{name}@x.org\n")
        os.utime(tmp_path / name, ns=(1, 1))
    link = tmp_path / "protected.txt"
    link.symlink_to("one")
    first = protection.load(settings("zoom", protected={"file": "protected.txt"}), tmp_path)
    link.unlink()
    link.symlink_to("two")
    assert first.refreshed().covers("two@x.org")

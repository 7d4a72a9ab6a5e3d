"""The configuration: read once, checked in full, every fault named with its line."""

import pytest

from bulkreset.config import load
from bulkreset.errors import ConfigError
from bulkreset.passwords.policy import Style, Wishes

HEAD = '[passwords]\nkey = { file = "k" }\n'
ZOOM = """[accounts.z]
provider = "zoom"
plan = "business"
account_id = "a"
client_id = { env = "ID" }
client_secret = { env = "SECRET" }
"""
ZENDESK = """[accounts.s]
provider = "zendesk"
subdomain = "example"
plan = "enterprise"
email = "admin@example.com"
api_token = { env = "TOKEN" }
"""
CLIENT = """[accounts.s]
provider = "zendesk"
subdomain = "example"
plan = "enterprise"
client_id = "bulkreset"
client_secret = { env = "SECRET" }
"""


def address(url):
    """Return a configuration with an address of one's own at Zendesk."""
    return HEAD + ZENDESK.replace('subdomain = "example"', f'api_url = "{url}"')


@pytest.fixture
def read(tmp_path):
    def reading(text):
        path = tmp_path / "config.toml"
        path.write_text(text)
        return load(path)

    return reading


def refusal(read, text):
    with pytest.raises(ConfigError) as caught:
        read(text)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_the_documented_shape_is_read(read):
    """Both kinds of account, with the rates that their plans and shares give."""
    settings = read(HEAD + ZOOM + "share = 0.5\n" + ZENDESK)
    assert str(settings.account("z").rate("medium")) == "30/s"
    assert str(settings.account("s").rate("default")) == "630/min"
    assert settings.account("s").address == "https://example.zendesk.com"
    assert settings.http.total_timeout == 30


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        (HEAD + ZOOM + 'plann = "pro"\n', 9, "unknown key 'accounts.z.plann'"),
        (HEAD + ZOOM.replace("business", "huge"), 5, "accounts.z.plan"),
        (HEAD + ZOOM + "share = 1.5\n", 9, "accounts.z.share"),
        (HEAD + ZOOM + "share = 0\n", 9, "accounts.z.share"),
        (HEAD + ZOOM.replace('account_id = "a"\n', ""), 3, "'accounts.z.account_id' is missing"),
        (HEAD + ZOOM.replace('"zoom"', '"slack"'), 3, "no provider 'slack'"),
        (HEAD + ZOOM.replace('provider = "zoom"\n', ""), 3, "has no provider"),
        (HEAD + ZOOM.replace('{ env = "SECRET" }', '"hunter2"'), 8, "never the secret itself"),
        (HEAD + ZOOM.replace('{ env = "SECRET" }', '{ env = "A", file = "b" }'), 8, "env"),
        (HEAD + ZOOM + 'api_url = "http://api.zoom.us/v2"\n', 9, "use https://"),
        (HEAD + ZOOM + 'api_url = "https://user:pw@api.zoom.us"\n', 9, "plain address"),
        (HEAD + ZENDESK + "requests_per_minute = 7\n", 3, "either plan or requests_per_minute"),
        (HEAD + ZENDESK.replace("enterprise", "galactic"), 3, "plan must be one of"),
        (HEAD + ZENDESK.replace('email = "admin@example.com"\n', ""), 3, "api_token needs email"),
        (HEAD + ZENDESK + 'api_url = "https://x.example"\n', 3, "either subdomain or api_url"),
        (HEAD + ZENDESK + 'client_id = "c"\n', 3, "needs both client_id and client_secret"),
        (HEAD + ZENDESK + 'oauth_token = { env = "T" }\n', 3, "needs one login"),
        (HEAD + ZENDESK.replace('api_token = { env = "TOKEN" }\n', ""), 3, "needs one login"),
        (HEAD + ZENDESK + "token_lifetime = 900\n", 3, "goes with client_id and client_secret only"),
        (HEAD + CLIENT + "token_lifetime = 300\n", 9, "'accounts.s.token_lifetime'"),
        (HEAD + CLIENT + "token_lifetime = 172800\n", 9, "'accounts.s.token_lifetime'"),
        (HEAD + ZENDESK.replace('"example"', '"example.zendesk.com"'), 5, 'write "example"'),
        (HEAD + ZENDESK.replace('"example"', '"https://Example.zendesk.com/agent"'), 5, 'write "example"'),
        (HEAD + ZENDESK.replace('"example"', '"help.example.com"'), 5, "or use api_url"),
        (HEAD + ZENDESK.replace("admin@example.com", "admin@example.com/token"), 7, "/token is added"),
        (address("https://example.zendesk.com/api/v2"), 5, 'write "https://example.zendesk.com"'),
        (address("https://gate.example/zd/api/v2/users.json"), 5, 'write "https://gate.example/zd"'),
        (address("https://example.zendesk.com/agent"), 5, "without a path"),
        (HEAD + "[http]\ntotal_timeout = -1\n", 4, "http.total_timeout"),
        (HEAD + "[htttp]\n", 3, "unknown key 'htttp'"),
        ('[passwords]\nkey = "bulkreset-key-1:abc"\n', 2, "never the secret itself"),
        ("", 1, "'passwords' is missing"),
        ("[passwords\n", 1, "is not TOML"),
        (HEAD + "length = 23\n", 3, "'passwords.length': must be greater than or equal to 24"),
        (HEAD + "length = 65\n", 3, "'passwords.length': must be less than or equal to 64"),
        (HEAD + "length = true\n", 3, "passwords.length"),
        (HEAD + 'style = "haiku"\n', 3, "'passwords.style': must be 'characters' or 'passphrase'"),
        ("base = 3\n" + HEAD, 1, "unknown key 'base'"),
    ],
)
def test_a_fault_is_named_with_its_line(read, text, line, words):
    """File, line, key and what to do, in one line."""
    message = refusal(read, text)
    assert f"config.toml:{line}:" in message or f"line {line} " in message
    assert words in message


@pytest.mark.parametrize(
    "text",
    [HEAD + ZOOM.replace('{ env = "SECRET" }', '"hunter2"'), HEAD + 'x = "hunter2\n', HEAD + "hunter2 = \n"],
)
def test_a_secret_in_the_wrong_place_is_not_repeated(read, text):
    """The refusal never shows what stands in the file."""
    assert "hunter2" not in refusal(read, text).replace("unknown key 'hunter2'", "")


def test_wishes_for_passwords_are_read(read):
    """Length and style of new passwords; without them no wish at all."""
    assert read(HEAD).passwords.wishes == Wishes()
    assert read(HEAD + 'style = "characters"\n').passwords.wishes == Wishes(0, Style.CHARACTERS)
    assert read(HEAD + 'length = 24\nstyle = "passphrase"\n').passwords.wishes == Wishes(24, Style.PASSPHRASE)


def test_http_to_this_machine_is_allowed(read):
    """The sandbox is reached without TLS."""
    settings = read(HEAD + ZOOM + 'api_url = "http://127.0.0.1:8765/zoom/v2"\n')
    assert settings.account("z").api_url.startswith("http://127.0.0.1")


def test_an_unknown_account_names_those_there_are(read):
    """A misspelt account is answered with the list."""
    with pytest.raises(ConfigError, match="there is: s, z"):
        read(HEAD + ZOOM + ZENDESK).account("zoom")


def test_a_secret_that_is_not_set_is_named_and_not_guessed(read, monkeypatch, tmp_path):
    """The account, the key and the variable are in the line."""
    monkeypatch.delenv("SECRET", raising=False)
    settings = read(HEAD + ZOOM)
    with pytest.raises(ConfigError, match=r"accounts\.z\.client_secret: .* SECRET is not set"):
        settings.account("z").client_secret.read(tmp_path, "accounts.z.client_secret")


def test_the_example_is_valid_as_it_stands_and_with_every_line_in_force(tmp_path):
    """config.example.toml loads, and so does each account in it when uncommented."""
    import re

    from bulkreset.cli.setup import example

    text = example().read_text()
    path = tmp_path / "config.toml"
    path.write_text(text)
    assert load(path).accounts == {}
    path.write_text(re.sub(r"^# (?=\[|\w+ = )", "", text, flags=re.MULTILINE))
    assert set(load(path).accounts) == {"zoom-prod", "support"}

"""The configuration: read once, checked in full, every fault named with its line."""

import pytest

from bulkreset.config import load
from bulkreset.errors import BrokenAccount, ConfigError
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
        (HEAD + ZOOM + "share = true\n", 9, "'accounts.z.share': must be a number"),
        (HEAD + ZOOM + "requests_per_second = true\n", 9, "must be a number"),
        (HEAD + ZOOM + "require_approval = true\n", 9, "must be a number"),
        (HEAD + "[runner]\nconcurrency = true\n", 4, "must be a number"),
        (HEAD + "[http]\ntotal_timeout = true\n", 4, "must be a number"),
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


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        (
            HEAD + ZOOM.replace("client_secret", "client_secrt"),
            ["8: unknown key 'accounts.z.client_secrt'; did you mean 'client_secret'?"],
        ),
        ('[password]\nkey = { file = "k" }\n', ["1: unknown key 'password'; did you mean 'passwords'?"]),
        (HEAD + "lenght = 30\n", ["3: unknown key 'passwords.lenght'; did you mean 'length'?"]),
        (
            HEAD + ZOOM.replace("secret = { env", "secret = { evn"),
            ["8: unknown key 'accounts.z.client_secret.evn'; did you mean 'env'?"],
        ),
        (
            HEAD + "length = 7\n" + ZOOM.replace("plan", "plam").replace('account_id = "a"\n', "") + "[htp]\n",
            [
                "6: unknown key 'accounts.z.plam'; did you mean 'plan'?",
                "9: unknown key 'htp'; did you mean 'http'?",
                "3: 'passwords.length': must be greater",
                "4: 'accounts.z.account_id' is missing",
            ],
        ),
    ],
)
def test_every_fault_is_told_at_once_the_wrong_key_first(read, text, lines):
    """Each with its line, and beside a wrong key the one that was meant."""
    message = refusal(read, text)
    at = -1
    for number, line in enumerate(lines):
        place = message.find(line if number == 0 else f"line {line}", at + 1)
        assert place > at, (line, message)
        at = place
    assert message.count("line ") == len(lines) - 1


def test_a_file_full_of_faults_stays_one_short_line(read):
    """The rest is counted."""
    message = refusal(read, HEAD + "".join(f"nonsense{n} = 1\n" for n in range(200)))
    assert len(message) < 600
    assert "more)" in message


@pytest.mark.parametrize("value", ["[361000000001]", '"ceo@example.org"', '{ files = "p.txt" }', "3"])
def test_a_wrong_protected_list_is_told_how_to_write_one(read, value):
    """And not the one word that protects nobody."""
    message = refusal(read, HEAD + ZOOM + f"protected = {value}\n")
    assert 'a list of texts, ["ceo@example.com"]' in message


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (HEAD + "x = " + "[" * 20_000 + "\n", 3),
        (HEAD + "x = " + "[" * 20_000 + "]" * 20_000 + "\n", 3),
        (HEAD + "x = " + "{a=" * 20_000 + "1" + "}" * 20_000 + "\n", 3),
        (HEAD + "x = " + "9" * 10_000 + "\n", 3),
        (HEAD + "x = " + "9_" * 10_000 + "9\n", 3),
    ],
)
def test_a_bomb_is_one_line(read, text, line):
    """Deep brackets and endless numbers are named with file and line."""
    assert f"config.toml:{line}: " in refusal(read, text)


def test_deep_tables_are_one_line(read):
    """A key with thousands of dots is refused as any other."""
    assert "config.toml" in refusal(read, HEAD + "a." * 3_000 + "b = 1\n")


def test_the_marks_that_windows_puts_before_a_text(tmp_path):
    """UTF-8's is read over; UTF-16 is named, and so is the line that is in no UTF-8."""
    path = tmp_path / "config.toml"
    path.write_bytes(b"\xef\xbb\xbf" + HEAD.encode())
    assert load(path).base == tmp_path
    for encoding in ("utf-16-le", "utf-16-be"):
        path.write_bytes("\ufeff".encode(encoding) + HEAD.encode(encoding))
        with pytest.raises(ConfigError, match="UTF-16 text, by its byte order mark"):
            load(path)
    path.write_bytes(HEAD.encode() + b"# caf\xe9\n")
    with pytest.raises(ConfigError, match="line 3 is not UTF-8"):
        load(path)


@pytest.mark.parametrize("key", ["api_url", "oauth_url"])
@pytest.mark.parametrize(
    "end",
    ["/#", "/#x", "/?", "/?a=b", "/ ", "/a b", "/\\t", "/\\r\\n", "\\\\x", "/\\u00a0", "/\\u2028", "/\\u0000"],
)
def test_an_address_is_plain(read, key, end):
    """No fragment or query, not even an empty one, which would swallow every path; no blank."""
    assert "plain address" in refusal(read, HEAD + ZOOM + f'{key} = "https://api.example.com{end}"\n')
    if key == "api_url":
        zendesk = ZENDESK.replace('subdomain = "example"', f'api_url = "https://api.example.com{end}"')
        assert "plain address" in refusal(read, HEAD + zendesk)


def test_one_accounts_fault_stops_only_that_account(tmp_path):
    """Where others are left; each fault keeps its line, and whoever asks for the account is told it."""
    path = tmp_path / "config.toml"
    path.write_text(
        HEAD + ZOOM + 'plann = "pro"\n' + ZENDESK.replace("enterprise", "huge") + CLIENT.replace(".s]", ".c]")
    )
    settings = load(path, spare_others=True)
    assert list(settings.accounts) == ["c"]
    assert settings.broken.keys() == {"z", "s"}
    with pytest.raises(BrokenAccount, match=r"config\.toml:9: unknown key 'accounts\.z\.plann'") as caught:
        settings.account("z")
    assert "accounts.s" not in str(caught.value)
    with pytest.raises(ConfigError, match=r"config\.toml:9: .*; line 10: "):
        load(path)


@pytest.mark.parametrize(
    "text",
    [
        HEAD + ZOOM + 'plann = "pro"\n',
        HEAD + "[runner]\nconcurency = 2\n" + ZENDESK + ZOOM + "share = 2\n",
        "accounts = 3\n" + HEAD,
    ],
    ids=["no other", "another fault", "no table"],
)
def test_a_fault_of_more_than_one_account_stops_all(tmp_path, text):
    """So does one where no account is left that could go on."""
    path = tmp_path / "config.toml"
    path.write_text(text)
    with pytest.raises(ConfigError):
        load(path, spare_others=True)


@pytest.mark.parametrize("name", ["base", "broken"])
def test_what_is_ours_is_no_key(read, name):
    """What is found out about a file is not for the file to say."""
    assert f"unknown key {name!r}" in refusal(read, f"{name} = {{}}\n" + HEAD)

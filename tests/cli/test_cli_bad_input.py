"""What is wrong is refused in one line that names it, and nothing is changed."""

import sqlite3
from contextlib import closing, contextmanager

import pytest
from cli_program import Folder, emails, refused, writes


@contextmanager
def unchanged(folder):
    """Hold the database before against the database after, every row of every table."""
    before = folder.dump()
    yield
    assert folder.dump() == before


BAD_FILES = {
    "empty": (b"", ["users.csv", "is empty"]),
    "blank": (b"\n \r\n\n", ["users.csv", "is empty"]),
    "header alone": (b"email,name\n", ["users.csv", "no users"]),
    "no header match": (b"name,phone\nAda,1\n", ["users.csv:1", "neither email nor user_id"]),
    "header in a list": (b"Konten\nada@example.com\n", ["users.csv:1", "'Konten'", "as a header is"]),
    "header of another language": (
        b"Vorname;E-Mail-Adresse\nAd;a@example.com\n",
        ["users.csv:1", "'E-Mail-Adresse' email"],
    ),
    "header twice": (b"email,email\na@example.com,b@example.com\n", ["users.csv:1", "twice"]),
    "row too long": (b"email,name\na@example.com,Ada,Love\n", ["users.csv:2", "more fields"]),
    "row without a user": (b"email,name\n,Ada\n", ["users.csv:2", "neither email nor user_id"]),
    "open quote": (b'email,name\n"a@example.com,Ada\n', ["users.csv:2", "quoted field"]),
    "line of 2 MB": (b"a@example.com\n" + b"x" * 2_000_000, ["users.csv:2", "longer than"]),
    "NUL bytes": (b"a@example.com\nb\0c@example.com\n", ["users.csv:2", "NUL"]),
    "escape sequence": (b"\x1b[2Ja@example.com\n", ["users.csv:1", "control character"]),
    "damaged UTF-16": ("a@example.com\n".encode("utf-16")[:-1], ["users.csv", "UTF-16", "UTF-8"]),
    "UTF-16 without a mark": ("a@example.com\n".encode("utf-16-le"), ["users.csv", "UTF-16"]),
    "Latin-1": ("a@example.com\njosé@example.com\n".encode("latin-1"), ["users.csv:2", "UTF-8"]),
    "parent folder": (b"a@example.com\n../../accounts/me\n", ["users.csv:2", "user id"]),
    "two dots": (b"..\n", ["users.csv:1", "user id"]),
    "slash": (b"abc1/password\n", ["users.csv:1", "user id"]),
    "question mark": (b"abc?status=active\n", ["users.csv:1", "user id"]),
    "encoded slash": (b"abc%2Fpassword\n", ["users.csv:1", "user id"]),
    "fragment": (b"abc#def\n", ["users.csv:1", "user id"]),
    "id in a table": (b"user_id,email\n../me,a@example.com\n", ["users.csv:2", "user id"]),
    "no address": (b"ada@\n", ["users.csv:1", "e-mail"]),
    "two addresses": (b"a@example.com b@example.com\n", ["users.csv:1", "e-mail"]),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_a_users_file_that_cannot_be_read_with_certainty_is_refused(folder, zoom, case):
    """Exit 2, one line with the file and where it can be the line, what to do, and nothing written or sent."""
    content, words = BAD_FILES[case]
    folder.write("users.csv", content)
    with unchanged(folder):
        said = refused(folder.run(*folder.order("zoom", "users.csv")), *words)
    assert "; " in said, "it does not say what to do"
    assert "Ada" not in said
    assert zoom.log.total == 0


def test_an_exclusion_file_is_read_as_strictly(folder, zoom):
    """A bad line among the excluded stops the order too: a person to be left out must not be lost."""
    folder.write("users.txt", "a@example.com\nb@example.com\n")
    folder.write("out.txt", "b@example.com\nb at example.com\n")
    with unchanged(folder):
        refused(folder.run(*folder.order("zoom", "users.txt"), "--exclude", "out.txt"), "out.txt:2")
    assert zoom.log.total == 0


def test_nobody_left_is_refused(folder, zoom):
    """When everybody is excluded there is nothing to order."""
    folder.write("users.txt", "a@example.com\nb@example.com\n")
    with unchanged(folder):
        refused(
            folder.run(*folder.order("zoom", "users.txt"), "--exclude", "users.txt"), "all 2 users", "excluded"
        )
    # Who is excluded is known for certain only when the account was listed, which ties ids to addresses.
    assert {call.method for call in zoom.log.calls if "/oauth/" not in call.path} == {"GET"}


def test_a_zendesk_id_is_a_number(folder, zendesk):
    """What Zendesk cannot have as an id is refused before it is sent anywhere."""
    folder.write("users.txt", "361000000001\nabc\n")
    with unchanged(folder):
        refused(folder.run(*folder.order("zendesk", "users.txt")), "users.txt:2", "numeric id")
    assert writes(zendesk) == []


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--users", "absent.txt"], ["absent.txt", "No such file"]),
        (["--users", "."], ["cannot read .", "directory"]),
        (["--exclude", "absent.txt"], ["absent.txt", "No such file"]),
        (["--users", "-", "--exclude", "-"], ["standard input", "once"]),
        (["--account", "nowhere"], ["'nowhere'", "zendesk, zoom"]),
        (["--incident", " "], ["incident", "empty"]),
        (["--incident", "INC\n1"], ["incident", "one line"]),
        (["--incident", "I" * 201], ["incident", "200"]),
        (["--reason", ""], ["reason", "empty"]),
        (["--reason", "\x1b[31mred"], ["reason", "U+001B", "write it without"]),
        (["--not-before", "tomorrow"], ["--not-before", "'tomorrow'", "2026-01-31T22:00:00Z"]),
        (["--not-before", "2026-02-30"], ["--not-before", "2026-02-30"]),
        (["--not-before", "0001-01-01T00:00:00+14:00"], ["--not-before", "0001-01-01"]),
        (["--not-before", "9999-12-31T23:59:59-12:00"], ["--not-before", "9999-12-31"]),
        (["--unknown"], ["--unknown"]),
    ],
)
def test_an_order_that_cannot_be_meant_is_refused(folder, zoom, options, words):
    """Each wrong option is named, with what to write in its place; nothing is written or sent."""
    folder.write("users.txt", "a@example.com\n")
    with unchanged(folder):
        refused(folder.run(*folder.order("zoom", "users.txt"), *options), *words)
    assert zoom.log.total == 0


@pytest.mark.parametrize("missing", ["--account", "--users", "--incident", "--reason"])
def test_an_order_says_who_what_and_why(folder, missing):
    """Without its account, users, incident or reason there is no order."""
    words = folder.order("zoom", "users.txt")
    at = words.index(missing)
    refused(folder.run(*words[:at], *words[at + 2 :]), missing, "--help")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["batch", "show", "99"], ["batch 99", "batch list"]),
        (["batch", "show", "0"], ["batch 0"]),
        (["batch", "show", "x"], ["'ID'"]),
        (["batch", "pause", "99"], ["batch 99", "batch list"]),
        (["batch", "resume", "99"], ["batch 99", "batch list"]),
        (["batch", "cancel", "99"], ["batch 99", "batch list"]),
        (["batch", "retry", "99"], ["batch 99"]),
        (["batch", "retry", "1", "--outcome", "broken"], ["'broken'", "unexpected"]),
        (["batch", "shw", "1"], ["'shw'"]),
        (["report", "99"], ["batch 99", "batch list"]),
        (["report", "1", "--state", "lost"], ["'lost'", "succeeded"]),
        (["report", "1", "--format", "xml"], ["--format", "csv"]),
        (["run", "--once", "--account", "nowhere"], ["'nowhere'", "zendesk, zoom"]),
        (["check", "nowhere"], ["'nowhere'", "zendesk, zoom"]),
        (["own-password", "nowhere"], ["'nowhere'", "zendesk, zoom"]),
        (["own-password", "zoom"], ["'zoom'", "only Zendesk"]),
        (["nothing"], ["'nothing'", "--help"]),
        (["--config", "absent.toml", "batch", "list"], ["absent.toml", "bulkreset init"]),
    ],
)
def test_what_is_not_there_is_named(folder, zoom, arguments, words):
    """An unknown batch, account, state, outcome or command: exit 2, one line, and the words that there are."""
    with unchanged(folder):
        refused(folder.run(*arguments), *words)


def test_a_log_level_is_one_of_four(folder):
    """A word that is no level is refused before anything is done."""
    said = folder.run("run", "--once", environment={"BULKRESET_LOG_LEVEL": "loud"})
    refused(said, "BULKRESET_LOG_LEVEL", "debug")


@pytest.fixture(scope="module")
def with_an_order(made, stand_ins, tmp_path_factory):
    folder = made.copy(tmp_path_factory.mktemp("ordered") / "folder").configure()
    stand_ins.add("zoom", "zoom")
    folder.create("zoom", emails(1, 2))
    return folder


@pytest.fixture
def ordered(with_an_order, tmp_path):
    """A folder with the open batch 1."""
    return with_an_order.copy(tmp_path / "ordered")


@pytest.mark.parametrize(
    ("before", "verb", "words"),
    [
        ([], "resume", ["is open", "paused"]),
        (["pause"], "pause", ["is paused", "open"]),
        (["cancel"], "cancel", ["is cancelled", "open or paused"]),
        (["cancel"], "pause", ["is cancelled"]),
        (["cancel"], "resume", ["is cancelled"]),
        ([], "retry", ["no failed task"]),
        (["cancel"], "retry", ["batch 1"]),
    ],
)
def test_a_state_is_left_only_where_it_leads(ordered, before, verb, words):
    """A batch is not paused twice, not resumed when open, not touched once cancelled; the line says its state."""
    for earlier in before:
        assert ordered.run("batch", earlier, "1").code == 0
    with unchanged(ordered):
        refused(ordered.run("batch", verb, "1"), *words)


def test_a_done_batch_stays_done(ordered):
    """What is finished cannot be paused, resumed or cancelled."""
    assert ordered.run("run", "--once").code == 0
    with unchanged(ordered):
        for verb in ("pause", "resume", "cancel"):
            refused(ordered.run("batch", verb, "1"), "batch 1 is done")


GOOD = 'key = { file = "bulkreset.key" }'
BAD_CONFIGS = {
    "wrong key": (GOOD, GOOD + '\nkeyy = "x"', ["config.toml:5", "'passwords.keyy'"]),
    "wrong table": ("[passwords]", "[password]\n[passwords]", ["config.toml:3", "'password'"]),
    "inline secret": (
        GOOD,
        'key = "5ecret-inline"',
        ["config.toml:4", "passwords.key", "never the secret itself"],
    ),
    "inline account secret": (
        'client_secret = { env = "ZOOM_SECRET" }',
        'client_secret = "5ecret-inline"',
        ["accounts.zoom.client_secret", "never the secret itself"],
    ),
    "two sources": (GOOD, 'key = { file = "bulkreset.key", env = "5ecret-inline" }', ["passwords.key", "file"]),
    "plain http": ("http://127.0.0.1", "http://zoom.example.com", ["accounts.zoom", "https"]),
    "credentials in an address": ("http://127.0.0.1", "https://me:5ecret-inline@127.0.0.1", ["accounts.zoom"]),
    "no provider": ('provider = "zoom"\n', "", ["accounts.zoom", "provider"]),
    "unknown provider": ('provider = "zoom"', 'provider = "slack"', ["'slack'", "zoom, zendesk"]),
    "unknown plan": ("requests_per_second = 1000", 'plan = "gold"', ["accounts.zoom.plan", "business"]),
    "share of nothing": ("share = 1.0", "share = 0", ["accounts.zoom.share"]),
    "no key": ("[passwords]\n" + GOOD, "", ["'passwords'", "missing"]),
    "no TOML": ('account_id = "sandbox-account-id"', 'account_id = "5ecret-inline', ["not TOML", "line 9"]),
    "another database": (
        "sqlite:///bulkreset.db",
        "mysql://root:5ecret-inline@host/db",
        ["database.url", "sqlite"],
    ),
    "no database URL": ("sqlite:///bulkreset.db", "bulkreset.db", ["database.url", "sqlite:///"]),
}


@pytest.mark.parametrize("case", BAD_CONFIGS)
def test_a_configuration_is_refused_by_its_key_and_line(folder, case):
    """Exit 2, one line with the place and the remedy; what could be a secret is not repeated."""
    old, new, words = BAD_CONFIGS[case]
    text = folder.config.read_text()
    assert old in text
    folder.config.write_text(text.replace(old, new, 1))
    with unchanged(folder):
        for command in (["check", "zoom"], folder.order("zoom")):
            assert "5ecret" not in refused(folder.run(*command), *words)


def test_what_is_wrong_with_one_account_does_not_stop_the_others(folder):
    """Each command names the account and its fault once, and goes on with the rest."""
    folder.config.write_text(folder.config.read_text().replace("share = 1.0", "shar = 1.0", 1))
    for command in (["batch", "list"], ["run", "--once"], ["key", "show"]):
        ended = folder.run(*command)
        assert ended.code == 0
        assert ended.err.count("did you mean 'share'") == 1
    assert folder.run("check", "zendesk").err == ""
    refused(folder.run("check", "zoom"), "config.toml", "did you mean 'share'")


def test_a_configuration_that_is_no_text_is_refused(folder):
    """Bytes that are not UTF-8 are named so."""
    folder.config.write_bytes(b"\xff\xfe\x00")
    refused(folder.run("batch", "list"), "config.toml", "UTF-8")


@pytest.mark.parametrize("name", ["ZOOM_SECRET", "ZENDESK_TOKEN"])
def test_a_secret_that_is_not_set_is_named(folder, zoom, zendesk, name):
    """The order stops before any call, and says which variable to set."""
    folder.write("users.txt", "1\n")
    account = "zoom" if name == "ZOOM_SECRET" else "zendesk"
    with unchanged(folder):
        said = folder.run(*folder.order(account, "users.txt"), environment={name: ""})
        refused(said, f"accounts.{account}", name, "set it")
    assert zoom.log.total == zendesk.log.total == 0


def _secret_in_a_file(folder, mode):
    folder.config.write_text(
        folder.config.read_text().replace('{ env = "ZOOM_SECRET" }', '{ file = "zoom.secret" }')
    )
    if mode is not None:
        (folder.path / folder.write("zoom.secret", "planted\n")).chmod(mode)


@pytest.mark.parametrize(
    ("mode", "words"), [(0o644, ["zoom.secret", "chmod 600"]), (None, ["zoom.secret", "no such"])]
)
def test_a_secret_file_is_its_owners_alone(folder, zoom, mode, words):
    """A secret file that others can read, or that is not there, is refused by name."""
    folder.write("users.txt", "a@example.com\n")
    _secret_in_a_file(folder, mode)
    with unchanged(folder):
        refused(folder.run(*folder.order("zoom", "users.txt")), *words)
    assert zoom.log.total == 0


KEYS = {
    "open to others": (lambda key: key.chmod(0o640), ["bulkreset.key", "chmod 600"]),
    "gone": (lambda key: key.unlink(), ["bulkreset.key", "no such"]),
    "empty": (lambda key: key.write_text("\n"), ["bulkreset.key", "empty"]),
    "no key": (lambda key: key.write_text("hunter2\n"), ["key"]),
}


@pytest.mark.parametrize("case", KEYS)
def test_a_master_key_that_cannot_be_used_stops_orders_and_runs(ordered, zoom, case):
    """Without a sound key nothing is ordered and nothing is sent."""
    spoil, words = KEYS[case]
    spoil(ordered.key)
    ordered.write("users.txt", "a@example.com\n")
    with unchanged(ordered):
        said = refused(ordered.run(*ordered.order("zoom", "users.txt")), *words)
        refused(ordered.run("run", "--once"), *words)
    assert "hunter2" not in said
    assert writes(zoom) == []


def test_another_master_key_is_noticed_before_anything_is_sent(ordered, made, zoom, tmp_path):
    """A sound key that did not seal this batch: it is halted and says which key it needs; the run ends with 4."""
    ordered.key.unlink()
    elsewhere = Folder(tmp_path, ordered._zygote, "")
    assert elsewhere.run("init", tmp_path / "other").code == 0
    (tmp_path / "other" / "bulkreset.key").rename(ordered.key)
    assert ordered.run("run", "--once").code == 4
    assert "configure the key it was sealed under" in ordered.run("batch", "show", 1).out
    assert writes(zoom) == []


def _lock_away(folder):
    folder.database.chmod(0o400)
    folder.path.chmod(0o500)


@pytest.mark.parametrize(
    "arguments",
    [
        Folder.order("zoom", "users.txt"),
        ["batch", "cancel", "1"],
        ["run", "--once"],
    ],
)
def test_a_read_only_database_is_an_error_of_its_own(ordered, zoom, arguments):
    """Exit 1 with the database's name and what to give; nothing is sent."""
    ordered.write("users.txt", "a@example.com\n")
    with unchanged(ordered):
        ordered.database.chmod(0o400)
        ended = ordered.run(*arguments, obeys_modes=True)
        refused(ended, "bulkreset.db", "read-only", "permission", code=1)
        ordered.database.chmod(0o600)
    assert writes(zoom) == []


def test_a_folder_that_cannot_be_written_is_named(ordered, zoom):
    """A database on a read-only file system cannot be worked on: exit 1, one line, nothing sent."""
    with unchanged(ordered):
        _lock_away(ordered)
        try:
            refused(ordered.run("run", "--once", obeys_modes=True), str(ordered.path), code=1)
        finally:
            ordered.path.chmod(0o700)
            ordered.database.chmod(0o600)
    assert writes(zoom) == []


def test_a_full_disk_leaves_no_half_batch(ordered, zoom):
    """Where the database cannot grow the order fails whole: exit 1, one line, no row of it."""
    ordered.write("users.txt", "\n".join(emails(*range(1, 3001))))
    with unchanged(ordered):
        said = ordered.run(*ordered.order("zoom", "users.txt"), largest_file=100_000)
        refused(said, "bulkreset.db", "disk", code=1)
    assert ordered.run(*ordered.order("zoom", "users.txt")).code == 0


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda path: path.write_bytes(b"no database at all, only text, " * 50), ["bulkreset.db", "database.url"]),
        (lambda path: path.unlink(), ["bulkreset.db", "bulkreset db upgrade"]),
        (lambda path: (path.unlink(), path.mkdir()), ["bulkreset.db"]),
    ],
)
def test_a_file_that_is_no_database_is_an_error(folder, spoil, words):
    """Exit 1 and one line, for every command that needs the tables."""
    spoil(folder.database)
    for arguments in (["batch", "list"], ["run", "--once"], ["db", "check"]):
        ended = folder.run(*arguments)
        if arguments == ["db", "check"] and ended.out:  # it prints what it found
            assert (ended.code, ended.err) == (1, "")
        else:
            refused(ended, *words, code=1)


def test_a_lock_that_stays_is_told_of(ordered, zoom):
    """Another process that holds the write lock is waited for; when it lets go the order is placed."""
    with closing(sqlite3.connect(ordered.database, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with ordered.started("batch", "pause", "1") as end:
            other.execute("ROLLBACK")
            assert end().code == 0


ACCEPTED = {
    "BOM": b"\xef\xbb\xbfemail\na@example.com\nb@example.com\n",
    "CRLF": b"email,name\r\na@example.com,Ada\r\nb@example.com,Bea\r\n",
    "CR": b"a@example.com\rb@example.com\r",
    "semicolons": b"Name;E-Mail;EMAIL\nAda;x;a@example.com\nBea;x;b@example.com\n",
    "tabs": b"email\tname\na@example.com\tAda\nb@example.com\tBea\n",
    "BOM and CRLF and quotes": b'\xef\xbb\xbf"email";"name"\r\n"a@example.com";"A ""x"""\r\nb@example.com;\r\n',
    "a list": b"a@example.com\n\n  b@example.com  \n",
}


@pytest.mark.parametrize("case", ACCEPTED)
def test_the_forms_that_spreadsheets_write_are_read(folder, zoom, case):
    """Byte order mark, line ends, delimiters and quotes make no difference to the roster and its hash."""
    folder.write("users.csv", ACCEPTED[case])
    plain = folder.create("zoom", ["a@example.com", "b@example.com"])
    assert folder.run("batch", "cancel", "1").code == 0  # who is open in one batch is skipped in the next
    ended = folder.run(*folder.order("zoom", "users.csv"), "--json")
    assert (ended.code, ended.err) == (0, "")
    assert ended.json == plain | {"id": 2, "estimate_s": ended.json["estimate_s"]}
    assert folder.query("SELECT user_ref FROM task WHERE batch_id = 2 ORDER BY id") == [
        ("a@example.com",),
        ("b@example.com",),
    ]


def test_duplicates_in_another_case_are_counted_once(folder, zoom):
    """One person is one row, whatever the case; the spelling of the first line is what people see."""
    placed = folder.create("zoom", ["Ada@Example.com", "ada@example.com", "ADA@EXAMPLE.COM", "bea@example.com"])
    assert (placed["total"], placed["duplicates"]) == (2, 2)
    assert folder.query("SELECT display FROM task ORDER BY id") == [("Ada@Example.com",), ("bea@example.com",)]


def test_people_are_excluded_by_address_and_by_id(folder, zoom):
    """Each exclusion file takes people out, by either name, in any case; they are never called."""
    users = zoom.users
    folder.write("users.csv", "email,user_id\n" + "".join(f"{user.email},{user.id}\n" for user in users[:4]))
    folder.write("address.txt", f"{users[0].email.upper()}\n")
    folder.write("id.txt", f"{users[1].id}\nnobody-of-these\n")
    ended = folder.run(
        *folder.order("zoom", "users.csv"), "--exclude", "address.txt", "--exclude", "id.txt", "--json"
    )
    assert (ended.code, ended.json["total"], ended.json["excluded"]) == (0, 2, 2), ended.err
    assert folder.run("run", "--once").code == 0
    assert [user.applied for user in users[:5]] == [0, 0, 1, 1, 0]


def test_zendesk_people_are_excluded_by_either_name(folder, zendesk):
    """Where the API takes ids, an excluded address takes out the person behind the id, and the other way round."""
    users = zendesk.users
    folder.write("users.txt", f"{users[0].id}\n{users[1].email}\n{users[2].id}\n{users[3].email}\n")
    folder.write("out.txt", f"{users[0].email}\n{users[1].id}\n")
    ended = folder.run(*folder.order("zendesk", "users.txt"), "--exclude", "out.txt", "--json")
    assert (ended.code, ended.json["total"], ended.json["excluded"]) == (0, 2, 2), ended.err
    assert folder.run("run", "--once").code == 0
    assert [user.applied for user in users[:5]] == [0, 0, 1, 1, 0]


def test_an_address_is_one_segment_of_the_path_whatever_it_holds(folder, stand_ins):
    """Signs that mean something in a URL reach the one user of that address, and nobody else."""
    hostile = [
        "a+b@example.com",
        "o'neil@example.com",
        "100%@example.com",
        "me%2fpassword@example.com",
        "ann/../bob@example.com",
        "who?status=active@example.com",
        "x#y@example.com",
        "a&b=c@example.com",
        "{curly}|^`~$!*@example.com",
    ]
    hostile = [address for address in hostile if ".." not in address] + ["ann/bob@example.com"]
    bystanders = [
        "me",
        "ann",
        "bob@example.com",
        "b@example.com",
        "who",
        "x",
        "a b@example.com",
        "100@example.com",
    ]
    tenant = stand_ins.add(
        "zoom",
        "zoom",
        users=[
            *({"id": f"id-{n}", "email": address} for n, address in enumerate(hostile)),
            *({"id": name, "email": name if "@" in name else f"{name}@other.example"} for name in bystanders),
        ],
    )
    placed = folder.create("zoom", hostile)
    assert placed["total"] == len(hostile)
    ended = folder.run("run", "--once", "--json")
    assert ended.code == 0, ended.err
    assert ended.json["batches"][0]["outcomes"] == {"ok": len(hostile)}
    assert sorted(call.ref for call in writes(tenant)) == sorted(hostile)
    for call in writes(tenant):
        assert call.path.count("/") == len(["", "zoom", "v2", "users", "X", "password"]) - 1, call.path
    for user in tenant.users:
        assert user.applied == (user.email in hostile), user.email


BENT_IDS = {"rounded": "3.61E+11", "with a decimal": "361000000001.0", "grouped": '"361,000,000,001"'}


@pytest.mark.parametrize("account", ["zoom", "zendesk"])
@pytest.mark.parametrize("bent", BENT_IDS)
def test_an_id_that_a_spreadsheet_has_bent_is_refused_in_every_list(folder, zoom, zendesk, bent, account):
    """It would name nobody: refused with file and line among users, exclusions and the people to do first."""
    folder.write("users.txt", "a@example.com\n")
    folder.write("bent.csv", f"name,user_id\nVIP,{BENT_IDS[bent]}\n")
    with unchanged(folder):
        for more in (("--exclude", "bent.csv"), ("--first", "bent.csv")):
            refused(folder.run(*folder.order(account, "users.txt"), *more), "bent.csv:2", "spreadsheet")
        refused(folder.run(*folder.order(account, "bent.csv")), "bent.csv:2", "spreadsheet")
    assert zoom.log.total == 0
    assert zendesk.log.total == 0

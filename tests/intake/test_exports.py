"""Exports that people have: read by their own headers, or named for what they are."""

import io
import json

import pytest

from bulkreset.errors import InputError
from bulkreset.intake.naming import Naming
from bulkreset.intake.users_file import read_users
from bulkreset.providers.zendesk import references as zendesk_references
from bulkreset.providers.zoom import references as zoom_references

ZOOM = Naming(zoom_references.invalid_ref, "z")
ZENDESK = Naming(zendesk_references.invalid_ref, "d")
TWO = ["a@x.org", "b@x.org"]


def users(content, naming=ZOOM):
    source = io.BytesIO(content if isinstance(content, bytes) else content.encode())
    return [user[1:3] for user in read_users(source, "users.csv", naming)]


def addresses(content, naming=ZOOM):
    return [email for email, _ in users(content, naming)]


def refusal(content, naming=ZOOM):
    with pytest.raises(InputError) as caught:
        users(content, naming)
    message = str(caught.value)
    assert message.startswith("users.csv:")
    assert "\n" not in message
    assert "hunter2" not in message
    return message


READ = {
    "Zoom": "\ufeffEmail,First Name,Last Name,Department,Manager,User Group,Job Title,Location,\r\n"
    'a@x.org,Ada,"Love, lace",R&D,m@x.org,,,,\r\nb@x.org,Bob,"O""Neil","Line 1\r\nLine 2",,,,,\r\n',
    "Zendesk": "id,name,email,external_id,role,notes,notes\n7,Ada,a@x.org,,end-user,,\n8,Bob,b@x.org,,agent,,\n",
    "GAM": "primaryEmail\na@x.org\nb@x.org\n",
    "GAM, more": "primaryEmail,recoveryEmail,emails.0.address\na@x.org,r@y.org,z@x.org\nb@x.org,,\n",
    "Google": "First Name [Required],Email Address [Required],Status [READ ONLY],Recovery Email\n"
    "Ada,a@x.org,Active,r@y.org\nBob,b@x.org,Active,\n",
    "Google's log": "User Email,Event\na@x.org,login\nb@x.org,login\n",
    "Okta": "login,firstName,lastName\na@x.org,Ada,L\nb@x.org,Bob,N\n",
    "Okta, profile": "id,profile.login,profile.email\n00u1,a@x.org,A@x.org\n00u2,b@x.org,b@x.org\n",
    "Okta, e-mail": "login,email\na@corp.local,a@x.org\nb@corp.local,b@x.org\n",
    "Entra": "userPrincipalName,displayName,mail,id\na@x.org,Ada,A@x.org,3f2\nb@x.org,Bob,,3f3\n",
    "Microsoft 365": "Display name,User principal name,Licenses\nAda,a@x.org,E3\nBob,b@x.org,E3\n",
    "PowerShell": '#TYPE Selected.Microsoft.ActiveDirectory\n"UserPrincipalName"\n"a@x.org"\n"b@x.org"\n',
    "spreadsheet": "sep=;\r\nEmail;Name\r\na@x.org;Ada\r\nb@x.org;Bob\r\n",
    "spreadsheet, quoted": '"sep=|"\nEmail|Name\na@x.org|Ada\nb@x.org|Bob\n',
    "spreadsheet, tab": "sep=\t\r\nEmail\tName\r\na@x.org\tAda\r\nb@x.org\tBob\r\n",
    "spreadsheet, saved again": "sep=,,\r\nEmail,Name,\r\na@x.org,Ada,\r\nb@x.org,Bob,\r\n",
    "quoted, no header": '"a@x.org"\n"b@x.org"\n',
    "Exchange": "PrimarySmtpAddress,Alias\na@x.org,ada\nb@x.org,bob\n",
    "Unicode text": "\ufeffEmail\tName\r\na@x.org\tJ\u00fcrgen\r\nb@x.org\tBob\r\n".encode("utf-16-le"),
    "Outlook": "a@x.org; b@x.org\n",
    "Outlook, ends": "a@x.org;b@x.org;\n",
    "Outlook, names": 'Lovelace, Ada <a@x.org>; "Neil; Bob" <b@x.org>\n',
    "Outlook, no names": "'a@x.org' <a@x.org>; \"B@x.org\" <b@x.org>\n",
    "Gmail": 'Ada <a@x.org>, "Neil, Bob" <b@x.org>\n',
    "one a line": "Ada <a@x.org>\nBob <b@x.org>\n",
    "JSON texts": '["a@x.org", "b@x.org"]',
    "JSON objects": '[{"email": "a@x.org", "tags": ["x"]}, {"name": "Bob", "email": "b@x.org"}]',
    "JSON of Zoom": '{"page_size": 300, "users": [{"id": "u1", "email": "a@x.org"}, {"email": "b@x.org"}]}',
    "JSON, all by its count": '{"total_records": 2, "links": {"next": null}, "users": ["a@x.org", "b@x.org"]}',
    "JSON, the last page": '{"next_page_token": "", "next_page": null, "users": ["a@x.org", "b@x.org"]}',
    "JSON of Graph": '\ufeff{"value": [\n{"mail": null, "userPrincipalName": "a@x.org"},\n{"mail": "b@x.org"}]}',
    "JSON of Okta": '[{"id": "00u", "profile": {"login": "a@x.org"}}, {"profile": {"login": "b@x.org"}}]',
    "JSON of Zendesk": '{"id": 7, "email": "a@x.org", "tags": []}\n{"id": 8, "email": "b@x.org", "tags": []}\n',
    "JSON of one": '{"email": "a@x.org", "tags": []}\n\n{"email": "b@x.org", "tags": []}',
}


@pytest.mark.parametrize("naming", [ZOOM, ZENDESK], ids=["zoom", "zendesk"])
@pytest.mark.parametrize("content", READ.values(), ids=READ.keys())
def test_an_export_is_read_by_its_own_header(content, naming):
    """The column that people sign in by is found under the name that the export gives it, at every provider."""
    assert [email.lower() for email in addresses(content, naming)] == TWO


NAMED = {
    "German": (
        "Vorname;E-Mail-Adresse\nAda;a@x.org\n",
        "'Vorname', 'E-Mail-Adresse': call 'E-Mail-Adresse' email",
    ),
    "German, one column": ("E-Mail-Adresse\na@x.org\nb@x.org\n", "users.csv:1: the first line ('E-Mail-Adresse')"),
    "French": ("Adresse \u00e9lectronique,Nom\na@x.org,A\n", "call 'Adresse \u00e9lectronique' email"),
    "a title over ids": ("Kennung\n4711\n4712\n", "users.csv:1: the first line ('Kennung')"),
    "a title over nothing": ("Konten\n", "users.csv:1: the first line ('Konten') reads like a header"),
    "a title over other ids": ("Kennung\nZid000001\nZid000002\n", "users.csv:1: the first line ('Kennung')"),
    "a quoted title": ('"Konten"\n"a@x.org"\n', "users.csv:1: the first line ('Konten') is of another kind"),
    "a title with what nobody sees": (
        "Email\u200b,Name\na@x.org,Ada\n",
        "column 1 with U+200B ZERO WIDTH SPACE",
    ),
    "a separator that is not read": ("sep=:\nemail:name\na@x.org:Ada\n", "names a separator that is none of"),
    "a name that is another address": (
        '"boss@x.org" <a@x.org>; Bob <b@x.org>\n',
        "no header says which is which",
    ),
    "JSON, a page of Zoom": (
        '{"next_page_token": "w7587w4eiyfsudgf", "users": [{"email": "a@x.org"}]}',
        "is one page of several",
    ),
    "JSON, a page of Graph": (
        '{"@odata.nextLink": "https://graph.example/2", "value": [{"mail": "a@x.org"}]}',
        "is one page of several",
    ),
    "JSON, a page of Zendesk": (
        '{"users": [{"email": "a@x.org"}], "meta": {"has_more": true}}',
        "is one page of several",
    ),
    "JSON, a page of Zendesk's by its link": (
        '{"users": [{"email": "a@x.org"}], "links": {"next": "https://z.example/2"}}',
        "is one page of several",
    ),
    "JSON, a page by its number": (
        '{"page_number": 1, "page_size": 30, "total_records": 1300, "users": [{"email": "a@x.org"}]}',
        "users.csv: has 1 of 1,300 users, as it says itself",
    ),
    "JSON, a page of SCIM": (
        '{"totalResults": 2, "Resources": [{"userName": "a@x.org"}]}',
        "has 1 of 2 users",
    ),
    "JSON, a page of Graph by its count": (
        '{"@odata.count": 300, "value": [{"mail": "a@x.org"}]}',
        "has 1 of 300 users",
    ),
    "JSON, a page of Zendesk by its count": (
        '{"users": [{"email": "a@x.org"}], "next_page": null, "count": 300}',
        "has 1 of 300 users",
    ),
    "JSON, yes": ('[{"user_id": true}]', "users.csv: entry 1: a word for an empty field"),
    "a title nobody knows": ("Konten\na@x.org\n", "call it email or user_id"),
    "a word that is known": ("address\na@x.org\n", "it has 'address': call 'address' email"),
    "an id alone": ("id,name\n7,Ada\n", "it has 'id', 'name'"),
    "no header": ("Ada,hunter2\nBob,secret\n", "it has 'Ada', column 2"),
    "two addresses": (
        "userPrincipalName,mail\na@x.org,ada@y.org\n",
        "'userPrincipalName' and 'mail' name",
    ),
    "no header, two addresses": ("a@x.org;boss@x.org\nb@x.org;boss@x.org\n", "no header says which is which"),
    "a recipient that is none": ("a@x.org; hunter2\n", "no header says which is which"),
    "a wrong recipient": (
        "Ada <a@x.org>; Bob <b@x>\n",
        "users.csv:1: entry 2 of the line is not an",
    ),
    "JSON, bent": ('["a@x.org", "b@x"]', "users.csv: entry 2: is not an e-mail address"),
    "JSON, nobody": ('[{"name": "hunter2"}]', "users.csv: entry 1: the header names neither email nor user_id"),
    "JSON, empty": ('{"users": []}', "names no users"),
    "JSON, broken": ('[\n"a@x.org",\n', "users.csv:3: is not valid JSON"),
    "JSON, twice": ('[{"email": "a@x.org", "email": "b@x.org"}]', "has the key 'email' twice"),
    "JSON, a number": ("[[7]]", "users.csv: entry 1: is neither a text nor an object"),
    "JSON, no list": ('{"a": {"b": 1}}', "without a list of users"),
    "JSON lines": ('{"email": "a@x.org"}\n{"email": "b@x"}\n', "users.csv:2: is not an e-mail address"),
    "JSON lines, broken": ('{"email": "a@x.org"}\n{"email": \n', "users.csv:2: is not valid JSON"),
    "deep": ("[" * 100_000, "users.csv"),
}


@pytest.mark.parametrize(("content", "told"), NAMED.values(), ids=NAMED.keys())
def test_what_cannot_be_read_is_named_with_what_to_type(content, told):
    """Nobody is made of a header, no column is guessed, and the columns that were seen are named."""
    assert told in refusal(content)


def test_a_plain_list_may_begin_with_an_id():
    """An id of a provider above ids, or digits above addresses, is no header."""
    assert users("KdYKjnimT4KPd8FFgQt9FQ\nz8yCxTTTTSiw02QgCAp8uQ==\n") == [
        (None, "KdYKjnimT4KPd8FFgQt9FQ"),
        (None, "z8yCxTTTTSiw02QgCAp8uQ=="),
    ]
    assert users("KdYKjnimTKPdFFgQtFQABC\nz8yCxTTTTSiw02QgCAp8uQ==\n")[0] == (None, "KdYKjnimTKPdFFgQtFQABC")
    assert users("4711\na@x.org\n", ZENDESK) == [(None, "4711"), ("a@x.org", None)]
    assert users("-D0ckML9xr5OHcb4jneQvA\na@x.org\n") == [(None, "-D0ckML9xr5OHcb4jneQvA"), ("a@x.org", None)]


def test_a_long_field_of_notes_refuses_no_export():
    """What stands beside the addresses may be as long as a page, on one line or on many."""
    notes, lines = "x" * 200_000, "line\n" * 500
    assert addresses(f'email,notes\na@x.org,{notes}\nb@x.org,"{notes}{lines}"\n') == TWO


REPORT = "user,user_ref,action,state,outcome,attempts\n"


def test_a_report_is_a_users_file():
    """Its escapes are undone, and the row for sessions beside the one for the password is the same user."""
    rows = (
        "u1@x.org,id1,set_password,failed,,1\nu1@x.org,id1,revoke_sessions,skipped,,0\n"
        "'-dashed,'-dashed,set_password,cancelled,,0\n'+p@x.org,id3,set_password,cancelled,,0\n"
        "''-q@x.org,''-q@x.org,set_password,cancelled,,0\nodd@host,id4,set_password,failed,,0\n"
    )
    assert users(REPORT + rows) == [
        ("u1@x.org", "id1"),
        (None, "-dashed"),
        ("+p@x.org", "id3"),
        ("'-q@x.org", None),
        (None, "id4"),
    ]


@pytest.mark.parametrize("account", ["z", "other"])
def test_a_report_of_another_account_is_refused(account):
    """Ids of one account are nobody's, or somebody else's, in another."""
    table = f"account,{REPORT}{account},a@x.org,a@x.org,set_password,failed,,1\n"
    task = {"user": "a@x.org", "user_ref": "a@x.org", "action": "set_password", "attempts": []}
    document = json.dumps({"batch": {"account": account}, "sessions_alive": ["a@x.org"], "tasks": [task, task]})
    for content in (table, document):
        if account == "z":
            assert users(content) == [("a@x.org", None)]
        else:
            assert "a report of account 'other', and the order is for 'z'" in refusal(content)


BENT = [
    "3.61E+11",
    "3,61E+11",
    "361000000001.0",
    "361,000,000,001",
    "'361000000001",
    "+361000000001",
    "0361000000001",
    "361\u00a0000\u00a0000\u00a0001",
]


@pytest.mark.parametrize("naming", [ZOOM, ZENDESK], ids=["zoom", "zendesk"])
@pytest.mark.parametrize("bent", BENT)
def test_an_id_that_a_spreadsheet_has_bent_is_refused_in_every_form_of_file(bent, naming):
    """In a table, a list and JSON alike, with its place and with what to do."""
    assert refusal(f'name,user_id\nx,"{bent}"\n', naming).startswith("users.csv:2: ")
    assert refusal(f"4711\n{bent}\n", naming).startswith("users.csv:2: ")
    assert refusal(json.dumps(["4711", bent]), naming).startswith("users.csv: entry 2: ")


@pytest.mark.parametrize("bent", ["0361000000001", "361000000001E0", "-361000000001", "361 000 000 001", "\u0663"])
def test_a_padded_number_is_no_id_at_zendesk(bent):
    """Its ids are whole numbers without zeros before them."""
    assert refusal(f"user_id\n{bent}\n", ZENDESK).startswith("users.csv:2: ")


def test_a_number_in_json_is_taken_as_it_is_written():
    """No digit of an id is lost to a number that computers round."""
    assert users('[{"user_id": 9007199254740993}]', ZENDESK) == [(None, "9007199254740993")]
    assert "a spreadsheet has changed" in refusal('[{"user_id": 3.61E+11}]', ZENDESK)


@pytest.mark.parametrize(
    ("email", "told"),
    [
        ("c\u00adeo@x.org", "it holds U+00AD SOFT HYPHEN"),
        ("ceo\u200b@x.org", "it holds U+200B ZERO WIDTH SPACE"),
        ("ceo@x.org\u2060", "it holds U+2060 WORD JOINER"),
        ("\u202eceo@x.org", "it holds U+202E RIGHT-TO-LEFT OVERRIDE"),
        ("ce\u00a0o@x.org", "it holds U+00A0 NO-BREAK SPACE"),
        ("ceo@x\u3002org", "it holds U+3002 IDEOGRAPHIC FULL STOP"),
        ("ceo@x.org.", "it ends with a full stop"),
    ],
)
def test_what_nobody_sees_in_an_address_is_named(email, told):
    """People cannot find by eye what makes two equal lines differ."""
    assert told in refusal(f"b@x.org\n{email}\n")
    assert told in refusal(f"email,name\n{email},x\n")


def test_letters_that_are_typed_in_parts_are_put_together():
    """A file from a Mac has an accent beside its letter."""
    assert addresses("jose\u0301@x.org\n\u0939\u093f@x.org\n") == ["jos\u00e9@x.org", "\u0939\u093f@x.org"]

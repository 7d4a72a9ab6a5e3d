"""Users files."""

import csv
import io
import tracemalloc
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkreset.errors import InputError
from bulkreset.intake import source_text
from bulkreset.intake.naming import Naming
from bulkreset.intake.source_text import LINE_LIMIT
from bulkreset.intake.users_file import read_users, user_line

ANY = Naming(lambda _: None)


class Drip(io.RawIOBase):
    """A source that gives a few bytes at a time, as a pipe may."""

    def __init__(self, content, size):
        self._content = io.BytesIO(content)
        self._size = size

    def read(self, size=-1):
        return self._content.read(min(size, self._size))


def read_in_blocks(content, size):
    with patch.object(source_text, "_BLOCK", size):
        return [user[:3] for user in read_users(Drip(content, 1_000), "users.csv", ANY)]


def read(content, name="users.csv"):
    if isinstance(content, str):
        content = content.encode()
    return [user[:3] for user in read_users(io.BytesIO(content), name, ANY)]


def refusal(content):
    with pytest.raises(InputError) as caught:
        read(content)
    message = str(caught.value)
    assert message.startswith("users.csv:")
    assert "\n" not in message
    assert "hunter2" not in message
    return message


@pytest.mark.parametrize(
    ("content", "users"),
    [
        ("a@x.org\nb@x.org\n", [(1, "a@x.org", None), (2, "b@x.org", None)]),
        ("a@x.org\n4711", [(1, "a@x.org", None), (2, None, "4711")]),
        ("\n  \n a@x.org \n\n4711\n\n", [(3, "a@x.org", None), (5, None, "4711")]),
        ("KdYKjnimT4KPd8FFgQt9FQ==\n", [(1, None, "KdYKjnimT4KPd8FFgQt9FQ==")]),
    ],
)
def test_a_plain_list_has_one_user_a_line(content, users):
    """What has an '@' is an address, all else an id; blank lines are skipped and counted."""
    assert read(content) == users


@pytest.mark.parametrize(
    ("content", "users"),
    [
        ("email\na@x.org\n", [(2, "a@x.org", None)]),
        ("user_id\n4711\n", [(2, None, "4711")]),
        ("user_id,email\n4711,a@x.org\n", [(2, "a@x.org", "4711")]),
        (" Name ; EMAIL ;User_ID\nJane, Dr;a@x.org;\nJo;;4711\n", [(2, "a@x.org", None), (3, None, "4711")]),
        ("name\temail\nJane, Dr; x\ta@x.org\n", [(2, "a@x.org", None)]),
        ("name,e;mail,email\nJo,x,a@x.org\n", [(2, "a@x.org", None)]),
        ('"email","name"\n"a@x.org","Doe, ""J"" Jane"\n', [(2, "a@x.org", None)]),
        ('name,email\n"Doe\nJane", "a@x.org"\nJo,b@x.org\n', [(2, "a@x.org", None), (4, "b@x.org", None)]),
        ('email\n"a@x.org"\n', [(2, "a@x.org", None)]),
        ("email,user_id,,\na@x.org\n\nb@x.org,1,,,\n", [(2, "a@x.org", None), (4, "b@x.org", "1")]),
    ],
)
def test_a_header_names_the_columns(content, users):
    """Columns are found by name in any case, with any of the three delimiters, quoted or not."""
    assert read(content) == users


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("size", [1, 2, 3, 7, 100_000])
def test_every_kind_of_line_end_and_a_mark_are_read(newline, mark, size):
    """Windows, Unix and old Mac files give the same users and lines, wherever a block ends."""
    content = mark + newline.join(["email,name", "a@x.org,J\u00fcrgen", "", "b@x.org,x", ""]).encode()
    assert read_in_blocks(content, size) == [(2, "a@x.org", None), (4, "b@x.org", None)]


ADDRESSES = st.from_regex(r"[a-z0-9]{1,9}@[a-z]{1,9}\.(org|com)", fullmatch=True)


@given(
    st.lists(st.tuples(st.text(st.characters(exclude_categories=["C", "Z"])), ADDRESSES), min_size=1, max_size=20),
    st.sampled_from([",", ";", "\t"]),
    st.sampled_from(["\n", "\r\n"]),
)
def test_whatever_a_csv_writer_writes_is_read(rows, delimiter, newline):
    """Quoting by the standard library's writer is understood, whatever other columns hold."""
    text = io.StringIO()
    writer = csv.writer(text, delimiter=delimiter, lineterminator=newline)
    writer.writerows([("note", "email"), *rows])
    assert [email for _, email, _ in read(text.getvalue())] == [email for _, email in rows]


@given(st.lists(ADDRESSES, min_size=1, max_size=50), st.integers(1, 64))
def test_blocks_do_not_matter(addresses, size):
    """The users are the same wherever the blocks of the source end."""
    content = "".join(f"{address}\r\n" for address in addresses).encode()
    assert read_in_blocks(content, size) == [(line, address, None) for line, address in enumerate(addresses, 1)]


def test_a_source_may_give_few_bytes_at_a_time():
    """A pipe's short reads are not taken for the end."""
    users = [user[:3] for user in read_users(Drip(b"a@x.org\n4711\n", 1), "users.csv", ANY)]
    assert users == [(1, "a@x.org", None), (2, None, "4711")]


def test_lines_are_counted_across_blocks():
    """An error far down a large file still names its line."""
    good = "".join(f"user{number}@example.com\n" for number in range(60_000))
    assert refusal(good + "not an address@example.com\n").startswith("users.csv:60001: ")
    assert refusal("email,name\n" + good.replace("\n", ",x\n") + ",hunter2\n").startswith("users.csv:60002: ")


@pytest.mark.parametrize(
    "email",
    [
        "a@x.org",
        "first.last+tag@sub.example.co.uk",
        "!#$%&'*+/=?^_`{|}~-@example.com",
        "j\u00fcrgen@b\u00fccher.example",
        "\u7528\u6237@\u4f8b\u5b50.\u4e2d\u56fd",
        "a@1-2.3com",
        "a" * 64 + "@" + "b" * 63 + "." + "c" * 63 + "." + "d" * 61,  # 254 characters
        f"a@{'b' * 63}.org",
    ],
)
def test_a_good_address_is_taken_as_it_stands(email):
    """Everything that RFC 5322 allows without quotes, and letters beyond ASCII."""
    assert read(f"{email}\n") == [(1, email, None)]
    assert read(f"email,x\n{email},\n") == [(2, email, None)]


@pytest.mark.parametrize(
    "email",
    [
        "@x.org",
        "a@",
        "a@org",
        "a@@x.org",
        "a@b@x.org",
        ".a@x.org",
        "a.@x.org",
        "a..b@x.org",
        "a b@x.org",
        "a@x .org",
        "a@.org",
        "a@x..org",
        "a@x.org.",
        "a@-x.org",
        "a@x-.org",
        "a@x_y.org",
        "a(b)@x.org",
        "<a@x.org>",
        "a:b@x.org",
        "a\\b@x.org",
        "a@x.org/../b",
        "a@x.org?x=1",
        "j\u00fc..b@x.org",
        "j\u00fc@-x.org",
        "a\u00a0b@x.org",
        "a\u200bb@x.org",
        "\u202ea@x.org",
        "a@x\u3002org",
        "a" * 65 + "@" + "b" * 63 + "." + "c" * 63 + "." + "d" * 61,
        "\u00fc" * 65 + "@" + "b" * 63 + "." + "c" * 63 + "." + "d" * 61,
        f"a@{'b' * 64}.org",
    ],
)
def test_a_bad_address_is_refused(email):
    """What no mail system would take for one plain address stops the order, with its line."""
    assert refusal(f"b@x.org\n{email}\n").startswith("users.csv:2: is not an e-mail address")
    assert refusal(f"email;x\n\n{email};\n").startswith("users.csv:3: is not an e-mail address")


@pytest.mark.parametrize(
    "user_id",
    ["..", ".", "../admin", "a/b", "a?b", "a%2Fb", "a#b", "a b", "a\\b", "\u00fc", "a:b", "a&b", "a" * 129],
)
def test_an_id_that_could_mean_another_path_is_refused(user_id):
    """Nothing from a file can make the call go to another endpoint."""
    assert refusal(f"b@x.org\n{user_id}\n").startswith("users.csv:2: is neither an e-mail address nor a user id")
    assert refusal(f"user_id;x\n{user_id};\n").startswith("users.csv:2: is neither")


@pytest.mark.parametrize("user_id", ["1", "a" * 128, "aZ09._~+=-", "...", "-_x"])
def test_a_good_id_is_taken_as_it_stands(user_id):
    """Ids are exact: their case stays."""
    assert read(f"x;user_id\n;{user_id}\n") == [(2, None, user_id)]


def test_an_address_in_the_id_column_is_refused():
    """An address is not looked up as an id by accident."""
    assert refusal("user_id,x\na@x.org,\n").startswith("users.csv:2: ")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("", "is empty; put one user a line"),
        ("\ufeff", "is empty"),
        ("\n \r\n", "is empty"),
        ("email\n", "has a header and no users"),
        ("email,name\n\n\n", "has a header and no users"),
        ("name,dept\nhunter2,x\n", "users.csv:1: the header names neither email nor user_id"),
        ("a@x.org,hunter2\n", "users.csv:1: the first line has an address among other things, and no header"),
        ("\na@x.org;b@x.org\nc@x.org;d@x.org\n", "users.csv:2: the first line has an address among other things"),
        ("users\nhunter2\n", "users.csv:1: the header names neither email nor user_id; it has 'users'"),
        ("email,name,Email\na@x.org,x,b@x.org\n", "users.csv:1: the header names 'email' twice"),
        ("user_id,User_ID\n1,2\n", "users.csv:1: the header names 'user_id' twice"),
        ("Mail,mail\na@x.org,b@x.org\n", "users.csv:1: the header names 'mail' twice"),
        ("email,user_id\na@x.org,1\n,\n", "users.csv:3: the row has neither email nor user_id"),
        ("name,email\nhunter2,\n", "users.csv:2: the row has neither"),
        ("name,user_id\nDoe, Jane,4711\n", "users.csv:2: the row has more fields than the header"),
        ('name,email\n"Doe" Jane,a@x.org\n', "users.csv:2: a quoted field does not end"),
        ('name,email\nx,b@x.org\n"Doe,a@x.org\nx,c@x.org\n', "users.csv:3: a quoted field does not end"),
        ('name,email\n"Doe,a@x.org\n' + "x,c@x.org\n" * 500, "users.csv:2: a quoted field does not end"),
        ('name,email\n"Doe' + "x\n" * 2_000 + '",a@x.org\n', "users.csv:2: a quoted field does not end"),
        ('"email,name\na@x.org,x\n', "users.csv:1: a quoted field does not end"),
        ('email,name\n"a@x\n.org",x\n', "users.csv:2: is not an e-mail address"),
        ('email,name\n"\na@x\n.org",x\n', "users.csv:2: is not an e-mail address"),
        ('"a@x.org"x\n', "users.csv:1: is not an e-mail address"),
        ("'a@x.org\n", "users.csv:1: the address begins with an apostrophe"),
        ("email,user_id\na@x.org,NULL\n", "users.csv:2: a word for an empty field stands where a user should"),
        ("a@x.org\n" + "x" * (LINE_LIMIT + 1) + "\n", "users.csv:2: is longer than 1,000,000 bytes"),
        ("a@x.org\n" + "\u00fc" * (LINE_LIMIT // 2 + 1) + "\n", "users.csv:2: is longer than 1,000,000 bytes"),
        ("a@x.org\n" + "x" * 2_000_000, "users.csv:2: is longer than 1,000,000 bytes"),
        ("email,x\na@x.org," + "x" * LINE_LIMIT + "\r\n", "users.csv:2: is longer than 1,000,000 bytes"),
        ("a@x.org\r\nb\x00@x.org\r\n", "users.csv:2: holds a NUL byte"),
        ("email,x\na@x.org,\x1b[31m\n", "users.csv:2: holds a control character"),
        ("a@x.org\n\nb@x.org\x7f", "users.csv:3: holds a control character"),
        ("email,x\na@x.org,\u00fc\nb@x.org,\u2028\n", "users.csv:3: holds a control character"),
        ("a@x.org\nb\x85@x.org\n", "users.csv:2: holds a control character"),
        (b"a@x.org\nb@x.org\nj\xfcrgen@x.org\nc@x.org\n", "users.csv:3: is not UTF-8; save the file as UTF-8"),
        (b"email,x\n\xff\n", "users.csv:2: is not UTF-8"),
        (b"a@x.org\n\xc3", "users.csv:2: is not UTF-8"),
    ],
)
def test_what_cannot_be_read_with_certainty_is_refused(content, told):
    """The first thing that is not right ends the reading, with its line and what to do."""
    assert told in refusal(content)


TEXTS = ["email,name\r\na@x.org,J\u00fcrgen\r\n", "a@x.org", "4711\n", "4"]


@pytest.mark.parametrize(
    "encoding",
    ["utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be", "\ufeff-utf-32-le", "\ufeff-utf-32-be"],
)
@pytest.mark.parametrize("text", TEXTS)
def test_wide_encodings_without_a_mark_are_named(encoding, text):
    """A text of two or four bytes a letter is told from a damaged file."""
    mark = "\ufeff" if encoding.startswith("\ufeff") else ""
    assert "save the file as UTF-8" in refusal((mark + text).encode(encoding.removeprefix("\ufeff-")))


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("size", [1, 3, 100_000])
def test_a_spreadsheets_unicode_text_is_read_by_its_mark(encoding, text, size):
    """UTF-16 with a byte-order mark gives the users that UTF-8 gives, wherever a block ends."""
    assert read_in_blocks(f"\ufeff{text}".encode(encoding), size) == read(text)


@pytest.mark.parametrize("content", [b"\xff\xfea\x00@", b"\xff\xfea\x00\x00\xd8a\x00@\x00"])
def test_damaged_utf_16_is_named(content):
    """Half a letter ends the reading."""
    assert "damaged UTF-16" in refusal(content)


@given(st.binary(max_size=300))
def test_any_bytes_give_users_or_one_clear_line(content):
    """Nothing that can be in a file leads to another error."""
    fault = None
    try:
        users = read(content)
    except InputError as error:
        fault, users = str(error), []
    assert (
        (users and all(email or user_id for _, email, user_id in users))
        if fault is None
        else "users.csv:" in fault
    )


def test_a_long_line_is_not_read_to_its_end():
    """Of a line of 50 MB little more than the limit is read before it is refused."""
    source = io.BytesIO(b"a@x.org\n" + b"x" * 50_000_000)
    with pytest.raises(InputError):
        list(read_users(source, "users.csv", ANY))
    assert source.tell() < 2_000_000


def test_a_large_file_does_not_stand_in_memory():
    """Memory stays flat while a file of 6 MB is read."""
    source = Drip(b"some.user.name@example.com\n" * 220_000, 1_000_000)
    tracemalloc.start()
    try:
        count = sum(1 for _ in read_users(source, "users.csv", ANY))
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert count == 220_000
    assert most < 3_000_000


def test_a_source_that_fails_is_told():
    """A disk error comes out as one line with the file's name."""

    class Broken(io.RawIOBase):
        def read(self, size=-1):
            raise OSError(5, "Input/output error")

    with pytest.raises(InputError, match=r"^users\.csv: cannot be read: Input/output error$"):
        list(read_users(Broken(), "users.csv", ANY))


@pytest.mark.parametrize(("text", "user"), [(" a@x.org\n", (3, "a@x.org", None)), ("4711", (3, None, "4711"))])
def test_one_user_from_elsewhere_is_read_by_the_same_rules(text, user):
    """A user in a database row is an address or an id just as in a file."""
    assert user_line(text, 3, "request 9") == (*user, 0)


@pytest.mark.parametrize("text", ["", " ", "a b", "a@b", "../x", "a@x.org\x00", "a\nb"])
def test_one_user_from_elsewhere_is_refused_by_the_same_rules(text):
    """The error names the place that the caller gave."""
    with pytest.raises(InputError, match=r"^request 9:3: "):
        user_line(text, 3, "request 9")


def test_a_column_of_priorities_is_read_and_may_be_empty():
    """Who has no number has none; the order of the columns does not matter, nor the case of their names."""
    content = "Priority;email;user_id\n1000;a@x.org;\n;;7\n 0 ;b@x.org;8\n007;c@x.org;\n"
    users = read_users(io.BytesIO(content.encode()), "users.csv", ANY)
    assert [user.priority for user in users] == [1000, 0, 0, 7]


@pytest.mark.parametrize("priority", ["1001", "-1", "1.5", "high", "\u0661", "9" * 5_000])
def test_what_is_no_priority_is_refused_with_its_line(priority):
    """A number that is too large, or none at all, is said with its place and is never guessed."""
    assert "users.csv:2: the priority is not" in refusal(f"email,priority\na@x.org,{priority}\n")

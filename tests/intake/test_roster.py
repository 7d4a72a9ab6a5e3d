"""Rosters: merged, reduced, sorted, hashed."""

import hashlib
import shutil
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkreset.errors import InputError, StoreError
from bulkreset.intake.roster import CHUNK, Roster
from bulkreset.intake.users_file import UserLine
from bulkreset.providers.base import DirectoryUser


def people(*users):
    """Write 'a@x' for an address, '7' for an id and '7 a@x' for both."""
    lines = []
    for number, user in enumerate(users, 1):
        names = user.split()
        email = next((name for name in names if "@" in name), None)
        lines.append(UserLine(number, email, next((name for name in names if "@" not in name), None)))
    return lines


_LEFT_OPEN = []


@pytest.fixture(autouse=True)
def closes_rosters():
    """Close at the end of each test what `frozen` has opened."""
    yield
    while _LEFT_OPEN:
        _LEFT_OPEN.pop().close()


def frozen(users, excluded=(), listed=None, *, ids_required=False):
    roster = Roster("users.csv")
    _LEFT_OPEN.append(roster)
    roster.add(people(*users))
    roster.exclude(people(*excluded))
    if listed is not None:
        take(roster, *listed)
    roster.freeze(ids_required=ids_required)
    return roster


def take(roster, *pairs):
    """List '7 a@x' for user 7 with this address; the listing is at its end then."""
    users = (DirectoryUser(*pair.split()) for pair in pairs)
    roster.take_listing((user, True, False) for user in users)
    roster.end_listing()


def refs(roster):
    return [row.user_ref for rows in roster.rows() for row in rows]


def counts(roster):
    return roster.total, roster.excluded, roster.duplicates


@pytest.mark.parametrize(
    ("users", "left", "duplicates"),
    [
        (["b@x", "a@x", "b@x"], ["a@x", "b@x"], 1),
        (["A@X", "a@x"], ["a@x"], 1),
        (["7", "8", "7"], ["7", "8"], 1),
        (["Ab", "aB"], ["Ab", "aB"], 0),
        (["7 a@x", "a@x"], ["7"], 1),
        (["a@x", "7 A@x", "7"], ["7"], 2),
        (["7 a@x", "7 b@x", "b@x"], ["7"], 2),
        (["7 a@x", "8 a@x"], ["7", "8"], 0),
        (["8 a@x", "7 a@x", "a@x"], ["7", "8"], 1),
    ],
)
def test_a_person_named_twice_is_one_person(users, left, duplicates):
    """The same id, or the same address and not two ids, is one person; all further lines are duplicates."""
    with frozen(users) as roster:
        assert refs(roster) == left
        assert counts(roster) == (len(left), 0, duplicates)


@pytest.mark.parametrize(
    ("users", "excluded", "left"),
    [
        (["a@x", "b@x"], ["B@X"], ["a@x"]),
        (["7", "8"], ["8"], ["7"]),
        (["7 a@x", "8 b@x"], ["b@x"], ["7"]),
        (["7 a@x", "8 b@x"], ["8"], ["7"]),
        (["7 a@x", "7 b@x", "8"], ["b@x"], ["8"]),
        (["a@x", "7 a@x", "8"], ["7"], ["8"]),
        (["7 a@x", "8 a@x", "9"], ["a@x"], ["9"]),
        (["7", "a@x", "9"], ["7 a@x"], ["9"]),
        (["a@x", "b@x"], ["c@x", "b@x", "b@x"], ["a@x"]),
    ],
)
def test_the_excluded_are_left_out_by_either_name(users, excluded, left):
    """Whoever an exclusion names by id or by address is not reset, whichever name the users file gives."""
    with frozen(users, excluded) as roster:
        assert refs(roster) == left
        assert roster.total + roster.excluded + roster.duplicates == len(users)


def test_exclusions_may_come_first():
    """The order of users and exclusions does not matter."""
    with Roster() as roster:
        roster.exclude(people("a@x"))
        roster.add(people("b@x", "a@x"))
        roster.exclude(people("c@x"))
        roster.add(people("c@x", "d@x"))
        roster.freeze(ids_required=False)
        assert refs(roster) == ["b@x", "d@x"]
        assert counts(roster) == (2, 2, 0)


@pytest.mark.parametrize(
    ("users", "excluded", "listed", "left"),
    [
        (["a@x", "b@x"], [], ["7 a@x", "9 c@x"], [("7", True), ("b@x", False)]),
        (["a@x", "7"], [], ["7 A@X"], [("7", True)]),
        (["a@x", "b@x"], [], ["7 a@x", "7 b@x"], [("7", True)]),
        (["a@x", "b@x"], ["7"], ["7 a@x", "8 b@x"], [("8", True)]),
        (["7", "8"], ["a@x"], ["7 a@x", "8 b@x"], [("8", True)]),
        (["7 a@x", "a@x"], [], ["9 a@x"], [("7", True)]),
        (["a@x"], [], ["9 a@x", "8 a@x"], [("8", True)]),
        (["a@x", "b@x"], ["b@x"], ["7 a@x"], [("7", True)]),
    ],
)
def test_the_listing_gives_ids_to_addresses(users, excluded, listed, left):
    """With ids, hidden duplicates and hidden exclusions come out; who is not listed stays, unresolved."""
    with frozen(users, excluded, listed, ids_required=True) as roster:
        assert [(row.user_ref, row.resolved) for rows in roster.rows() for row in rows] == left
        assert roster.total + roster.excluded + roster.duplicates == len(users)


def test_an_address_is_a_good_reference_where_no_id_is_required():
    """Where the provider takes addresses nobody is unresolved."""
    with frozen(["a@x", "7"]) as roster:
        assert all(row.resolved for rows in roster.rows() for row in rows)


@pytest.mark.parametrize(
    ("users", "excluded", "listed", "left"),
    [
        (["a@x", "b@x"], [], ["7 a@x", "8 b@x"], ["a@x", "b@x"]),
        (["7", "A@x", "b@x"], [], ["7 a@x", "8 b@x"], ["7", "b@x"]),
        (["a@x", "b@x"], ["8"], ["7 a@x", "8 b@x"], ["a@x"]),
        (["a@x", "8"], ["b@x"], ["7 a@x", "8 b@x"], ["a@x"]),
    ],
)
def test_addresses_stay_where_no_id_is_required_and_the_listing_tells_who_is_who(users, excluded, listed, left):
    """A listing changes no reference that the provider takes; it only finds people who were named twice."""
    with frozen(users, excluded, listed) as roster:
        assert refs(roster) == left
        assert roster.total + roster.excluded + roster.duplicates == len(users)


def test_who_is_called_by_address_has_the_id_that_the_listing_tells():
    """Protection may name either; who has no id of their own yet (an open invitation) has none here."""
    with frozen(["a@x", "B@x", "c@x", "d@x", "9"], [], ["7 a@x", "8 b@x", "c@x c@x", "9 e@x"]) as roster:
        found = {row.user_ref: row.user_id for rows in roster.rows() for row in rows}
    assert found == {"a@x": "7", "b@x": "8", "c@x": None, "d@x": None, "9": None}


def test_a_listing_is_taken_once_for_each_user():
    """Who comes twice, because the listing began anew, counts once; so do two addresses of one id at the end."""
    users = [DirectoryUser("7", "A@x"), DirectoryUser("8", None)]
    with Roster() as roster:
        assert roster.take_listing((user, True, False) for user in users) == 2
        assert roster.take_listing((user, True, False) for user in users) == 2
        again = [(DirectoryUser("7", "b@x"), True, True), (DirectoryUser("9", "c@x"), False, False)]
        assert roster.take_listing(again) == 4
        assert roster.end_listing() == (3, 2, 1, 0)
        roster.add_listed()
        roster.freeze(ids_required=True)
        assert [(row.user_ref, row.display) for rows in roster.rows() for row in rows] == [
            ("7", "A@x"),
            ("8", "8"),
        ]
        assert counts(roster) == (2, 0, 0)


def test_an_exclusion_by_address_reaches_who_was_listed_by_it():
    """An order for all users leaves out whom an exclusion names by either name."""
    with Roster() as roster:
        take(roster, "7 a@x", "8 b@x", "9 c@x")
        roster.add_listed()
        roster.exclude(people("B@X", "9"))
        roster.freeze(ids_required=True)
        assert refs(roster) == ["7"]
        assert counts(roster) == (1, 2, 0)


@pytest.mark.parametrize(
    ("users", "excluded", "told"),
    [
        (["7", "8 b@x"], ["a@x"], "named by email only"),
        (["7", "8", "a@x"], ["a@x", "8"], "named by email only"),  # 7 could be a@x
        (["a@x", "8 b@x"], ["7"], "named by user_id only"),
        (["a@x", "7"], ["7"], "named by user_id only"),
    ],
)
def test_an_exclusion_that_could_miss_its_person_is_refused(users, excluded, told):
    """Users by one name and exclusions by the other cannot be compared, so nothing is ordered."""
    with pytest.raises(InputError, match=told):
        frozen(users, excluded)


@pytest.mark.parametrize(
    ("users", "excluded", "listed"),
    [
        (["7 c@x", "8 b@x"], ["a@x"], None),
        (["7", "8 b@x"], ["a@x"], []),  # the listing was read, and has no such address
        (["a@x", "8 b@x"], ["8"], None),
        (["7", "8"], ["8 a@x"], None),
        (["8", "9 b@x", "a@x"], ["a@x", "8"], None),
        (["a@x"], ["7"], ["7 b@x"]),  # the listing says who 7 is
    ],
)
def test_an_exclusion_that_can_be_decided_is_not_refused(users, excluded, listed):
    """The refusal is kept for where nobody can know."""
    with frozen(users, excluded, listed) as roster:
        assert roster.total


def test_the_name_that_is_shown_is_the_first_address_as_it_was_given():
    """People read what they wrote; where they wrote an id only, that."""
    with frozen(["7", "7 Jane@X", "7 jd@x", "B@x", "b@X", "9"]) as roster:
        shown = {row.user_ref: row.display for rows in roster.rows() for row in rows}
    assert shown == {"7": "Jane@X", "b@x": "B@x", "9": "9"}


def test_an_address_is_not_folded_into_somebody_elses():
    """A sharp s is not two: the reference is the address in lower case and nothing more."""
    with frozen(["STRASSE@x", "Stra\u00dfe@x"]) as roster:
        assert refs(roster) == ["strasse@x", "stra\u00dfe@x"]


NAMES = st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=5)


@given(st.lists(st.one_of(NAMES.map(lambda n: f"{n}@x"), NAMES.map(lambda n: n.replace("@", "a"))), min_size=1))
def test_the_order_is_that_of_bytes_and_the_hash_is_over_it(users):
    """Whatever the letters, rows come in the order of their UTF-8 bytes, once each, and the hash follows them."""
    lines = [UserLine(0, user, None) if "@" in user else UserLine(0, None, user) for user in users]
    with Roster() as roster:
        roster.add(lines)
        roster.freeze(ids_required=False)
        expected = sorted({user.lower() if "@" in user else user for user in users}, key=str.encode)
        assert refs(roster) == expected
        assert roster.sha256 == hashlib.sha256("".join(f"{ref}\n" for ref in expected).encode()).hexdigest()


@pytest.mark.skipif(not shutil.which("sort"), reason="needs sort")
def test_the_hash_can_be_made_with_sort_and_sha256sum():
    """An auditor gets the hash from the list of references with two standard tools."""
    users = ["b@x", "Zed", "a@x", "10", "9", "\u00fc@x", "_", "~"]
    with frozen(users) as roster:
        ordered = subprocess.run(
            ["sort"], input="\n".join(users).encode(), env={"LC_ALL": "C"}, stdout=subprocess.PIPE, check=True
        )
        assert roster.sha256 == hashlib.sha256(ordered.stdout).hexdigest()


def test_the_hash_does_not_depend_on_the_order_of_the_file():
    """The same people give the same hash, however they were listed."""
    with frozen(["a@x", "b@x", "7"]) as one, frozen(["7", "B@x", "b@x", "a@x"]) as other:
        assert one.sha256 == other.sha256
    with frozen(["a@x", "b@x"]) as less:
        assert less.sha256 != one.sha256


def test_large_rosters_come_in_chunks_and_can_be_read_again():
    """Chunks are full but for the last; a second reading gives the same."""
    with frozen([str(number) for number in range(2 * CHUNK + 1)]) as roster:
        assert [len(rows) for rows in roster.rows()] == [CHUNK, CHUNK, 1]
        assert refs(roster) == refs(roster) == sorted(map(str, range(2 * CHUNK + 1)))


@pytest.mark.parametrize("users", [["a@x"], ["a@x", "b@x", "b@x"]])
def test_nobody_left_is_an_error(users):
    """A roster without people says how many were excluded, and of which file."""
    with pytest.raises(InputError, match=rf"all {len(set(users))} users of users\.csv are excluded"):
        frozen(users, users)


def test_nobody_named_is_an_error():
    """An empty roster is not an order."""
    with pytest.raises(InputError, match=r"users\.csv: names no users"):
        frozen([])


def test_an_error_in_the_lines_comes_through():
    """What the reader of the file found is what the caller sees."""

    def broken():
        yield UserLine(1, "a@x", None)
        raise InputError("users.csv:2: is not an e-mail address")

    with Roster() as roster, pytest.raises(InputError, match=r"users\.csv:2"):
        roster.add(broken())


def test_a_full_disk_is_told_with_the_remedy():
    """The error names the temporary file, not a table."""
    with Roster() as roster:
        roster.staging.run("PRAGMA max_page_count = 12")
        with pytest.raises(StoreError, match=r"temporary file failed: .*full; make room"):
            roster.add(UserLine(number, f"user{number}@example.com", None) for number in range(10_000))


def test_a_roster_leaves_no_file(tmp_path, monkeypatch):
    """The temporary file has no name while it is used, and is gone after."""
    monkeypatch.setenv("SQLITE_TMPDIR", str(tmp_path))
    with Roster() as roster:
        roster.staging.run("PRAGMA cache_size = 5")
        roster.add(UserLine(number, f"user{number}@example.com", None) for number in range(20_000))
        roster.freeze(ids_required=False)
        assert list(tmp_path.iterdir()) == []
    with pytest.raises(StoreError):
        roster.staging.run("SELECT 1")

"""Who gives a command: what is believed, what is ignored, and what is said of it."""

import os
import pwd

import pytest

from bulkreset.cli.identity import Person, Surroundings, current, person_of

KNOWN = {"ada": 1000, "bob": 1001, "bulkreset": 900, "root": 0}


def around(user, login_uid=None, **environment):
    login = next((name for name, uid in KNOWN.items() if uid == login_uid), None)
    return Surroundings(KNOWN[user], user, login_uid, login, environment, KNOWN.get)


@pytest.mark.parametrize(
    ("surroundings", "accounts", "person"),
    [
        (around("ada"), [], Person("ada")),
        (around("ada", 1000), [], Person("ada", "ada (uid 1000)")),
        (around("root", 1000, SUDO_USER="ada", SUDO_UID="1000"), [], Person("ada (as root)", "ada (uid 1000)")),
        (around("root", 4711, SUDO_USER="ada", SUDO_UID="1000"), [], Person("ada (as root)", "? (uid 4711)")),
        (
            around("bulkreset", SUDO_USER="ada", SUDO_UID="1000"),
            ["bulkreset"],
            Person("ada (as bulkreset)"),
        ),
        (around("bulkreset", SUDO_USER="ada"), ["bulkreset"], Person("ada (as bulkreset)")),
        (around("ada", SUDO_USER="ada"), [], Person("ada")),
    ],
)
def test_who_acts_is_the_person_behind_sudo_where_sudo_said_so(surroundings, accounts, person):
    """Root and configured service accounts are worked in by people; the login is recorded beside."""
    assert person_of(surroundings, accounts) == person


@pytest.mark.parametrize(
    ("surroundings", "accounts", "why"),
    [
        (around("ada", SUDO_USER="bob"), [], "ada is neither root nor one of approvals.service_accounts"),
        (around("ada", SUDO_USER="bob", SUDO_UID="1001"), ["bulkreset"], "ada is neither root nor"),
        (around("root", SUDO_USER="x-invented", SUDO_UID="5"), [], "no such user"),
        (around("bulkreset", SUDO_USER="x-invented"), ["bulkreset"], "no such user"),
        (around("root", SUDO_USER="bob"), [], "sudo has not set it"),
        (around("root", SUDO_USER="bob", SUDO_UID="1000"), [], "sudo has not set it"),
        (around("bulkreset", SUDO_USER="bob", SUDO_UID="1000"), ["bulkreset"], "sudo has not set it"),
        (around("ada", SUDO_USER="b\x1b[31m\u202eob"), [], r"b\\u001b[31m\\u202eob"),
    ],
)
def test_a_name_that_was_set_by_hand_does_not_count(surroundings, accounts, why):
    """Whoever sets the variable stays who they are, and is told why."""
    found = person_of(surroundings, accounts)
    assert found.name == surroundings.user
    assert why in found.ignored


def test_this_process_is_somebody(monkeypatch, capsys):
    """The system is asked for real; what is ignored is said on standard error."""
    monkeypatch.setenv("SUDO_USER", "x-invented")
    monkeypatch.delenv("SUDO_UID", raising=False)
    assert current().name == pwd.getpwuid(os.geteuid()).pw_name
    assert "SUDO_USER='x-invented' is ignored" in capsys.readouterr().err

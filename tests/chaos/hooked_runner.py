"""The real program, with one hook that production lacks: each new password's SHA-256 goes to a journal.

The journal line is written before the password can be sent, so that after any kill the test knows it.
"""

import hashlib
import os
import sys

from bulkreset.cli.app import main
from bulkreset.runner.keyring import Keyring

journal = os.open(sys.argv.pop(1), os.O_WRONLY | os.O_APPEND | os.O_CREAT)
make = Keyring.fresh


def fresh(self, of, *, task_id, password_no, display):
    password, sealed = make(self, of, task_id=task_id, password_no=password_no, display=display)
    digest = hashlib.sha256(password.reveal().encode()).hexdigest()
    os.write(journal, f"{sealed} {digest}\n".encode())
    return password, sealed


Keyring.fresh = fresh
main()

"""The passwords that a worker makes."""

import random
import secrets
from dataclasses import replace

from bulkreset.options import Options
from bulkreset.passwords.alphabet import ALPHABET
from bulkreset.passwords.policy import STRONGEST
from bulkreset.passwords.vault import MasterKey, new_master_key_text
from bulkreset.runner.keyring import Keyring
from bulkreset.secret import Secret
from bulkreset.store.due import OpenBatch

FIRST = "Zoom7?Xr5!Vd8:Ws$Kh3*Uc9"


def test_no_password_holds_the_name_of_a_provider(monkeypatch):
    """Providers' lists of weak passwords have their own names, in any case."""
    master = MasterKey.parse(Secret(new_master_key_text()))
    policy = replace(STRONGEST, max_run=2)
    assert policy.violations(FIRST) == []
    rng = random.Random(1)
    draws = [bytes(ALPHABET.index(letter) for letter in FIRST)]
    monkeypatch.setattr(secrets, "token_bytes", lambda n: draws.pop() if draws else rng.randbytes(n))
    of = OpenBatch(1, policy.as_json(), master.wrap(master.new_batch_key()), Options(), 0, True, None)
    password, _ = Keyring(master, ["zoom"]).fresh(of, task_id=1, password_no=1, display="a@x.org")
    assert not draws, "the first draw was not taken"
    assert "zoom" not in password.reveal().casefold()

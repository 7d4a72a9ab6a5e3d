"""A sealer whose passwords tests can read."""

import json

from bulkreset.secret import Secret


class PlainSealer:
    """Passwords that tests can read: the n-th of a task is `pw-<task>-<n>`."""

    def obstacle(self, of):
        return None

    def fresh(self, of, *, task_id, password_no, display):
        password = f"pw-{task_id}-{password_no}"
        return Secret(password), json.dumps([of.id, password])

    def open(self, of, *, task_id, password_no, sealed):
        batch_id, password = json.loads(sealed)
        assert batch_id == of.id
        return Secret(password)

"""Run one command as somebody of a drill: `python -m bulkreset.cli.players NAME …`, at mock servers only.

A drill has a requester and an approver, and one person who plays both.
"""

import sys
from pathlib import Path
from urllib.parse import urlsplit

from bulkreset.cli import app, identity
from bulkreset.config import load
from bulkreset.errors import BulkresetError, UsageError
from bulkreset.settings import is_loopback


def main() -> None:
    """Play; refuse a configuration any of whose accounts is not on this machine."""
    name, option, config = sys.argv[1:4]
    if option != "--config":
        raise SystemExit("usage: NAME --config FILE COMMAND …")
    try:
        _refuse_real_accounts(Path(config))
    except BulkresetError as error:
        print(f"bulkreset: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    identity.surroundings = lambda: identity.Surroundings(1, name, None, None, {}, lambda _: None)
    sys.argv = ["bulkreset", *sys.argv[2:]]
    app.main()


def _refuse_real_accounts(config: Path) -> None:
    for account, settings in load(config).accounts.items():
        if not is_loopback(urlsplit(settings.address).hostname or ""):
            raise UsageError(f"account {account!r} is no mock server: nobody is played there")


if __name__ == "__main__":
    main()

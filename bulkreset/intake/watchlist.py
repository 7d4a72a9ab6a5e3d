"""The protected users of every account, as a runner asks for them: before each call, by the current lists."""

import hashlib

from bulkreset.config import Settings
from bulkreset.intake import protection
from bulkreset.intake.protection import Protected


class Watchlist:
    """Tells whether a user is protected; a list is read anew when its file changes.

    Raises ConfigError and InputError where a list cannot be read: then nothing may be sent.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lists: dict[str, Protected] = {}
        self._digests: dict[str, tuple[Protected, str]] = {}

    def __call__(self, account: str, *names: str | None) -> bool:
        """Tell whether a user of an account who is known by these names is protected by any of them."""
        return self._current(account).covers(*names)

    def digest(self, account: str) -> str:
        """Say how many names an account's list has, with a short hash of them: equal lists say the same."""
        current = self._current(account)
        known, said = self._digests.get(account, (None, ""))
        if known is not current:
            sha256 = hashlib.sha256("\n".join(sorted(current.names)).encode()).hexdigest()
            n = len(current.names)
            said = f"{n:,} name{'' if n == 1 else 's'} ({sha256[:12]})" if n else "nobody"
            self._digests[account] = current, said
        return said

    def _current(self, account: str) -> Protected:
        held = self._lists.get(account)
        if held is None:
            held = protection.load(self._settings.account(account), self._settings.base) or Protected.of()
        self._lists[account] = held = held.refreshed()
        return held

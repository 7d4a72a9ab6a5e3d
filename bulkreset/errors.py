"""Every error that leaves a function on purpose; a leaf for each decision that its caller makes.

    BulkresetError
    ├── UsageError            the order is wrong: say what to change, exit 2
    │   ├── ConfigError       … in the configuration file
    │   │   └── BrokenAccount     … in one account's part of it: leave that account alone, go on with the others
    │   ├── InputError        … in a users file or an order
    │   └── NoSuchBatch       … names a batch that there is none of
    ├── StoreError            the database cannot do it: say why, exit 1
    │   ├── SchemaBehind      … run `bulkreset db upgrade`
    │   │   └── NoTables          … the database is empty
    │   ├── DamagedBatch      … what is stored of one batch cannot be read: stop that batch alone
    │   ├── DatabaseReplaced  … another file is in its place: stop
    │   ├── DatabaseLocked    … another process writes to the file for long: wait, or find out who
    │   ├── WorkerStandsStill … a stopped worker keeps a batch from being stopped, exit 4
    │   └── RunnerActive      … another runner holds this file, exit 75
    ├── KeyMismatch           sealed passwords need another master key, exit 2
    └── ProviderError         the provider did not serve us outside of a task
        ├── ProviderUnavailable   … for now: try again later
        │   └── ListingFault      … its listing of users cannot be true: nothing is won by beginning it again
        └── ProviderRefused       … and will not until somebody acts: halt the account

Each message is one line that says what happened, to which account, file or line, and what to do next.
"""

from typing import ClassVar


class BulkresetError(Exception):
    """The root; `exit_code` is what the command line ends with."""

    exit_code: ClassVar[int] = 1


class UsageError(BulkresetError):
    """The command or its input is wrong; nothing was changed."""

    exit_code = 2


class ConfigError(UsageError):
    """The configuration cannot be used."""


class BrokenAccount(ConfigError):  # noqa: N818  (named for the state, as all leaves are)
    """What the configuration says of one account cannot be used; the rest of it can."""


class InputError(UsageError):
    """A users file, an exclusion file or an order cannot be used."""


class NoSuchBatch(UsageError):  # noqa: N818
    """There is no batch with that number."""

    def __init__(self, batch_id: int) -> None:
        super().__init__(f"there is no batch {batch_id}; `bulkreset batch list` shows the batches there are")


class StoreError(BulkresetError):
    """The database did not do what was asked."""


class SchemaBehind(StoreError):  # noqa: N818
    """The tables are older or newer than this program."""


class NoTables(SchemaBehind):
    """A table is missing that every version has had: nothing was ever made in this database."""


class DamagedBatch(StoreError):  # noqa: N818
    """What is stored of one batch was not written here, or was altered since; all others are well."""


class DatabaseReplaced(StoreError):  # noqa: N818
    """Another file is where the database file was; what is open leads to the one before."""


class DatabaseLocked(StoreError):  # noqa: N818
    """Another process has been writing to the database file for as long as was waited."""


class WorkerStandsStill(StoreError):  # noqa: N818
    """A worker that was stopped in the middle of a write holds the database file."""

    exit_code = 4


class RunnerActive(StoreError):  # noqa: N818
    """Another runner works on this database file."""

    exit_code = 75


class KeyMismatch(BulkresetError):  # noqa: N818
    """The configured master key is not the one that sealed what is stored."""

    exit_code = 2


class ProviderError(BulkresetError):
    """A provider call outside of a task failed: a login, a policy, a listing."""


class ProviderUnavailable(ProviderError):  # noqa: N818
    """The provider is away or asks to wait; the same call may work later."""


class ListingFault(ProviderUnavailable):
    """A listing of users does not end, goes round, or does not meet the provider's own count."""


class ProviderRefused(ProviderError):  # noqa: N818
    """The provider refuses these credentials, scopes or settings; repeating the call will not help."""

"""What a configuration is made of: known to the providers and the store, which know nothing of the whole."""

from bulkreset.settings.addresses import WebAddress, is_loopback
from bulkreset.settings.tables import (
    AccountSettings,
    ApprovalSettings,
    CallRate,
    DatabaseSettings,
    HttpSettings,
    Number,
    PasswordSettings,
    ProtectedFile,
    RunnerSettings,
    Seconds,
    SecretSource,
    Share,
    Table,
)

__all__ = [
    "AccountSettings",
    "ApprovalSettings",
    "CallRate",
    "DatabaseSettings",
    "HttpSettings",
    "Number",
    "PasswordSettings",
    "ProtectedFile",
    "RunnerSettings",
    "Seconds",
    "SecretSource",
    "Share",
    "Table",
    "WebAddress",
    "is_loopback",
]

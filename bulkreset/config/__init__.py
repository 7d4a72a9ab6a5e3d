"""`config.toml` → settings: read once, checked in full, every fault named with its line."""

from bulkreset.config.addresses import is_loopback
from bulkreset.config.file import load
from bulkreset.config.settings import (
    AccountSettings,
    DatabaseSettings,
    HttpSettings,
    PasswordSettings,
    ProtectedFile,
    RunnerSettings,
    SecretSource,
    Settings,
    ZendeskSettings,
    ZoomSettings,
)

__all__ = [
    "AccountSettings",
    "DatabaseSettings",
    "HttpSettings",
    "PasswordSettings",
    "ProtectedFile",
    "RunnerSettings",
    "SecretSource",
    "Settings",
    "ZendeskSettings",
    "ZoomSettings",
    "is_loopback",
    "load",
]

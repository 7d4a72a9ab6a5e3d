"""`config.toml` → settings: read once, checked in full, every fault named with its line."""

from bulkreset.config.file import load
from bulkreset.config.settings import Settings

__all__ = ["Settings", "load"]

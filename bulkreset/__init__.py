"""Reset the passwords of a whole organisation, at the provider's own pace, and prove what happened."""

__version__ = "0.1.0"

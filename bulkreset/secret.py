"""A value that must never be shown: its text is reached only by asking for it by name."""

from typing import Final, NoReturn

MASK: Final = "********"


class Secret:
    """Hold a password, token or key so that no repr, format, pickle or comparison can leak it.

    >>> f"{Secret('hunter2')!r} {Secret('hunter2')}"
    "Secret('********') ********"
    """

    __slots__ = ("__text",)

    def __init__(self, text: str) -> None:
        self.__text = text

    def reveal(self) -> str:
        """Return the clear text; call it only where the text leaves for the provider or the cipher."""
        return self.__text

    def __repr__(self) -> str:
        return f"Secret('{MASK}')"

    def __str__(self) -> str:
        return MASK

    def __format__(self, spec: str) -> str:
        return format(MASK, spec)

    def __bool__(self) -> bool:
        return bool(self.__text)

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Secret cannot be pickled or copied into another process")

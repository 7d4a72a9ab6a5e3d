"""What a benchmark found: a median of samples, held against the bound that it must reach."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True, slots=True)
class Measure:
    """One line of the table. Without a bound it only informs; the README shows the headlines."""

    benchmark: str
    name: str
    samples: tuple[float, ...]
    unit: str = ""
    at_least: float | None = None
    at_most: float | None = None
    headline: bool = False

    @property
    def value(self) -> float:
        """The median of the samples."""
        return median(self.samples)

    @property
    def met(self) -> bool | None:
        """Whether the bound is reached; None where there is none."""
        if self.at_least is None and self.at_most is None:
            return None
        enough = self.at_least is None or self.value >= self.at_least
        return enough and (self.at_most is None or self.value <= self.at_most)

    @property
    def bound(self) -> str:
        """The bound in words."""
        parts = []
        if self.at_least is not None:
            parts.append(f"≥ {number(self.at_least)}")
        if self.at_most is not None:
            parts.append(f"≤ {number(self.at_most)}")
        return " and ".join(parts)


def ratios(ours: Sequence[float], theirs: Sequence[float]) -> tuple[float, ...]:
    """Return our value over theirs, run by run: each pair was measured side by side."""
    return tuple(a / b for a, b in zip(ours, theirs, strict=True))


def number(value: float) -> str:
    """Write a value with the digits that mean something."""
    if value == int(value) and abs(value) < 1e15:
        return f"{int(value):,}"
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 3
    return f"{value:,.{digits}f}"

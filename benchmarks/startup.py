"""How long a person waits for the first word of the command line."""

from benchmarks.measure import Measure, ratios
from benchmarks.processes import python, run


def help_text(*, quick: bool) -> list[Measure]:
    """Start `bulkreset --help`, side by side with a Python that does nothing."""
    ours: list[float] = []
    bare: list[float] = []
    for _ in range(3 if quick else 15):
        bare.append(run(python("-c", "pass"), within_s=30).elapsed_s)
        ours.append(run(python("-m", "bulkreset", "--help"), within_s=30).elapsed_s)
    return [
        Measure("help", "bulkreset --help", tuple(ours), "s", at_most=0.4, headline=True),
        Measure("help", "over a Python that does nothing", ratios(ours, bare)),
    ]

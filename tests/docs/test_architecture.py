"""The map of the code names what is there."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs" / "architecture.md").read_text("utf-8")


def test_every_module_that_is_named_is_there():
    """As a path below the package, or below the checkout; `*` and `<…>` stand for each provider."""
    named = set(re.findall(r"`((?:[\w*<>]+/)+[\w*<>]*(?:\.py)?)`", TEXT))
    assert len(named) > 20
    missing = {
        path
        for path in named
        for pattern in [re.sub(r"<\w+>", "*", path)]
        if not any([*ROOT.glob(pattern), *(ROOT / "bulkreset").glob(pattern)])
    }
    assert not missing


def test_every_package_has_its_place_in_the_layers():
    """And none is named that is not there."""
    layers = TEXT[TEXT.index("## Layers") : TEXT.index("## The life of a batch")]
    packages = {path.parent.name for path in (ROOT / "bulkreset").glob("*/__init__.py")}
    assert packages <= set(re.findall(r"`(\w+)`", layers))

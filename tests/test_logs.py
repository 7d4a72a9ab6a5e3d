"""The log: events are stable keys that a machine can search for, and fields carry what differs."""

import ast
import re
from pathlib import Path

import pytest

import bulkreset

_LEVELS = {"debug", "info", "warning", "error", "exception", "critical"}
_KEY = re.compile(r"[a-z]+(_[a-z]+)*")
SOURCES = sorted(Path(bulkreset.__file__).parent.rglob("*.py"))


def events(source):
    """Yield the first argument of each call of `logger().info` and the like, as it is written."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Call(func=ast.Attribute(value=ast.Call(func=ast.Name("logger")), attr=level)) if (
                level in _LEVELS
            ):
                yield node.args[0]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_every_event_is_a_key(path):
    """An event is a snake_case word that never changes, or a variable that holds one; never a sentence."""
    for event in events(path.read_text(encoding="utf-8")):
        assert isinstance(event, ast.Name) or _KEY.fullmatch(event.value), ast.unparse(event)


def test_the_sources_are_searched():
    """The search above finds events at all."""
    assert sum(len(list(events(path.read_text(encoding="utf-8")))) for path in SOURCES) > 15

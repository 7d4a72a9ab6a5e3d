"""The commands that a text mentions, and what of them the command line does not know."""

import re
import shlex

import typer

from bulkreset.cli.app import app
from bulkreset.cli.arguments import hoisted

ROOT_COMMAND = typer.main.get_command(app)
_SPAN = re.compile(r"`([^`\n]+(?:\n[^`\n]+)?)`")
_CALL = re.compile(r"(?:^|[\s`(;|/])(bulkreset[ ]+[a-z-].*)")
_BY_PATH = re.compile(r"/(?:bin/)(bulkreset[ ]+[a-z-].*)")
_ENDS = re.compile(r"\s(?:[|&;>)]|[12]>|<|#|-->).*|`.*|\$\(.*", re.DOTALL)
_OPTION = re.compile(r"--[a-z][a-z-]*")


def mentioned(text):
    """Return each call of bulkreset in a text, as words: typed, by its path, or in a code span."""
    lines = re.sub(r"\\\n\s*", "", text).splitlines()
    calls = [call[1] for line in lines for call in (_CALL if _is_typed(line) else _BY_PATH).finditer(line)]
    prose = re.sub(r"^( *)```.*?^\1```", "", text, flags=re.MULTILINE | re.DOTALL)
    spans = [" ".join(span.split()) for span in _SPAN.findall(prose)]
    calls += [span for span in spans if span.startswith("bulkreset ")]
    calls += [f"bulkreset {span}" for span in spans if _begins_like_ours(span)]
    return [words for call in calls if len(words := _words(call)) > 1]


def unknown(words):
    """Return what of a call is no command or option that there is, or None."""
    command, rest = ROOT_COMMAND, iter(hoisted([word for word in words[1:] if word not in ("…", "$@")]))
    root = _options(ROOT_COMMAND)
    for word in rest:
        if word.startswith("-") and word != "-":
            name, has_value, _ = word.partition("=")
            known = _options(command) | root
            if name not in known:
                return f"{command.name or 'bulkreset'} has no {name}"
            if known[name] and not has_value:
                next(rest, None)
        elif hasattr(command, "commands"):
            if word.isupper():
                return None  # a word that stands for any command
            if word not in command.commands:
                return f"{command.name} has no {word}"
            command = command.commands[word]
    return None


def options(command=ROOT_COMMAND):
    """Return every option of the program."""
    names = set(_options(command))
    for one in getattr(command, "commands", {}).values():
        names |= options(one)
    return names


def _options(command):
    """Return the names of a command's options, and whether each takes a value."""
    named = {
        name: not (getattr(one, "is_flag", False) or one.count)
        for one in command.params
        if one.param_type_name == "option"
        for name in (*one.opts, *one.secondary_opts)
    }
    return {"--help": False, "-h": False, **named}


def _words(call):
    call = _ENDS.sub("", call)
    try:
        return shlex.split(call)
    except ValueError:  # a quotation that goes on in the next line
        return call.split()


def _begins_like_ours(span):
    first, _, rest = span.partition(" ")
    return first in ROOT_COMMAND.commands and bool(re.match(r"--[a-z]|[A-Z]{2,}\b|[a-z-]+( |$)", rest))


def _is_typed(line):
    return bool(re.match(r" {0,3}(\w*\$ |bulkreset )", line))

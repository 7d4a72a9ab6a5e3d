"""The fenced blocks of a document: their commands, what these print, and why one is not run."""

import re
from dataclasses import dataclass
from pathlib import Path

_FENCE = re.compile(r"^( *)```(\w+)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
_MARKER = re.compile(r"<!-- not run: (.+?) -->\s*\Z")
_PROMPT = re.compile(r"^(\w*)\$ (.*)$")
_HEREDOC = re.compile(r"<<'?(\w+)'?")


@dataclass(frozen=True)
class Step:
    """One command: who gives it, and the lines that the document shows beneath; None where it shows no prompt."""

    person: str
    command: str
    shown: tuple[str, ...] | None
    line: int


@dataclass(frozen=True)
class Block:
    """One fenced block of a document, with the line it begins at."""

    language: str
    text: str
    line: int
    not_run: str | None

    def steps(self):
        """Take a console block apart; without any prompt each line is a command."""
        lines = self.text.splitlines()
        if not any(_PROMPT.match(line) for line in lines):
            return [Step("", self.text, None, self.line)]
        steps, number = [], 0
        while number < len(lines):
            prompt = _PROMPT.match(lines[number])
            assert prompt, f"line {self.line + number}: what is shown stands above every command"
            begun, command = number, [prompt[2]]
            number += 1
            while _goes_on(command):
                command.append(lines[number])
                number += 1
            shown = number
            while number < len(lines) and not _PROMPT.match(lines[number]):
                number += 1
            told = tuple(line for line in lines[shown:number] if line.strip())
            steps.append(Step(prompt[1], "\n".join(command), told, self.line + begun))
        return steps


def blocks(document):
    """Return the fenced blocks of a document in their order."""
    text = document.read_text("utf-8") if isinstance(document, Path) else document
    found = []
    for fence in _FENCE.finditer(text):
        marker = _MARKER.search(text[: fence.start()])
        indent = len(fence[1])
        inside = "\n".join(line[indent:] for line in fence[3].splitlines()) + "\n"
        line = text.count("\n", 0, fence.start()) + 2
        found.append(Block(fence[2], inside, line, marker and marker[1]))
    return found


def _goes_on(command):
    ends = _HEREDOC.search(command[0])
    if ends:
        return len(command) == 1 or command[-1] != ends[1]
    return command[-1].endswith("\\")

"""When what a command printed is what a document shows: times, hashes, rates, places and bars may differ."""

import re

_ALIKE = (
    (re.compile(r"age1[a-z0-9]+"), "<recipient>"),
    (re.compile(r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d(:\d\d)?( ?(UTC|Z))?"), "<time>"),
    (re.compile(r"\b\d\d:\d\d(:\d\d)?( UTC)?"), "<time>"),
    (re.compile(r"(https?://)?127\.0\.0\.1:\d+"), "<host>"),
    (re.compile(r"\b[0-9a-f]{12,64}\b"), "<hash>"),
    (re.compile(r"(?<![\w/])(/[\w.+@-]+){2,}"), "<path>"),
    (re.compile(r"\b[\w.-]+:\d+\b"), "<worker>"),
    (re.compile(r"revision \d+"), "<revision>"),
    (re.compile(r"\d[\d,.]*/(s|min)"), "<rate>"),
    (re.compile(r"a second ago|now\b"), "<duration> ago"),
    (re.compile(r"[━╸╺]+\s*\d+ %"), "<bar>"),
    (re.compile(r"─+"), "─"),
    (re.compile(r"\d[\d.,]* (d|h|min|s|ms)( \d+ (h|min|s))?\b"), "<duration>"),
    (re.compile(r"over <duration>|in the last minute"), "<lately>"),
    (re.compile(r"\s+"), " "),
)


def alike(line):
    """Return a line with all that differs between two runs replaced by what it is."""
    for pattern, name in _ALIKE:
        line = pattern.sub(name, line)
    return line.strip()


def first_difference(shown, printed, *, in_between=False):
    """Return the first line of a document that was not printed in its place, or None.

    A line `…` stands for any lines and a `…` within one for any characters; with `in_between` more may be printed
    between two lines, as by a view that is drawn again and again.
    """
    wanted = [alike(line) for line in shown]
    there = [line for line in map(alike, printed) if line]
    text = "".join(f"{line}\n" for line in there)
    gap = r"(?:.*\n)*?"
    known = r"\A"
    for line, given in zip(wanted, shown, strict=True):
        if line == "…":
            known += gap
            continue
        known += (gap if in_between else "") + ".*?".join(map(re.escape, line.split("…"))) + r"\n"
        if not re.match(known, text):
            return given
    if in_between or re.match(known + r"\Z", text):
        return None
    return "(the end)"

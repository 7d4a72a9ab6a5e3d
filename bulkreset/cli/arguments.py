"""The words of the command line before they are parsed."""

from collections.abc import Sequence


def hoisted(words: Sequence[str]) -> list[str]:
    """Return the words with `--config FILE` and `--debug` first, wherever they stood before a `--`. Pure.

    `help COMMAND` becomes `COMMAND --help`.
    """
    if words and words[0] == "help":
        words = [*words[1:], "--help"]
    first: list[str] = []
    rest: list[str] = []
    left = iter(words)
    for word in left:
        if word == "--":
            rest += [word, *left]
        elif word == "--debug" or word.startswith("--config="):
            first.append(word)
        elif word == "--config":
            first += [word, *([value] if (value := next(left, None)) is not None else [])]
        else:
            rest.append(word)
    return [*first, *rest]

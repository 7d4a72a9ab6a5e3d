"""`bulkreset man`: a manual page for each command, made from what `--help` shows."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from bulkreset.cli.output import say


def man(
    directory: Annotated[
        Path,
        typer.Argument(metavar="DIR", help="Where to write them: /usr/local/share/man/man1.", file_okay=False),
    ],
) -> None:
    """Write a manual page for each command, so that `man bulkreset-batch-create` shows it."""
    from bulkreset.cli.app import app
    from bulkreset.errors import StoreError

    try:
        directory.mkdir(parents=True, exist_ok=True)
        written = 0
        for name, text in pages(typer.main.get_command(app)):
            (directory / f"{name}.1").write_text(text, encoding="utf-8")
            written += 1
    except OSError as error:
        raise StoreError(f"cannot write {error.filename or directory}: {error.strerror}") from None
    say(f"wrote {written} pages into {directory}")


def pages(root: Any) -> Iterator[tuple[str, str]]:
    """Yield the name and the text of each page: the program's, then those of its commands."""
    yield from _pages(root, ("bulkreset",))


def _pages(command: Any, words: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    inner = {name: one for name, one in getattr(command, "commands", {}).items() if not one.hidden}
    yield "-".join(words), _page(command, words, inner)
    for name, one in inner.items():
        yield from _pages(one, (*words, name))


def _page(command: Any, words: tuple[str, ...], inner: dict[str, Any]) -> str:
    from bulkreset import __version__

    name = "-".join(words)
    paragraphs = [_plain(part) for part in (command.help or "").split("\n\n") if part.strip()] or [""]
    arguments = [param for param in command.params if param.param_type_name == "argument"]
    options = [param for param in command.params if param.param_type_name == "option" and not param.hidden]
    usage = " ".join([*words, "[OPTIONS]", *map(_metavar, arguments), *(["COMMAND ..."] if inner else [])])
    lines = [
        f'.TH "{name.upper()}" "1" "" "bulkreset {__version__}" "bulkreset"',
        ".SH NAME",
        f"{_roff(name)} \\- {_roff(paragraphs[0].split('. ')[0].removesuffix('.'))}",
        ".SH SYNOPSIS",
        f".B {_roff(usage)}",
        ".SH DESCRIPTION",
    ]
    for paragraph in paragraphs:
        lines += [".PP", _roff(paragraph)]
    for title, params in (("ARGUMENTS", arguments), ("OPTIONS", options)):
        if params:
            lines.append(f".SH {title}")
            for param in params:
                lines += [".TP", f".B {_roff(_called(param))}", _roff(_plain(param.help or ""))]
    if inner:
        lines.append(".SH COMMANDS")
        for word, one in inner.items():
            first = _plain((one.help or "").split("\n\n")[0])
            lines += [".TP", f".BR {_roff('-'.join([*words, word]))} (1)", _roff(first)]
    if command.epilog:
        lines += [".SH NOTES", _roff(_plain(command.epilog))]
    return "\n".join(line for line in lines if line) + "\n"


def _called(param: Any) -> str:
    if param.param_type_name == "argument":
        return _metavar(param)
    names = ", ".join([*param.opts, *param.secondary_opts])
    return names if param.is_flag else f"{names} {_metavar(param)}"


def _metavar(param: Any) -> str:
    return str(param.metavar or (param.name or "").upper())


def _plain(text: str) -> str:
    return re.sub(r"\s+", " ", text).strip()


def _roff(text: str) -> str:
    """Write text so that roff takes none of it for a request or an escape, and `-` for what is typed."""
    text = text.replace("\\", "\\e").replace("-", "\\-")
    return f"\\&{text}" if text.startswith((".", "'")) else text

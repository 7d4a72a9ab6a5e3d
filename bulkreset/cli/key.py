"""`bulkreset key …`: the master key, and exchanging it without a pause."""

import json
from collections import Counter
from pathlib import Path
from typing import Annotated, Any

import typer

from bulkreset.cli.context import Invocation, master_key, opened, person, start
from bulkreset.cli.output import say
from bulkreset.report.words import batches_in_words

app = typer.Typer(help="Look at the master key, make a new one, exchange the old one.", no_args_is_help=True)

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


@app.command()
def new(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Where to write it; nothing is overwritten.")],
) -> None:
    """Write a new master key to a file that only its owner can read; nothing uses it yet."""
    from bulkreset.passwords.keyfile import write_key_file

    say(f"wrote {file}  (0600, fingerprint {write_key_file(file).fingerprint}; keep a copy in your vault)")


@app.command()
def show(context: typer.Context, as_json: Json = False) -> None:
    """Show the fingerprints of the configured keys, and how many open batches each has sealed."""
    from bulkreset.passwords.vault import wrapped_by
    from bulkreset.store import keys

    invocation: Invocation = context.obj
    settings = invocation.settings()
    master = master_key(settings)

    async def work() -> Counter[str]:
        async with opened(settings) as store:
            return Counter(wrapped_by(wrapped) or "damaged" for _, wrapped in await keys.wrapped_keys(store))

    sealed = start(work())
    names = [*master.fingerprints, *sorted(sealed.keys() - set(master.fingerprints))]
    found: list[dict[str, Any]] = [
        {"fingerprint": name, "use": _use(name, master.fingerprints), "batches": sealed[name]} for name in names
    ]
    if as_json:
        print(json.dumps({"keys": found}, indent=2))
        return
    for one in found:
        say(f"{one['fingerprint']}  {one['use']}; {batches_in_words(one['batches'])} open under it", rest=" " * 14)


@app.command()
def rotate(context: typer.Context, as_json: Json = False) -> None:
    """Put every open batch under the configured key; the ones before must stand in passwords.other_keys.

    Workers go on meanwhile, as long as each knows both keys. Afterwards the old key opens nothing that is left.
    """
    from bulkreset.store import keys

    invocation: Invocation = context.obj
    settings = invocation.settings()
    master = master_key(settings)

    async def work() -> list[int]:
        async with opened(settings) as store:
            return await keys.rewrap(store, person(settings), master.rewrap)

    changed = start(work())
    if as_json:
        print(json.dumps({"fingerprint": master.fingerprint, "rewrapped": changed}))
        return
    say(
        f"{batches_in_words(len(changed))} put under master key {master.fingerprint}; "
        "every open batch is under it now"
    )


def _use(name: str, fingerprints: list[str]) -> str:
    if name == fingerprints[0]:
        return "seals new batches"
    return (
        "opens what it sealed, seals nothing"
        if name in fingerprints
        else "not configured: its batches cannot go on"
    )

"""`bulkreset init`: a folder that is ready to be filled in."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from bulkreset.cli.context import start
from bulkreset.cli.output import say

if TYPE_CHECKING:
    from bulkreset.store.place import Place

_HANG: Final = " " * 8  # beneath what is named


def init(
    directory: Annotated[Path, typer.Argument(metavar="[DIR]", help="The folder to set up.")] = Path(),
) -> None:
    """Write config.toml and a key file, and make the database; nothing is ever overwritten."""
    from bulkreset.config import load
    from bulkreset.errors import StoreError
    from bulkreset.passwords.keyfile import write_key_file, write_private_file
    from bulkreset.store.migrate import upgrade
    from bulkreset.store.place import place_of

    config, key = directory / "config.toml", directory / "bulkreset.key"
    try:
        for folder in (*reversed(directory.parents), directory):
            folder.mkdir(mode=0o700, exist_ok=True)
        if config.exists():
            say(f"kept    {config}")
        else:
            write_private_file(config, example().read_text(encoding="utf-8"))
            say(f"wrote   {config}")
    except OSError as error:
        raise StoreError(f"cannot write {error.filename or directory}: {error.strerror}") from None
    if key.exists():
        say(f"kept    {key}")
    else:
        fingerprint = write_key_file(key).fingerprint
        say(f"wrote   {key}  (0600, fingerprint {fingerprint}; keep a copy in your vault)", rest=_HANG)
    settings = load(config)
    place = place_of(settings.database, settings.base)
    before, after = start(upgrade(place))
    done = "kept" if before == after else "made"
    say(f"{done}    {_named(place, directory)}  (tables at revision {after})", rest=_HANG)
    say(
        f"Next: put your accounts into {config}, then run `bulkreset --config {config} check ACCOUNT`",
        rest=" " * 6,
    )


def _named(place: "Place", directory: Path) -> str:
    """Name a database as its configuration is named: a file in the folder by the way to that folder."""
    try:
        return str(directory / Path(str(place)).relative_to(directory.resolve()))
    except ValueError:  # elsewhere, or on a server
        return str(place)


def example() -> Path:
    """Find the example configuration: inside the package when installed, beside it in a checkout."""
    from bulkreset.errors import StoreError

    package = Path(__file__).resolve().parent.parent
    for place in (package, package.parent):
        if (place / "config.example.toml").is_file():
            return place / "config.example.toml"
    raise StoreError("config.example.toml is missing from this installation; install bulkreset again")

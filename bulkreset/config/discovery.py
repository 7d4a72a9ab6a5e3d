"""Which configuration file is meant, where none is named."""

import os
from pathlib import Path

from bulkreset.errors import ConfigError

NAME = "config.toml"


def find() -> Path:
    """Return the first configuration there is: in this folder, of this user, of this machine. Raises ConfigError.

    One that belongs to somebody else, in this folder too, is refused when it is read.
    """
    places = [Path(NAME), *_of_the_user(), Path("/etc/bulkreset") / NAME]
    for place in places:
        try:
            place.stat()
        except PermissionError:
            if place.parent == Path("/etc/bulkreset"):
                return place  # it is there for somebody; reading it tells why it cannot be read
        except OSError:
            continue
        else:
            return place
    looked = ", ".join(f"./{place}" if place == Path(NAME) else str(place) for place in places)
    raise ConfigError(
        f"there is no configuration ({looked}); make one with `bulkreset init`, or name one with --config or "
        "BULKRESET_CONFIG"
    )


def _of_the_user() -> list[Path]:
    # https://specifications.freedesktop.org/basedir-spec/latest/: a relative path is to be ignored
    base = Path(os.environ.get("XDG_CONFIG_HOME", ""))
    if not base.is_absolute():
        try:
            base = Path.home() / ".config"
        except (RuntimeError, KeyError):
            return []
    return [base / "bulkreset" / NAME]

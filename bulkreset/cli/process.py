"""The edge of the process: who may see its memory, and streams that are closed or hold no such character."""

import codecs
import ctypes
import os
import resource
import sys
from contextlib import suppress
from typing import Final

_PR_SET_DUMPABLE: Final = 4  # prctl(2)
_ESCAPED: Final = "bulkreset-escaped"


def harden() -> None:
    """Leave no core dump, let no other process of this user look into the memory, and log no TLS secret.

    The memory holds the master key, tokens and passwords. What the system does not offer is left out.
    """
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    os.environ.pop("SSLKEYLOGFILE", None)  # Python, OpenSSL and drivers obey it


def repair_streams() -> None:
    """Make all three standard streams usable, whatever they were when the program was called.

    A closed one becomes the null device: its number would else be given to the next file that is opened, and
    what is printed would be written there. A character that a stream cannot hold is written as JSON would
    escape it, so that a JSON text is whole in any encoding.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            null = os.open(os.devnull, os.O_RDWR)
            if null != number:
                os.dup2(null, number)
                os.close(null)
            os.set_inheritable(number, True)
    sys.stdin = sys.stdin or open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stdout = sys.stdout or open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stderr = sys.stderr or open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    codecs.register_error(_ESCAPED, _escape)
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError, ValueError):  # a stand-in for a stream need not have it
            stream.reconfigure(errors=_ESCAPED)  # type: ignore[union-attr]


def give_up_output() -> None:
    """Write nothing more to standard output, neither what is buffered nor at the interpreter's end."""
    with suppress(OSError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)
        os.close(null)
    with suppress(OSError, ValueError, AttributeError):
        sys.stdout.flush()


def _escape(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    units = error.object[error.start : error.end].encode("utf-16-be", "surrogatepass")
    pairs = (units[at : at + 2] for at in range(0, len(units), 2))
    return "".join(f"\\u{int.from_bytes(pair):04x}" for pair in pairs), error.end

"""What becomes of a request that did not come back with a complete answer.

It ends in one of two ways, and the difference is what the promise "nothing is guessed" rests on:

    NoAnswer
    ├── Unreachable   surely failed before the request was sent: DNS, connect, TLS, proxy
    │   └── NotSent   held back here: its time was over, or its connection had gone
    └── Unclear       anything later, and anything in doubt: it may have been carried out
        └── Garbled   an answer came, and it cannot be read; the text names the part
"""

from bulkreset.errors import ProviderError


class NoAnswer(ProviderError):  # noqa: N818  (named for the state, as all leaves are)
    """No complete answer came; the text names the host and the kind of fault, and nothing of the request."""


class Unreachable(NoAnswer):
    """The request surely never left."""


class NotSent(Unreachable):
    """The request was held back here, on purpose."""


class Unclear(NoAnswer):
    """The request may have been carried out."""


class Garbled(Unclear):
    """An answer came that cannot be read."""

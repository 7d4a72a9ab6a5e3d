"""The encodings that a body may come in. Pure.

aiohttp takes a compressed body that was cut off for a shorter one, and one of which nothing could be decoded yet
for an empty one. An empty answer is a success at some providers: so what is not whole is refused here.
"""

import zlib
from typing import Final

_GZIP: Final = 16 + zlib.MAX_WBITS


class NotWhole(Exception):  # noqa: N818  (named for the state)
    """The body is not what its encoding says, or it ends too early."""


def decoded(body: bytes, encoding: str, limit: int) -> bytes | None:
    """Decode a gzip or deflate body; None where it is longer than `limit`. Raises NotWhole."""
    encoding = encoding.strip().lower()
    if encoding not in ("gzip", "deflate"):
        return body
    clear = b""
    while body:
        unpacker = zlib.decompressobj(_GZIP if encoding == "gzip" else _deflate_bits(body))
        try:
            clear += unpacker.decompress(body, limit + 1 - len(clear))
        except zlib.error:
            raise NotWhole from None
        if len(clear) > limit:
            return None
        if not unpacker.eof:
            raise NotWhole
        body = unpacker.unused_data  # a file of gzip may have several members (RFC 1952, 2.2)
    return clear


def _deflate_bits(body: bytes) -> int:
    """Tell zlib's wrapping from the bare stream that some servers send (RFC 9110, 8.4.1.2)."""
    return zlib.MAX_WBITS if body[0] & 15 == zlib.DEFLATED else -zlib.MAX_WBITS

"""The bytes of an answer, put into the one form that the client's parser takes whatever the server's habits are.

aiohttp's parser refuses what curl, browsers and other libraries take: a header of more than 8 KiB or more than
128 of them, a body after a 204, a name with a blank before its colon, two lengths that are equal. To a write such
an answer is lost, although the password is set. So the head is read here (RFC 9112), the body is measured here,
and what is handed on has nothing odd left in it. What nobody could understand is still an error, and it says which
part of the answer is wrong. What comes after the end of an answer is never taken for a part of the next one.
"""

import re
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from aiohttp.client_proto import ResponseHandler
from aiohttp.http_exceptions import HttpProcessingError

if TYPE_CHECKING:
    from collections.abc import Callable

HEADER_LIMIT: Final = 64 * 1024  # bytes of one header
HEAD_LIMIT: Final = 256 * 1024  # bytes of all headers, and of all trailers
# Headers longer than this, or after so many, are of no use to us and are not handed on; the parser has its limits.
_KEPT_LENGTH: Final = 4 * 1024
_KEPT_HEADERS: Final = 100
_CHUNK_LINE_LIMIT: Final = 4 * 1024


class Fault(StrEnum):
    """The part of an answer that is not proper HTTP."""

    START = "it does not begin with an HTTP status"
    LONG_HEADER = "a header is too long"
    LONG_HEAD = "its headers are too long"
    LENGTH = "its Content-Length is not one number"
    ENCODING = "its Transfer-Encoding is not known"
    CHUNK = "a chunk of its body does not begin with a size"


class NotHttp(Exception):  # noqa: N818  (named for the state)
    """The bytes are no answer that can be read; `fault` names the part."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(str(fault))
        self.fault = fault


class AnswerStream:
    """One answer on its way: bytes in as they come, clean bytes out. Pure; any cut of the bytes gives the same.

    `over` once the answer is complete; `spoiled` where the connection must not carry another one after it.
    `reused` where the connection has carried one before: what is left of that one may come late, and is skipped.
    """

    def __init__(self, *, reused: bool = False) -> None:
        self.over = False
        self.spoiled = False
        self._reused = reused
        self._held = b""
        self._searched = 0
        self._left = 0  # bytes of the body, or of the chunk
        self._trailers = 0
        self._step: Callable[[], bytes | None] = self._head

    def feed(self, data: bytes) -> bytes:
        """Take in bytes and return the clean ones. Raises NotHttp."""
        self._held += data
        clean = []
        while (part := self._step()) is not None:
            clean.append(part)
        return b"".join(clean)

    def end(self) -> bytes:
        """Return what makes the answer whole where the connection ends now and nothing but that is missing."""
        return _LAST_CHUNK if self._step == self._trailer else b""

    def _head(self) -> bytes | None:
        if self._held[:1] in (b"\r", b"\n"):  # an empty line before an answer belongs to the one before
            self._held = self._held.lstrip(b"\r\n")
        if not self._held:
            return None
        if not self._held.startswith(_START[: len(self._held)]) and not self._skip():
            return None
        end = _HEAD_END.search(self._held, max(0, self._searched - 3))
        head = self._held if end is None else self._held[: end.start()]
        if len(head) > HEADER_LIMIT and max(map(len, head.split(b"\n"))) > HEADER_LIMIT:
            raise NotHttp(Fault.LONG_HEADER)
        if len(head) > HEAD_LIMIT:
            raise NotHttp(Fault.LONG_HEAD)
        if end is None:
            self._searched = len(self._held)
            return None
        self._held = self._held[end.end() :]
        self._searched = 0
        status = _STATUS.match(head)
        if status is None:
            raise NotHttp(Fault.START)
        return self._begin(int(status[2]), b"1.0" if status[1] == b"1.0" else b"1.1", _headers(head))

    def _skip(self) -> bool:
        """Skip what is left of the answer before this one; tell whether this one has begun."""
        found = _STATUS.search(self._held)
        if not self._reused or (found is None and len(self._held) > HEADER_LIMIT):
            raise NotHttp(Fault.START)
        if found is not None:
            self._held = self._held[found.start() :]
            self.spoiled = True
        return found is not None

    def _begin(self, status: int, version: bytes, headers: list[tuple[bytes, bytes, bytes]]) -> bytes:
        """Say how the body is measured, and return the clean head."""
        if 100 <= status < 200 and status != 101:
            return b""  # an interim answer: the real one follows
        chunked = _is_chunked([value for lower, _, value in headers if lower == b"transfer-encoding"])
        length = _length([value for lower, _, value in headers if lower == b"content-length"])
        framing = b""
        if status in (101, 204, 304):  # no body, whatever the headers say; one that comes all the same is nobody's
            self.spoiled |= status == 101 or chunked or bool(length)
            self._step = self._end
        elif chunked:
            self.spoiled |= length is not None  # RFC 9112, 6.3: the chunks count
            framing, self._step = b"Transfer-Encoding: chunked\r\n", self._chunk
        elif length is not None:
            self._left = length
            framing, self._step = b"Content-Length: %d\r\n" % length, self._body if length else self._end
        else:
            self._step = self._rest
        encoded = self._step != self._end
        kept = [
            b"%b: %b\r\n" % (name, value)
            for lower, name, value in headers
            if lower not in _OURS
            and len(value) <= _KEPT_LENGTH
            and (lower != b"content-encoding" or (encoded and value.lower() in _DECODED))
        ]
        return b"HTTP/%b %d \r\n%b%b\r\n" % (version, status, b"".join(kept[:_KEPT_HEADERS]), framing)

    def _body(self) -> bytes | None:
        if not self._held:
            return None
        part, self._held = self._held[: self._left], self._held[self._left :]
        self._left -= len(part)
        if not self._left:
            self._step = self._end
        return part

    def _rest(self) -> bytes | None:
        part, self._held = self._held, b""
        return part or None

    def _chunk(self) -> bytes | None:
        line = self._line(_CHUNK_LINE_LIMIT, Fault.CHUNK)
        if line is None:
            return None
        size = _CHUNK_SIZE.match(line)
        if size is None:
            raise NotHttp(Fault.CHUNK)
        self._left = int(size[1], 16)
        self._step = self._chunk_data if self._left else self._trailer
        return b"%x\r\n" % self._left if self._left else b""

    def _chunk_data(self) -> bytes | None:
        part = self._body()
        if self._step == self._end:
            self._step = self._chunk_end
        return part

    def _chunk_end(self) -> bytes | None:
        line = self._line(2, Fault.CHUNK)
        if line is None:
            return None
        if line:
            raise NotHttp(Fault.CHUNK)
        self._step = self._chunk
        return b"\r\n"

    def _trailer(self) -> bytes | None:
        line = self._line(HEADER_LIMIT, Fault.LONG_HEADER)
        if line is None:
            return None
        self._trailers += len(line)
        if self._trailers > HEAD_LIMIT:
            raise NotHttp(Fault.LONG_HEAD)
        if line:
            return b""
        self._step = self._end
        return _LAST_CHUNK

    def _end(self) -> bytes | None:
        """Count what comes after the end of the answer as nobody's; a line end alone is harmless."""
        self.over = True
        if self._held.strip(b"\r\n"):
            self.spoiled = True
        self._held = b""
        return None

    def _line(self, limit: int, fault: Fault) -> bytes | None:
        """Take one line, without its end; None while it is not whole."""
        line, found, rest = self._held.partition(b"\n")
        if len(line) > limit:
            raise NotHttp(fault)
        if not found:
            return None
        self._held = rest
        return line.removesuffix(b"\r")


class TolerantProtocol(ResponseHandler):
    """aiohttp's own, behind an `AnswerStream` for each request."""

    _answer: AnswerStream | None = None

    def set_response_params(self, **params: Any) -> None:
        """Begin a new answer: a request is about to be sent."""
        self._answer = AnswerStream(reused=self._answer is not None)
        super().set_response_params(**params)

    def data_received(self, data: bytes) -> None:
        """Hand clean bytes on; end a connection that says what nobody asked for."""
        if self._answer is None:
            self._give_up()
            return
        if not data:  # the parser goes on with what it holds
            super().data_received(data)
            return
        try:
            clean = self._answer.feed(data)
        except NotHttp as error:
            self._give_up()
            self.set_exception(HttpProcessingError(code=400, message=str(error)))
            return
        if clean:
            super().data_received(clean)
        if self._answer.over and self._answer.spoiled:
            self._give_up()

    def connection_lost(self, exc: BaseException | None) -> None:
        """Complete an answer of which only the line after the last chunk is missing."""
        if self._answer is not None and (rest := self._answer.end()):
            super().data_received(rest)
        super().connection_lost(exc)

    def _give_up(self) -> None:
        self.force_close()
        if self.transport is not None:
            self.transport.close()


_START: Final = b"HTTP/"
_STATUS: Final = re.compile(rb"HTTP/([0-9](?:\.[0-9])?)[ \t]+([1-9][0-9]{2})(?=[ \t\r\n]|$)")
_HEAD_END: Final = re.compile(rb"\n\r?\n")
_FOLD: Final = re.compile(rb"\r?\n[ \t]+")
_HEADER: Final = re.compile(rb"\n([!#$%&'*+\-.^_`|~0-9A-Za-z]+) *:([^\n]*)")
_CLEAN: Final = bytes(32 if (byte < 32 and byte != 10) or byte == 127 else byte for byte in range(256))
_CHUNK_SIZE: Final = re.compile(rb"[ \t]*([0-9A-Fa-f]{1,15})[ \t]*(?:;|$)")
_LAST_CHUNK: Final = b"0\r\n\r\n"
_OURS: Final = {b"content-length", b"transfer-encoding", b"upgrade"}
_DECODED: Final = {b"gzip", b"deflate"}  # what a read asks for; aiohttp refuses an encoding that it does not know


def _headers(head: bytes) -> list[tuple[bytes, bytes, bytes]]:
    """Return each header as (name in lower case, name, value); a line that is none is passed over."""
    if b"\n " in head or b"\n\t" in head:  # a value that goes on in the next line (RFC 9112, 5.2)
        head = _FOLD.sub(b" ", head)
    found = _HEADER.findall(head.translate(_CLEAN))
    return [(name.lower(), name, value.strip()) for name, value in found]


def _is_chunked(values: list[bytes]) -> bool:
    codings = [coding.strip().lower() for value in values for coding in value.split(b",")]
    codings = [coding for coding in codings if coding not in (b"", b"identity")]
    if any(coding != b"chunked" for coding in codings):
        raise NotHttp(Fault.ENCODING)
    return bool(codings)


def _length(values: list[bytes]) -> int | None:
    lengths = {length.strip() for value in values for length in value.split(b",")}
    if not lengths:
        return None
    if not all(re.fullmatch(rb"[0-9]{1,18}", length) for length in lengths) or len({*map(int, lengths)}) != 1:
        raise NotHttp(Fault.LENGTH)
    return int(lengths.pop())

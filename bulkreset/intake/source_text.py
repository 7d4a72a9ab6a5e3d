"""The lines of a users file: UTF-8, or UTF-16 that says so, in blocks, so that its size does not matter."""

import codecs
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import BinaryIO, Final

from bulkreset.errors import InputError

LINE_LIMIT: Final = 1_000_000
"""Bytes in one line: room for any field of notes, and an end to what is no list of users."""


class SourceText:
    """A file as UTF-8 bytes: its byte-order mark is obeyed and gone; `name` is what errors call it."""

    def __init__(self, source: BinaryIO, name: str) -> None:
        self.name = name
        self._source = source
        self._ahead = b""
        self._decoder: codecs.IncrementalDecoder | None = None
        mark = self._bytes(4)
        if mark == codecs.BOM_UTF32_LE or mark.startswith(codecs.BOM_UTF32_BE):
            raise _foreign(name)
        for bom, encoding in _WIDE:
            if mark.startswith(bom):
                self._decoder = codecs.getincrementaldecoder(encoding)()
                mark = self._utf8(mark.removeprefix(bom))
        self._ahead = mark.removeprefix(codecs.BOM_UTF8)
        if _every_other_is_nul(self.peek(64)):
            raise _foreign(name)

    def peek(self, size: int) -> bytes:
        """Return the next bytes without taking them; fewer only at the end of the file."""
        data = self.read(size)
        self._ahead = data + self._ahead
        return data

    def read(self, size: int) -> bytes:
        """Take the next bytes; fewer only at the end of the file. Raises InputError where they cannot be had."""
        data, self._ahead = self._ahead[:size], self._ahead[size:]
        while len(data) < size and (block := self._bytes(size - len(data))):
            data += self._utf8(block)
        if self._decoder is not None and len(data) < size:
            data += self._utf8(b"", final=True)
        data, self._ahead = data[:size], data[size:] + self._ahead
        return data

    def lines(self) -> Iterator[tuple[int, str]]:
        """Yield the numbered lines; none is held beyond its limit.

        Raises InputError with the line at the first that is too long, is no UTF-8 or holds control characters.
        """
        return chain.from_iterable(self._blocks())

    def _blocks(self) -> Iterator[Iterable[tuple[int, str]]]:
        data = b""
        number = 1
        while block := self.read(_BLOCK):
            data += block
            while data.endswith(b"\r") and (after := self.read(1)):  # it may be half of a CRLF
                data += after
            end = max(data.rfind(b"\n"), data.rfind(b"\r")) + 1
            lines = _decoded(self.name, number, data[:end])
            yield enumerate(lines, number)
            number += len(lines)
            data = data[end:]
            if len(data) > LINE_LIMIT:
                raise _too_long(self.name, number)
        yield enumerate(_decoded(self.name, number, data), number)

    def _bytes(self, size: int) -> bytes:
        data = b""
        try:
            while len(data) < size and (block := self._source.read(size - len(data))):
                data += block
        except OSError as error:
            raise InputError(f"{self.name}: cannot be read: {error.strerror or 'unknown reason'}") from None
        return data

    def _utf8(self, block: bytes, *, final: bool = False) -> bytes:
        if self._decoder is None:
            return block
        try:
            return self._decoder.decode(block, final).encode()
        except UnicodeError:
            raise InputError(f"{self.name}: is damaged UTF-16 text; save the file as UTF-8") from None


_BLOCK: Final = 256 * 1024
_WIDE: Final = ((codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))
_CONTROLS: Final = bytes(set(range(32)) - set(b"\t\r\n")) + b"\x7f"
_CONTROLS_BEYOND_ASCII: Final = re.compile("[\x80-\x9f\u2028\u2029]")


def _decoded(name: str, number: int, block: bytes) -> list[str]:
    """Return the lines of whole-line bytes that begin at line `number`, or refuse them by the line at fault."""
    if len(block.translate(None, _CONTROLS)) != len(block):
        raise _control(name, number, block)
    try:
        text = block.decode("utf-8")
    except UnicodeDecodeError as error:
        at = number + len((block[: error.start] + b".").splitlines()) - 1
        raise InputError(f"{name}:{at}: is not UTF-8; save the file as UTF-8") from None
    if not block.isascii() and (found := _CONTROLS_BEYOND_ASCII.search(text)):
        raise _control(name, number, text[: found.end()].encode("utf-8"))
    lines = text.splitlines()
    measured: Sequence[str | bytes] = lines if block.isascii() else block.splitlines()
    if max(map(len, measured), default=0) > LINE_LIMIT:
        raise _too_long(name, next(at for at, line in enumerate(measured, number) if len(line) > LINE_LIMIT))
    return lines


def _every_other_is_nul(sample: bytes) -> bool:
    return b"\0" in sample and len(sample) // 2 - 1 <= max(sample[::2].count(0), sample[1::2].count(0))


def _foreign(name: str) -> InputError:
    return InputError(f"{name}: is UTF-16 or UTF-32 text without a byte-order mark; save the file as UTF-8")


def _control(name: str, number: int, block: bytes) -> InputError:
    """Find the first line with a control character, or take the last where they are beyond ASCII."""
    lines = block.splitlines()
    clean = (len(line.translate(None, _CONTROLS)) == len(line) for line in lines)
    at = next((at for at, good in enumerate(clean) if not good), len(lines) - 1)
    what = "a NUL byte" if b"\0" in lines[at] else "a control character"
    return InputError(f"{name}:{number + at}: holds {what}; save the file as plain UTF-8 text")


def _too_long(name: str, number: int) -> InputError:
    return InputError(f"{name}:{number}: is longer than {LINE_LIMIT:,} bytes; write one user a line")

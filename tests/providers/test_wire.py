"""Answers as servers write them, and what a client that wants to know makes of them."""

import gzip
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkreset.providers.base import Call
from bulkreset.providers.no_answer import Garbled, Unclear
from bulkreset.providers.wire import HEADER_LIMIT, AnswerStream, Fault, NotHttp

HEAD = b"HTTP/1.1 200 OK\r\n"
LENGTH = b"Content-Length: 2\r\n\r\n{}"
CHUNKS = b"Transfer-Encoding: chunked\r\n\r\n"


def header(size: int) -> bytes:
    return b"Content-Security-Policy: " + b"a" * size + b"\r\n"


# Each is understood by curl and by browsers; those that end with the connection are marked.
NOTHING = {
    "204": b"HTTP/1.1 204 No Content\r\n\r\n",
    "204 with a length of none": b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n",
    "204 with a body": b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\nhello",
    "204 with a body that is not announced": b"HTTP/1.1 204 No Content\r\n\r\nhello, world",
    "204 with a body that is announced and never comes": b"HTTP/1.1 204 X\r\nContent-Length: 5\r\n\r\n",
    "204 with chunks": b"HTTP/1.1 204 X\r\n" + CHUNKS + b"0\r\n\r\n",
    "204 in an encoding": b"HTTP/1.1 204 X\r\nContent-Encoding: br\r\n\r\n",
    "204 without a reason": b"HTTP/1.1 204\r\n\r\n",
    "204 that offers an upgrade": b"HTTP/1.1 204 X\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n",
    "204 after hints": b"HTTP/1.1 103 Early Hints\r\nLink: <a>\r\n\r\n" * 2 + b"HTTP/1.1 204 X\r\n\r\n",
    "204 of HTTP/1.0": b"HTTP/1.0 204 No Content\r\n\r\n",
    "204 with a header of 60 kB": b"HTTP/1.1 204 X\r\n" + header(60_000) + b"\r\n",
    "204 with ten headers of 10 kB": b"HTTP/1.1 204 X\r\n" + header(10_000) * 10 + b"\r\n",
    "204 with 900 headers": b"HTTP/1.1 204 X\r\n" + header(10) * 900 + b"\r\n",
}
BRACES = {
    "a length": HEAD + LENGTH,
    "a length, twice": HEAD + b"Content-Length: 2\r\n" + LENGTH,
    "a length, twice in one": HEAD + b"Content-Length: 2, 2\r\n\r\n{}",
    "bytes beyond the length": HEAD + LENGTH + b"more",
    "a line end beyond the length": HEAD + LENGTH + b"\r\n",
    "a long reason": b"HTTP/1.1 200 " + b"a" * 9_000 + b"\r\n" + LENGTH,
    "line feeds alone": b"HTTP/1.1 200 OK\nContent-Length: 2\n\n{}",
    "an empty line before": b"\r\n" + HEAD + LENGTH,
    "a value of two lines": HEAD + b"X-A: b\r\n\tc\r\n" + LENGTH,
    "a blank before the colon": HEAD + b"Content-Length : 2\r\n\r\n{}",
    "a name that is none": HEAD + b"X A(1)\xc3\xa4: b\r\n: c\r\n" + LENGTH,
    "a line without a colon": HEAD + b"nonsense\r\n" + LENGTH,
    "control characters": HEAD + b"X-A: a\x00b\x01c\rd\x7f\r\n" + LENGTH,
    "bytes that are no ASCII": HEAD + b"X-A: \xc3\xbc\xff\r\n" + LENGTH,
    "an encoding that is none": HEAD + b"Content-Encoding: utf-8\r\n" + LENGTH,
    "no transfer encoding": HEAD + b"Transfer-Encoding: identity\r\n" + LENGTH,
    "gzip": HEAD
    + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n%b" % (len(gz := gzip.compress(b"{}")), gz),
    "chunks": HEAD + CHUNKS + b"1\r\n{\r\n1\r\n}\r\n0\r\n\r\n",
    "chunks and a length": HEAD + b"Content-Length: 9\r\n" + CHUNKS + b"2\r\n{}\r\n0\r\n\r\n",
    "chunks with extensions": HEAD + CHUNKS + b'02 ; a="b"\r\n{}\r\n000;c\r\n\r\n',
    "chunks with trailers": HEAD + CHUNKS + b"2\r\n{}\r\n0\r\nX-A: b\r\n\r\n",
    "chunks with line feeds alone": HEAD + CHUNKS + b"2\n{}\n0\n\n",
    "chunks announced twice": HEAD + b"Transfer-Encoding: chunked\r\n" + CHUNKS + b"2\r\n{}\r\n0\r\n\r\n",
}
AT_CLOSE = {
    "no length": HEAD + b"\r\n{}",
    "no length, and says so": HEAD + b"Connection: close\r\n\r\n{}",
    "no length at HTTP/1.0": b"HTTP/1.0 200 OK\r\n\r\n{}",
    "chunks without a last line": HEAD + CHUNKS + b"2\r\n{}\r\n0\r\n",
}
SENSELESS = {
    b"SSH-2.0-OpenSSH\r\n\r\n": Fault.START,
    b"<html>\r\n\r\n": Fault.START,
    b"HTTP/1.1 99 X\r\n\r\n": Fault.START,
    b"HTTP/1.1 2000 X\r\n\r\n": Fault.START,
    b"HTTP/1.1 20\r\n\r\n": Fault.START,
    b"HTTP/1.1 204 X\r\n" + header(HEADER_LIMIT): Fault.LONG_HEADER,
    b"HTTP/1.1 204 X\r\nX-A: " + b"a" * (HEADER_LIMIT + 1): Fault.LONG_HEADER,
    b"HTTP/1.1 204 X\r\n" + header(60_000) * 5 + b"\r\n": Fault.LONG_HEAD,
    HEAD + b"Content-Length: x\r\n\r\n": Fault.LENGTH,
    HEAD + b"Content-Length: +2\r\n\r\n{}": Fault.LENGTH,
    HEAD + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}": Fault.LENGTH,
    HEAD + b"Transfer-Encoding: gzip, chunked\r\n\r\n": Fault.ENCODING,
    HEAD + CHUNKS + b"zz\r\n": Fault.CHUNK,
    HEAD + CHUNKS + b"2\r\n{}x\r\n": Fault.CHUNK,
    HEAD + CHUNKS + b"1" * 20 + b"\r\n": Fault.CHUNK,
}


def put(url: str) -> Call:
    return Call("PUT", url, b"{}")


def answering(sent: bytes, *, close: bool = False):
    """Behave so: the first request is answered with these bytes, each later one with 200 and its own path."""

    async def behave(request, writer):
        if request.target == "/first":
            writer.write(sent)
            if close:
                await writer.drain()
                writer.close()
        else:
            body = request.target.encode()
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))

    return behave


@pytest.mark.parametrize(
    ("sent", "close", "status", "body"),
    [
        *(pytest.param(sent, False, 204, b"", id=name) for name, sent in NOTHING.items()),
        *(pytest.param(sent, False, 200, b"{}", id=name) for name, sent in BRACES.items()),
        *(pytest.param(sent, True, 200, b"{}", id=name) for name, sent in AT_CLOSE.items()),
    ],
)
async def test_what_is_an_answer_to_others_is_one_here(raw_server, transport, sent, close, status, body):
    """An answer is read whatever the server's habits, and the calls after it get their own answers."""
    async with raw_server(answering(sent, close=close)) as server:
        answer = await transport.send(put(f"{server.url}/first"), {})
        assert (answer.status, answer.body) == (status, body)
        for path in ("/second", "/third"):
            assert (await transport.send(put(server.url + path), {})).body == path.encode()
    assert [request.target for request in server.requests] == ["/first", "/second", "/third"]


@pytest.mark.parametrize(("sent", "fault"), SENSELESS.items(), ids=lambda value: str(value)[:40])
async def test_an_answer_that_cannot_be_read_names_its_part(raw_server, transport, sent, fault):
    """Whoever looks into it learns which part is not proper HTTP, and nothing that the server wrote."""
    async with raw_server(answering(sent)) as server:
        with pytest.raises(Garbled, match=f"127.0.0.1: the answer is not proper HTTP: {fault}$"):
            await transport.send(put(f"{server.url}/first"), {})
        assert (await transport.send(put(f"{server.url}/second"), {})).body == b"/second"


async def test_what_is_left_of_an_answer_is_no_part_of_the_next(raw_server, transport):
    """Bytes beyond an answer that come when the next call is under way are passed over."""

    async def behave(request, writer):
        if request.nth > 1:
            writer.write(b"late bytes of the first")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%d" % (1, request.nth))

    async with raw_server(behave) as server:
        bodies = [(await transport.send(put(server.url), {})).body for _ in range(2)]
    assert bodies == [b"1", b"2"]
    assert server.connections == 1


async def test_a_connection_that_speaks_unasked_is_not_used_again(raw_server, transport):
    """What arrives while nothing is asked is nobody's answer: a success written ahead is not believed."""

    async def behave(request, writer):
        writer.write(HEAD + LENGTH + b"HTTP/1.1 204 No Content\r\n\r\n")

    async with raw_server(behave) as server:
        for _ in range(3):
            assert (await transport.send(put(server.url), {})).status == 200
    assert server.connections == 3


async def test_an_answer_of_which_the_end_is_missing_is_unclear(raw_server, transport):
    """Chunks without a last one may be a part of the answer only."""
    async with raw_server(answering(HEAD + CHUNKS + b"2\r\n{}\r\n", close=True)) as server:
        with pytest.raises(Unclear):
            await transport.send(put(f"{server.url}/first"), {})


def clean(sent: bytes, cuts=()) -> tuple[bytes, bool, Fault | None]:
    stream = AnswerStream()
    out, fault = b"", None
    edges = [0, *sorted(cut % (len(sent) + 1) for cut in cuts), len(sent)]
    try:
        for start, end in pairwise(edges):
            out += stream.feed(sent[start:end])
    except NotHttp as error:
        fault = error.fault
    return out + stream.end(), stream.over, fault


WHOLE = [*NOTHING.values(), *BRACES.values(), *AT_CLOSE.values(), *SENSELESS]


@given(sent=st.sampled_from([one for one in WHOLE if len(one) < 500]), cuts=st.lists(st.integers(0, 500)))
def test_how_the_bytes_are_cut_changes_nothing(sent, cuts):
    """The network may deliver an answer in any pieces."""
    whole, pieces = clean(sent), clean(sent, cuts)
    assert pieces[1:] == whole[1:]
    if whole[2] is None:
        assert dechunked(pieces[0]) == dechunked(whole[0])


@given(st.binary(max_size=300), st.lists(st.integers(0, 300)), st.sampled_from([b"", HEAD, HEAD + CHUNKS]))
def test_no_bytes_do_more_than_be_refused(junk, cuts, start):
    """Whatever comes, it ends as an answer, as an unfinished one, or as one of the known faults."""
    assert clean(start + junk, cuts)[2] in {None, *Fault}


def dechunked(clean_bytes: bytes) -> tuple[bytes, bytes]:
    """Return the head and the body without their framing, which depends on how the bytes were cut."""
    head, _, body = clean_bytes.partition(b"\r\n\r\n")
    return head, b"".join(body.split(b"\r\n")[1::2]) if b"chunked" in head else body

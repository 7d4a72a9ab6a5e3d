"""The transport against servers that misbehave byte by byte."""

import asyncio
import gzip
import socket
import ssl
import traceback
import zlib
from datetime import timedelta

import pytest

from bulkreset import __version__
from bulkreset.errors import ConfigError
from bulkreset.providers.base import Call
from bulkreset.providers.http import (
    READ_LIMIT,
    WRITE_LIMIT,
    ReadTransport,
    WriteTransport,
    _tls,
    open_transport,
)
from bulkreset.providers.no_answer import Unclear, Unreachable

SECRET = "pa55-Word-nobody-may-see"
REFUSAL = b'{"error": "Forbidden"}'
HEADERS = {"Authorization": f"Bearer {SECRET}"}


def write(url: str, method: str = "PUT") -> Call:
    return Call(method, f"{url}/users/a%2Fb%2e%7e/password?q={SECRET}", f'{{"password": "{SECRET}"}}'.encode())


def assert_tells_nothing(error: BaseException) -> None:
    assert SECRET not in str(error)
    assert "password" not in str(error)
    assert error.__cause__ is None
    assert error.__context__ is None
    frames = [frame.f_code.co_filename for frame, _ in traceback.walk_tb(error.__traceback__)]
    assert not any("aiohttp" in name for name in frames)


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


async def test_a_write_arrives_as_it_was_built(raw_server, http_answer, transport):
    """The target keeps its percent-encoding, the body and the credentials arrive, the answer comes back."""

    async def behave(request, writer):
        writer.write(http_answer("418 Teapot", b'{"code": 1}', "application/json", "X-Mixed-CASE: yes"))

    async with raw_server(behave) as server:
        answer = await transport.send(write(server.url), HEADERS)
    (request,) = server.requests
    assert (request.method, request.target) == ("PUT", f"/users/a%2Fb%2e%7e/password?q={SECRET}")
    assert request.body == f'{{"password": "{SECRET}"}}'.encode()
    assert request.headers["content-type"] == "application/json"
    assert request.headers["accept"] == "application/json"
    assert request.headers["accept-encoding"] == "identity"
    assert request.headers["authorization"] == f"Bearer {SECRET}"
    assert request.headers["user-agent"] == f"bulkreset/{__version__}"
    assert (answer.status, answer.body) == (418, b'{"code": 1}')
    assert answer.headers["x-mixed-case"] == "yes"


@pytest.mark.parametrize("end", ["close", "abort"])
@pytest.mark.parametrize("method", ["PUT", "POST", "DELETE"])
async def test_a_dropped_connection_is_never_answered_by_a_second_try(
    raw_server, http_answer, transport, method, end
):
    """When a kept-alive connection drops under a write, that write reached the provider exactly once."""

    async def behave(request, writer):
        if request.nth == 1:
            writer.write(http_answer("204 No Content"))
        elif end == "close":
            writer.close()
        else:
            writer.transport.abort()

    async with raw_server(behave) as server:
        assert (await transport.send(write(server.url, method), HEADERS)).status == 204
        with pytest.raises(Unclear) as caught:
            await transport.send(write(server.url, method), HEADERS)
    assert [request.nth for request in server.requests] == [1, 2]
    assert server.connections == 1
    assert_tells_nothing(caught.value)


async def test_reads_are_not_repeated_either(raw_server, http_answer, transport):
    """A read whose connection drops is one call of the quota, not two."""

    async def behave(request, writer):
        if request.nth == 1:
            writer.write(http_answer())
        else:
            writer.close()

    async with raw_server(behave) as server:
        await transport.get(server.url, HEADERS)
        with pytest.raises(Unclear):
            await transport.get(server.url, HEADERS)
    assert len(server.requests) == 2


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"HTTP/1.1 204 No", id="half a status line"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n", id="half a head"),
        pytest.param(b"this is no HTTP\r\n\r\n", id="no HTTP"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n{}", id="body cut off"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n{}", id="senseless length"),
        pytest.param(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", id="broken chunk size"),
        pytest.param(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab", id="chunk cut off"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nabcd", id="no gzip"),
        pytest.param(
            b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (WRITE_LIMIT + 1) + b"x" * (WRITE_LIMIT + 1),
            id="body too large",
        ),
        pytest.param(b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * (WRITE_LIMIT + 1), id="endless body"),
        pytest.param(
            b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n%b"
            % (len(bomb := gzip.compress(b"x" * 10_000_000)), bomb),
            id="gzip bomb",
        ),
        *(
            pytest.param(
                b"HTTP/1.1 200 OK\r\nContent-Encoding: %b\r\nContent-Length: %d\r\n\r\n%b"
                % (encoding, len(packed), packed),
                id=f"{encoding.decode()} cut off after {len(packed)}",
            )
            for encoding, whole in ((b"gzip", gzip.compress(REFUSAL)), (b"deflate", zlib.compress(REFUSAL)))
            for packed in (whole[:1], whole[:10], whole[:-4])
        ),
        pytest.param(b"HTTP/1.1 200 OK\r\nX-Long: " + b"x" * 70_000 + b"\r\n\r\n", id="endless header"),
    ],
)
async def test_an_answer_that_is_not_whole_leaves_the_outcome_unclear(raw_server, transport, sent):
    """Whatever breaks after the request left, the call may have been carried out, and was sent once."""

    async def behave(request, writer):
        writer.write(sent)
        await writer.drain()
        writer.close()

    async with raw_server(behave) as server:
        with pytest.raises(Unclear) as caught:
            await transport.send(write(server.url), HEADERS)
    assert len(server.requests) == 1
    assert "127.0.0.1" in str(caught.value)
    assert_tells_nothing(caught.value)


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "GZIP", "bare deflate"])
async def test_a_compressed_body_is_read_whole(raw_server, transport, encoding):
    """What nobody asked for is understood all the same: members of gzip, zlib's stream, a bare one."""
    bare = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    packed = {
        "gzip": gzip.compress(REFUSAL[:9]) + gzip.compress(REFUSAL[9:]),
        "GZIP": gzip.compress(REFUSAL),
        "deflate": zlib.compress(REFUSAL),
        "bare deflate": bare.compress(REFUSAL) + bare.flush(),
    }[encoding]

    async def behave(request, writer):
        name = encoding.split()[-1].encode()
        head = b"HTTP/1.1 200 OK\r\nContent-Encoding: %b\r\nContent-Length: %d\r\n\r\n"
        writer.write(head % (name, len(packed)) + packed)

    async with raw_server(behave) as server:
        assert (await transport.send(write(server.url), HEADERS)).body == REFUSAL
        assert (await transport.get(server.url, HEADERS)).body == REFUSAL


async def test_a_body_up_to_the_limit_is_read_whole(raw_server, http_answer, transport):
    """The bound refuses longer answers only, and a listing may be longer than the answer to a write."""
    body = b"x" * WRITE_LIMIT

    async def behave(request, writer):
        writer.write(http_answer("200 OK", body if request.method == "PUT" else body * 2))

    async with raw_server(behave) as server:
        assert (await transport.send(write(server.url), HEADERS)).body == body
        assert (await transport.get(server.url, HEADERS)).body == body * 2
    assert READ_LIMIT > WRITE_LIMIT


@pytest.mark.parametrize("sent", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nab"])
async def test_silence_after_sending_is_unclear(raw_server, sent):
    """A provider that does not finish its answer in the total time may have done what was asked."""
    over = asyncio.Event()

    async def behave(request, writer):
        writer.write(sent)
        await over.wait()

    async with (
        raw_server(behave) as server,
        open_transport(WriteTransport, total_timeout=timedelta(seconds=0.25)) as quick,
    ):
        with pytest.raises(Unclear) as caught:
            await quick.send(write(server.url), HEADERS)
        over.set()
    assert len(server.requests) == 1
    assert_tells_nothing(caught.value)


async def test_waiting_in_vain_for_a_connection_is_surely_not_sent(raw_server):
    """A call that got no connection in time never left, and says so."""
    arrived, over = asyncio.Event(), asyncio.Event()

    async def behave(request, writer):
        arrived.set()
        await over.wait()

    async with (
        raw_server(behave) as server,
        open_transport(WriteTransport, connections=1, connect_timeout=timedelta(seconds=0.25)) as narrow,
    ):
        first = asyncio.create_task(narrow.send(write(server.url), HEADERS))
        await arrived.wait()
        with pytest.raises(Unreachable, match="no connection in time"):
            await narrow.send(write(server.url), HEADERS)
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        over.set()
    assert len(server.requests) == 1


async def test_a_refused_connection_is_surely_not_sent(transport):
    """Nobody listens: nothing can have been carried out."""
    with pytest.raises(Unreachable) as caught:
        await transport.send(write(f"http://127.0.0.1:{closed_port()}"), HEADERS)
    assert_tells_nothing(caught.value)


@pytest.mark.parametrize("fault", [socket.gaierror(-2, "unknown"), UnicodeError("label too long")])
async def test_a_name_that_does_not_resolve_is_surely_not_sent(transport, monkeypatch, fault):
    """Without an address there was nobody to send to."""

    def fail(*args, **kwargs):
        raise fault

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    with pytest.raises(Unreachable, match=r"api\.example: its name cannot be resolved") as caught:
        await transport.send(write("https://api.example"), HEADERS)
    assert_tells_nothing(caught.value)


async def test_no_tls_is_surely_not_sent(transport):
    """A server that does not speak TLS never saw the request."""

    async def on_connect(reader, writer):
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(on_connect, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    with pytest.raises(Unreachable) as caught:
        await transport.send(write(f"https://127.0.0.1:{port}"), HEADERS)
    server.close()
    assert_tells_nothing(caught.value)


async def test_only_a_trusted_certificate_gets_the_request(raw_server, http_answer, transport, certificate):
    """An unknown certificate stops the call before it is sent; `ca_file` makes the same one trusted."""
    cert_file, key_file = certificate
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert_file, key_file)

    async def behave(request, writer):
        writer.write(http_answer("204 No Content"))

    async with raw_server(behave, ssl=context) as server:
        url = f"https://127.0.0.1:{server.port}"
        with pytest.raises(Unreachable, match="certificate") as caught:
            await transport.send(write(url), HEADERS)
        assert server.requests == []
        assert_tells_nothing(caught.value)
        async with open_transport(WriteTransport, ca_file=cert_file) as trusting:
            assert (await trusting.send(write(url), HEADERS)).status == 204


async def test_a_ca_file_that_cannot_be_used_is_an_error_of_the_configuration(tmp_path):
    """A wrong ca_file is named before anything is sent."""
    wrong = tmp_path / "ca.pem"
    wrong.write_text("no certificate")
    for path in (wrong, tmp_path / "missing.pem"):
        with pytest.raises(ConfigError, match=str(path)):
            async with open_transport(ReadTransport, ca_file=path):
                pass


async def test_a_proxy_that_refuses_to_connect_is_surely_not_sent(raw_server, proxy_environment):
    """The proxy's refusal comes before TLS: the provider saw nothing, and the proxy nothing of the request."""

    async def behave(request, writer):
        writer.write(b"HTTP/1.1 407 Who are you\r\nContent-Length: 0\r\n\r\n")

    async with raw_server(behave) as proxy:
        proxy_environment("HTTPS_PROXY", f"http://someone:{SECRET}@127.0.0.1:{proxy.port}")
        async with open_transport(WriteTransport, trust_env=True) as transport:
            with pytest.raises(
                Unreachable, match=r"api\.example: the proxy refused to connect \(HTTP 407\)"
            ) as caught:
                await transport.send(write("https://api.example"), HEADERS)
    (request,) = proxy.requests
    assert (request.method, request.target) == ("CONNECT", "api.example:443")
    assert request.headers["proxy-authorization"].startswith("Basic ")
    assert "authorization" not in request.headers
    assert_tells_nothing(caught.value)


async def test_the_environment_is_ignored_unless_trusted_and_never_for_this_machine(
    raw_server, http_answer, transport, proxy_environment
):
    """A proxy set in the environment gets nothing without `trust_env`, nor calls to loopback with it."""

    async def behave(request, writer):
        writer.write(http_answer("204 No Content"))

    async with raw_server(behave) as server:
        for name in ("HTTPS_PROXY", "HTTP_PROXY"):
            proxy_environment(name, f"http://127.0.0.1:{closed_port()}")
        assert (await transport.send(write(server.url), HEADERS)).status == 204
        async with open_transport(WriteTransport, trust_env=True) as trusting:
            assert (await trusting.send(write(server.url), HEADERS)).status == 204


async def test_a_netrc_file_never_replaces_the_credentials(
    raw_server, http_answer, tmp_path, monkeypatch, proxy_environment
):
    """Credentials come from the account's configuration and from nowhere else, whatever is trusted."""
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login other password other\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))

    async def behave(request, writer):
        writer.write(http_answer("204 No Content"))

    async with raw_server(behave) as server, open_transport(WriteTransport, trust_env=True) as trusting:
        await trusting.send(write(server.url), HEADERS)
    assert server.requests[0].headers["authorization"] == f"Bearer {SECRET}"


async def test_redirects_are_answers(raw_server, http_answer, transport):
    """A redirect is handed back and not followed: a password goes to no address but the configured one."""

    async def behave(request, writer):
        writer.write(http_answer("307 Elsewhere", b"", "text/html", f"Location: {server.url}/elsewhere"))

    async with raw_server(behave) as server:
        assert (await transport.send(write(server.url), HEADERS)).status == 307
    assert len(server.requests) == 1


async def test_cookies_are_not_kept(raw_server, http_answer, transport):
    """No call carries what an earlier one was given."""

    async def behave(request, writer):
        writer.write(http_answer("204 No Content", b"", "text/plain", "Set-Cookie: session=1; Path=/"))

    async with raw_server(behave) as server:
        for _ in range(2):
            await transport.send(write(server.url), HEADERS)
    assert "cookie" not in server.requests[1].headers
    assert server.connections == 1


@pytest.mark.parametrize("url", ["http://api.example", "http://10.0.0.1", "ftp://127.0.0.1", "//x", "x", ""])
async def test_nothing_is_sent_in_clear_over_a_network(transport, url):
    """Plain HTTP is for loopback only, and any other scheme for nobody."""
    with pytest.raises(ValueError, match="https"):
        await transport.send(write(url), HEADERS)


async def test_a_read_transport_cannot_write(raw_server, http_answer):
    """What a dry run is given has no way to send a write, and posts nothing but an OAuth grant."""

    async def behave(request, writer):
        writer.write(http_answer("200 OK", b"{}"))

    async with raw_server(behave) as server, open_transport(ReadTransport) as reading:
        assert not hasattr(reading, "send")
        with pytest.raises(ValueError, match="grant"):
            await reading.post_form(server.url, HEADERS, {"password": SECRET})
        assert server.requests == []
        await reading.post_form(server.url, HEADERS, {"grant_type": "account_credentials", "account_id": "a b"})
    (request,) = server.requests
    assert request.body == b"grant_type=account_credentials&account_id=a+b"
    assert request.headers["content-type"] == "application/x-www-form-urlencoded"


@pytest.mark.parametrize(
    "value",
    [
        f"http://someone:{SECRET}@",
        f"http://someone:{SECRET}@[::1",
        f"http://someone:{SECRET}@proxy:port",
        f"socks5://someone:{SECRET}@proxy:1080",
        f"ftp://someone:{SECRET}@proxy:21",
        "http://pro xy:3128",
    ],
)
async def test_a_proxy_that_is_none_is_named_at_once(proxy_environment, value):
    """The variable is named before anything is sent, and nothing of what it holds."""
    proxy_environment("HTTPS_PROXY", value)
    with pytest.raises(ConfigError, match=r"^HTTPS_PROXY is .*http://HOST:PORT") as caught:
        async with open_transport(WriteTransport, trust_env=True):
            pass
    assert_tells_nothing(caught.value)
    async with open_transport(WriteTransport):
        pass


async def test_a_proxy_that_is_away_is_named_by_its_variable(proxy_environment):
    """Not the provider is away, and the line says what to look at."""
    proxy_environment("HTTPS_PROXY", f"http://someone:{SECRET}@127.0.0.1:{closed_port()}")
    async with open_transport(WriteTransport, trust_env=True) as transport:
        with pytest.raises(Unreachable, match=r"the proxy in HTTPS_PROXY cannot be reached") as caught:
            await transport.send(write("https://api.example"), HEADERS)
    assert_tells_nothing(caught.value)


async def test_authorities_that_others_may_write_are_refused(tmp_path):
    """Who writes the file decides whom we trust."""
    path = tmp_path / "ca.pem"
    path.touch()
    path.chmod(0o666)
    with pytest.raises(ConfigError, match="chmod go-w"):
        async with open_transport(ReadTransport, ca_file=path):
            pass


async def test_no_tls_secrets_are_logged(tmp_path, monkeypatch):
    """SSLKEYLOGFILE is not obeyed."""
    monkeypatch.setenv("SSLKEYLOGFILE", str(tmp_path / "keys"))
    assert _tls(None).keylog_filename is None

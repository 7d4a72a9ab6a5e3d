"""Ready connections: a call is handed one that is open, or it does not leave."""

import asyncio
import ssl
from contextlib import asynccontextmanager
from time import monotonic

import pytest

from bulkreset.providers.base import Call
from bulkreset.providers.connections import MOST_READY, Connections
from bulkreset.providers.http import WriteTransport, open_transport
from bulkreset.providers.no_answer import NotSent, Unclear, Unreachable

PATIENCE_S = 20
FEW = 12  # connections of a whole transport: what leaks is missed soon


@pytest.fixture(params=["plain", "tls"])
def secured(request):
    """The options of a server and of a transport, without TLS and with it."""
    if request.param == "plain":
        return "http", {}, {}
    cert_file, key_file = request.getfixturevalue("certificate")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert_file, key_file)
    return "https", {"ssl": context}, {"ca_file": cert_file}


def call(base: str, number: int = 0) -> Call:
    return Call("PUT", f"{base}/users/{number}/password", b"{}")


@asynccontextmanager
async def pool(transport, base, *, calls_per_s=50.0):
    connections = transport.connections(base, calls_per_s=calls_per_s, changed=lambda: None)
    try:
        yield connections
    finally:
        await connections.close()


async def until(condition):
    """Let others run until this holds, which no event tells."""
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110  (there is no event)
            await asyncio.sleep(0)


async def reserved(connections):
    """Wait until there is something to take."""
    async with asyncio.timeout(PATIENCE_S):
        while (found := connections.take()) is None:
            await connections.wait(PATIENCE_S)
    return found


@pytest.mark.parametrize("answers", [1, 3, 100])
async def test_a_call_has_a_ready_connection_or_does_not_leave(raw_server, http_answer, secured, answers):
    """Whatever number of answers ends a connection, each call arrives once or is held back, and nothing leaks."""
    scheme, serving, trusting = secured

    async def behave(request, writer):
        last = request.nth >= answers
        writer.write(http_answer("204 No Content", b"", "text/plain", *(["Connection: close"] if last else [])))
        if last:
            writer.close()

    arrived, held_back = 0, 0
    async with (
        raw_server(behave, **serving) as server,
        open_transport(WriteTransport, connections=FEW, **trusting) as transport,
    ):
        base = f"{scheme}://127.0.0.1:{server.port}"
        async with pool(transport, base) as connections:
            for number in range(120):
                place = await reserved(connections)
                try:
                    with place.use():
                        assert (await transport.send(call(base, number), {})).status == 204
                    arrived += 1
                except NotSent:
                    held_back += 1
        assert (arrived + held_back, len(server.requests)) == (120, arrived)
        assert arrived > 60
        # All places are free again: so many calls at once find a connection each.
        await asyncio.gather(*(transport.send(call(base), {}) for _ in range(FEW)))


async def test_a_connection_that_went_away_keeps_its_call_here(raw_server, http_answer, secured):
    """The server closes an idle connection between its reservation and the call: nothing is sent anew."""
    scheme, serving, trusting = secured
    writers = []

    async def behave(request, writer):
        writers.append(writer)
        writer.write(http_answer("204 No Content"))

    async with (
        raw_server(behave, **serving) as server,
        open_transport(WriteTransport, connections=FEW, **trusting) as transport,
    ):
        base = f"{scheme}://127.0.0.1:{server.port}"
        await transport.send(call(base), {})
        async with pool(transport, base) as connections:
            connections.usable()
            place = await reserved(connections)
            connection = place._connection
            assert len(writers) == 1
            writers[0].close()
            await until(lambda: connection.closed)
            with pytest.raises(NotSent, match="closed its connection"), place.use():
                await transport.send(call(base), {})
            assert len(server.requests) == 1


async def test_a_reserved_connection_is_the_one_that_carries_the_call(raw_server, http_answer, transport):
    """No call opens a connection of its own: as many are open after it as before."""

    async def behave(request, writer):
        writer.write(http_answer("204 No Content"))

    async with raw_server(behave) as server, pool(transport, server.url, calls_per_s=0.1) as connections:
        places = [await reserved(connections) for _ in range(3)]
        await until(lambda: connections.usable() and not connections._opening)
        before = server.connections
        for place in places:
            with place.use():
                await transport.send(call(server.url), {})
        assert [request.nth for request in server.requests] == [1, 1, 1]
        assert server.connections == before


async def test_an_expired_slot_is_seen_right_before_the_call_is_written(raw_server, http_answer, transport):
    """A call whose time is over when its bytes would leave keeps them, and gives its connection back."""

    async def behave(request, writer):
        writer.write(http_answer("204 No Content"))

    async with raw_server(behave) as server, pool(transport, server.url) as connections:
        place = await reserved(connections)
        place.until = monotonic() - 0.001
        with pytest.raises(NotSent, match="expired"), place.use():
            await transport.send(call(server.url), {})
        assert server.requests == []
        assert place._connection is None
        place = await reserved(connections)
        place.until = monotonic() + PATIENCE_S
        with place.use():
            await transport.send(call(server.url), {})
        assert len(server.requests) == 1


async def test_one_reservation_is_for_one_call(raw_server, http_answer, transport):
    """A second call under the same reservation does not leave."""

    async def behave(request, writer):
        writer.write(http_answer("204 No Content"))

    async with raw_server(behave) as server, pool(transport, server.url) as connections:
        place = await reserved(connections)
        with place.use():
            await transport.send(call(server.url), {})
            with pytest.raises(NotSent):
                await transport.send(call(server.url), {})
        assert len(server.requests) == 1


async def test_a_server_that_cannot_be_reached_is_named_to_each_call(unused_tcp_port_of_nobody, transport):
    """There is no connection to wait for: a call gets the reason, and it surely did not leave."""
    base = f"http://127.0.0.1:{unused_tcp_port_of_nobody}"
    async with pool(transport, base) as connections:
        place = await reserved(connections)
        assert connections.usable()
        with pytest.raises(Unreachable, match="refused or has no route") as caught, place.use():
            await transport.send(call(base), {})
        assert not isinstance(caught.value, NotSent)


@pytest.fixture
async def unused_tcp_port_of_nobody():
    listener = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    listener.close()
    await listener.wait_closed()
    return port


async def test_connections_through_a_proxy_are_ready_too(raw_server, http_answer, certificate, proxy_environment):
    """The tunnel is dug before its call: each call finds one, and the proxy sees CONNECT and no more."""
    cert_file, key_file = certificate
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert_file, key_file)
    tunnels = 0

    async def behave(request, writer):
        writer.write(http_answer("204 No Content", b"", "text/plain", "Connection: close"))
        writer.close()

    async def pump(reader, writer):
        try:
            while data := await reader.read(65_536):
                writer.write(data)
        except ConnectionError:
            pass
        finally:
            writer.close()

    async def dig(reader, writer):
        nonlocal tunnels
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"CONNECT 127.0.0.1:")
        tunnels += 1
        inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        await asyncio.gather(pump(reader, inner_writer), pump(inner_reader, writer))

    async with raw_server(behave, ssl=context) as server:
        proxy = await asyncio.start_server(dig, "127.0.0.1", 0)
        proxy_environment("HTTPS_PROXY", f"http://127.0.0.1:{proxy.sockets[0].getsockname()[1]}")
        base = f"https://127.0.0.1:{server.port}"
        async with (
            open_transport(WriteTransport, connections=FEW, ca_file=cert_file, trust_env=True) as transport,
            pool(transport, base, calls_per_s=1.0) as connections,
        ):
            for number in range(10):
                place = await reserved(connections)
                before = tunnels
                with place.use():
                    assert (await transport.send(call(base, number), {})).status == 204
                assert tunnels >= before
        assert len(server.requests) == 10
        assert tunnels >= 10
        proxy.close()


class Door:
    """Opens connections only when it is told to."""

    def __init__(self):
        self.asked = 0
        self.open = asyncio.Event()
        self.fault = None

    async def __call__(self):
        self.asked += 1
        await self.open.wait()
        if self.fault is not None:
            raise self.fault
        return Opened()


class Opened:
    """What stands for a connection."""

    def __init__(self):
        self.closed = False
        self.released = False

    def close(self):
        self.closed = True

    def release(self):
        self.released = True


async def settled(connections):
    """Let everything that is being opened end."""
    await until(lambda: not connections._opening)


async def test_nothing_is_claimed_before_half_of_the_connections_are_ready():
    """While handshakes take their time there is nothing to take, and no more are asked for than are wanted."""
    door = Door()
    changes = []
    connections = Connections(door, calls_per_s=50.0, changed=lambda: changes.append(1))
    wanted = connections.wanted
    assert not connections.usable()
    assert connections.take() is None
    assert not connections.usable()
    await asyncio.sleep(0)
    assert door.asked == wanted
    door.open.set()
    await settled(connections)
    assert connections.usable()
    assert len(changes) == wanted
    assert connections.take() is not None
    await connections.close()


async def test_slow_handshakes_keep_more_ready_up_to_a_bound():
    """As many are kept as calls leave while one more is opened."""
    connections = Connections(Door(), calls_per_s=50.0, changed=lambda: None)
    usual = connections.wanted
    connections._took.append(0.7)
    assert connections.wanted >= 50 * 0.7
    assert connections.wanted > usual
    connections._took.append(60.0)
    assert connections.wanted == MOST_READY
    await connections.close()


async def test_closing_gives_everything_back_and_opens_no_more():
    """What is ready is released, what is being opened is given up, and a look opens nothing."""
    door = Door()
    door.open.set()
    connections = Connections(door, calls_per_s=10.0, changed=lambda: None)
    connections.usable()
    await settled(connections)
    ready = [connection for connection, _ in connections._ready]
    assert ready
    door.open.clear()
    connections.take().give_back()
    await asyncio.sleep(0)
    await connections.close()
    asked = door.asked
    assert all(connection.released for connection in ready)
    assert not connections._opening
    assert connections.take() is None
    await asyncio.sleep(0)
    assert door.asked == asked


async def test_a_fault_ends_the_wait_and_one_connection_is_tried_after_it(monkeypatch):
    """Who waits is told at once; when the fault is over, one connection is tried first and not all."""
    door = Door()
    door.fault = Unreachable("nobody: no route")
    connections = Connections(door, calls_per_s=50.0, changed=lambda: None)
    assert connections.take() is None
    door.open.set()
    place = await reserved(connections)
    with pytest.raises(Unreachable, match="no route"):
        place.hand_over(None)
    await settled(connections)
    asked, door.fault = door.asked, None
    connections.take()
    assert door.asked == asked
    connections._fault_until = 0.0
    connections.take()
    await settled(connections)
    assert door.asked == asked + 1
    connections.take()
    await settled(connections)
    assert door.asked > asked + 1
    await connections.close()


async def test_a_call_that_breaks_off_is_unclear_and_its_connection_is_not_used_again(raw_server, transport):
    """A connection that is lost under a call is none that was not sent."""

    async def behave(request, writer):
        writer.transport.abort()

    async with raw_server(behave) as server, pool(transport, server.url) as connections:
        place = await reserved(connections)
        with pytest.raises(Unclear), place.use():
            await transport.send(call(server.url), {})
        assert len(server.requests) == 1

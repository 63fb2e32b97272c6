"""The HTTP client: its pool, its batches, and the limits of an exchange."""

import asyncio
import time

import pytest

from lambda_fn import limits
from lambda_fn.http.client import Client, Exchange, connect
from lambda_fn.http.connection import Connection, TransportError
from tests.support.function import Wire, peer, receive

SIZED = b"HTTP/1.1 200 OK\r\nContent-Length: 12\r\nX-A: b\r\n\r\nhello, world"


async def answer_once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer the first request of a connection."""
    await reader.readuntil(b"\r\n\r\n")
    writer.write(SIZED)
    await writer.drain()


async def test_a_connection_with_bytes_unread_is_not_used_again(http: Client) -> None:
    """A connection whose response was not read to its end is closed, even if all of it has arrived.

    Its reading may be paused, and would stay so.
    """
    wire = Wire()
    connection = Connection()
    connection.connection_made(wire)
    connection.begin()
    whole = bytes(limits.READ_BUFFER + 1)
    receive(connection, b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(whole) + whole)
    http.release("http://x", connection)
    assert wire.aborted


async def test_whatever_prevents_a_connection_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """If a connection cannot open for any reason, pending calls fail and do not wait."""

    async def create_connection(*_: object, **__: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(asyncio.get_running_loop(), "create_connection", create_connection)
    connection = connect("http://127.0.0.1:9")
    with pytest.raises(TransportError, match="RuntimeError"):
        await connection.head()


async def test_the_pool_closes_what_is_too_old(
    http: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Idle connections that are too old are closed at once, not at the next burst."""
    wires = [Wire() for _ in range(3)]
    for wire in wires:
        connection = Connection()
        connection.connection_made(wire)
        connection.begin()
        receive(connection, SIZED)
        while await connection.read():
            pass
        http.release("http://x", connection)
    http._note_awake(asyncio.get_running_loop())
    assert not any(wire.aborted for wire in wires)
    monkeypatch.setattr(limits, "IDLE_AWAKE", -1.0)
    http._note_awake(asyncio.get_running_loop())
    assert all(wire.aborted for wire in wires)


async def test_a_nudge_cuts_no_body_short(http: Client) -> None:
    """`read_all` continues after a `wake`."""

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(SIZED[:-6])
        await writer.drain()
        await nudged.wait()
        writer.write(SIZED[-6:])
        await reader.read()

    nudged = asyncio.Event()
    async with peer(handler) as origin:
        response = await get(http, origin)
        reading = asyncio.ensure_future(response.read_all(100))
        await asyncio.sleep(0.01)
        response.wake()
        await asyncio.sleep(0)
        nudged.set()
        assert await reading == b"hello, world"
        response.close()
        response.close()  # a second call has no effect
        assert len(http._idle[origin]) == 1


async def test_a_closed_pool_keeps_no_connection(http: Client) -> None:
    """A connection that was in use when the pool was closed is closed when it is released."""
    async with peer(answer_once) as origin:
        response = await get(http, origin)
        connection = response._connection
        assert await response.read_all(100) == b"hello, world"
        http.close()
        response.close()
        assert not connection.reusable
        assert not http._idle.get(origin)


async def test_requests_of_one_turn_leave_together(
    http: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Requests of one turn are sent together in the next turn of the event loop.

    Eight requests are sent at once.
    """
    wires: list[Wire] = []

    def acquire(_origin: str) -> Connection:
        wires.append(Wire())
        connection = Connection()
        connection.connection_made(wires[-1])
        return connection

    monkeypatch.setattr(http, "acquire", acquire)
    exchanges = [http.send("GET", "http://x", "/", {"host": "x"}, b"") for _ in range(10)]
    assert [len(wire.writes) for wire in wires] == [1] * 8 + [0] * 2
    await asyncio.sleep(0)
    assert [len(wire.writes) for wire in wires] == [1] * 10
    for exchange in exchanges:
        exchange.close()


async def get(client: Client, origin: str, seconds: float = 60) -> Exchange:
    """Send a request."""
    return await client.request("GET", origin, "/", {"host": "x"}, b"", seconds=seconds)


async def test_pool_reuses_until_idle_too_long(
    http: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection is used again if its response was read.

    It must have been neither idle too long nor frozen.
    """
    connections = 0

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        while True:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(SIZED)
            await writer.drain()

    async def whole(origin: str) -> None:
        response = await get(http, origin)
        assert await response.read_all(100) == b"hello, world"
        response.close()

    async with peer(handler) as origin:
        for _ in range(3):
            await whole(origin)
        assert connections == 1
        monkeypatch.setattr(limits, "IDLE_CONNECTION", -1.0)
        await whole(origin)
        assert connections == 1  # the process was awake all the time, and would have seen it close
        http._awake_at -= 10  # as after a freeze
        await whole(origin)
        assert connections == 2
        http._note_awake(asyncio.get_running_loop())  # awake again, but not since it was idle
        await whole(origin)
        assert connections == 3
        monkeypatch.setattr(limits, "IDLE_AWAKE", -1.0)
        (await get(http, origin)).close()
        assert connections == 4
        # The last response was not read, so its connection was closed.
        (await get(http, origin)).close()
        assert connections == 5


async def test_pool_trusts_neither_clock_alone(
    http: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection that is old by either clock is not used."""
    accepted = 0

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal accepted
        accepted += 1
        while True:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(SIZED)
            await writer.drain()

    async with peer(handler) as origin:
        for _ in range(2):
            response = await get(http, origin)
            await response.read_all(100)
            response.close()
        assert accepted == 1
        later = time.time() + 3600
        monkeypatch.setattr(time, "time", lambda: later)
        (await get(http, origin)).close()
        assert accepted == 2


async def test_pool_passes_over_closed_connections(http: Client) -> None:
    """A pooled connection that the peer has closed is not used again."""
    async with peer(answer_once) as origin:
        for _ in range(3):
            response = await get(http, origin)
            connection = response._connection
            assert await response.read_all(100) == b"hello, world"
            response.close()
            async with asyncio.timeout(60):
                while connection.reusable:  # noqa: ASYNC110 (the connection has no event for it)
                    await asyncio.sleep(0.001)


async def test_limits_of_an_answer(http: Client) -> None:
    """A body over the caller's limit, a silent peer and a reset are transport errors."""
    release = asyncio.Event()

    async with peer(answer_once) as origin:
        response = await get(http, origin)
        with pytest.raises(TransportError, match="more than 5"):
            await response.read_all(5)
        response.close()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await release.wait()

    async with peer(silent) as origin:
        with pytest.raises(TransportError, match="in time"):
            await get(http, origin, seconds=0.05)
        release.set()

    async def reset(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(10)
        writer.transport.abort()

    async with peer(reset) as origin:
        with pytest.raises(TransportError):
            await get(http, origin)

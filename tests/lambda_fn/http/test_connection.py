"""One connection, with peers that truncate, stall, reset and send malformed bytes."""

import asyncio
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lambda_fn import limits
from lambda_fn.http.client import connect
from lambda_fn.http.connection import Connection, TransportError
from tests.support.function import Wire, peer, receive

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX-A: b\r\n\r\n5\r\nhello\r\n7\r\n, world\r\n0\r\n\r\n"
SIZED = b"HTTP/1.1 200 OK\r\nContent-Length: 12\r\nX-A: b\r\n\r\nhello, world"


async def drain(connection: Connection) -> bytes:
    """Return the body, read to its end."""
    await connection.head()
    parts = []
    while part := await connection.read():
        parts.append(part)
    return b"".join(parts)


@given(answer=st.sampled_from([CHUNKED, SIZED]), cuts=st.lists(st.integers(1, 90), max_size=6))
@settings(deadline=None)
def test_cuts_change_nothing(answer: bytes, cuts: list[int]) -> None:
    """However a response is cut into packets, its status, headers and body are the same."""

    async def run() -> None:
        connection = Connection()
        connection.connection_made(Wire())
        connection.begin()
        edges = [0, *sorted(min(cut, len(answer)) for cut in cuts), len(answer)]
        for start, end in pairwise(edges):
            if answer[start:end]:
                receive(connection, answer[start:end])
        assert await drain(connection) == b"hello, world"
        assert (connection.status, connection.headers["x-a"]) == (200, "b")
        assert connection.reusable

    asyncio.run(run())


@given(
    answer=st.sampled_from([CHUNKED, SIZED]),
    cuts=st.lists(st.integers(1, 90), max_size=8),
    takes=st.lists(st.booleans(), max_size=8),
)
@settings(deadline=None)
def test_a_reader_gets_each_byte_once(answer: bytes, cuts: list[int], takes: list[bool]) -> None:
    """A reader that takes bytes while it waits gets the body in order, wherever it declines."""

    async def run() -> None:
        connection = Connection()
        connection.connection_made(Wire())
        connection.begin()
        parts: list[bytes] = []
        answers = iter(takes)

        def take(data: bytes) -> bool:
            parts.append(data)
            return next(answers, True)

        async def drain() -> None:
            await connection.head()
            while (part := await connection.read(take)) != b"":
                parts.append(part or b"")

        draining = asyncio.ensure_future(drain())
        edges = [0, *sorted(min(cut, len(answer)) for cut in cuts), len(answer)]
        for place, (start, end) in enumerate(pairwise(edges)):
            if place % 3:  # sometimes several packets come in one turn
                await asyncio.sleep(0)
                await asyncio.sleep(0)
            if answer[start:end]:
                receive(connection, answer[start:end])
        await draining
        assert b"".join(parts) == b"hello, world"
        assert connection.reusable

    asyncio.run(run())


async def test_bytes_that_are_taken_need_no_turn_of_the_loop() -> None:
    """A waiting reader takes bytes in the callback in which they come, until it declines."""
    connection = Connection()
    connection.connection_made(Wire())
    connection.begin()
    receive(connection, b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n")
    taken: list[bytes] = []
    room = [True, False]

    def take(data: bytes) -> bool:
        taken.append(data)
        return room.pop(0)

    reading = asyncio.ensure_future(connection.read(take))
    await asyncio.sleep(0)
    for part in (b"ab", b"cd", b"ef"):
        receive(connection, part)
    assert taken == [b"ab", b"cd"]
    assert await reading is None
    assert await connection.read(take) == b"ef"
    receive(connection, b"ghi")  # the last bytes are returned
    assert await connection.read(take) == b"ghi"
    assert await connection.read(take) == b""


@pytest.mark.parametrize("length", range(1, len(CHUNKED) - 1, 7))
async def test_truncation_is_noticed(length: int) -> None:
    """If the connection closes anywhere before the end of the response, reading raises."""
    connection = Connection()
    connection.connection_made(Wire())
    connection.begin()
    receive(connection, CHUNKED[:length])
    connection.connection_lost(None)
    with pytest.raises(TransportError):
        await drain(connection)


async def test_garbage_and_unasked_bytes() -> None:
    """Malformed bytes break the exchange. Bytes without a request make the connection unusable."""
    connection = Connection()
    connection.connection_made(wire := Wire())
    connection.begin()
    receive(connection, b"SSH-2.0-OpenSSH\r\n")
    with pytest.raises(TransportError):
        await connection.head()
    assert wire.aborted
    connection = Connection()
    connection.connection_made(Wire())
    connection.begin()
    receive(connection, SIZED)
    receive(connection, b"HTTP/1.1 200 OK\r\n")
    assert not connection.reusable


async def test_a_second_answer_is_refused_in_any_packet() -> None:
    """A second response breaks the connection, in the packet of the first or after it."""
    for packets in ([SIZED + SIZED], [SIZED, SIZED], [SIZED + SIZED[:10], SIZED[10:]]):
        connection = Connection()
        connection.connection_made(Wire())
        connection.begin()
        for packet in packets:
            receive(connection, packet)
        assert await drain(connection) == b"hello, world"
        assert connection.status == 200
        assert not connection.reusable


@pytest.mark.parametrize("piece", [b"x" * 1000, b"x-a: b\r\n" * 125])
async def test_a_head_is_bounded(piece: bytes) -> None:
    """A peer that never ends its head, by one long header or by many, is left."""
    connection = Connection()
    connection.connection_made(wire := Wire())
    connection.begin()
    receive(connection, b"HTTP/1.1 200 OK\r\nx-a: ")
    sent = 0
    while not wire.aborted:
        receive(connection, piece)
        sent += len(piece)
        assert sent <= limits.MAX_HEAD + len(piece)
    with pytest.raises(TransportError, match="malformed"):
        await connection.head()


async def test_unread_bytes_pause_the_peer() -> None:
    """Reading pauses when the buffer is full, and resumes once it was read."""
    connection = Connection()
    connection.connection_made(wire := Wire())
    connection.begin()
    receive(
        connection,
        b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n" + bytes(limits.READ_BUFFER + 1),
    )
    assert not wire.reading
    assert await connection.read() == bytes(limits.READ_BUFFER + 1)
    assert wire.reading


async def test_a_connection_that_was_given_up_sends_nothing() -> None:
    """A connection that opens after its exchange has failed does not send what was put."""
    connection = Connection()
    connection.begin()
    connection.put(b"x")
    connection.abort()
    connection.connection_made(wire := Wire())
    assert (wire.writes, wire.aborted, connection.connected) == ([], True, False)


async def test_writing_waits_for_the_peer() -> None:
    """A write waits while the transport is full. It raises if the connection closes meanwhile."""
    connection = Connection()
    connection.connection_made(Wire())
    connection.begin()
    connection.pause_writing()
    write = asyncio.ensure_future(connection.write(b"x"))
    await asyncio.sleep(0)
    assert not write.done()
    connection.resume_writing()
    await write
    connection.pause_writing()
    write = asyncio.ensure_future(connection.write(b"x"))
    await asyncio.sleep(0)
    connection.connection_lost(None)
    with pytest.raises(TransportError):
        await write


async def test_giving_up_a_write_harms_no_other() -> None:
    """A pending write that is cancelled does not cancel the next one."""
    connection = Connection()
    connection.connection_made(Wire())
    connection.begin()
    connection.pause_writing()
    first = asyncio.ensure_future(connection.write(b"x"))
    await asyncio.sleep(0)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    second = asyncio.ensure_future(connection.write(b"y"))
    await asyncio.sleep(0)
    connection.resume_writing()
    await second


async def test_what_is_put_early_leaves_when_connected() -> None:
    """Data that was put before the connection opened is sent then, in separate writes.

    `drain` waits for that.
    """
    connection = Connection()
    connection.begin()
    connection.put(b"a")
    connection.put(b"b")
    assert connection.full
    draining = asyncio.ensure_future(connection.drain())
    await asyncio.sleep(0)
    assert not draining.done()
    connection.connection_made(wire := Wire())
    await draining
    assert wire.writes == [b"a", b"b"]
    assert not connection.full


async def test_a_connection_that_cannot_be_made_tells_everybody() -> None:
    """If a connection cannot open, pending reads and writes and later calls raise the reason."""
    connection = connect("http://127.0.0.1:9")
    connection.begin()
    connection.put(b"x")
    waiting = [asyncio.ensure_future(connection.head()), asyncio.ensure_future(connection.drain())]
    async with asyncio.timeout(60):
        for one in waiting:
            with pytest.raises(TransportError, match="no connection: ConnectionRefusedError"):
                await one
    with pytest.raises(TransportError, match="no connection"):
        connection.put(b"y")
    assert not connection.alive


async def test_giving_up_while_it_connects() -> None:
    """A connection that is aborted while it opens does not open."""

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with peer(handler) as origin:
        connection = connect(origin)
        assert connection.alive
        connection.abort()
        assert connection.opening is not None
        async with asyncio.timeout(60):
            await asyncio.wait([connection.opening])
        assert connection.opening.cancelled()
        with pytest.raises(TransportError, match="closed"):
            await connection.head()


async def test_a_nudge_ends_a_waiting_and_no_exchange() -> None:
    """`wake` wakes a pending `head` or `read`, which may be called again."""
    connection = Connection()
    connection.connection_made(Wire())
    connection.begin()
    connection.wake()  # no call is pending, so it has no effect
    for wait, nothing in ((connection.head, False), (connection.read, None)):
        waiting = asyncio.ensure_future(wait())
        await asyncio.sleep(0)
        connection.wake()
        assert await waiting is nothing
        if wait == connection.head:
            receive(connection, SIZED[:-12])
            assert await connection.head()
    receive(connection, SIZED[-12:])
    assert await connection.read() == b"hello, world"

"""What a peer may send on one connection, with real sockets."""

from __future__ import annotations

import asyncio
import json

import pytest

from model import connection
from model.connection import MAX_HEAD_BYTES, MAX_MESSAGE_BYTES, Connection
from tests.support.container_peers import connected
from tests.support.model import LONG, Container, Serve, scripted, until

SOON = 0.02
HEAD = b"POST /invocations HTTP/1.1\r\nhost: c\r\ntransfer-encoding: chunked\r\n\r\n"
PING = b"GET /ping HTTP/1.1\r\nhost: c\r\n\r\n"


def of(container: Container) -> Connection:
    """Return the server's side of the only connection."""
    [found] = container.server.server_state.connections
    assert isinstance(found, Connection)
    return found


async def test_requests_one_after_another(serve: Serve) -> None:
    """A connection serves requests, whole and in pieces, and those that came together."""
    async with serve() as container, connected(container) as peer:
        for cut in (1, 20, len(PING) - 1):
            await peer.send(PING[:cut], PING[cut:])
            assert await peer.answer() == (200, None)
        await peer.send(PING * 3)
        for _ in range(3):
            assert await peer.answer() == (200, None)


@pytest.mark.parametrize("part", [b"P", b"\r\n", PING[:-1], b"GET /ping HTTP/1.1\r\nhost: "])
async def test_a_slow_head(serve: Serve, monkeypatch: pytest.MonkeyPatch, part: bytes) -> None:
    """A head that is not complete in its time is refused, on a used connection, too."""
    async with serve() as container, connected(container) as peer:
        await peer.send(PING)
        assert await peer.answer() == (200, None)
        monkeypatch.setattr(connection, "HEAD_SECONDS", SOON)
        await peer.send(part)
        assert await peer.refusal() == (408, "request_timeout")


async def test_nothing_is_sent(serve: Serve) -> None:
    """A connection without a request is closed like one that has served some."""
    async with serve() as container:
        container.server.config.timeout_keep_alive = 0
        async with connected(container) as peer:
            await peer.closed()


@pytest.mark.parametrize(("more", "status"), [(0, 200), (1, 431)])
async def test_the_size_of_a_head(serve: Serve, more: int, status: int) -> None:
    """A head has its limit to the byte: the target, and fields with their separators."""
    fixed = len("/ping") + len("host: c\r\n") + len("x: \r\n")
    value = b"v" * (MAX_HEAD_BYTES - fixed + more)
    async with serve() as container, connected(container) as peer:
        await peer.send(PING[:-2] + b"x: " + value + b"\r\n\r\n")
        assert (await peer.answer())[0] == status


@pytest.mark.parametrize("begin", [b"GET /", b"GET /ping HTTP/1.1\r\nx: "])
async def test_a_head_without_end(serve: Serve, begin: bytes) -> None:
    """A target or a field that goes on is refused at the limit, and what follows is dropped."""
    async with serve() as container, connected(container) as peer:
        await peer.send(begin, *[b"v" * 16_384] * 12)
        assert await peer.refusal() == (431, "invalid_request")


@pytest.mark.parametrize("text", [b"\0\0\0\0", b"GET /ping HTTP/9.9\r\n\r\n", b"GET\r\n\r\n"])
async def test_what_is_no_http(serve: Serve, text: bytes) -> None:
    """What cannot be parsed is refused in the API's own form."""
    async with serve() as container, connected(container) as peer:
        await peer.send(text)
        assert await peer.refusal() == (400, "invalid_request")


async def test_small_chunks(serve: Serve) -> None:
    """A body in chunks of two bytes is read as any other."""
    body = json.dumps({"sluice": {"v": 1, "cancel": "r" * 60}}).encode()
    chunks = b"".join(b"2\r\n%b\r\n" % body[at : at + 2] for at in range(0, len(body) - 1, 2))
    if len(body) % 2:
        chunks += b"1\r\n%b\r\n" % body[-1:]
    async with serve() as container, connected(container) as peer:
        await peer.send(HEAD, chunks, b"0\r\nx: trailer\r\n\r\n")
        assert await peer.answer() == (200, {"cancelled": False})


@pytest.mark.parametrize(
    ("begin", "more"),
    [
        (b"", b"1;" + b"e" * 1000 + b"\r\n \r\n"),
        (b"1;", b"e" * 1007),
        (b"1\r\n \r\n0\r\n", b"x: " + b"t" * 1002 + b"\r\n"),
        (b"1\r\n \r\n0\r\nx: ", b"t" * 1007),
    ],
)
async def test_the_frames_of_chunks(serve: Serve, begin: bytes, more: bytes) -> None:
    """Extensions and trailers without end are refused: the body does not grow with them."""
    block = more * 64
    async with serve() as container, connected(container) as peer:
        await peer.send(HEAD, begin, *[block] * (MAX_MESSAGE_BYTES // len(block) + 2))
        assert await peer.refusal() == (413, "invalid_request")
        assert not container.server.server_state.tasks


async def test_a_body_behind_its_response(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rest of a body that nobody reads has some time, and then the connection is closed."""
    async with serve() as container:
        async with connected(container) as peer:
            await peer.send(b"POST /x HTTP/1.1\r\nhost: c\r\ncontent-length: 9\r\n\r\n1234")
            assert (await peer.answer())[0] == 404
            await peer.send(b"56789" + PING)
            assert await peer.answer() == (200, None)
        monkeypatch.setattr(connection, "LINGER_SECONDS", SOON)
        async with connected(container) as peer:
            await peer.send(b"POST /x HTTP/1.1\r\nhost: c\r\ncontent-length: 9\r\n\r\n1234")
            assert (await peer.answer())[0] == 404
            await peer.closed()


async def test_a_head_behind_a_running_request(
    serve: Serve, permits: asyncio.Semaphore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What begins behind a running request does not end it: its time begins with the response."""
    monkeypatch.setattr(connection, "HEAD_SECONDS", SOON)
    body = json.dumps(scripted(count=2, stall_after=1, seconds=LONG)).encode()
    async with serve() as container, connected(container) as peer:
        await peer.send(
            b"POST /invocations HTTP/1.1\r\nhost: c\r\ncontent-length: %d\r\n\r\n%b"
            % (len(body), body)
        )
        await peer.until(b'"delta"')
        await peer.send(PING[:9])
        found = of(container)
        await until(lambda: found._in is connection._In.HEAD)
        assert found._timer is None
        permits.release()  # the stall
        permits.release()  # the next step
        await peer.until(b'{"type":"end"}\n\r\n0\r\n\r\n')
        assert await peer.refusal() == (408, "request_timeout")


async def test_no_http_behind_a_running_request(serve: Serve, permits: asyncio.Semaphore) -> None:
    """What cannot be parsed behind a running request ends both, without an answer between."""
    body = json.dumps(scripted(count=2, stall_after=1, seconds=LONG)).encode()
    async with serve() as container, connected(container) as peer:
        await peer.send(
            b"POST /invocations HTTP/1.1\r\nhost: c\r\ncontent-length: %d\r\n\r\n%b"
            % (len(body), body)
        )
        await peer.until(b'"delta"')
        await peer.send(b"\0\0\0\0")
        async with asyncio.timeout(60):
            assert b"HTTP/1.1" not in await peer._reader.read()
        await container.idle()

"""Bodies of requests: their size, their time, and what they take together."""

from __future__ import annotations

import asyncio
import tracemalloc
from typing import TYPE_CHECKING, Any

import pytest
from starlette.requests import Request

from model import bodies, connection
from model.answers import Timing
from model.bodies import BodyReader
from model.errors import BodySizeError, OverloadedError, RequestCancelledError
from model.schema import MAX_BODY_BYTES
from tests.support.asking import error_of
from tests.support.container_peers import connected
from tests.support.model import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from tests.support.model import Serve


def request(receive: Callable[[], Awaitable[Any]]) -> Request:
    """Return a request whose body comes by messages."""
    return Request({"type": "http", "headers": []}, receive)


def part(body: bytes, *, more: bool = True) -> dict[str, Any]:
    """Return a message."""
    return {"type": "http.request", "body": body, "more_body": more}


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize(("size", "status"), [(MAX_BODY_BYTES, 400), (MAX_BODY_BYTES + 1, 413)])
async def test_the_size_of_a_body(serve: Serve, whole: bool, size: int, status: int) -> None:
    """A body is read up to its limit, with a content-length or in chunks."""

    async def chunks() -> AsyncIterator[bytes]:
        for at in range(0, size, 2**20):
            yield b" " * min(2**20, size - at)

    async with serve() as container:
        content: Any = b" " * size if whole else chunks()
        answer = await container.client.post("/invocations", content=content)
    assert (answer.status_code, error_of(answer)["code"]) == (status, "invalid_request")


async def test_a_slow_body(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """A body that does not come in time is a 408, whatever has come of it."""
    monkeypatch.setattr(connection, "LINGER_SECONDS", 0.02)
    async with serve(timing=Timing(body=0.02)) as container:
        for path in ("/invocations", "/v1/chat/completions"):
            for some in (b"", b"{"):
                async with connected(container) as peer:
                    head = f"POST {path} HTTP/1.1\r\nhost: c\r\ncontent-length: 9\r\n\r\n"
                    await peer.send(head.encode() + some)
                    assert await peer.refusal() == (408, "request_timeout")


async def test_an_encoded_body(serve: Serve) -> None:
    """A body with a content-encoding is refused by the coding's name, not as broken JSON."""
    async with serve() as container:
        for path in ("/invocations", "/v1/chat/completions"):
            answer = await container.client.post(
                path, content=b"\x1f\x8b", headers={"content-encoding": "gzip"}
            )
            assert answer.status_code == 415
            assert "'gzip'" in answer.json()["error"]["message"]


async def test_small_parts() -> None:
    """A body in parts of two bytes takes little more memory than its own size."""
    count = 50_000
    left = count

    async def receive() -> dict[str, Any]:
        nonlocal left
        left -= 1
        return part(bytes([left % 256, 1]), more=left > 0)

    tracemalloc.start()
    try:
        body = await BodyReader(600).read(request(receive))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(body) == 2 * count
    assert peak < 4 * len(body)


@pytest.mark.parametrize("small", [0, 9])
async def test_all_bodies_together(monkeypatch: pytest.MonkeyPatch, small: int) -> None:
    """What is being read is bounded. It counts no more once it is read, given up or refused.

    That holds for large bodies, which have no small part here, and for small ones.
    """
    monkeypatch.setattr(bodies, "SMALL_BYTES", small)
    monkeypatch.setattr(bodies, "MAX_READING_BYTES", 10)
    monkeypatch.setattr(bodies, "MAX_BODY_BYTES", 9)
    reader = BodyReader(600)

    async def read(*messages: dict[str, Any]) -> bytes:
        left = list(messages)

        async def receive() -> dict[str, Any]:
            return left.pop(0)

        return await reader.read(request(receive))

    first: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    running = asyncio.create_task(reader.read(request(first.get)))
    await first.put(part(b"x" * 8))
    await until(first.empty)
    with pytest.raises(OverloadedError):
        await read(part(b"y"), part(b"yy", more=False))
    assert await read(part(b"y"), part(b"y", more=False)) == b"yy"
    with pytest.raises(RequestCancelledError):
        await read(part(b"y"), {"type": "http.disconnect"})
    await first.put(part(b"", more=False))
    assert await running == b"x" * 8
    with pytest.raises(BodySizeError):
        await read(part(b"y" * 9), part(b"y", more=False))
    assert await read(part(b"y" * 9, more=False)) == b"y" * 9
    assert (reader._small, reader._large) == (0, 0)


async def test_large_bodies_keep_no_small_one_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """While slow large bodies take all that there is for them, a small one is read."""
    monkeypatch.setattr(bodies, "MAX_READING_BYTES", 10)
    monkeypatch.setattr(bodies, "SMALL_BYTES", 2)
    reader = BodyReader(600)

    async def read(body: bytes) -> bytes:
        async def receive() -> dict[str, Any]:
            return part(body, more=False)

        return await reader.read(request(receive))

    slow: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    running = asyncio.create_task(reader.read(request(slow.get)))
    await slow.put(part(b"x" * 12))
    await until(slow.empty)
    assert await read(b"yy") == b"yy"
    with pytest.raises(OverloadedError):
        await read(b"yyy")
    await slow.put(part(b"", more=False))
    assert len(await running) == 12

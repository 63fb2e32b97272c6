"""A connection of the Runtime API, with requests that are cut at every byte."""

import asyncio
import base64
import contextlib
import os

import pytest

from local.lambda_.prelude import Head
from local.lambda_.response import FunctionError, Invocation
from tests.support.lambda_runtime import BASE, NAMED, Runtime

PRELUDE = b'{"statusCode":200,"headers":{"a":"b"}}'


def _chunked(*chunks: bytes, trailers: bytes = b"") -> bytes:
    return (
        b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks)
        + b"0\r\n"
        + trailers
        + b"\r\n"
    )


def _post(path: str, body: bytes, headers: bytes = b"") -> bytes:
    return (
        f"POST {BASE}{path} HTTP/1.1\r\nHost: 127.0.0.1:{NAMED}\r\n".encode()
        + headers
        + b"\r\n"
        + body
    )


STREAMED = (
    b"lambda-runtime-function-response-mode: streaming\r\nTransfer-Encoding: chunked\r\n"
    b"Content-Type: application/vnd.awslambda.http-integration-response\r\n"
)


async def _body(invocation: Invocation) -> bytes:
    return b"".join([chunk async for chunk in invocation.response.chunks()])


async def test_streamed_response_at_every_cut(runtime: Runtime) -> None:
    """A streamed response that is cut at any byte has the same head and body, and gets 202."""
    request = _post(
        "invocation/id-1/response",
        _chunked(PRELUDE + b"\0" * 3, b"\0" * 5 + b"he", b"llo"),
        STREAMED,
    )
    reader, writer = await runtime.open()
    for cut in range(1, len(request)):
        invocation, _ = await runtime.next()
        writer.write(request[:cut])
        await writer.drain()
        await asyncio.sleep(0)
        writer.write(request[cut:])
        assert await invocation.response.head == Head(200, {"a": "b"})
        assert await _body(invocation) == b"hello"
        assert (await reader.read(65536)).startswith(b"HTTP/1.1 202 ")


async def test_chunks_pass_at_once(runtime: Runtime) -> None:
    """The head and the first bytes are passed on before the response has ended."""
    invocation, _ = await runtime.next()
    _, writer = await runtime.open()
    writer.write(
        _post("invocation/id-1/response", b"", STREAMED) + b"%x\r\n%b\r\n" % (len(PRELUDE), PRELUDE)
    )
    writer.write(b"8\r\n" + b"\0" * 8 + b"\r\n")
    assert await invocation.response.head == Head(200, {"a": "b"})
    writer.write(b"5\r\nfirst\r\n")
    chunks = invocation.response.chunks()
    assert await anext(chunks) == b"first"
    writer.write(b"4\r\nlast\r\n0\r\n\r\n")
    assert await anext(chunks) == b"last"
    with pytest.raises(StopAsyncIteration):
        await anext(chunks)


async def test_error_trailers(runtime: Runtime) -> None:
    """Error trailers break the response off after the bytes that were sent."""
    invocation, _ = await runtime.next()
    _, writer = await runtime.open()
    text = base64.b64encode(b'{"errorType":"E","errorMessage":"why"}')
    trailers = (
        b"Lambda-Runtime-Function-Error-Type: My.Error\r\nLambda-Runtime-Function-Error-Body: "
        + text
        + b"\r\n"
    )
    writer.write(
        _post(
            "invocation/id-1/response",
            _chunked(PRELUDE + b"\0" * 8 + b"x", trailers=trailers),
            STREAMED,
        )
    )
    chunks = invocation.response.chunks()
    assert await anext(chunks) == b"x"
    with pytest.raises(FunctionError, match=r"My\.Error: E why"):
        await anext(chunks)


async def test_truncated_response(runtime: Runtime) -> None:
    """A connection that closes within the response is a failure."""
    invocation, _ = await runtime.next()
    _, writer = await runtime.open()
    writer.write(
        _post("invocation/id-1/response", b"", STREAMED) + b"%x\r\n%b\r\n" % (len(PRELUDE), PRELUDE)
    )
    await writer.drain()
    writer.close()
    with pytest.raises(FunctionError, match="Truncated"):
        await invocation.response.head


@pytest.mark.parametrize(
    ("chunks", "kind"),
    [((b"no json" + b"\0" * 8,), "InvalidResponse"), ((PRELUDE,), "within its prelude")],
)
async def test_bad_preludes_fail(runtime: Runtime, chunks: tuple[bytes, ...], kind: str) -> None:
    """A prelude that is not JSON or has no end fails the invocation before its head."""
    invocation, _ = await runtime.next()
    _, writer = await runtime.open()
    writer.write(_post("invocation/id-1/response", _chunked(*chunks), STREAMED))
    with pytest.raises(FunctionError, match=kind):
        await invocation.response.head


async def test_whole_response_and_keep_alive(runtime: Runtime) -> None:
    """A buffered response is read whole, and the connection stays open."""
    invocation, _ = await runtime.next()
    reader, writer = await runtime.open()
    text = b'{"statusCode":202,"body":"hi"}'
    writer.write(_post("invocation/id-1/response", text, b"Content-Length: %d\r\n" % len(text)))
    assert (await invocation.response.head).status == 202
    assert await _body(invocation) == b"hi"
    assert (await reader.read(65536)).startswith(b"HTTP/1.1 202 ")
    writer.write(_post("invocation/id-1/response", text, b"Content-Length: %d\r\n" % len(text)))
    assert (await reader.read(65536)).startswith(b"HTTP/1.1 400 ")


async def test_errors(runtime: Runtime) -> None:
    """The errors of an invocation and of a start are accepted with their messages."""
    invocation, _ = await runtime.next()
    reader, writer = await runtime.open()
    text = b'{"errorType":"T","errorMessage":"m"}'
    length = b"Content-Length: %d\r\nLambda-Runtime-Function-Error-Type: T\r\n" % len(text)
    writer.write(_post("invocation/id-1/error", text, length))
    with pytest.raises(FunctionError, match="T: T m"):
        await invocation.response.head
    assert (await reader.read(65536)).startswith(b"HTTP/1.1 202 ")
    writer.write(_post("init/error", text, length))
    assert (await reader.read(65536)).startswith(b"HTTP/1.1 202 ")
    assert runtime.init_errors == ["T m"]


async def test_backpressure(runtime: Runtime) -> None:
    """While the response is not read, the runtime's connection is not read.

    All bytes arrive later.
    """
    invocation, _ = await runtime.next()
    _, writer = await runtime.open()
    writer.write(_post("invocation/id-1/response", b"", STREAMED))
    writer.write(b"%x\r\n%b\r\n" % (len(PRELUDE) + 8, PRELUDE + b"\0" * 8))
    block = b"x" * 65536
    total = 400

    async def send() -> None:
        for _ in range(total):
            writer.write(b"10000\r\n" + block + b"\r\n")
            await writer.drain()
        writer.write(b"0\r\n\r\n")

    sending = asyncio.create_task(send())
    await invocation.response.head
    done, _ = await asyncio.wait([sending], timeout=0.5)
    assert not done
    assert invocation.response._size < 2**20
    size = 0
    async for chunk in invocation.response.chunks():
        size += len(chunk)
    assert size == total * len(block)
    await sending


@pytest.mark.parametrize(
    "headers",
    [
        "Host: 127.0.0.1:1",
        "Host: evil.example:9001",
        "X: y",
        "Host: 127.0.0.1:9001\r\nOrigin: null",
        "Host: 127.0.0.1:9001\r\nSec-Fetch-Site: same-origin",
    ],
)
async def test_pages_are_refused(runtime: Runtime, headers: str) -> None:
    """A web page can neither fetch nor answer an invocation, nor end the environment.

    Its host name makes no difference.
    """
    invocation, _ = await runtime.next()
    for request in (
        "GET {}invocation/next",
        "POST {}invocation/id-1/response",
        "POST {}init/error",
    ):
        reader, writer = await runtime.open()
        writer.write(
            f"{request.format(BASE)} HTTP/1.1\r\n{headers}\r\nContent-Length: 2\r\n\r\n{{}}".encode()
        )
        assert (await reader.read(65536)).startswith(b"HTTP/1.1 403 ")
    assert runtime.api.active == {"id-1": invocation}
    assert not runtime.init_errors


@pytest.mark.parametrize(
    "request_line",
    [
        f"GET {BASE}invocation/next",
        f"POST {BASE}invocation/id-1/response",
        "GET /",
        "CONNECT localhost:1",
    ],
)
@pytest.mark.parametrize(
    "more",
    ["Connection: Upgrade\r\nUpgrade: websocket\r\n", "Connection: upgrade\r\nUpgrade: h2c\r\n"],
)
@pytest.mark.parametrize("host", [f"127.0.0.1:{NAMED}", "evil.example"])
async def test_other_protocols_are_refused(
    runtime: Runtime, caplog: pytest.LogCaptureFixture, request_line: str, more: str, host: str
) -> None:
    """A request for another protocol gets a response and no invocation. It leaves no traceback."""
    reader, writer = await runtime.open()
    writer.write(
        f"{request_line} HTTP/1.1\r\nHost: {host}\r\n{more}\r\nrubbish\xff".encode("latin-1")
    )
    response = await asyncio.wait_for(reader.read(), 60)
    assert response.startswith(b"HTTP/1.1 400 " if host.startswith("127") else b"HTTP/1.1 403 ")
    assert not runtime.api._waiting
    assert not caplog.records


async def test_rubbish(runtime: Runtime, caplog: pytest.LogCaptureFixture) -> None:
    """Malformed HTTP closes the connection and leaves no traceback in the log."""
    for sent in (
        b"hello\r\n\r\n",
        b"\x16\x03\x01",
        b"GET /\xff\xfe HTTP/1.1\r\nHost: x\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ):
        reader, writer = await runtime.open()
        writer.write(sent)
        writer.write_eof()
        with contextlib.suppress(ConnectionError):
            await asyncio.wait_for(reader.read(), 60)
    assert not caplog.records


async def test_other_users_are_refused(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection of another user's process is rejected. One of this user's is not."""
    monkeypatch.setattr(os, "getuid", lambda: 12345)
    reader, writer = await runtime.open()
    writer.write(f"GET {BASE}invocation/next HTTP/1.1\r\nHost: 127.0.0.1:{NAMED}\r\n\r\n".encode())
    assert (await reader.read(65536)).startswith(b"HTTP/1.1 403 ")
    monkeypatch.undo()
    await runtime.next()

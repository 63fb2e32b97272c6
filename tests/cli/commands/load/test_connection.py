"""One request over a connection. tests/cli/commands/load/test_generator.py has it over an API."""

import asyncio
import ssl
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli.commands.load.connection import Address, Exchange, Unreachable, connect, request_bytes
from cli.lib.project import CommandError
from local.cloudfront import certificate
from tests.support.lying_api import WHOLE

BODY = b"".join(WHOLE)


class Kept:
    """A receiver that keeps what it gets."""

    def __init__(self) -> None:
        self.heads: list[tuple[int, dict[str, str]]] = []
        self.body = b""
        self.ends: list[tuple[bool, str]] = []

    def status(self, status: int, headers: dict[str, str]) -> None:
        self.heads.append((status, headers))

    def data(self, data: bytes) -> None:
        self.body += data

    def ended(self, *, whole: bool, malformed: str = "") -> None:
        self.ends.append((whole, malformed))


class Wire(asyncio.Transport):
    """A transport that takes everything."""

    def __init__(self) -> None:
        super().__init__()
        self.sent = b""
        self.closed = ""

    def write(self, data: object) -> None:
        self.sent += bytes(data)  # type: ignore[call-overload]

    def close(self) -> None:
        self.closed = self.closed or "close"

    def abort(self) -> None:
        self.closed = self.closed or "abort"


async def received(parts: list[bytes], *, eof: bool = False) -> tuple[Kept, Wire]:
    """Return what comes of bytes that arrive in these parts."""
    kept, wire = Kept(), Wire()
    exchange = Exchange(b"GET", kept)
    exchange.connection_made(wire)
    for part in parts:
        exchange.get_buffer(-1)[: len(part)] = part
        exchange.buffer_updated(len(part))
    if eof:
        exchange.eof_received()
    exchange.connection_lost(None)
    assert exchange.done.done()
    return kept, wire


def framed(*, chunked: bool) -> bytes:
    """Return a whole response."""
    if not chunked:
        return b"HTTP/1.1 200 OK\r\nX-A: b\r\ncontent-length: %d\r\n\r\n" % len(BODY) + BODY
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(it), it) for it in WHOLE)
    return (
        b"HTTP/1.1 200 OK\r\nX-A: b\r\ntransfer-encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n"
    )


@given(st.booleans(), st.lists(st.integers(0, 1500), max_size=10))
def test_cuts_do_not_matter(chunked: bool, places: list[int]) -> None:
    """However a response comes, its head, body and proper end are the same."""
    data = framed(chunked=chunked)
    cuts = sorted({0, len(data), *(min(it, len(data)) for it in places)})
    parts = [data[at:to] for at, to in pairwise(cuts)]
    kept, wire = asyncio.run(received(parts))
    [(status, headers)] = kept.heads
    assert (status, headers["x-a"], kept.body, kept.ends) == (200, "b", BODY, [(True, "")])
    assert wire.closed == "close"


@given(st.booleans(), st.integers(0, 10_000))
def test_every_truncation_is_found(chunked: bool, place: int) -> None:
    """A response that lacks its last byte or more has no proper end."""
    data = framed(chunked=chunked)
    kept, wire = asyncio.run(received([data[: place % len(data)]], eof=True))
    assert kept.ends == [(False, "")]
    assert wire.closed == "abort"


@given(st.lists(st.binary(max_size=200), max_size=5))
def test_any_bytes_end_once(parts: list[bytes]) -> None:
    """Whatever comes, the exchange ends exactly once, without an exception."""
    kept, _ = asyncio.run(received(parts))
    assert len(kept.ends) == 1


async def test_a_body_without_a_length_ends_with_its_connection() -> None:
    """The end of the connection is the proper end of a body whose length nothing tells."""
    kept, _ = await received([b"HTTP/1.1 200 OK\r\n\r\nabc"], eof=True)
    assert (kept.body, kept.ends) == (b"abc", [(True, "")])


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("http://localhost:8787/v1", Address("localhost", 8787, "/v1", False)),
        ("https://x.example/v1/", Address("x.example", 443, "/v1", True)),
        ("http://[::1]/", Address("::1", 80, "", False)),
    ],
)
def test_addresses(url: str, address: Address) -> None:
    """A base URL has its host, port and path."""
    assert Address.of(url) == address


@pytest.mark.parametrize(
    "url", ["x", "ftp://x/v1", "http://", "http://x:99999/", "http://u:p@x/", "http://x/?a=b"]
)
def test_wrong_addresses(url: str) -> None:
    """What is no base URL is refused."""
    with pytest.raises(CommandError):
        Address.of(url)


def test_a_key_cannot_add_headers() -> None:
    """A key with a line end is refused."""
    with pytest.raises(CommandError, match="key"):
        request_bytes(Address("x", 80, "", False), "/a", b"", key="a\r\nx: y", accept="*/*")


def test_the_host_header() -> None:
    """The port is left out where it is the scheme's own, and IPv6 is in brackets."""
    hosts = [
        Address("x", 80, "", False), Address("x", 80, "", True), Address("::1", 8080, "", False),
    ]  # fmt: skip
    assert [it.authority_part for it in hosts] == ["x", "x:80", "[::1]:8080"]


async def test_an_unknown_certificate_is_told(tmp_path: Path) -> None:
    """An API with a certificate of an unknown authority is unreachable, and the code says why."""
    made = certificate.ensure(tmp_path)
    server = await asyncio.start_server(
        lambda reader, writer: None, "127.0.0.1", 0, ssl=made.context()
    )
    try:
        port = server.sockets[0].getsockname()[1]
        address = Address("localhost", port, "/v1", True)
        with pytest.raises(Unreachable, match="certificate"):
            await connect(address, ssl.create_default_context(), lambda: Exchange(b"", Kept()))
    finally:
        server.close()


class Leaver(Kept):
    """A receiver that leaves at the first bytes of the body, as droppers do."""

    leave: Callable[[], None]

    def data(self, data: bytes) -> None:
        super().data(data)
        self.leave()


@pytest.mark.parametrize("kind", [Kept, Leaver])
@pytest.mark.parametrize(
    "answer",
    [framed(chunked=True), framed(chunked=False), b"HTTP/1.1 200 OK\r\n\r\nabc", b"no HTTP"],
    ids=["chunked", "with a length", "without a length", "not HTTP"],
)
async def test_tls_ends_without_an_error(kind: type[Kept], answer: bytes, tmp_path: Path) -> None:
    """An answer and the server's close that come at once end both sides of TLS in peace.

    asyncio then tells of the end of the connection within the call that closes it.
    """
    made = certificate.ensure(tmp_path)
    loop = asyncio.get_running_loop()
    errors: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _, context: errors.append(context))
    served = loop.create_future()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()
        served.set_result(await asyncio.gather(writer.wait_closed(), return_exceptions=True))

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=made.context())
    async with server:
        port = server.sockets[0].getsockname()[1]
        address = Address("localhost", port, "/v1", True, str(made.authority))
        kept = kind()

        def make() -> Exchange:
            exchange = Exchange(b"GET / HTTP/1.1\r\n\r\n", kept)
            if isinstance(kept, Leaver):
                kept.leave = exchange.leave
            return exchange

        exchange = await connect(address, address.context(), make)
        await exchange.done
        assert (await served, errors) == ([None], [])

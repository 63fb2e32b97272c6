"""Requests as bytes, of which many are no HTTP, and a client that sends them as they are."""

import asyncio
import gzip
from collections.abc import Iterator

_PACKED = gzip.compress(b'{"a":1}', mtime=0)
_CHUNKED = b"Transfer-Encoding: chunked"


async def exchange(port: int, data: bytes) -> bytes:
    """Send bytes to a port of loopback; return what comes back until the connection is closed."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(data)
        async with asyncio.timeout(60):
            return await reader.read()
    except ConnectionError:  # it was refused before all of it was read
        return b""
    finally:
        writer.close()


def request(
    host: bytes,
    *headers: bytes,
    method: bytes = b"POST",
    path: bytes = b"/event",
    body: bytes = b"{}",
    length: bool = True,
    version: bytes = b"HTTP/1.1",
) -> bytes:
    """Return a request that ends its connection."""
    lines = [method + b" " + path + b" " + version, b"Host: " + host, *headers]
    lines += [b"Content-Length: %d" % len(body)] if length else []
    return b"\r\n".join([*lines, b"Connection: close", b"", body])


def odd(host: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield odd requests to a host, each with a name."""
    for coding in (b"gzip", b"deflate", b"br", b"zstd", b"gzip, br", b"x" * 50, b"\xff"):
        name = f"content-encoding {coding[:10]!r}"
        header = b"Content-Encoding: " + coding
        yield name, request(host, header, body=_PACKED)
        yield f"{name}, a lie", request(host, header, body=b"\xff{")
        chunks = b"%x\r\n%b\r\n0\r\n\r\n" % (len(_PACKED), _PACKED)
        yield f"{name}, chunked", request(host, header, _CHUNKED, body=chunks, length=False)
    for coding in (b"gzip", b"gzip, chunked", b"chunked, gzip", b"identity", b"\xff", b"chunked"):
        header = b"Transfer-Encoding: " + coding
        body = b"1\r\nx\r\n0\r\n\r\n"
        yield f"transfer-encoding {coding!r}", request(host, header, body=body, length=False)
        yield f"transfer-encoding {coding!r} and length", request(host, header, body=body)
    for body in (b"zz\r\nx\r\n", b"1\r\nx\r\nzz\r\n\r\n", b"f" * 30 + b"\r\nx", b"-1\r\nx\r\n"):
        yield f"chunks {body[:12]!r}", request(host, _CHUNKED, body=body, length=False)
    for length in (b"-1", b"abc", b"+1", b"1, 1", b"9" * 30, b""):
        header = b"Content-Length: " + length
        yield f"length {length!r}", request(host, header, body=b"x", length=False)
    yield "two lengths", request(host, b"Content-Length: 5", body=b"x")
    for method in (
        b"BREW",
        b"get",
        b"TRACE",
        b"CONNECT",
        b"HEAD",
        b"\xff",
        b"X" * 100,
        b"M-SEARCH",
    ):
        yield f"method {method[:9]!r}", request(host, method=method)
    for path in (
        *(
            b"/%",
            b"/%zz",
            b"/%ff%fe",
            b"//",
            b"/\xff",
            b"*",
            b"x",
            b"/a b",
            b"/\0",
            b"/a\tb",
            b"",
            b"?",
        ),
        *(
            b"http://other/event?a=1",
            b"http://other",
            b"https://[::1",
            b"//[::1",
            b"/[",
            b"/x://[y]",
        ),
        *(b"/?%", b"/?a=%ff", b"/?&=&&", b"/#x", b"/..%2f..", b"/../..", b"/%00", b'/{}|\\^`"<>'),
        *(b"/?" + b"a" * 9000, b"/" + b"a" * 70_000),
    ):
        yield f"path {path[:20]!r}", request(host, method=b"GET", path=path, body=b"")
    for header in (
        *(
            b"A",
            b": b",
            b"A b: c",
            b"A: \xff\xfe",
            b"A: b\0c",
            b"A: b\r\n c",
            b"A: " + b"b" * 70_000,
        ),
        *(b"A: " + b"b" * 30_000, b"\r\n".join(b"A%d: b" % number for number in range(3000))),
        *(
            b"Content-Type: \xff",
            b"Content-Type: text/plain; charset=utf-16",
            b"Content-Type: ;;;=",
        ),
        *(b"Cookie: \xff;=;a", b"Expect: 100-continue", b"Expect: nonsense", b"Upgrade: websocket"),
        *(
            b"Range: bytes=0-1",
            b"X-Forwarded-For: \xff",
            b"X-Amz-Cf-Id: \xff",
            b"Host: b",
            b"Date: x",
        ),
        *(b"Authorization: \xff", b"Accept: \xff", b"User-Agent: \xff", b"Keep-Alive: \xff"),
        *(b"Origin: \xff", b"Sec-Fetch-Site: cross-site", b"Via: \xff", b"X-Sluice-Hop: \xff"),
    ):
        yield f"header {header[:24]!r}", request(host, header)
    for other in (
        b"\xff",
        b"a b",
        b"[::1",
        b"[::1]:x",
        b"localhost:99999",
        b"x" * 300,
        b"@x",
        b" ",
    ):
        yield f"host {other[:12]!r}", request(other)
    yield "no host", b"GET /event HTTP/1.1\r\nConnection: close\r\n\r\n"
    yield "HTTP/1.0", request(host, version=b"HTTP/1.0")
    yield "HTTP/0.9", b"GET /\r\n\r\n"
    yield "HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    yield "HTTP/9.9", request(host, version=b"HTTP/9.9")
    yield "TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"a" * 100
    yield "every byte", bytes(range(256)) + b"\r\n\r\n"
    yield "line feeds only", request(host).replace(b"\r\n", b"\n") + b"\r\n\r\n"
    yield "too large", request(host, body=b"x" * 6_300_000)
    for kind in (
        b"application/json",
        b"text/plain",
        b"image/png",
        b"application/x-www-form-urlencoded",
    ):
        yield f"bytes as {kind!r}", request(host, b"Content-Type: " + kind, body=bytes(range(256)))

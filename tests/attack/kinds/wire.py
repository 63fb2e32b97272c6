"""Malformed HTTP at the distribution's own port: no HTTP, two requests in one, or no end."""

import asyncio
import contextlib

from tests.attack.kinds.origins import ports
from tests.attack.target import Findings, Target, raw

KIND = "the wire"

_AUTHORIZED = "Authorization: Bearer {key}\r\n"


async def attack(target: Target, findings: Findings) -> None:
    """Send malformed requests, then many requests that stall."""
    host = f"Host: localhost:{target.address[1]}\r\n"
    post = f"POST /v1/chat/completions HTTP/1.1\r\n{host}{_AUTHORIZED.format(key=target.key)}"
    names = "&".join(f"a{number}=1" for number in range(4000))
    headers = "".join(f"X-{number}: 1\r\n" for number in range(5000))
    requests = {
        "two lengths": f"{post}Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
        "a length and chunks": (
            f"{post}Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET "
            "/v1/models HTTP/1.1\r\n\r\n"
        ),
        "a negative length": f"{post}Content-Length: -1\r\n\r\n",
        "a length of 30 digits": f"{post}Content-Length: {'9' * 30}\r\n\r\n",
        "a broken chunk": f"{post}Transfer-Encoding: chunked\r\n\r\nzz\r\nhello\r\n",
        "a space before the colon": f"{post}Content-Length : 5\r\n\r\nhello",
        "a folded header": f"{post}X-A: 1\r\n  2: 3\r\nContent-Length: 0\r\n\r\n",
        "a NUL in a header": f"{post}X-A: a\0b\r\nContent-Length: 0\r\n\r\n",
        "a header of 200 kB": f"{post}X-A: {'a' * 200_000}\r\nContent-Length: 0\r\n\r\n",
        "5,000 headers": f"{post}{headers}\r\n",
        "a path of 100 kB": f"GET /{'a' * 100_000} HTTP/1.1\r\n{host}\r\n",
        "a query of 4,000 names": f"GET /v1/usage?{names} HTTP/1.1\r\n{host}\r\n",
        "dots in a path": f"GET /v1/models/../../../../etc/passwd HTTP/1.1\r\n{host}\r\n",
        "encoded dots in a path": f"GET /v1/models/%2e%2e%2f%2e%2e%2fetc%2fpasswd HTTP/1.1\r\n{host}\r\n",
        "half an escape in a path": f"GET /v1/models/%zz%c3 HTTP/1.1\r\n{host}\r\n",
        "no HTTP": "hello\r\n\r\n",
        "TLS": "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        "gzip that is none": f"{post}Content-Encoding: gzip\r\nContent-Length: 5\r\n\r\nhello",
    }
    sent = (
        raw(target.address, request.encode("latin-1"), seconds=4) for request in requests.values()
    )
    for name, found in zip(requests, await asyncio.gather(*sent), strict=True):
        statuses = [
            line.split(b" ")[1] for line in found.split(b"\r\n") if line.startswith(b"HTTP/1.1 ")
        ]
        findings.check(
            f"{name}: no 5xx", not any(status.startswith(b"5") for status in statuses), statuses
        )
        findings.check(f"{name}: one answer", len(statuses) <= 1, statuses)
        findings.check(
            f"{name}: nothing within",
            b"root:" not in found and b"Traceback" not in found,
            found[:200],
        )
    await _stalled(target, findings, post)
    for port in await asyncio.to_thread(ports, target.cloud.pid):
        for first in ("GET /", "CONNECT localhost:1", "GET /2018-06-01/runtime/invocation/next"):
            head = (
                f"{first} HTTP/1.1\r\nHost: localhost:{port}\r\nConnection: Upgrade\r\nUpgrade: "
                "websocket\r\n"
            )
            upgrade = f"{head}\r\nrubbish"
            found = await raw(("127.0.0.1", port), upgrade.encode(), seconds=2)
            findings.check(
                f"{first}, port {port}: no protocol",
                not found.startswith(b"HTTP/1.1 101"),
                found[:100],
            )


async def _stalled(target: Target, findings: Findings, post: str) -> None:
    """Open 60 connections with half a request each. Other requests still get a response."""
    held = []
    for number in range(60):
        _, writer = await asyncio.open_connection(*target.address)
        head = f"{post}Content-Length: 1000\r\n\r\n" if number % 2 else post
        writer.write(head.encode() + b"{")
        held.append(writer)
    async with target.client() as client:
        answer = await client.get("/v1/models")
        findings.check(
            "60 stalled requests leave room", answer.status_code == 200, answer.status_code
        )
    for writer in held:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()

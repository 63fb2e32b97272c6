"""Requests as a web page in the developer's browser could send them, to every listener."""

import asyncio
import contextlib
from pathlib import Path

from tests.attack.target import Findings, Target, raw
from tests.support import leftovers

KIND = "web pages"

_PAGE = {
    "an Origin": "Origin: https://evil.example\r\n",
    "an Origin of another port": "Origin: http://localhost:1\r\n",
    "a null Origin": "Origin: null\r\n",
    "a cross-site fetch": "Sec-Fetch-Site: cross-site\r\n",
    "a same-site fetch": "Sec-Fetch-Site: same-site\r\n",
    "a rebound name": None,
}
_PATHS = (
    "/",
    "/_local/status",
    "/_local/faults",
    "/?Action=ListUsers&Version=2010-05-08",
    "/2018-06-01/runtime/invocation/next",
    "/ping",
)
_PUBLIC = ("/", "/ping")
"""The playground's page and a health check, which distributions serve without a key."""
_LISTENING = "0A"


def ports(root: int) -> list[int]:
    """Return the TCP ports on which a process and its descendants listen (Linux)."""
    inodes = set()
    for pid in leftovers.processes(root):
        with contextlib.suppress(OSError):
            inodes |= {
                link.readlink().name.removeprefix("socket:[").rstrip("]")
                for link in Path(f"/proc/{pid}/fd").iterdir()
            }
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == _LISTENING and fields[9] in inodes:
                found.add(int(fields[1].rpartition(":")[2], 16))
    return sorted(found)


async def attack(target: Target, findings: Findings) -> None:
    """Send a page's requests to every listener of the local cloud.

    All are rejected. The distributions do not check for pages, as CloudFront does not: they reject
    them because they have no key.
    """
    edges = {target.address[1], target.eyes.port}
    for port in await asyncio.to_thread(ports, target.cloud.pid):
        for name, line in _PAGE.items():
            host = f"evil.example:{port}" if line is None else f"localhost:{port}"
            for path in _PATHS:
                request = (
                    f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{line or ''}\r\n"
                )
                answer = await raw(("127.0.0.1", port), request.encode(), seconds=5)
                status = _status(answer)
                if port in edges and line is not None and path.partition("?")[0] in _PUBLIC:
                    # Anybody may have them. A page of another origin cannot read the response.
                    readable = b"\r\naccess-control-allow-origin:" in answer.lower()
                    findings.check(
                        f"{name}, {path}", status == 200 and not readable, f"port {port}: {status}"
                    )
                    continue
                # The distribution answers 401 or 404, and reveals nothing without a key.
                least = 400 if port in edges else 401
                findings.check(
                    f"{name}, {path}",
                    status is None or least <= status < 500,
                    f"port {port}: {status}",
                )
    unsigned = (
        f"POST / HTTP/1.1\r\nHost: localhost:{_gateway(target)}\r\nContent-Length: "
        "0\r\nConnection: close\r\n"
        "X-Amz-Target: secretsmanager.ListSecrets\r\nContent-Type: "
        "application/x-amz-json-1.1\r\n\r\n"
    )
    status = _status(await raw(("127.0.0.1", _gateway(target)), unsigned.encode(), seconds=5))
    findings.check("an unsigned call of an AWS API", status in {400, 401, 403}, status)


def _gateway(target: Target) -> int:
    return int(target.cloud.endpoint_url.rpartition(":")[2])


def _status(answer: bytes) -> int | None:
    """Return the status of an HTTP response, or None if the peer only closed the connection."""
    parts = answer.split(b" ", 2)
    return int(parts[1]) if answer.startswith(b"HTTP/1.") and len(parts) > 1 else None

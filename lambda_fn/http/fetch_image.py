"""Fetches images from the hosts that a deployment names.

A caller chooses the URL, so the function must not lead the caller into other networks: the host is
on the deployment's list, its address is a public one, the connection goes to that very address, and
redirects are not followed. It is imported only for requests that need it.
"""

import asyncio
import ipaddress
import socket
from collections.abc import Sequence
from urllib.parse import urlsplit

from lambda_fn import limits
from lambda_fn.http.client import tls_context
from lambda_fn.http.connection import Connection, TransportError

_PORT = 443
_MAX_HOST = 253  # of a name in the DNS, whose labels have 63 characters at most


class FetchError(Exception):
    """An image could not be fetched. The message says why, without the URL."""


def allowed(host: str, hosts: Sequence[str]) -> bool:
    """Return whether a host is on the list. `*.example.com` allows every name below that one."""
    return any(
        host.endswith(known[1:]) if known.startswith("*.") else host == known for known in hosts
    )


async def fetch(url: str, hosts: Sequence[str], max_bytes: int) -> bytes:
    """Return what `GET` answers for an https URL.

    Args:
        url: The URL, as the caller sent it.
        hosts: The hosts from which the deployment takes images.
        max_bytes: The largest body.

    Raises:
        FetchError: the URL is not allowed, or its host did not send the image within
            `IMAGE_TIMEOUT`.

    """
    host, path = _target(url, hosts)
    connection = Connection()
    try:
        async with asyncio.timeout(limits.IMAGE_TIMEOUT):
            await connect(connection, host)
            connection.begin()
            connection.put(
                f"GET {path} HTTP/1.1\r\nhost: {host}\r\naccept: image/*\r\n"
                "user-agent: sluice\r\nconnection: close\r\n\r\n".encode("ascii")
            )
            while not await connection.head():
                pass
            if connection.status != 200:
                raise FetchError(
                    f"its host answered with the status {connection.status}"
                    + ("; redirects are not followed" if connection.status // 100 == 3 else "")
                )
            return await _body(connection, max_bytes)
    except TimeoutError:
        raise FetchError(f"its host took over {limits.IMAGE_TIMEOUT:g} s") from None
    except (OSError, TransportError):
        raise FetchError("its host cannot be reached, or broke the connection") from None
    finally:
        connection.abort()


def _target(url: str, hosts: Sequence[str]) -> tuple[str, str]:
    """Return the host and path of a URL. Raises FetchError."""
    try:
        parts = urlsplit(url)
        host, port = (parts.hostname or "").rstrip("."), parts.port
    except ValueError:
        raise FetchError("it is not a URL") from None
    path = f"{parts.path or '/'}{'?' if parts.query else ''}{parts.query}"
    if not (url.isascii() and url.isprintable()) or " " in url or len(path) > limits.MAX_IMAGE_PATH:
        raise FetchError(
            f"its URL must be printable ASCII without spaces, of at most {limits.MAX_IMAGE_PATH} "
            "characters"
        )
    if parts.scheme != "https" or port not in (None, _PORT) or "@" in parts.netloc:
        raise FetchError("its URL must be https, without a port and without a user")
    if len(host) > _MAX_HOST or any(not 0 < len(label) < 64 for label in host.split(".")):
        raise FetchError("it is not a URL")
    if not allowed(host, hosts):
        raise FetchError("this deployment takes no images from its host")
    return host, path


async def connect(connection: Connection, host: str) -> None:
    """Connect to an address of an https host, after a check that all of them are public.

    Raises:
        FetchError: one of them is not public.
        OSError: the host cannot be reached.

    """
    loop = asyncio.get_running_loop()
    # Only IPv4: there are ways to write an inner IPv4 address as an IPv6 address.
    found = await loop.getaddrinfo(host, _PORT, family=socket.AF_INET, type=socket.SOCK_STREAM)
    addresses = [str(address[0]) for *_, address in found]
    if not addresses or not all(public(address) for address in addresses):
        raise FetchError("its host has no public address")
    await loop.create_connection(
        lambda: connection, addresses[0], _PORT, ssl=tls_context(), server_hostname=host
    )


def public(address: str) -> bool:
    """Return whether an IPv4 address belongs to the public internet."""
    found = ipaddress.IPv4Address(address)
    return found.is_global and not found.is_multicast


async def _body(connection: Connection, max_bytes: int) -> bytes:
    declared = connection.headers.get("content-length", "0")
    parts: list[bytes] = []
    size = int(declared) if declared.isdecimal() and len(declared) < 20 else max_bytes + 1
    received = 0
    while max(size, received) <= max_bytes:
        part = await connection.read()
        if part == b"":
            return b"".join(parts)
        parts.append(part or b"")
        received += len(part or b"")
    raise FetchError(f"it has more than {max_bytes} bytes")

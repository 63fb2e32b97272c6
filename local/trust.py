"""Decides who may talk to the listeners of this machine: no web pages, and no other users.

A browser names the page that makes a request: in `Origin`, in `Sec-Fetch-Site`, or, if the page's
name was pointed at loopback (DNS rebinding), in `Host`. Programs send neither of the first two, and
their `Host` is loopback. Source: the Fetch standard and "Fetch Metadata Request Headers" of the
W3C.
"""

import re
import secrets
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, field
from hmac import compare_digest
from pathlib import Path

from aiohttp import web
from aiohttp.typedefs import Middleware

# Headers with a secret: from the edge to function URLs, from the data planes to the control plane,
# and from SageMaker to its containers.
HOP = "x-sluice-edge"
CONTROL = "x-sluice-control"
CALLER = "x-sluice-caller"

_NAMES = ("localhost", "127.0.0.1", "[::1]")
_HOST = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?|\[[0-9a-f:.]{2,45}\]")
_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"


@dataclass(frozen=True)
class Keys:
    """The developer's credentials for one local cloud.

    They are an access key of the account, and the bearer token of `/_local/`.
    """

    access_key: str
    secret_key: str = field(repr=False)
    token: str = field(repr=False)

    @classmethod
    def new(cls) -> "Keys":
        """Return new keys in the form of AWS's keys."""
        return cls(
            "AKIA" + "".join(secrets.choice(_ALPHABET) for _ in range(16)),
            secrets.token_urlsafe(30),
            token(),
        )


def token() -> str:
    """Return a random secret."""
    return secrets.token_urlsafe(32)


def matches_secret(secret: str | None, expected: str) -> bool:
    """Return whether a secret is the expected one, which must not be empty."""
    return bool(expected) and compare_digest((secret or "").encode(), expected.encode())


def private(folder: Path) -> None:
    """Make a folder that no other user of the machine can enter."""
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)


def host_name(text: str) -> str:
    """Return a name or address for comparison with a Host header.

    Raises ValueError for text that is neither.
    """
    name = text.lower()
    if not _HOST.fullmatch(name):
        raise ValueError(
            f"{text}: not a name such as host.docker.internal or an address such as "
            "[fd00::1], without a port"
        )
    return name


def is_called(host: str, names: Collection[str]) -> bool:
    """Return whether a Host header has one of these names.

    Any port is accepted, because a forwarding program has its own.
    """
    name, colon, port = host.lower().rpartition(":")
    return (name if colon and port.isdecimal() else host.lower()) in names


def is_own_host(host: str, port: int, *, tls: bool = False, buckets: bool = False) -> bool:
    """Return whether a Host header names a listener on `port`, which speaks HTTPS with `tls`.

    A header without a port has the scheme's: clients leave it out (RFC 9110, 7.2). With `buckets`,
    names below localhost pass, as S3 uses them.
    """
    name, colon, port_text = host.lower().rpartition(":")
    if not colon or not port_text.isdecimal():  # the colons may be those of an address
        name, port_text = host.lower(), "443" if tls else "80"
    return port_text == str(port) and (name in _NAMES or (buckets and name.endswith(".localhost")))


def from_page(headers: Mapping[str, str]) -> str | None:
    """Return the reason why a request comes from a web page, None if a program made it.

    `headers` must find names in any case.
    """
    if "Origin" in headers:
        return "it has an Origin header"
    if headers.get("Sec-Fetch-Site", "none") != "none":
        return "its Sec-Fetch-Site is not none"
    return None


def is_for_own_host(request: web.Request, *, buckets: bool = False) -> bool:
    """Return whether a request's Host names the listener at which it came in.

    It does not if the connection is closed.
    """
    transport = request.transport
    return transport is not None and is_own_host(
        request.headers.get("Host", ""),
        int(transport.get_extra_info("sockname")[1]),
        tls=transport.get_extra_info("sslcontext") is not None,
        buckets=buckets,
    )


def refusal(request: web.Request, *, buckets: bool = False) -> str | None:
    """Return the reason to refuse a request to an address of the local cloud, or None."""
    if not is_for_own_host(request, buckets=buckets):
        return "its Host is not an address of the local cloud"
    return from_page(request.headers)


def words(reason: str) -> str:
    """Return the message for a refused caller."""
    return (
        f"The local cloud refuses this request: {reason}. It answers programs of this machine, "
        "not web pages."
    )


Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def callers(expected: str) -> Middleware:
    """Return the middleware of a container. It refuses a caller without the container's token."""

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        if not matches_secret(request.headers.get(CALLER), expected):
            return web.json_response(
                {"message": "The request does not have the token of this container."}, status=403
            )
        return await handler(request)

    return check


@web.middleware
async def programs_only(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Refuse requests from web pages."""
    if reason := refusal(request, buckets=True):
        return web.json_response({"message": words(reason)}, status=403)
    return await handler(request)

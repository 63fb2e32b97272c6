"""The data plane of CloudFront: a listener for each deployed distribution."""

import contextlib
import logging
import socket
import ssl
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp
from aiohttp import web

from local import listeners
from local.cloudfront import admission, s3
from local.cloudfront.answers import NOTHING, error_pages
from local.cloudfront.behaviours import Behaviour, ConfigError, behaviours
from local.cloudfront.proxy import Proxy
from local.cloudfront.unsupported import ignored
from local.limits import Limits
from local.state import Distribution

log = logging.getLogger("local.cloudfront")

# CloudFront keeps an idle connection to a custom origin for 5 s.
_KEEPALIVE_S = 5.0


@dataclass
class _Served:
    """A distribution with its listener. `reason` says why it cannot be served, or is None."""

    proxy: Proxy
    port: int
    reason: str | None
    runner: web.ServerRunner
    config: dict[str, Any]


class Edge:
    """All distributions."""

    def __init__(
        self,
        function_port: Callable[[], int],
        s3_url: Callable[[], str] = lambda: "",
        tls: ssl.SSLContext | None = None,
        *,
        limits: Limits | None = None,
        hop: str = "",
        s3_headers: Mapping[str, str] = NOTHING,
        names: Collection[str] = (),
        held: socket.socket | None = None,
    ) -> None:
        """`function_port` returns the port of function URLs, `s3_url` the address of S3.

        `tls` is the context of the listeners; None means HTTP. `hop` is the secret by which
        function URLs know the edge. `s3_headers` are the headers that S3 requires in addition to a
        signature. `names` are host names of distributions in addition to those of loopback.
        `held` is a socket of `listeners.hold`: the first distribution has its port, so that no
        other program gets it before the distribution is deployed.
        """
        self._held = held
        self._port = held.getsockname()[1] if held is not None else 0
        self._names = frozenset(names)
        self._hop = hop
        self._s3_headers = {**s3.SIGNATURE, **s3_headers}
        self._limits = limits or Limits()
        self._function_port = function_port
        self._s3_url = s3_url
        self._tls = tls
        self._scheme = "https" if tls else "http"
        self._served: dict[str, _Served] = {}
        self._session: aiohttp.ClientSession | None = None

    async def start(self) -> None:
        """Open the HTTP client."""
        self._session = aiohttp.ClientSession(
            auto_decompress=False,
            cookie_jar=aiohttp.DummyCookieJar(),
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=_KEEPALIVE_S),
            skip_auto_headers=("Accept", "Accept-Encoding", "User-Agent", "Content-Type"),
            max_field_size=admission.READABLE,
        )

    async def stop(self) -> None:
        """Close all listeners."""
        for served in self._served.values():
            await served.runner.cleanup()
        if self._held is not None:
            self._held.close()
        if self._session is not None:
            await self._session.close()

    async def apply(
        self, distributions: tuple[Distribution, ...], policies: dict[str, dict[str, Any]]
    ) -> None:
        """Add listeners for new distributions, change others, and close those that are gone."""
        ids = {distribution.id for distribution in distributions}
        for key in [key for key in self._served if key not in ids]:
            await self._close(self._served.pop(key))
        for distribution in distributions:
            try:
                ordered: list[Behaviour] = behaviours(distribution.config, policies)
                reason = None
            except ConfigError as error:
                ordered, reason = [], str(error)
            served = self._served.get(distribution.id)
            new = served is None
            if served is None:
                served = await self._listen(distribution)
                self._served[distribution.id] = served
            served.reason = reason
            served.proxy.behaviours = ordered
            served.proxy.error_pages = error_pages(distribution.config)
            served.proxy.root = distribution.config.get("DefaultRootObject", "")
            if new or served.config != distribution.config:
                served.config = distribution.config
                for name in ignored(distribution.config):
                    log.warning("distribution %s: %s is not emulated", distribution.id, name)

    async def _listen(self, distribution: Distribution) -> _Served:
        assert self._session is not None  # noqa: S101 - start() has made it
        proxy = Proxy(
            distribution.id,
            self._session,
            self._function_port,
            self._s3_url,
            self._limits,
            hop=self._hop,
            s3_headers=self._s3_headers,
            names=self._names,
        )
        app = web.Application(client_max_size=0)
        app.router.add_route("*", "/{path:.*}", proxy.handle)
        held, self._held = self._held, None
        sock = listeners.bind([0]) if held is None else listeners.listen(held)
        port = int(sock.getsockname()[1])
        # A viewer that disconnects ends the request to the origin.
        runner = await listeners.serve_plane(
            proxy.handle,
            sock,
            fail=proxy.failed,
            cancel=True,
            longest_head=admission.READABLE,
            body_s=self._limits.seconds("request_body"),
            tls=self._tls,
        )
        log.info(
            "distribution %s: listening at %s://localhost:%d", distribution.id, self._scheme, port
        )
        return _Served(proxy, port, None, runner, distribution.config)

    def observe(self) -> dict[str, dict[str, Any]]:
        """Return port and failure reason of each distribution."""
        return {
            key: {"port": served.port, "reason": served.reason}
            for key, served in self._served.items()
        }

    def status(self) -> list[dict[str, Any]]:
        """Return the distributions for `/_local/status`."""
        return [
            {
                "id": key,
                "domain": f"localhost:{served.port}",
                "url": f"{self._scheme}://localhost:{served.port}",
            }
            for key, served in self._served.items()
        ]

    async def _close(self, served: _Served) -> None:
        await served.runner.cleanup()
        if served.port == self._port:  # kept for the next distribution
            with contextlib.suppress(listeners.PortTaken):
                self._held = listeners.hold([served.port])

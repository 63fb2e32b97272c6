"""Sends spans to a collector, or to CloudWatch's OTLP endpoint with a signature.

No answer waits for it, and none fails by it. What a collector does not take in time is lost, and
counted in a log line. After repeated failures, nothing is sent to the collector for a while.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable, Sequence

from lambda_fn import limits
from lambda_fn.aws.signing import Credentials, sign
from lambda_fn.http.client import Client
from lambda_fn.http.connection import TransportError
from lambda_fn.log import log
from lambda_fn.tracing import otlp

_SCOPE = "sluice"
_MAX_RESPONSE = 64_000


class Exporter:
    """One collector. Spans that come while a request is under way go together in the next one."""

    def __init__(
        self,
        client: Client,
        *,
        url: str,
        region: str = "",
        credentials: Callable[[], Credentials] | None = None,
        authorization: str = "",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Set where spans go.

        Args:
            client: The client that all requests share.
            url: The address to post to, with its path.
            region: The region of the signature.
            credentials: Called for each request, which they sign. None: it is not signed.
            authorization: The header of this name, empty for none.
            clock: Tells seconds.

        """
        scheme, _, rest = url.partition("://")
        self._host, slash, path = rest.partition("/")
        self._client = client
        self._origin = f"{scheme}://{self._host}"
        self._path = f"{slash or '/'}{path}"
        self._region = region
        self._credentials = credentials
        self._headers = {"content-type": otlp.CONTENT_TYPE}
        if authorization:
            self._headers["authorization"] = authorization
        self._clock = clock
        self._waiting: list[tuple[otlp.Resource, otlp.Span]] = []
        self._handled: asyncio.Future[None] | None = None
        self._sending: asyncio.Future[None] | None = None
        self._failures = 0
        self._quiet_until = 0.0
        self._lost = 0

    def add(
        self, spans: Sequence[tuple[otlp.Resource, otlp.Span]]
    ) -> "asyncio.Future[None] | None":
        """Take spans, and return an awaitable that ends when they were sent or lost.

        It ends within twice `limits.TRACE_TIMEOUT`. Return None if they are lost at once.
        """
        if self._clock() < self._quiet_until or len(self._waiting) >= limits.TRACE_QUEUE:
            self._lost += len(spans)
            return None
        if self._handled is None:
            self._handled = asyncio.get_running_loop().create_future()
        self._waiting.extend(spans)
        if self._sending is None or self._sending.done():
            self._sending = asyncio.ensure_future(self._send_all())
        return self._handled

    async def _send_all(self) -> None:
        while (handled := self._handled) is not None:
            batch, self._waiting, self._handled = self._waiting, [], None
            try:
                reason = await self._send(otlp.encode(batch, _SCOPE))
            except Exception as error:  # noqa: BLE001 (the boundary: a trace fails no request)
                reason = type(error).__name__
            finally:
                handled.set_result(None)
            self._note(len(batch), reason)

    def _note(self, count: int, reason: str) -> None:
        """Note that a request of `count` spans was sent, or why it was not. Log what is lost."""
        self._failures = self._failures + 1 if reason else 0
        if reason:
            self._lost += count
        if self._failures >= limits.TRACE_FAILURES:
            self._failures = 0
            self._quiet_until = self._clock() + limits.TRACE_PAUSE
        if self._lost:
            log("traces_lost", spans=self._lost, reason=reason or "too many, or a pause")
            self._lost = 0

    async def _send(self, body: bytes) -> str:
        """Send one request, and return why it failed, empty if it did not."""
        headers = {**self._headers, "host": self._host}
        if self._credentials is not None:
            headers = sign(
                credentials=self._credentials(),
                region=self._region,
                service="xray",
                host=self._host,
                path=self._path,
                headers=self._headers,
                body=body,
            )
        try:
            response = await self._client.request(
                "POST", self._origin, self._path, headers, body, seconds=limits.TRACE_TIMEOUT
            )
        except TransportError as error:
            return type(error).__name__
        with contextlib.suppress(TransportError):  # the status is all that counts
            await response.read_all(_MAX_RESPONSE)
        response.close()
        return "" if 200 <= response.status < 300 else f"status {response.status}"

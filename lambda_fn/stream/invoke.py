"""Stage 3: invokes the SageMaker endpoint.

Nothing is retried: once the request is sent, the model may be generating, and a retry would be
generated and billed again. It is not known whether the container notices that the stream is closed.
So the request itself carries the limits of its work.
"""

import asyncio
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

import msgspec

from lambda_fn import limits
from lambda_fn.aws import eventstream
from lambda_fn.aws.signing import Credentials, sign
from lambda_fn.errors import APIError, RateLimited, Unavailable, UpstreamFailed
from lambda_fn.http.client import Client, Exchange
from lambda_fn.http.connection import TransportError
from lambda_fn.log import log

_MAX_ERROR = 100_000
_NO_CAPACITY = "no capacity to process"
"""SageMaker's words for an inference component without a copy, such as one that is scaled to zero.
"""


class Invocation:
    """One call of the endpoint, as an asynchronous context manager.

    Leaving the context closes the call. `over` tells whether the container has ended its work. The
    call sets it at the end of the response and at a rejection. The reader sets it after the last
    record.
    """

    def __init__(
        self,
        client: Client,
        *,
        url: str,
        region: str,
        credentials: Credentials,
        endpoint: str,
        body: bytes,
        request_id: str,
        refusal: Callable[[int, str], APIError],
        component: str | None = None,
        attributes: str = "",
    ) -> None:
        """Prepare the call. `send` sends it, or entering the context.

        `refusal` turns the status and body of the container's own error into a public error.
        `component` is the inference component to invoke, for an endpoint that has components.
        `attributes` are SageMaker's custom attributes, which reach the container; empty for none.
        """
        self._client = client
        self._url = url
        self._path = f"/endpoints/{endpoint}/invocations-response-stream"
        self._region = region
        self._credentials = credentials
        self._body = body
        self.request_id = request_id
        self._read_rejection = refusal
        self._headers = {
            "content-type": "application/json",
            "x-amzn-sagemaker-accept": "application/jsonlines",
        }
        self._component = component
        if component is not None:
            self._headers["x-amzn-sagemaker-inference-component"] = component
        if attributes:
            self._headers["x-amzn-sagemaker-custom-attributes"] = attributes
        self._sent: Exchange | None = None
        self._answered = False
        self.over = False
        self.is_refused = False
        """Whether SageMaker knows no such endpoint, or does not let this function invoke it."""
        self._frames = eventstream.Decoder()
        self._failed: APIError | None = None
        self._take: Callable[[bytes], bool] | None = None
        self._damage = ""
        self._heard = 0.0
        self._until = 0.0
        self._timer: asyncio.TimerHandle | None = None

    @property
    def left(self) -> bool:
        """Whether the container may still be at work on the request."""
        return self._sent is not None and self._sent.connected and not self.over

    async def __aenter__(self) -> Self:
        """Send the request if it is not sent yet."""
        if self._sent is None:
            self.send()
        return self

    def send(self) -> None:
        """Send the request, without waiting for a response. Call `close` or enter the context."""
        headers = sign(
            credentials=self._credentials,
            region=self._region,
            service="sagemaker",
            host=self._url.partition("://")[2],
            path=self._path,
            headers=self._headers,
            body=self._body,
        )
        self._sent = self._client.send("POST", self._url, self._path, headers, self._body)
        self._heard = time.monotonic()

    def close(self) -> None:
        """Close the call, if it was sent. It may be closed already."""
        if self._timer is not None:
            self._timer.cancel()
        if self._sent is not None:
            self._sent.close()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the call. Its connection is reused if the response was read to its end."""
        if self._timer is not None:
            self._timer.cancel()
        if self._sent is not None and error is None and self.over:
            await self._read_out(self._sent)
        self.close()

    async def read(self, until: float, take: Callable[[bytes], bool] | None = None) -> bytes | None:
        """Wait for at least one byte, and return all bytes that came since the last call.

        Args:
            until: How long to wait, as a time of `time.monotonic`.
            take: Gets bytes that come while this call waits, as in `Connection.read`.

        Returns:
            The bytes, or `b""` at the end. None if nothing came in time, if `wake` was called, or
            if `take` has declined; then it may be called again.

        Raises:
            APIError: the endpoint rejected the request, the container returned an error, or the
                stream broke.

        """
        exchange = self._sent
        assert exchange is not None  # noqa: S101 (sent on entering)
        self._wait_until(exchange, min(until, self._heard + limits.UPSTREAM_SILENCE))
        self._take = take
        passes = None if take is None else self._pass
        try:
            while True:
                if self._failed is not None:
                    raise self._failed
                if self._answered:
                    data = await exchange.read(passes)
                else:
                    data = await self._first(exchange)
                if data is None:
                    if self._damage:
                        raise eventstream.EventStreamError(self._damage)
                    if time.monotonic() - self._heard >= limits.UPSTREAM_SILENCE:
                        raise TransportError("the endpoint is silent")
                    return None
                self._heard = time.monotonic()
                if not data:
                    self.over = True
                    if self._frames.pending:
                        raise TransportError("a frame was truncated")
                    return b""
                if payload := self._payload(data):
                    return payload
        except (TransportError, eventstream.EventStreamError) as error:
            log("upstream", request_id=self.request_id, error=str(error))
            if not self._answered:
                raise UpstreamFailed("The model did not answer.") from None
            raise UpstreamFailed(
                "The model's response was truncated.", code="upstream_cut"
            ) from None
        finally:
            self._take = None  # it refers to the reader, which refers to this

    def _pass(self, data: bytes) -> bool:
        """Hand bytes to the reader while it waits. What goes wrong, `read` raises."""
        self._heard = time.monotonic()
        payload = self._frames.only_part(data)
        if payload is None:
            try:
                payload = self._payload(data)
            except eventstream.EventStreamError as error:
                self._damage = str(error)
                return False
        took = not payload or (self._take is not None and self._take(payload))
        return took and self._failed is None

    def wake(self) -> None:
        """Wake a pending `read`, which then returns without data."""
        if self._sent is not None:
            self._sent.wake()

    def _wait_until(self, exchange: Exchange, when: float) -> None:
        """Wake the reader at `when`.

        One timer serves many reads: if it fires too early, it is set again.
        """
        self._until = when
        if self._timer is not None and self._timer.when() > when:
            self._timer.cancel()
            self._timer = None
        if self._timer is None:
            self._timer = exchange.loop.call_at(when, self._ring, exchange)

    def _ring(self, exchange: Exchange) -> None:
        self._timer = None
        if time.monotonic() < self._until:
            self._wait_until(exchange, self._until)
        else:
            exchange.wake()

    async def _read_out(self, exchange: Exchange) -> None:
        try:
            async with asyncio.timeout(limits.LAST_BYTES_TIMEOUT):
                while await exchange.read() != b"":
                    pass
        except (TimeoutError, TransportError):
            return  # the connection is not used again

    def _payload(self, data: bytes) -> bytes:
        parts = []
        for frame in self._frames.feed(data):
            if frame.headers.get(":event-type") == eventstream.PART:
                parts.append(frame.payload)
            elif frame.headers.get(":message-type") != "event":
                kind = frame.headers.get(":exception-type") or frame.headers.get(":error-code", "")
                log("upstream", request_id=self.request_id, error=kind)
                self._failed = UpstreamFailed(
                    "The model failed while it answered.", code="upstream_cut"
                )
                break  # the next read raises it, so that no bytes before it are lost
        if self._frames.damage:
            self._failed = self._failed or UpstreamFailed(
                "The model's response was truncated.", code="upstream_cut"
            )
        return parts[0] if len(parts) == 1 else b"".join(parts)

    async def _first(self, exchange: Exchange) -> bytes | None:
        """Wait for the response's head, and return its first bytes, or None as `read` does.

        Raises:
            APIError: the endpoint rejected the request.

        """
        if not await exchange.head():
            return None
        self._heard = time.monotonic()
        if exchange.status == 200:
            self._answered = True
            return await exchange.read()
        if self._timer is not None:
            self._timer.cancel()  # a rejection is read to its end, without a wake for heartbeats
            self._timer = None
        try:
            async with asyncio.timeout(limits.META_TIMEOUT):
                body = await exchange.read_all(_MAX_ERROR)
        except (TimeoutError, TransportError):
            body = b""  # then the status alone decides
        kind = exchange.headers.get("x-amzn-errortype", "").partition(":")[0]
        raise self._rejection(exchange.status, kind, body)

    def _rejection(self, status: int, kind: str, body: bytes) -> APIError:
        try:
            fields = msgspec.json.decode(body, type=dict[str, Any])
        except (msgspec.DecodeError, UnicodeDecodeError):
            fields = {}
        kind = kind or str(fields.get("__type", "")).rpartition("#")[2]
        original = fields.get("OriginalStatusCode")
        log(
            "upstream",
            request_id=self.request_id,
            status=status,
            error=kind,
            original_status=original,
        )
        # SageMaker reports the status 0 for a container that has not answered in time.
        self.over = bool(original) if status == 424 else True
        if status == 424 or kind == "ModelError":
            status = original if isinstance(original, int) else 500
            return self._read_rejection(status, str(fields.get("OriginalMessage", "")))
        if status == 429 or kind == "ThrottlingException":
            return RateLimited("The model is busy. Try again.", retry_after=1)
        if (
            self._component
            and _NO_CAPACITY in str(fields.get("Message", fields.get("message", ""))).lower()
        ):
            return Unavailable(
                "The model is starting after a pause, which takes some minutes. Try again.",
                code="model_starting",
                retry_after=60,
            )
        if status < 500:  # not deployed, or not permitted: the log tells which
            self.is_refused = True
            return Unavailable("The model is not available.")
        return Unavailable("The model is not available now. Try again.", retry_after=1)

"""The Lambda Runtime API, as a client.

    GET  /2018-06-01/runtime/invocation/next              waits for an invocation
    POST /2018-06-01/runtime/invocation/{id}/response     chunks, and trailers if it fails midway
    POST /2018-06-01/runtime/invocation/{id}/error        only before the response has begun
    POST /2018-06-01/runtime/init/error

Source: "Using the Lambda runtime API for custom runtimes" and "Response streaming for custom
runtimes", AWS Lambda Developer Guide.
"""

import asyncio
import base64
import time
from typing import Any

import msgspec

from lambda_fn import limits
from lambda_fn.http.client import Client, connect
from lambda_fn.http.connection import Connection, TransportError

_VERSION = "/2018-06-01/runtime"
_MAX_EVENT = 40 * 1024 * 1024
"""Maximum size of an event.

A larger event ends the environment, so the limit must be over what a caller can send. Lambda
accepts 6 MB, which become 36 MB if each character is escaped.
"""
_PRELUDE_END = bytes(8)
_MAX_RESEND = 16_384
"""Maximum number of bytes of a response that are kept to be sent again on a new connection.

A closed connection is noticed before more bytes have been sent.
"""


class Context(msgspec.Struct, frozen=True):
    """Lambda's description of an invocation.

    Headers that Lambda does not send are empty strings.
    """

    request_id: str
    deadline: float
    """Unix time in seconds at which Lambda stops the function."""
    function_arn: str
    trace_id: str
    tenant_id: str

    def remaining(self) -> float:
        """Return the remaining seconds."""
        return self.deadline - time.time()


class RuntimeApi:
    """A client of the Runtime API."""

    def __init__(self, address: str, *, one_connection: bool = False) -> None:
        """Take `AWS_LAMBDA_RUNTIME_API`: host and port.

        With `one_connection`, a response is sent on the connection by which its invocation came.
        """
        self._address = address
        self._one_connection = one_connection
        self._origin = f"http://{address}"
        self._client = Client()

    async def next(self) -> tuple[Context, bytes]:
        """Wait for an invocation, and return its context and its event.

        Raises:
            TransportError: the Runtime API does not respond.

        """
        request = ("GET", self._origin, f"{_VERSION}/invocation/next", {"host": self._address}, b"")
        try:
            response = await self._client.request(*request)
        except TransportError:  # perhaps only the pooled connection failed
            self._client.close_idle()
            response = await self._client.request(*request)
        try:
            event = await response.read_all(_MAX_EVENT)
        finally:
            response.close()
        headers = response.headers
        request_id = headers.get("lambda-runtime-aws-request-id")
        if response.status != 200 or not request_id:
            raise TransportError(f"the Runtime API answered {response.status} to /next")
        deadline = headers.get("lambda-runtime-deadline-ms", "")
        context = Context(
            request_id=request_id,
            deadline=int(deadline) / 1000
            if deadline.isdecimal()
            else time.time() + limits.STREAM_DEADLINE,
            function_arn=headers.get("lambda-runtime-invoked-function-arn", ""),
            trace_id=headers.get("lambda-runtime-trace-id", ""),
            tenant_id=headers.get("lambda-runtime-aws-tenant-id", ""),
        )
        return context, event

    def respond(self, request_id: str) -> "ResponseStream":
        """Return the response of an invocation."""
        return ResponseStream(
            self._client if self._one_connection else None,
            self._origin,
            f"{_VERSION}/invocation/{request_id}/response",
        )

    async def reply(self, request_id: str, result: bytes) -> None:
        """Send the whole result of an invocation, which is JSON. Raises as `next`."""
        path = f"{_VERSION}/invocation/{request_id}/response"
        await self._post(path, {"content-type": "application/json"}, result)

    async def complete(self, request_id: str) -> None:
        """Report the end of an invocation whose result nobody gets. Raises as `next`."""
        await self.reply(request_id, b"null")

    async def fail(self, request_id: str, kind: str, message: str) -> None:
        """Report an invocation that failed before its response began. Raises as `next`."""
        await self._post_error(f"{_VERSION}/invocation/{request_id}/error", kind, message)

    async def fail_init(self, kind: str, message: str) -> None:
        """Report that the function cannot start. Raises as `next`."""
        await self._post_error(f"{_VERSION}/init/error", kind, message)

    async def _post_error(self, path: str, kind: str, message: str) -> None:
        headers = {
            "content-type": "application/vnd.aws.lambda.error+json",
            "lambda-runtime-function-error-type": kind,
        }
        await self._post(path, headers, _error(kind, message))

    async def _post(self, path: str, headers: dict[str, str], body: bytes) -> None:
        response = await self._client.request(
            "POST", self._origin, path, {"host": self._address, **headers}, body, seconds=5
        )
        try:
            await response.read_all(_MAX_EVENT)
        finally:
            response.close()


class ResponseStream:
    """One streamed response: `begin`, any number of `write`, `end` or `fail`, `accepted`, `close`.

    It has a connection of its own, which is opened when the response begins and closed after it.
    Lambda's guide asks for that, and AWS's client for .NET does it. `/next` keeps its connection.

    With a client, the response uses one of the client's kept connections, usually the one that the
    invocation came on, as AWS's clients for Go and Rust do. If a kept connection turns out to be
    closed, the response is sent again on a new one, if all bytes that were sent are still kept
    (`_MAX_RESEND`).
    """

    def __init__(self, client: Client | None, origin: str, path: str) -> None:
        """Prepare the response. No connection is needed before it begins."""
        self._client = client
        self._origin = origin
        self._connection: Connection  # from `begin` on
        self._sent: list[bytes] | None = None
        self._held = 0
        self._refused: TransportError | None = None
        """Why all must be sent again."""
        self._begun = self._open = self._accepted = self._written = False
        self._head = (
            f"POST {path} HTTP/1.1\r\nhost: {origin.partition('://')[2]}\r\n"
            "lambda-runtime-function-response-mode: streaming\r\n"
            "content-type: application/vnd.awslambda.http-integration-response\r\n"
            "transfer-encoding: chunked\r\n"
            "trailer: Lambda-Runtime-Function-Error-Type, "
            "Lambda-Runtime-Function-Error-Body\r\n\r\n"
        ).encode()

    async def begin(self, prelude: dict[str, Any]) -> None:
        """Send the prelude: `statusCode`, `headers`, `cookies`. Raises as `write`.

        The prelude and its NULs are two chunks, as AWS's clients for Node.js and Rust send them.
        They are sent in a separate write. Reports say that Lambda holds back the whole response if
        the prelude shares a packet with bytes of the body.
        """
        self._begun = self._open = True
        if self._client is None:
            self._connection = connect(self._origin)
        else:
            self._connection = self._client.acquire(self._origin)
            self._sent = [] if self._connection.connected else None
        self._connection.begin()
        self._put(self._head + _chunk(msgspec.json.encode(prelude)) + _chunk(_PRELUDE_END))
        await self._drain()
        if self._connection.unsent:
            await asyncio.sleep(0)  # the event loop would join the body's first bytes to it

    async def write(self, data: bytes) -> None:
        """Send a piece of the body, and wait while the write buffer is full.

        Raises:
            TransportError: the Runtime API does not respond, or closed the connection.

        """
        if not data or not self.put(data) or not self._connection.alive:
            await self._drain()

    def put(self, data: bytes) -> bool:
        """Send a piece of the body without waiting. It must not be empty.

        Return False if `write` must be next, perhaps of an empty piece: the write buffer is full,
        or the connection turned out to be closed and all must be sent again. Raises as `write`.
        """
        if not self._open:
            raise RuntimeError("no body is expected: the response has not begun, or has ended")
        self._written = True
        data = b"%x\r\n%b\r\n" % (len(data), data)  # as `_chunk`, without a call for each token
        return self._connection.put(data) if self._sent is None else self._put(data)

    def end(self, data: bytes = b"") -> None:
        """End the body, with its last piece in the same write, without waiting.

        Whoever ends a response can settle it while a slow client takes the rest. Raises as `write`.
        """
        if not data and not self._written:
            data = b"\n"  # Lambda never delivers an empty body
        self._finish((_chunk(data) if data else b"") + b"0\r\n\r\n")

    def fail(self, kind: str, message: str) -> None:
        """Break off the body with an error, without waiting. Raises as `write`."""
        body = base64.b64encode(_error(kind, message))
        self._finish(
            b"0\r\nLambda-Runtime-Function-Error-Type: %s\r\nLambda-Runtime-Function-Error-Body: %s\r\n\r\n"
            % (kind.encode(), body)
        )

    def close(self) -> None:
        """Close the connection, or release a client's if the response was accepted to its end."""
        if not self._begun:
            return
        if self._client is not None and self._accepted:
            self._client.release(self._origin, self._connection)
        else:
            self._connection.abort()

    def _put(self, data: bytes) -> bool:
        if self._sent is not None:
            self._sent.append(data)
            self._held += len(data)
            if self._held > _MAX_RESEND:
                self._sent = None
        try:
            return self._connection.put(data)
        except TransportError as error:
            if self._sent is None:
                raise
            self._refused = error
            return False

    async def _drain(self) -> None:
        try:
            if self._refused is not None:
                raise self._refused
            if self._connection.full or not self._connection.alive:
                await self._connection.drain()
        except TransportError as error:
            await self._resend(error)

    async def _resend(self, error: TransportError) -> None:
        """Send everything again on a new connection. Raises `error` if that is not possible."""
        sent, self._sent = self._sent, None
        self._refused = None
        if sent is None or self._connection.status:
            raise error
        self._connection.abort()
        self._connection = connect(self._origin)
        self._connection.begin()
        for data in sent:
            self._connection.put(data)
        await self._connection.drain()

    async def accepted(self, seconds: float) -> None:
        """Wait until the Runtime API has taken the response that was ended or broken off.

        Raises:
            TransportError: it has not within `seconds`, or it refused it, or closed the connection.

        """
        try:
            async with asyncio.timeout(seconds):
                try:
                    if self._refused is not None:
                        raise self._refused
                    await self._connection.head()
                except TransportError as error:
                    await self._resend(error)
                    await self._connection.head()
                if self._connection.status != 202:
                    raise TransportError(
                        f"the Runtime API answered {self._connection.status} to a response"
                    )
                while await self._connection.read():
                    pass
        except TimeoutError:
            raise TransportError("the Runtime API did not accept the response") from None
        self._accepted = True

    def _finish(self, data: bytes) -> None:
        self._open = False
        self._put(data)


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def _error(kind: str, message: str) -> bytes:
    return msgspec.json.encode({"errorMessage": message, "errorType": kind, "stackTrace": []})

"""The ASGI side of one invocation.

The application's work after its response, such as settling, still runs before the next invocation
is fetched. It runs while Lambda takes the end of the response, which lasts as long as the client
needs for it. The application is never told that the client left, because Lambda does not know.
"""

import asyncio
from enum import Enum, auto
from typing import Any

from lambda_fn import limits
from lambda_fn.http.connection import TransportError
from lambda_fn.log import log
from lambda_fn.runtime.api import Context, RuntimeApi

App = Any  # an ASGI application
Message = dict[str, Any]
_LEAST = 1.0
"""Seconds for Lambda to take the end of a response whose function has no time left."""


class ResponseState(Enum):
    """How much of its response the application has sent. An unexpected message raises."""

    NONE = auto()
    """Nothing: `http.response.start` comes next."""
    BEGUN = auto()
    """`http.response.start`: `http.response.body` comes next, until one has no `more_body`."""
    ENDED = auto()
    """The last `http.response.body`: no message may follow."""


class Cycle:
    """Runs the application for one request."""

    def __init__(self, api: RuntimeApi, context: Context, body: bytes) -> None:
        """Take the whole body of the request."""
        self._api = api
        self._context = context
        self._body: bytes | None = body
        self._stream = api.respond(context.request_id)
        self._after: list[asyncio.Future[object]] = []
        self._state = ResponseState.NONE

    async def run(self, app: App, scope: dict[str, Any]) -> None:
        """Run the application to its end, and send its response, or an error if it fails.

        If the Runtime API accepts neither, that is logged, and other invocations go on.
        """
        kind, message = "Runtime.NoResponse", "the application ended without a complete response"
        try:
            scope = {
                **scope,
                "aws.context": self._context,
                "aws.after": self._after,
                "aws.put": self._stream.put,
            }
            await app(scope, self._receive, self._send)
        except Exception as error:  # noqa: BLE001 (the boundary: nothing may stop the loop)
            kind, message = f"Runtime.{type(error).__name__}", "the application failed; see the log"
            ended = self._state is ResponseState.ENDED
            log(
                "fault",
                aws_request_id=self._context.request_id,
                error=type(error).__name__,
                ended=ended,
            )
        try:
            if self._state is ResponseState.NONE:
                await self._api.fail(self._context.request_id, kind, message)
            elif self._state is ResponseState.BEGUN:
                self._stream.fail(kind, message)
                await self._stream.accepted(limits.BREAK_TIMEOUT)
            else:
                await self._stream.accepted(accept_time(self._context.remaining()))
        except TransportError as error:
            log("fault", aws_request_id=self._context.request_id, error=str(error))
        finally:
            self._stream.close()
            # The caller has the response, but the environment could be frozen before these end.
            await self._finish()

    async def run_event(self, app: App, scope: dict[str, Any]) -> None:
        """Run the application for an event without a request, and report its end.

        All that it has begun ends first, because Lambda may freeze the process after the report.
        """
        failure: str | None = None
        try:
            scope = {**scope, "aws.context": self._context, "aws.after": self._after}
            await app(scope, self._receive, self._send)
        except Exception as error:  # noqa: BLE001 (the boundary, as in `run`)
            failure = type(error).__name__
            log("fault", aws_request_id=self._context.request_id, error=failure)
        await self._finish()
        try:
            if failure is None:
                await self._api.complete(self._context.request_id)
            else:
                kind, message = f"Runtime.{failure}", "the application failed; see the log"
                await self._api.fail(self._context.request_id, kind, message)
        except TransportError as error:
            log("fault", aws_request_id=self._context.request_id, error=str(error))

    async def _finish(self) -> None:
        """Wait for the background work, and for what it begins itself."""
        while pending := [task for task in self._after if not task.done()]:
            await asyncio.wait(pending)

    async def _receive(self) -> Message:
        if self._body is None:
            await asyncio.get_running_loop().create_future()  # there is no disconnect to wait for
        body, self._body = self._body, None
        return {"type": "http.request", "body": body, "more_body": False}

    async def _send(self, message: Message) -> None:
        kind = message["type"]
        if self._state is ResponseState.BEGUN and kind == "http.response.body":
            if message.get("more_body", False):
                await self._stream.write(message.get("body", b""))
            else:
                self._stream.end(message.get("body", b""))
                self._state = ResponseState.ENDED
        elif self._state is ResponseState.NONE and kind == "http.response.start":
            self._state = ResponseState.BEGUN
            await self._stream.begin(_prelude(message))
        else:
            raise RuntimeError(
                f"ASGI message {kind!r} is not expected: the response is {self._state.name}"
            )


def accept_time(left: float) -> float:
    """Return the seconds to wait for Lambda to take the end of a response.

    `left` is the seconds until Lambda stops the function. Then the response is lost anyway, and the
    environment with it.
    """
    return max(_LEAST, min(limits.ACCEPT_TIMEOUT, left - limits.ACCEPT_RESERVE))


def _prelude(message: Message) -> dict[str, Any]:
    headers: dict[str, str] = {}
    cookies: list[str] = []
    for raw_name, raw_value in message.get("headers", []):
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
        if name == "set-cookie":
            cookies.append(value)
        elif name != "content-length":  # a streamed response has none
            headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return {"statusCode": message["status"], "headers": headers, "cookies": cookies}

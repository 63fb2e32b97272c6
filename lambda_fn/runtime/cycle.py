"""The ASGI side of one invocation.

States of the answer: NONE -> BEGUN (`http.response.start` came, the prelude is out) -> ENDED. What the application
does after ENDED, such as settling, still runs before the next invocation is asked for. The application is never told
that the client left: Lambda does not know.
"""

import asyncio
from typing import Any

from lambda_fn.http.connection import TransportError
from lambda_fn.log import log
from lambda_fn.runtime.api import Context, RuntimeApi

App = Any  # an ASGI application
Message = dict[str, Any]


class Cycle:
    """Carries one request through the application."""

    def __init__(self, api: RuntimeApi, context: Context, body: bytes) -> None:
        """Take the request's whole body."""
        self._api = api
        self._context = context
        self._body: bytes | None = body
        self._stream = api.respond(context.request_id)  # it is connected while the model is waited for
        self._after: list[asyncio.Future[object]] = []
        self._begun = False
        self._ended = False

    async def run(self, app: App, scope: dict[str, Any]) -> None:
        """Run the application to its end, and have an answer or an error go out, whatever it does.

        When not even that can be said to the Runtime API, it is logged: other invocations go on.
        """
        kind, message = "Runtime.NoResponse", "the application gave no whole answer"
        try:
            scope = {**scope, "aws.context": self._context, "aws.after": self._after}
            await app(scope, self._receive, self._send)
        except Exception as error:  # noqa: BLE001 (the boundary: nothing may stop the loop)
            kind, message = f"Runtime.{type(error).__name__}", "the application failed; the log says more"
            log("fault", aws_request_id=self._context.request_id, error=type(error).__name__, ended=self._ended)
        try:
            if not self._begun:
                await self._api.fail(self._context.request_id, kind, message)
            elif not self._ended:
                await self._stream.fail(kind, message)
        except TransportError as error:
            log("fault", aws_request_id=self._context.request_id, error=str(error))
        finally:
            self._stream.close()
            if self._after:  # the caller has its answer; the environment may be frozen before these are done
                await asyncio.wait(self._after)

    async def _receive(self) -> Message:
        if self._body is None:
            await asyncio.get_running_loop().create_future()  # there is no disconnect to wait for
        body, self._body = self._body, None
        return {"type": "http.request", "body": body, "more_body": False}

    async def _send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            if not self._stream.alive:  # the Runtime API may have closed it meanwhile, unused
                self._stream = self._api.respond(self._context.request_id)
            self._begun = True
            await self._stream.begin(_prelude(message))
        elif message["type"] == "http.response.body" and self._begun and not self._ended:
            if message.get("more_body", False):
                await self._stream.write(message.get("body", b""))
            else:
                await self._stream.end(message.get("body", b""))
                self._ended = True


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

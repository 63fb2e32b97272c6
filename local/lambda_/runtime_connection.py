"""One connection of a runtime to its Runtime API.

The protocol is implemented here because HTTP libraries drop the trailers of a streamed response.
"""

import asyncio
import base64
import json
from http import HTTPStatus
from typing import TYPE_CHECKING

import httptools
from multidict import CIMultiDict

from local import trust
from local.lambda_ import peers
from local.lambda_.prelude import HTTP_INTEGRATION, Head, InvalidResponse, PreludeParser, whole
from local.lambda_.response import FunctionError, Invocation, Response
from local.limits import value

if TYPE_CHECKING:
    from local.lambda_.runtime_api import RuntimeApi

_BASE = "/2018-06-01/runtime/"
_MAX_BUFFERED = value("lambda_buffered_response")
_MAX_STREAMED = value("lambda_streamed_response")


class Connection(asyncio.Protocol):
    """One connection. Its requests come one after another.

    The parser calls the methods that begin with `on_`.
    """

    def __init__(self, api: "RuntimeApi") -> None:
        """`api` is the Runtime API of one environment."""
        self._api = api
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport | None = None
        self._stranger = True
        self._reset()

    def _reset(self) -> None:
        self._url = b""
        self._headers: dict[bytes, bytes] = {}
        self._trailers: dict[bytes, bytes] = {}
        self._in_body = False
        self._body = bytearray()
        self._invocation: Invocation | None = None
        self._prelude: PreludeParser | None = None
        self._streams = False
        self._failed = False
        self._refused: str | None = None
        self._sent = 0

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - it is a TCP server
        self._transport = transport
        self._api.opened(self)
        self._stranger = not peers.is_same_user(transport)

    def connection_lost(self, error: Exception | None) -> None:
        self._api.closed(self)
        if self._streams and self._invocation is not None and self._in_body:
            # The response ended without its last chunk.
            self._invocation.response.fail(
                FunctionError(
                    "Runtime.TruncatedResponse",
                    "the runtime closed the connection within its response",
                )
            )
            self._api.active.pop(self._invocation.id, None)

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self.abort()
        except httptools.HttpParserUpgrade:
            # The bytes that follow are not HTTP. The request has been answered.
            if self._transport is not None:
                self._transport.close()

    def abort(self) -> None:
        """Close the connection at once."""
        if self._transport is not None:
            self._transport.abort()

    # httptools

    def on_message_begin(self) -> None:
        self._reset()

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        (self._trailers if self._in_body else self._headers)[name.lower()] = value

    def on_headers_complete(self) -> None:
        self._in_body = True
        self._refused = self._refusal()
        if self._refused is not None:
            return
        path = self._path()
        if path.endswith("/response"):
            self._invocation = self._api.active.get(path.split("/")[-2])
            self._streams = self._mode() == b"streaming"
            if self._invocation is not None and self._streams:
                kind = self._headers.get(b"content-type", b"").decode()
                if kind == HTTP_INTEGRATION and not self._invocation.raw:
                    self._prelude = PreludeParser()
                else:
                    self._invocation.response.begin(
                        Head(200, {"content-type": kind or "application/octet-stream"})
                    )

    def on_body(self, data: bytes) -> None:
        if self._refused is not None:
            return
        if not self._streams or self._invocation is None:
            if len(self._body) <= _MAX_BUFFERED:
                self._body += data
            return
        response = self._invocation.response
        if self._prelude is not None:
            try:
                parsed = self._prelude.feed(data)
            except InvalidResponse as error:
                self._failed = True
                response.fail(FunctionError("Runtime.InvalidResponse", str(error)))
                return
            if parsed is None:
                return
            self._prelude = None
            head, data = parsed
            response.begin(head)
        assert self._transport is not None  # noqa: S101 - it is connected
        self._sent += len(data)
        if self._sent > _MAX_STREAMED:
            self._failed = True
            message = (
                f"Response payload size exceeded maximum allowed payload size ({_MAX_STREAMED} "
                "bytes)."
            )
            response.fail(FunctionError("Function.ResponseSizeTooLarge", message))
        if not self._failed:
            response.feed(data, self._transport.pause_reading, self._transport.resume_reading)

    def on_message_complete(self) -> None:
        self._in_body = False
        if self._refused is not None:
            self._answer(403, _error("Forbidden", trust.words(self._refused)))
            return
        if self._parser.should_upgrade():
            self._answer(
                400, _error("InvalidRequest", "There is no other protocol than HTTP/1.1 here")
            )
            return
        path = self._path()
        method = self._parser.get_method()
        if method == b"GET" and path == "invocation/next":
            if not self._api.wait(self):
                self._answer(
                    403,
                    _error(
                        "InvalidStateTransition", "Transition from Running to Ready is not allowed"
                    ),
                )
        elif method == b"POST" and path == "init/error":
            self._api.on_init_error(_message(bytes(self._body)))
            self._answer(202)
        elif (
            method == b"POST"
            and path.startswith("invocation/")
            and path.endswith(("/response", "/error"))
        ):
            self._ended(path)
        else:
            self._answer(404)

    # The meaning of the requests

    def _refusal(self) -> str | None:
        if self._stranger:
            return "it comes from another user of this machine"
        headers = CIMultiDict(
            (name.decode("latin-1"), text.decode("latin-1")) for name, text in self._headers.items()
        )
        if not trust.is_own_host(headers.get("Host", ""), self._api.port):
            return "its Host is not the Runtime API's"
        return trust.from_page(headers)

    def _path(self) -> str:
        return self._url.decode().partition("?")[0].removeprefix(_BASE)

    def give(self, invocation: Invocation) -> None:
        """Answer the waiting `next` with an invocation."""
        headers = (
            f"Lambda-Runtime-Aws-Request-Id: {invocation.id}\r\n"
            f"Lambda-Runtime-Deadline-Ms: {invocation.deadline}\r\n"
            f"Lambda-Runtime-Invoked-Function-Arn: {invocation.arn}\r\n"
            f"Lambda-Runtime-Trace-Id: {invocation.trace_id}\r\n"
        )
        self._answer(200, invocation.event, headers)

    def _ended(self, path: str) -> None:
        _, request_id, kind = path.split("/", 2)
        invocation = self._api.active.pop(request_id, None)
        if invocation is None:
            self._answer(400, _error("InvalidRequestID", "Invalid request ID"))
            return
        response = invocation.response
        if kind == "response" and self._mode() not in {b"", b"buffered", b"streaming"}:
            response.fail(
                FunctionError("Runtime.InvalidResponseModeHeader", "Invalid function response mode")
            )
            self._answer(
                400, _error("InvalidFunctionResponseMode", "Invalid function response mode")
            )
            return
        if kind == "error":
            text = bytes(self._body)
            response.fail(FunctionError(self._error_type(self._headers), _message(text), text))
        elif not self._streams:
            self._whole(response, raw=invocation.raw)
        elif self._prelude is not None:
            response.fail(
                FunctionError("Runtime.InvalidResponse", "the response ended within its prelude")
            )
        elif b"lambda-runtime-function-error-type" in self._trailers:
            text = base64.b64decode(self._trailers.get(b"lambda-runtime-function-error-body", b""))
            response.fail(FunctionError(self._error_type(self._trailers), _message(text)))
        else:
            response.finish()
        self._answer(202, b'{"status":"OK"}')

    def _mode(self) -> bytes:
        return self._headers.get(b"lambda-runtime-function-response-mode", b"").lower()

    def _whole(self, response: Response, *, raw: bool) -> None:
        if len(self._body) > _MAX_BUFFERED:
            response.fail(
                FunctionError(
                    "Function.ResponseSizeTooLarge", "Response payload size exceeded 6291556 bytes."
                )
            )
            return
        try:
            head, body = (Head(), bytes(self._body)) if raw else whole(bytes(self._body))
        except InvalidResponse as error:
            response.fail(FunctionError("Runtime.InvalidResponse", str(error)))
            return
        response.begin(head)
        response.feed(body, lambda: None, lambda: None)
        response.finish()

    @staticmethod
    def _error_type(headers: dict[bytes, bytes]) -> str:
        return headers.get(b"lambda-runtime-function-error-type", b"Unhandled").decode(
            errors="replace"
        )

    def _answer(self, status: int, body: bytes = b"", headers: str = "") -> None:
        if self._transport is None or self._transport.is_closing():
            return
        reason = HTTPStatus(status).phrase
        headers += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        self._transport.write(f"HTTP/1.1 {status} {reason}\r\n{headers}\r\n".encode() + body)
        if not self._parser.should_keep_alive():
            self._transport.close()


def _error(kind: str, message: str) -> bytes:
    return json.dumps({"errorType": kind, "errorMessage": message}).encode()


def _message(body: bytes) -> str:
    """Return the message of an error object, or the text itself."""
    try:
        error = json.loads(body)
        return f"{error.get('errorType', '')} {error.get('errorMessage', '')}".strip()
    except (ValueError, AttributeError):
        return body.decode(errors="replace")[:500]

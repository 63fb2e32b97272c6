"""One connection to the container: uvicorn's, with limits on what a peer sends and how slowly.

uvicorn limits neither the head of a request nor the time for it, and reads the rest of a body for
ever after its response. What is refused here is answered in the API's own form.

A connection is between messages, in the head of one, or in its body:

    BETWEEN --a message begins--> HEAD --its head is complete--> BODY --its end--> BETWEEN

A head has `HEAD_SECONDS` and `MAX_HEAD_BYTES`. The time for a body is limited where it is read
(`model.bodies`). Here its bytes on the wire are limited, because a chunk of one byte takes six, and
extensions and trailers of chunks take any number. A body that goes on after its response has
`LINGER_SECONDS`. If the connection were closed at once, the peer might lose the response. A peer
that asked for `connection: close` may lose it, because uvicorn closes at once then. Clients that
keep connections, such as SageMaker's router, never lose it.
"""

from __future__ import annotations

from enum import Enum
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from model.errors import (
    BodySizeError,
    HeadSizeError,
    InvalidRequestError,
    RequestTimeoutError,
)
from model.schema import MAX_BODY_BYTES

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from model.errors import ModelError

HEAD_SECONDS = 10.0
LINGER_SECONDS = 2.0
MAX_HEAD_BYTES = 64 * 1024
MAX_MESSAGE_BYTES = MAX_HEAD_BYTES + 2 * MAX_BODY_BYTES


class _In(Enum):
    BETWEEN = 0
    HEAD = 1
    BODY = 2


class Connection(HttpToolsProtocol):
    """uvicorn's protocol with the limits of this module."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._in = _In.BETWEEN
        self._size = 0  # bytes of the message so far, on the wire
        self._head = 0  # bytes of its target and header fields
        self._new = 0  # bytes received now, if no message was under way before
        self._timer: asyncio.TimerHandle | None = None
        self._error: ModelError | None = None  # what a parser's callback has found
        self._refused = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for the first request as long as for a later one."""
        super().connection_made(transport)
        self.timeout_keep_alive_task = self.loop.call_later(
            self.timeout_keep_alive, self.timeout_keep_alive_handler
        )

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the timer."""
        self._rest()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse what came, unless the connection is refused, and check what is incomplete."""
        if self._refused:
            return
        self._new = 0
        if self._in is _In.BETWEEN:
            self._new = len(data)
            self._await_head()  # for empty lines in front of a message, too
        else:
            self._size += len(data)
        super().data_received(data)
        if self._refused or self.transport.is_closing():
            return
        if self._in is _In.HEAD and self._size > MAX_HEAD_BYTES:
            self._refuse(_head_size())
        elif self._in is _In.BODY and self._size > MAX_MESSAGE_BYTES:
            self._refuse(
                BodySizeError(
                    f"the request takes more than {MAX_MESSAGE_BYTES} bytes with the frames of "
                    "its chunks: send larger chunks, or a content-length"
                )
            )

    def on_message_begin(self) -> None:
        """Count a new message."""
        super().on_message_begin()
        self._in, self._size, self._new, self._head = _In.HEAD, self._new, 0, 0
        self._await_head()

    def on_url(self, url: bytes) -> None:
        """Take a part of the target."""
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header field. Trailers are dropped."""
        if self._in is _In.HEAD:
            self._count(len(name) + len(value) + len(": \r\n"))
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Pass the request to the application."""
        self._rest()
        self._in = _In.BODY
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Note that a message has been read."""
        super().on_message_complete()
        self._rest()
        self._in = _In.BETWEEN

    def on_response_complete(self) -> None:
        """Close soon if the response came before the end of its request."""
        super().on_response_complete()
        if self._in is _In.HEAD:
            self._await_head()
        elif self._in is _In.BODY and self.cycle.response_complete:
            self._after(LINGER_SECONDS, self.transport.close)

    def send_400_response(self, msg: str) -> None:
        """Refuse what the parser cannot read, or a callback has found."""
        self._refuse(self._error or InvalidRequestError(msg))

    def _count(self, size: int) -> None:
        """Count a part of the head. What this raises, the parser turns into a refusal."""
        self._head += size
        if self._head > MAX_HEAD_BYTES:
            self._error = _head_size()
            raise self._error

    def _await_head(self) -> None:
        """Limit the time for a head, unless a response is under way: that one goes on."""
        if self._timer is None and (self.cycle is None or self.cycle.response_complete):
            self._after(HEAD_SECONDS, self._head_is_late)

    def _head_is_late(self) -> None:
        self._refuse(
            RequestTimeoutError(f"the head of the request did not come within {HEAD_SECONDS:g} s")
        )

    def _after(self, seconds: float, call: Callable[[], None]) -> None:
        self._rest()
        self._timer = self.loop.call_later(seconds, call)

    def _rest(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _refuse(self, error: ModelError) -> None:
        """Answer in place of the application, and close.

        If another response is under way, or this one, the connection ends without an answer.
        """
        self._refused = True
        cycle = self.cycle
        if cycle is not None and not cycle.response_complete:
            if self._in is not _In.BODY or cycle.response_started or self.pipeline:
                self.transport.close()
                return
            cycle.disconnected = True  # the application gives the request up
            cycle.message_event.set()
        body = error.body()
        self.transport.write(
            b"HTTP/1.1 %d %s\r\ncontent-type: application/json\r\ncontent-length: %d\r\n"
            b"connection: close\r\n\r\n%s"
            % (error.status, HTTPStatus(error.status).phrase.encode(), len(body), body)
        )
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.flow.resume_reading()
        self._after(LINGER_SECONDS, self.transport.close)


def _head_size() -> HeadSizeError:
    return HeadSizeError(f"the head of the request is larger than {MAX_HEAD_BYTES} bytes")

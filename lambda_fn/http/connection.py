"""The client side of one HTTP/1.1 connection, on asyncio and httptools.

A connection has one exchange at a time and bounded buffers. This module exists because importing
aiohttp or httpx costs a cold start more than the rest of the function. It does no more than the
calls of AWS APIs and of the Lambda Runtime API need: no redirects, cookies, content codings,
proxies or interim responses, and no response that only the end of the connection delimits.

An exchange is `begin`, any number of `write`, `head`, and `read` until it returns `b""`. Then
`reusable` tells whether another exchange may follow. An exchange may begin before the connection is
open: the bytes that were put are sent when it opens, in separate writes. Reading pauses while
`READ_BUFFER` bytes wait to be read. Writing waits while the write buffer is full.

A reader that gives `read` a function gets the bytes in the callback in which they come, without a
turn of the event loop and a switch of tasks for each packet.
"""

import asyncio
from collections.abc import Callable

import httptools

from lambda_fn import limits

_BUFFER = memoryview(bytearray(limits.READ_SIZE))
# All connections read into this buffer, which is parsed before the event loop continues. Without it
# the loop allocates 256 kB for every packet, which costs more than parsing the packet.


class TransportError(Exception):
    """The exchange failed: no connection, a reset, or a malformed or truncated response."""


def decoded(fields: list[tuple[bytes, bytes]]) -> dict[str, str]:
    """Return headers by their names in lower case. The last of repeated ones wins."""
    return {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in fields}


class Connection(asyncio.BufferedProtocol):
    """One connection.

    Callers use the methods of an exchange; asyncio and httptools call the callbacks below them.
    """

    def __init__(self) -> None:
        """Create a connection that is not open yet."""
        self.loop = asyncio.get_running_loop()
        self.opening: asyncio.Task[None] | None = None
        """The task that opens the connection."""
        self.connected = False
        self._early: list[bytes] = []
        self._transport: asyncio.Transport | None = None
        self._error: TransportError | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._take: Callable[[bytes], bool] | None = None
        self._drained: asyncio.Future[None] | None = None
        self.begin()
        self._complete = True  # no response is expected yet

    def begin(self) -> None:
        """Begin an exchange."""
        self._chunks: list[bytes] = []
        self.on_body = self._chunks.append
        """httptools' callback for a piece of the body: no function of our own for each token."""
        self._buffered = 0
        """Received bytes that may wait to be read, with the framing of the body around them."""
        self._parser = httptools.HttpResponseParser(self)
        self._paused = False
        self._head = False
        self._early_bytes = 0
        """Bytes that came before the end of the head."""
        self._complete = False
        self._woken = False
        self._keep_alive = False
        self.status = 0
        self.fields: list[tuple[bytes, bytes]] = []
        """The headers as they came. `decoded` makes a dict of them, which few readers need."""

    @property
    def headers(self) -> dict[str, str]:
        """The headers of the response."""
        return decoded(self.fields)

    @property
    def alive(self) -> bool:
        """Whether the connection is open, as far as is known, or may still be opened."""
        return self._error is None and (self._transport is None or not self._transport.is_closing())

    @property
    def reusable(self) -> bool:
        """Whether the response was read to its end and the connection may be used again."""
        return self._complete and self._keep_alive and not self._chunks and self.alive

    @property
    def full(self) -> bool:
        """Whether the write buffer is above its high-water mark, so that `drain` would wait."""
        return self._drained is not None

    @property
    def unsent(self) -> bool:
        """Whether bytes wait to be sent. uvloop sends what is put at the end of its turn only."""
        return self._transport is not None and self._transport.get_write_buffer_size() > 0

    def put(self, data: bytes) -> bool:
        """Send bytes of the request as one write, without waiting.

        Return False if the connection is `full`, so that callers that put more must drain.

        Raises:
            TransportError: the connection is closed.

        """
        if self._error is not None:
            raise self._error
        if self._transport is None:
            self._early.append(data)
            self._drained = self._drained or self.loop.create_future()
        else:
            self._transport.write(data)
        return self._drained is None

    async def drain(self) -> None:
        """Wait until the write buffer is below its high-water mark.

        Raises:
            TransportError: the connection is closed, or has just broken.

        """
        if self._drained is not None:
            # The shield keeps a writer that is cancelled from cancelling the others.
            await asyncio.shield(self._drained)
            if self._error is not None:
                raise self._error
        elif not self.alive:
            # It broke in this turn of the event loop. A writer that goes on would never notice.
            raise self._error or TransportError("the connection was closed")

    async def write(self, data: bytes) -> None:
        """Put the bytes, and drain."""
        self.put(data)
        if self._drained is not None:
            await self.drain()

    async def head(self) -> bool:
        """Wait for `status` and `headers` of the response.

        Return False if `wake` was called before they came.

        Raises:
            TransportError: no response came, or a malformed one.

        """
        while not self._head:
            if self._woken:
                self._woken = False
                return False
            if self._error is not None:
                raise self._error
            await self._wait()
        self._woken = False  # the call of `wake` was meant for the head
        return True

    async def read(self, take: Callable[[bytes], bool] | None = None) -> bytes | None:
        """Wait for bytes of the body, and return all that have come.

        `b""` is the end of the body. None means that `wake` was called, or that `take` returned
        False.

        Args:
            take: Gets bytes that come while this call waits, instead of its caller. It returns
                whether it takes more, and raises nothing. The last bytes of a body are returned.

        Raises:
            TransportError: the body was truncated.

        """
        while not self._chunks:
            if self._complete:
                return b""
            if self._woken:
                self._woken = False
                return None
            if self._error is not None:
                raise self._error
            self._waiter = self.loop.create_future()  # as `_wait`, without the cost of a coroutine
            self._take = take
            try:
                await self._waiter
                if self._take is not take:
                    return None
            finally:
                self._waiter = self._take = None
        return self._taken()

    def _taken(self) -> bytes:
        """Return the bytes that have come, and let more come."""
        data = self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)
        self._chunks.clear()
        self._buffered = 0
        if self._paused and self._transport is not None:
            self._paused = False
            self._transport.resume_reading()
        return data

    def wake(self) -> None:
        """Wake a pending `head` or `read` without data."""
        if self._waiter is not None:
            self._woken = True
            self._resolve(self._waiter)

    def abort(self) -> None:
        """Close the connection at once."""
        if self._transport is not None:
            self._transport.abort()
        elif self._error is None:
            self.fail("the connection was closed")

    def fail(self, reason: str) -> None:
        """Close the connection at once. Pending calls raise a TransportError with this reason."""
        if self._error is None:
            self._error = TransportError(reason)
        if self._transport is not None:
            self._transport.abort()
        elif self.opening is not None:
            self.opening.cancel()
        self._resolve(self._waiter)
        self._resolve(self._drained)

    async def _wait(self) -> None:
        self._waiter = self.loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _resolve(self, future: "asyncio.Future[None] | None") -> None:
        if future is not None and not future.done():
            future.set_result(None)

    # asyncio's callbacks

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport, and send the bytes that were put before it was open."""
        if self._error is not None:  # the exchange has failed meanwhile
            transport.abort()  # type: ignore[attr-defined]
            return
        self._transport = transport  # type: ignore[assignment]
        self.connected = True
        early, self._early = self._early, []
        waiting, self._drained = self._drained, None
        for data in early:
            self._transport.write(data)  # type: ignore[union-attr]
        self._resolve(waiting)

    def get_buffer(self, sizehint: int) -> memoryview:
        """Return the buffer to read into."""
        return _BUFFER

    def buffer_updated(self, nbytes: int) -> None:
        """Parse the bytes that were read, and hand them to the reader if it waits for them."""
        try:
            if self._complete:
                self.on_message_begin()
            self._parser.feed_data(_BUFFER[:nbytes])
            if not self._head:
                self._early_bytes += nbytes
                if self._early_bytes > limits.MAX_HEAD:
                    raise ValueError("a head without an end")
        except (httptools.HttpParserError, ValueError) as error:
            self.fail(f"a malformed response: {type(error).__name__}")
        waiter, chunks = self._waiter, self._chunks
        waits = waiter is not None and not waiter.done()
        take = self._take
        if take is not None and waits and self._error is None and not self._complete:
            if not chunks or take(chunks.pop() if len(chunks) == 1 else self._taken()):
                return  # the reader goes on waiting
            self._take = None
        elif chunks and not self._paused:
            self._buffered += nbytes
            if self._buffered > limits.READ_BUFFER and self._transport is not None:
                self._paused = True
                self._transport.pause_reading()
        self._resolve(waiter)

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail the pending calls."""
        self._transport = None
        if self._error is None:
            self._error = TransportError("the connection was closed before the end of the response")
        self._resolve(self._waiter)
        self._resolve(self._drained)

    def pause_writing(self) -> None:
        """Make `drain` wait."""
        self._drained = self.loop.create_future()

    def resume_writing(self) -> None:
        """Wake a pending `drain`."""
        self._resolve(self._drained)
        self._drained = None

    # httptools' callbacks

    def on_message_begin(self) -> None:
        """Reject a second response, in whichever packet it comes."""
        if self._complete:
            raise ValueError("a response without a request")

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header. Trailers are ignored."""
        if not self._head:
            self.fields.append((name, value))

    def on_headers_complete(self) -> None:
        """Keep the status, and whether the peer keeps the connection."""
        self.status = self._parser.get_status_code()
        self._keep_alive = self._parser.should_keep_alive()
        self._head = True

    def on_message_complete(self) -> None:
        """Mark the response as complete."""
        self._complete = True

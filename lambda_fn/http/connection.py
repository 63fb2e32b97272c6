"""One HTTP/1.1 connection, client side, on asyncio and httptools: one exchange at a time, bounded buffers.

It exists because importing aiohttp or httpx costs a cold start more than the rest of the function. It does what the
calls of AWS APIs and of the Lambda Runtime API need and no more: no redirects, cookies, content codings, proxies,
interim answers, nor an answer that only the connection's end delimits.

An exchange: `begin`, `write` as often as wanted, `head`, `read` until it gives `b""`. Then `reusable` says whether
another may follow. It may begin before the connection is made: what was put goes out then, each in a write of its own.
Reading pauses while `READ_BUFFER` bytes wait to be read; writing waits while the peer does not take what was written.
"""

import asyncio

import httptools

from lambda_fn import limits

_BUFFER = memoryview(bytearray(limits.READ_SIZE))
# All connections read into this one: what is in it is parsed before the event loop goes on. Without it the loop
# allocates 256 kB for every packet, which costs more than the packet's parsing.


class TransportError(Exception):
    """The exchange failed below HTTP: no connection, a reset, a malformed answer, an answer that was cut off."""


class Connection(asyncio.BufferedProtocol):
    """Transport callbacks on one side, an exchange on the other."""

    def __init__(self) -> None:
        """Wait to be connected."""
        self.loop = asyncio.get_running_loop()
        self.opening: asyncio.Task[None] | None = None
        """What makes the connection, when it is not made yet."""
        self.connected = False
        self._early: list[bytes] = []
        self._transport: asyncio.Transport | None = None
        self._error: TransportError | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._drained: asyncio.Future[None] | None = None
        self.begin()
        self._complete = True  # nothing is asked yet

    def begin(self) -> None:
        """Begin an exchange."""
        self._parser = httptools.HttpResponseParser(self)
        self._chunks: list[bytes] = []
        self._buffered = 0
        self._paused = False
        self._head = False
        self._complete = False
        self._woken = False
        self._keep_alive = False
        self.status = 0
        self.headers: dict[str, str] = {}

    @property
    def alive(self) -> bool:
        """Whether the connection stands, as far as is known, or may still be made."""
        return self._error is None and (self._transport is None or not self._transport.is_closing())

    @property
    def reusable(self) -> bool:
        """Whether the exchange is over and all of it read, both sides keep the connection, and it still stands."""
        return self._complete and self._keep_alive and not self._chunks and self.alive

    @property
    def full(self) -> bool:
        """Whether the peer does not take what was put, so that `drain` would wait."""
        return self._drained is not None

    def put(self, data: bytes) -> None:
        """Send bytes of the request, as one write, without waiting: whoever puts more must drain when `full`.

        Raises:
            TransportError: the connection is gone.

        """
        if self._error is not None:
            raise self._error
        if self._transport is None:
            self._early.append(data)
            self._drained = self._drained or self.loop.create_future()
        else:
            self._transport.write(data)

    async def drain(self) -> None:
        """Wait while the peer does not take what was put. Raises as `put`."""
        if self._drained is not None:
            await asyncio.shield(self._drained)  # whoever gives up writing does not cancel it for the next
            if self._error is not None:
                raise self._error

    async def write(self, data: bytes) -> None:
        """Put, and drain."""
        self.put(data)
        if self._drained is not None:
            await self.drain()

    async def head(self) -> bool:
        """Wait for the head of the answer: `status` and `headers`; False when `wake` was called before it came.

        Raises:
            TransportError: none came, or a malformed one.

        """
        while not self._head:
            if self._woken:
                self._woken = False
                return False
            if self._error is not None:
                raise self._error
            await self._wait()
        self._woken = False  # it was about the head
        return True

    async def read(self) -> bytes | None:
        """Give all bytes of the body that have come, waiting for some; `b""` is its end, None that `wake` was called.

        Raises:
            TransportError: the body was cut off.

        """
        while not self._chunks:
            if self._complete:
                return b""
            if self._woken:
                self._woken = False
                return None
            if self._error is not None:
                raise self._error
            self._waiter = self.loop.create_future()  # as in `_wait`, without the cost of another coroutine
            try:
                await self._waiter
            finally:
                self._waiter = None
        data = self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)
        self._chunks.clear()
        self._buffered = 0
        if self._paused and self._transport is not None:
            self._paused = False
            self._transport.resume_reading()
        return data

    def wake(self) -> None:
        """Have a `head` or `read` that waits give up for now."""
        if self._waiter is not None:
            self._woken = True
            self._resolve(self._waiter)

    def abort(self) -> None:
        """Close at once."""
        if self._transport is not None:
            self._transport.abort()
        elif self._error is None:
            self.fail("the connection was closed")

    def fail(self, reason: str) -> None:
        """Close at once; whoever waits gets a TransportError with that reason."""
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
        """Keep the transport, and send what waited for it."""
        if self._error is not None:  # given up meanwhile
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
        """Give where to read to."""
        return _BUFFER

    def buffer_updated(self, nbytes: int) -> None:
        """Take what was read."""
        self.data_received(_BUFFER[:nbytes])

    def data_received(self, data: bytes | memoryview) -> None:
        """Parse what came."""
        try:
            if self._complete:
                self.on_message_begin()
            self._parser.feed_data(data)
        except (httptools.HttpParserError, ValueError) as error:
            self.fail(f"a malformed answer: {type(error).__name__}")
        self._resolve(self._waiter)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell whoever waits."""
        self._transport = None
        if self._error is None:
            self._error = TransportError("the connection was closed before the end of the answer")
        self._resolve(self._waiter)
        self._resolve(self._drained)

    def pause_writing(self) -> None:
        """Have `write` wait."""
        self._drained = self.loop.create_future()

    def resume_writing(self) -> None:
        """Let `write` go on."""
        self._resolve(self._drained)
        self._drained = None

    # httptools' callbacks

    def on_message_begin(self) -> None:
        """Refuse what nothing asked for: a second answer, in whichever packet it comes."""
        if self._complete:
            raise ValueError("bytes that nothing asked for")

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header; of repeated ones the last, and no trailers."""
        if not self._head:
            self.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        """Keep what the head says."""
        self.status = self._parser.get_status_code()
        self._keep_alive = self._parser.should_keep_alive()
        self._head = True

    def on_body(self, body: bytes) -> None:
        """Keep a piece of the body, and pause when there are too many."""
        self._chunks.append(body)
        self._buffered += len(body)
        if self._buffered > limits.READ_BUFFER and not self._paused and self._transport is not None:
            self._paused = True
            self._transport.pause_reading()

    def on_message_complete(self) -> None:
        """Note the end."""
        self._complete = True

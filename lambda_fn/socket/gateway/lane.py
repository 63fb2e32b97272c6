"""One request of a socket as the pipeline sees it, and the client's end of its response."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping

import msgspec

from lambda_fn import limits
from lambda_fn.auth import Caller
from lambda_fn.encode.tagged import Tagger
from lambda_fn.errors import NO_RETRY, BodyTooLarge, Cancelled
from lambda_fn.schema import Rules
from lambda_fn.schema.parts import Extensions
from lambda_fn.schema.responses import History, own_items
from lambda_fn.socket.gateway.posts import ClientGone, Outbox
from lambda_fn.stream.middleware import RESPONSES_PATH
from lambda_fn.stream.negotiate import Continued, ReadRequest, read_response
from lambda_fn.stream.sinks import Headers, ResponseBroken

_ANSWERED = (b"event: response.completed\n", b"event: response.incomplete\n")


class _Extensions(msgspec.Struct):
    durable: bool | None = None


class Wish(msgspec.Struct):
    """What a request says about storing its response, and which response it continues."""

    store: bool | None = None
    previous_response_id: str | None = None
    sluice: _Extensions | None = None

    @property
    def is_durable(self) -> bool:
        """Whether the response goes on without its client."""
        return self.sluice is not None and self.sluice.durable is True

    @classmethod
    def of(cls, body: bytes) -> "Wish":
        """Read a body. One that is invalid is rejected later."""
        try:
            return msgspec.json.decode(body, type=cls)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return cls()


def read_create(
    body: bytes, headers: Mapping[str, str], *, rules: Rules, store_default: bool
) -> ReadRequest | Continued:
    """Read a request of a socket. Raises as `read_response`.

    Its response is logged, because a message that cancels it reaches another environment. One that
    is not to be stored is kept for an hour, so that the next request can go on from it.
    """
    found = read_response(body, headers, rules, keeps=True, store_default=store_default)
    if isinstance(found, Continued):
        read = found.read
        return msgspec.structs.replace(
            found, read=lambda history: _logged(read(history), body, history)
        )
    return _logged(found, body, History())


def _logged(read: ReadRequest, body: bytes, history: History) -> ReadRequest:
    extensions = read.request.sluice or Extensions()
    if extensions.durable is None:
        extensions = msgspec.structs.replace(extensions, durable=True)
    request = msgspec.structs.replace(read.request, sluice=extensions)
    if read.kept_items is not None:
        return msgspec.structs.replace(read, request=request)
    items = tuple(own_items(body, history))
    return msgspec.structs.replace(
        read, request=request, kept_items=items, kept_seconds=limits.SOCKET_CACHE
    )


class _Numbered(msgspec.Struct):
    sequence_number: int


_numbered = msgspec.json.Decoder(_Numbered)


class LaneSink:
    """Posts the events of a response to the socket, each as a message with its lane's name."""

    put: Callable[[bytes], bool] | None = None
    """None: each event waits for its turn."""

    def __init__(self, outbox: Outbox, stream_id: str | None, left: Callable[[], None]) -> None:
        """`left` is called once when the client has left."""
        self._outbox = outbox
        self._tagger = Tagger(stream_id)
        self._left: Callable[[], None] | None = left
        self.is_answered = False
        """Whether the response has ended well."""
        self._last: bytes | None = None

    @property
    def last(self) -> int:
        """The `sequence_number` of the last event, -1 before there is one."""
        return -1 if self._last is None else _numbered.decode(self._last).sequence_number

    async def start(self, status: int, headers: Headers) -> None:
        """Begin a response. A socket has no status."""

    async def write(self, data: bytes) -> None:
        """Post what is complete with these bytes."""
        events = self._tagger.feed(data)
        self.is_answered = self.is_answered or any(event.line in _ANSWERED for event in events)
        self._last = events[-1].data if events else self._last
        await self._guard(self._outbox.put([event.data for event in events]))

    async def end(self, data: bytes) -> None:
        """Queue the rest. The owner of the queue waits until the client has everything.

        If this method waited, the client would count as one that does not read.
        """
        await self.write(data)

    def abort(self, code: str) -> None:
        """Break off the response. Its client gets no terminal event, and may resume it."""
        raise ResponseBroken(code)

    async def _guard(self, work: Coroutine[None, None, None]) -> None:
        try:
            await work
        except ClientGone:
            left, self._left = self._left, None
            if left is not None:
                left()
            raise


class LaneCarrier:
    """A request of a socket."""

    method = "POST"
    path = RESPONSES_PATH
    headers: Mapping[str, str] = {}

    def __init__(
        self,
        name: str,
        caller: Caller,
        body: bytes,
        sink: LaneSink,
        seconds_left: Callable[[], float],
        renamed: Callable[[str], Awaitable[None]],
    ) -> None:
        """`name` is the id of the response.

        `renamed` is called with another one if a fallback of the model answers.
        """
        self.request_id = self._name = name
        self.response_headers: Mapping[str, str] = {}
        self.caller = caller
        self.sink = sink
        self._body = body
        self._seconds_left = seconds_left
        self._renamed = renamed
        self._cancel: Callable[[], None] | None = None
        self._is_cancelled = False
        self._tasks: set[asyncio.Task[object]] = set()

    async def body(self, max_bytes: int) -> bytes:
        """Return the request's body. Raises BodyTooLarge."""
        if len(self._body) > max_bytes:
            raise BodyTooLarge(f"The body is over {max_bytes} bytes. Send a smaller one.")
        return self._body

    def seconds_left(self) -> float | None:
        """Return the seconds until this process is stopped."""
        return self._seconds_left()

    async def admitted(self) -> None:
        """Raise Cancelled if the request was cancelled while it was admitted."""
        if self.request_id != self._name:
            self._name = self.request_id
            await self._renamed(self._name)
        if self._is_cancelled:
            raise Cancelled("This response was cancelled.", headers=NO_RETRY)

    def running(self, cancel: Callable[[], None]) -> None:
        """Keep `cancel`, which ends the response. Call it now if the request was cancelled."""
        self._cancel = cancel
        if self._is_cancelled:
            cancel()

    def cancel(self) -> None:
        """End the response as one that was cancelled, now or when it begins."""
        self._is_cancelled = True
        if self._cancel is not None:
            self._cancel()

    def in_background(self, work: Coroutine[None, None, object]) -> None:
        """Run `work` in the background. `finish` waits for it."""
        task: asyncio.Task[object] = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def finish(self) -> None:
        """Wait until everything in the background has ended."""
        while self._tasks:
            await asyncio.wait(self._tasks)

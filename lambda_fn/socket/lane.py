"""The carrier of one request of a socket: its events go to the client with their lane's name."""

from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Literal, NoReturn, Protocol

from lambda_fn.auth import Caller
from lambda_fn.encode.tagged import Tagger
from lambda_fn.errors import NO_RETRY, BodyTooLarge, Cancelled
from lambda_fn.ids import new_request_id
from lambda_fn.stream.logged import HEADER
from lambda_fn.stream.middleware import RESPONSES_PATH
from lambda_fn.stream.negotiate import BUFFER_HEADER
from lambda_fn.stream.sinks import Headers, ResponseBroken

Ending = Literal["answered", "failed"]
_ENDINGS: dict[bytes, Ending] = {
    b"event: response.completed\n": "answered",
    b"event: response.incomplete\n": "answered",
    b"event: response.failed\n": "failed",
}


class ClientLeft(Exception):
    """The client has left, so nothing can be sent any more."""


class Owner(Protocol):
    """The socket of a lane."""

    caller: Caller
    headers: Mapping[str, str]

    def send(self, data: bytes) -> Awaitable[None]:
        """Send an event. Raises ClientLeft."""
        ...

    def in_background(self, work: Coroutine[None, None, object]) -> None:
        """Run `work` in the background."""
        ...


class LaneSink:
    """Takes a response as server-sent events, and sends each one as a message."""

    put: Callable[[bytes], bool] | None = None
    """None: each event waits for its turn."""

    def __init__(self, owner: Owner, stream_id: str | None) -> None:
        """Take the socket and the lane."""
        self._owner = owner
        self._tagger = Tagger(stream_id)
        self.has_sent = False
        """Whether the client got an event."""
        self.is_over = False
        """Whether one of them ended the response."""
        self.on_start: Callable[[], None] | None = None
        """Called when the response begins."""
        self.on_end: Callable[[Ending, bytes], None] | None = None
        """Called with the event that ends the response, before the client gets it."""

    async def start(self, status: int, headers: Headers) -> None:
        """Note that the response begins. A socket has no place for a status and headers."""
        if self.on_start is not None:
            self.on_start()

    async def write(self, data: bytes) -> None:
        """Send the events. The server's own pings are the heartbeats of a socket."""
        for line, event in self._tagger.feed(data):
            if line in _ENDINGS:
                self.is_over = True
                if self.on_end is not None:
                    self.on_end(_ENDINGS[line], event)
            self.has_sent = True
            await self._owner.send(event)

    def end(self, data: bytes) -> Awaitable[None]:
        """Send the last events."""
        return self.write(data)

    def abort(self, code: str) -> NoReturn:
        """Raise ResponseBroken."""
        raise ResponseBroken(code)


class LaneCarrier:
    """One request to generate a response. See `stream.carrier.Carrier`."""

    method = "POST"
    path = RESPONSES_PATH

    def __init__(self, owner: Owner, body: bytes, stream_id: str | None) -> None:
        """Take the request's body. The other arguments are those of `LaneSink`."""
        self._owner = owner
        self._body = body
        self._cancel: Callable[[], None] | None = None
        self._is_left = False
        self.is_cancelled = False
        self.is_admitted = False
        self.request_id = new_request_id()
        self.response_headers: Mapping[str, str] = {}
        self.caller = owner.caller
        # Headers of the handshake that name one request are not those of each request.
        buffering = owner.headers.get(BUFFER_HEADER)
        self.headers: Mapping[str, str] = {} if buffering is None else {BUFFER_HEADER: buffering}
        self.sink = LaneSink(owner, stream_id)

    @property
    def response_id(self) -> str:
        """The public id of the response. It is final when the response begins."""
        return f"resp_{self.request_id}"

    async def body(self, max_bytes: int) -> bytes:
        """Return the body. Raises BodyTooLarge."""
        if len(self._body) > max_bytes:
            raise BodyTooLarge(f"The request is over {max_bytes} bytes. Send a smaller one.")
        return self._body

    def seconds_left(self) -> None:
        """Return None: a socket does not limit its process."""

    def in_background(self, work: Coroutine[None, None, object]) -> None:
        """Run `work` in the background. The socket's end waits for it."""
        self._owner.in_background(work)

    async def admitted(self) -> None:
        """Raise Cancelled if the request was cancelled while it was admitted."""
        self.is_admitted = True
        if self.is_cancelled or self._is_left:
            raise Cancelled("This response was cancelled.", headers=NO_RETRY)

    def running(self, cancel: Callable[[], None]) -> None:
        """Take how to cancel the response."""
        self._cancel = cancel
        if self.is_cancelled or (self._is_left and not self._goes_on):
            cancel()

    @property
    def _goes_on(self) -> bool:
        """Whether the response is logged, and so goes on without its client."""
        return HEADER in self.response_headers

    def cancel(self) -> None:
        """Cancel the response, now or as soon as it can be."""
        self.is_cancelled = True
        if self._cancel is not None:
            self._cancel()

    def leave(self) -> None:
        """Cancel the response because its client has left, unless it goes on without one."""
        self._is_left = True
        if self._cancel is not None and not self._goes_on:
            self._cancel()

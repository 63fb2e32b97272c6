"""The protocol of a socket without I/O: messages and times in, commands out.

Theory of operation. A carrier holds one `Connection` for each socket. It calls `receive` for each
message, `begun` and `ended` for what its responses do, and `elapsed` when the time `deadline` has
come. Each call returns commands, which the carrier does in their order:

    Send    send an event to the client
    Start   answer a request; its events go to the client with the `stream_id` of its lane
    Stop    cancel a response that was started; it still ends, and `ended` is called
    Close   close the socket; nothing else is returned from then on

An error of one message leaves the socket and its lanes as they are. Only two things close the
socket: a message over the size limit, and a flood of messages.
"""

from typing import NamedTuple

import msgspec

from lambda_fn.errors import APIError, Cancelled, InvalidRequest, NotFound, RateLimited
from lambda_fn.socket.lanes import MAX_RUNNING, Lanes, Running, Waiting, too_many_waiting
from lambda_fn.socket.messages import Cancel, Create, Invalid, Resume, error_event, read

MAX_MESSAGE = 131_072
"""Maximum size of a message in bytes. API Gateway's limit."""
MESSAGES_PER_SECOND = 10.0
"""Messages that a socket may send in the long run."""
MESSAGES_BURST = 40
"""Messages that a socket may send at once after a quiet time: a create for each lane, and more.

As many again are refused one by one. After them the socket is closed.
"""
MAX_AGE = 3_600.0
"""Time after which a socket takes no further requests. OpenAI's limit."""
MAX_IDLE = 600.0
"""Time without a message and without a response after which a socket is closed. API Gateway's."""

TOO_BIG = 1009
FLOOD = 1008
GOING_AWAY = 1001
"""Close codes of RFC 6455. OpenAI's SDKs may connect again after the last one."""


class Send(NamedTuple):
    """Send an event, which is one text message."""

    data: bytes


class Start(NamedTuple):
    """Answer a request."""

    name: str
    request: Create | Resume


class Stop(NamedTuple):
    """Cancel a response that was started."""

    name: str


class Close(NamedTuple):
    """Close the socket."""

    code: int
    reason: str


Command = Send | Start | Stop | Close


class Rate(msgspec.Struct):
    """Counts the messages of a socket. It can be stored."""

    at: float
    left: float = MESSAGES_BURST

    def take(self, now: float) -> float:
        """Count a message, and return how many more may come at once. Under 0 it is too many.

        Messages may be counted in another order than they were sent. A late one counts as one.
        """
        since = max(0.0, now - self.at)
        self.left = min(MESSAGES_BURST, self.left + since * MESSAGES_PER_SECOND)
        self.at = max(self.at, now)
        self.left -= 1
        return self.left


class Connection:
    """One socket. Times are in seconds, of any one clock."""

    def __init__(self, now: float, *, max_message: int = MAX_MESSAGE) -> None:
        """Begin with no lane. `max_message` is in bytes."""
        self._max_message = max_message
        self._lanes = Lanes()
        self._requests: dict[str, Create | Resume] = {}
        self._rate = Rate(now)
        self._pieces: list[bytes] = []
        self._is_binary = False
        self._size = 0
        self._count = 0
        self._ends = now + MAX_AGE
        self._heard = now
        self._over = False
        self.closed = False

    @property
    def deadline(self) -> float:
        """The time at which `elapsed` is to be called next."""
        if self._over:
            return float("inf")
        if self._lanes.running or self._lanes.waiting:
            return self._ends
        return min(self._ends, self._heard + MAX_IDLE)

    @property
    def busy(self) -> bool:
        """Whether a response runs or a request waits."""
        return bool(self._requests)

    def receive(self, piece: str | bytes, now: float, *, last: bool = True) -> list[Command]:
        """Take a message, or the next piece of one. `last` tells whether the message ends here.

        A message of text is `str`, a binary one is `bytes`.
        """
        if self.closed:
            return []
        self._is_binary = self._is_binary or isinstance(piece, bytes)
        data = piece.encode(errors="surrogatepass") if isinstance(piece, str) else piece
        self._size += len(data)
        if self._size > self._max_message:
            return self._close(TOO_BIG, f"A message is over {self._max_message} bytes.")
        if data:
            self._pieces.append(data)
        if not last:
            return []
        message, is_binary = b"".join(self._pieces), self._is_binary
        self._pieces, self._size, self._is_binary = [], 0, False
        self._heard = max(self._heard, now)
        left = self._rate.take(now)
        if left < -MESSAGES_BURST:
            return self._close(FLOOD, "Too many messages.")
        if left < 0:
            return [_error(_too_many())]
        if is_binary:
            return [_error(_binary())]
        return self._take(read(message), now)

    def begun(self, name: str, response_id: str) -> None:
        """Note the id under which a client may cancel a response that was started."""
        self._lanes.begun(name, response_id)

    def ended(self, name: str, now: float) -> list[Command]:
        """Note that a response that was started has ended, however it did."""
        if self._requests.pop(name, None) is None or self.closed:
            return []
        self._heard = max(self._heard, now)  # an idle time begins
        commands = self._started(self._lanes.ended(name))
        if self._over and not self.busy:
            commands += self._close(
                GOING_AWAY, "The connection has reached its maximum age or silence."
            )
        return commands

    def leave(self) -> None:
        """Note that the client has left. What waits does not begin any more."""
        self.closed = True

    def elapsed(self, now: float) -> list[Command]:
        """Take the time, once `deadline` has come."""
        if self.closed or now < self.deadline:
            return []
        if now < self._ends:
            return self._close(GOING_AWAY, "The connection was idle.")
        self._over = True
        commands: list[Command] = [_error(_too_old())]
        commands += [
            _error(_too_old(), self._requests.pop(name).stream_id)
            for name in self._lanes.drop_waiting()
        ]
        if not self.busy:
            commands += self._close(
                GOING_AWAY, "The connection has reached its maximum age or silence."
            )
        return commands

    def _take(self, message: Create | Cancel | Resume | Invalid, now: float) -> list[Command]:
        if isinstance(message, Invalid):
            return [_error(message.error, message.stream_id)]
        if isinstance(message, Cancel):
            return self._cancel(message)
        if self._over:
            return [_error(_too_old(), message.stream_id)]
        name = str(self._count)
        try:
            self._check_room(message)
            names = self._lanes.add(message.stream_id, name, now)
        except (InvalidRequest, RateLimited) as error:
            return [_error(error, message.stream_id)]
        self._count += 1
        self._requests[name] = message
        return self._started(names)

    def _check_room(self, message: Create | Resume) -> None:
        """Check that the requests of this connection take no more memory than all lanes may run.

        Raises:
            RateLimited: they would.

        """
        held = sum(map(_size, self._requests.values()))
        if held + _size(message) > MAX_RUNNING * self._max_message:
            raise too_many_waiting()

    def _cancel(self, message: Cancel) -> list[Command]:
        found: Running | Waiting | None
        if message.response_id is not None:
            found = self._lanes.cancel_response(message.response_id)
        else:
            found = self._lanes.cancel(message.stream_id)
        if found is None:
            return [_error(_nothing_runs(message), message.stream_id)]
        if isinstance(found, Running):
            # Its own last event is the answer. A second cancel has nothing to add to that.
            return [] if found.cancelled else [Stop(found.name)]
        del self._requests[found.name]
        return [_error(_unbegun(), message.stream_id)]

    def _started(self, names: list[str]) -> list[Command]:
        return [Start(name, self._requests[name]) for name in names]

    def _close(self, code: int, reason: str) -> list[Command]:
        self.closed = True
        self._pieces = []
        return [Close(code, reason)]


def _size(request: Create | Resume) -> int:
    return len(request.body) if isinstance(request, Create) else 0


def _error(error: APIError, stream_id: str | None = None) -> Send:
    return Send(error_event(error, stream_id))


def _too_many() -> RateLimited:
    return RateLimited(
        f"This connection sends more than {MESSAGES_PER_SECOND:.0f} messages a second. This one "
        "was not read: send it again later.",
        code="websocket_message_limit_reached",
        retry_after=1,
    )


def _binary() -> InvalidRequest:
    return InvalidRequest(
        "The message is binary. Send JSON as a text message.", code="invalid_message"
    )


def _too_old() -> InvalidRequest:
    return InvalidRequest(
        f"This connection has reached its limit of {MAX_AGE / 60:.0f} minutes. Open another one.",
        code="websocket_connection_limit_reached",
    )


def _nothing_runs(message: Cancel) -> NotFound:
    if message.response_id is not None:
        return NotFound(
            f"The response '{message.response_id[:80]}' is not running on this connection. Cancel "
            "one of another connection by POST /v1/responses/{id}/cancel.",
            param="response_id",
            code="response_not_found",
        )
    return NotFound(
        "No response is running in this lane, so nothing was cancelled.",
        param="stream_id",
        code="response_not_found",
    )


def _unbegun() -> Cancelled:
    return Cancelled("The request was cancelled before its response began.")

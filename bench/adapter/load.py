"""The clients: concurrent streams, each of which sends its request again when its answer ends.

There are three kinds of client with the same recordings. One speaks HTTP/1.1 to a port, and one
sends the requests of the Responses API on a socket. The third one is the local cloud's Runtime API
of Lambda, without the function URL in front of it.
"""

import asyncio
import hashlib
import itertools
import json
import time
from collections.abc import Callable, Mapping
from functools import cache, partial
from typing import TYPE_CHECKING, Protocol

from websockets.asyncio.client import ClientConnection, connect

from bench.adapter.frames import prompt
from bench.adapter.streams import Recording
from bench.adapter.table import KEY
from local.lambda_.event import UrlRequest, build
from local.lambda_.prelude import Head
from local.lambda_.response import FunctionError, Invocation, Response

if TYPE_CHECKING:
    from local.lambda_.runtime_api import RuntimeApi

_numbers = itertools.count()
HEADERS = {
    "host": "localhost",
    "content-type": "application/json",
    "authorization": f"Bearer {KEY}",
    "x-sluice-origin-secret": "bench",
}


class Client(Protocol):
    """A client of the load. It sends a request and waits for the whole answer."""

    async def ask(self, tokens: int, rate: int) -> Recording:
        """Send one request and read its answer."""
        ...

    def close(self) -> None:
        """Release the connection."""
        ...


@cache
def request_body(tokens: int, rate: int, *, model: str) -> bytes:
    """Return the chat request for an answer of this many tokens at this rate."""
    messages = [{"role": "user", "content": prompt(tokens, rate)}]
    return json.dumps(
        {"model": model, "stream": True, "max_tokens": tokens, "messages": messages}
    ).encode()


class HttpClient(asyncio.Protocol):
    """A client with one kept-alive connection."""

    def __init__(self, *, path: str, model: str, merged: bool) -> None:
        """Send requests for `model` to `path`."""
        self._path = path
        self._model = model
        self._merged = merged
        self._transport: asyncio.Transport | None = None
        self._recording = Recording(0, 0.0, raw=True)
        self._done: asyncio.Future[None] | None = None

    @classmethod
    async def connect(cls, port: int, *, path: str, model: str, merged: bool) -> "HttpClient":
        """Open the connection."""
        make = lambda: cls(path=path, model=model, merged=merged)  # noqa: E731 (a factory)
        _, client = await asyncio.get_running_loop().create_connection(make, "127.0.0.1", port)
        return client

    async def ask(self, tokens: int, rate: int) -> Recording:
        """Send a request and record the answer."""
        body = request_body(tokens, rate, model=self._model)
        head = [
            f"POST {self._path} HTTP/1.1",
            *(f"{name}: {value}" for name, value in HEADERS.items()),
        ]
        data = "\r\n".join([*head, f"content-length: {len(body)}", "", ""]).encode() + body
        self._done = asyncio.get_running_loop().create_future()
        self._recording = Recording(tokens, time.perf_counter(), raw=True, merged=self._merged)
        if self._transport is not None:
            self._transport.write(data)
            await self._done
        return self._recording

    def close(self) -> None:
        """Close the connection."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        """Record the bytes. The last chunk ends an answer."""
        self._recording.pieces.append((time.perf_counter(), data))
        if data.endswith(b"0\r\n\r\n") or (len(data) < 5 and self._tail().endswith(b"0\r\n\r\n")):
            self._recording.over = True
            self._end()

    def connection_lost(self, exc: Exception | None) -> None:
        """End a pending request."""
        self._transport = None
        self._end()

    def _tail(self) -> bytes:
        return b"".join(data for _, data in self._recording.pieces[-5:])

    def _end(self) -> None:
        if self._done is not None and not self._done.done():
            self._done.set_result(None)


class SocketClient:
    """A client with one socket, on which it sends one request after the other."""

    def __init__(self, socket: ClientConnection) -> None:
        """Take an open socket."""
        self._socket = socket

    @classmethod
    async def connect(cls, port: int) -> "SocketClient":
        """Open the socket."""
        names = ("authorization", "x-sluice-origin-secret")
        headers = {name: HEADERS[name] for name in names}
        url = f"ws://127.0.0.1:{port}/v1/responses"
        return cls(await connect(url, additional_headers=headers, compression=None))

    async def ask(self, tokens: int, rate: int) -> Recording:
        """Send a request and record its events, each as a line."""
        request = _socket_request(tokens, rate)
        recording = Recording(tokens, time.perf_counter(), raw=False)
        await self._socket.send(request)
        while not recording.over:
            event = await self._socket.recv(decode=False)
            recording.pieces.append((time.perf_counter(), event + b"\n"))
            recording.over = event.startswith(_SOCKET_ENDS)
            recording.ended = event.startswith(_SOCKET_ENDS[0])
        return recording

    def close(self) -> None:
        """Close the connection."""
        self._socket.transport.abort()


_SOCKET_ENDS = (
    b'{"type":"response.completed"',
    b'{"type":"response.incomplete"',
    b'{"type":"response.failed"',
    b'{"type":"error"',
)


@cache
def _socket_request(tokens: int, rate: int) -> str:
    return json.dumps(
        {
            "type": "response.create",
            "model": "lines",
            "input": prompt(tokens, rate),
            "max_output_tokens": tokens,
            "store": False,
        }
    )


class _RecordedResponse(Response):
    """A response that records what the function URL would read."""

    def __init__(self, recording: Recording, on_stuck: Callable[[], None] | None) -> None:
        super().__init__()
        self._recording = recording
        self._on_stuck = on_stuck
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def begin(self, head: Head) -> None:
        super().begin(head)

    def feed(self, data: bytes, pause: Callable[[], None], resume: Callable[[], None]) -> None:
        self._recording.pieces.append((time.perf_counter(), data))
        if self._on_stuck is not None:
            self._on_stuck()
            pause()

    def finish(self) -> None:
        super().finish()
        self._recording.over = True
        self._end()

    def fail(self, error: FunctionError) -> None:
        super().fail(error)
        self._end()

    def _end(self) -> None:
        if not self.done.done():
            self.done.set_result(None)


class _SlowResponse(_RecordedResponse):
    """A response whose reader takes `pace` bytes a second. It keeps only their digest."""

    def __init__(self, recording: Recording, pace: float) -> None:
        super().__init__(recording, None)
        self._pace = pace
        self._free_at = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self.digest = hashlib.sha256()

    def feed(self, data: bytes, pause: Callable[[], None], resume: Callable[[], None]) -> None:
        self.digest.update(data)
        loop = asyncio.get_running_loop()
        self._free_at = max(self._free_at, loop.time()) + len(data) / self._pace
        if self._timer is not None:
            self._timer.cancel()
        pause()
        self._timer = loop.call_at(self._free_at, resume)


@cache  # the function URL makes this event, so its time is not the function's
def _event(tokens: int, rate: int, model: str) -> bytes:
    return event_of("POST", "/v1/chat/completions", request_body(tokens, rate, model=model))


def event_of(method: str, path: str, body: bytes) -> bytes:
    """Return the event that the function URL makes of a request."""
    path, _, query = path.partition("?")
    request = UrlRequest(
        method=method,
        path=path,
        query=query,
        headers=tuple(HEADERS.items()),
        body=body,
        source_ip="127.0.0.1",
        host="abc.lambda-url.eu-west-1.on.aws",
        received=0.0,
    )
    return build(request, "bench", "Root=1-0-0")


class LambdaClient:
    """A client that invokes environments. For each request it takes an idle one."""

    def __init__(
        self,
        idle: "asyncio.Queue[RuntimeApi]",
        *,
        merged: bool,
        stuck: bool = False,
        event: "Callable[[int, int], bytes] | None" = None,
    ) -> None:
        """Take environments from `idle`.

        The queue has an environment once for each further invocation that it can take. A `stuck`
        client reads once and then no more. `event` returns the event of a request for so many
        tokens at a rate; without it, that is a chat.
        """
        self._event = event or partial(_event, model="merged" if merged else "lines")
        self._stuck = stuck
        self.paused = False
        self._idle = idle
        self._merged = merged

    async def ask(self, tokens: int, rate: int) -> Recording:
        """Invoke an environment and record its answer."""
        api = await self._idle.get()
        recording = Recording(tokens, time.perf_counter(), raw=False, merged=self._merged)
        response = _RecordedResponse(recording, self._pause if self._stuck else None)
        _offer(api, self._event(tokens, rate), response)
        await response.done
        return recording

    def _pause(self) -> None:
        self.paused = True

    def close(self) -> None:
        """Do nothing."""


class Call:
    """A request of any kind to a server of the Runtime API, and its recorded answer."""

    def __init__(self, method: str, path: str, body: bytes = b"") -> None:
        """Make the request."""
        self._event = event_of(method, path, body)
        self._recording = Recording(0, 0.0, raw=False)
        self._response = _RecordedResponse(self._recording, None)

    async def begin(self, idle: "asyncio.Queue[RuntimeApi]") -> Head:
        """Invoke an environment, and return the head of its answer."""
        api = await idle.get()
        self._recording.sent_at = time.perf_counter()
        _offer(api, self._event, self._response)
        return await self._response.head

    async def end(self) -> Recording:
        """Return the answer when it has ended."""
        await self._response.done
        return self._recording


async def read_slowly(idle: "asyncio.Queue[RuntimeApi]", path: str, pace: float) -> bytes:
    """Get a path, as a client that takes `pace` bytes a second. Return the body's SHA-256."""
    response = _SlowResponse(Recording(0, 0.0, raw=False), pace)
    _offer(await idle.get(), event_of("GET", path, b""), response)
    await response.done
    return response.digest.digest()


def _offer(api: "RuntimeApi", event: bytes, response: Response) -> None:
    number = f"bench-{next(_numbers)}"
    deadline = int((time.time() + 600) * 1000)
    api.offer(Invocation(number, event, deadline, "arn:bench", "Root=1-0-0", response=response))


async def run(
    clients: list[Client], *, requests: int, tokens: int, rate: int, seconds: float
) -> list[Recording]:
    """Send `requests` requests with each client, one after the other. All clients run at once.

    Return the recordings. Answers that are missing after `seconds` are recorded as incomplete.
    """
    recordings: list[Recording] = []

    async def drive(client: Client) -> None:
        for _ in itertools.repeat(None, requests):
            recordings.append(await client.ask(tokens, rate))

    try:
        async with asyncio.timeout(seconds):
            await asyncio.gather(*(drive(client) for client in clients))
    except TimeoutError:
        missing = requests * len(clients) - len(recordings)
        recordings += [Recording(tokens, 0.0, raw=False)] * missing  # these answers did not end
    return recordings


Environment = Mapping[str, str]

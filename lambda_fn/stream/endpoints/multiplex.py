"""`POST /v1/sluice/multiplex`: several chats and responses side by side in one event stream.

    {"requests": [{"stream_id", "endpoint", "body"}, ...], "all_or_none": false}

Each event is the one of its member, with the field `stream_id`. A member ends with `{"stream_id",
"done": true}`, and the stream with `[DONE]`. Each member is admitted, limited and settled like a
single request. An error of one does not affect the others.

All members write to one client, one event at a time and in turns, so a fast one delays a slow one
by one event.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Annotated, Literal, NoReturn

import msgspec
from msgspec import Meta, Struct
from starlette.types import Receive, Scope, Send

from lambda_fn.auth import Caller, read_key
from lambda_fn.encode.tagged import STREAM_ID, Tagger
from lambda_fn.errors import (
    NO_RETRY,
    APIError,
    BodyTooLarge,
    Cancelled,
    InvalidRequest,
    encode_json,
    internal_error,
)
from lambda_fn.http.responses import read_body
from lambda_fn.ids import new_request_id
from lambda_fn.log import log
from lambda_fn.schema.parse import parse
from lambda_fn.settings import Settings
from lambda_fn.stream.admit import Gate
from lambda_fn.stream.carrier import in_background, seconds_left
from lambda_fn.stream.completions import Completions
from lambda_fn.stream.negotiate import BUFFER_HEADER
from lambda_fn.stream.rejections import Rejections
from lambda_fn.stream.sinks import AsgiSink, Headers, ResponseBroken, interrupted

MAX_MEMBERS = 16
_HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache, no-transform"),
]
_KEPT_HEADERS = (BUFFER_HEADER, "x-stainless-retry-count")
_IDEMPOTENCY_KEY = "idempotency-key"
_SPACE = b" \t\r\n"


class MultiplexMember(Struct, frozen=True):
    """One request."""

    stream_id: Annotated[str, Meta(min_length=1, max_length=256, pattern="^[A-Za-z0-9_.-]+$")]
    endpoint: Literal["/v1/chat/completions", "/v1/responses"]
    body: Annotated[msgspec.Raw, Meta(extra_json_schema={"type": "object"})]


class MultiplexRequest(Struct, frozen=True):
    """The body. With `all_or_none`, no member begins before all are admitted."""

    requests: Annotated[list[MultiplexMember], Meta(min_length=1, max_length=MAX_MEMBERS)]
    all_or_none: bool = False


class _Body(Struct):
    background: bool | None = None


_request = msgspec.json.Decoder(MultiplexRequest)
_body = msgspec.json.Decoder(_Body)


class Multiplex:
    """The endpoint."""

    def __init__(
        self, settings: Settings, gate: Gate, completions: Mapping[str, Completions]
    ) -> None:
        """Take the endpoints of the members by their paths."""
        self._settings = settings
        self._gate = gate
        self._completions = completions
        self._rejections: Rejections | None = None
        if settings.deployment is not None:
            self._rejections = Rejections(settings.deployment)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request.

        Raises:
            APIError: it is invalid, its caller has no valid key, or no member could begin and all
                were wanted.
            Exception: what the server raises when the client has left.

        """
        headers: Mapping[str, str] = scope["sluice.request_headers"]
        caller = read_key(headers, scope.get("client"))
        await self._gate.authenticate(caller)
        try:
            body = await read_body(receive, headers, max_bytes=self._settings.max_body)
            request = _read(body)
        except APIError:
            await self._gate.check_key(caller)
            raise
        stream = _Stream(send)
        barrier = _Barrier(len(request.requests)) if request.all_or_none else None
        members = [
            _MemberCarrier(scope, headers, caller, member, stream, barrier)
            for member in request.requests
        ]
        results = await asyncio.gather(
            *(self._serve(number, member, barrier) for number, member in enumerate(members)),
            return_exceptions=True,
        )
        refused = None if barrier is None else barrier.refused
        if refused is not None:
            raise refused
        for result in results:
            if isinstance(result, BaseException):
                raise result
        await stream.end()

    async def _serve(
        self, number: int, member: "_MemberCarrier", barrier: "_Barrier | None"
    ) -> None:
        """Serve one member to its end. Raises what the server raises when the client has left."""
        error: APIError | None = None
        try:
            await self._completions[member.path].answer(member)
        except APIError as found:
            error = found
        except ResponseBroken:
            error = interrupted()
        except _ClientLeft as left:
            raise left.error from None
        except Exception as fault:  # noqa: BLE001 (the boundary: other members go on)
            log("fault", request_id=member.request_id, error=type(fault).__name__)
            error = internal_error()
        if error is not None:
            if self._rejections is not None and not member.is_admitted:
                self._rejections.add(error.status, error.code)
            if barrier is not None and barrier.refuse(error, number):
                return
            await member.sink.fail(error)
        await member.sink.done()


def _read(body: bytes) -> MultiplexRequest:
    """Return the checked request. Raises InvalidRequest."""
    request = parse(_request, body)
    names = [member.stream_id for member in request.requests]
    for number, member in enumerate(request.requests):
        path = f"requests[{number}]"
        if STREAM_ID.fullmatch(member.stream_id) is None:  # a line feed at its end
            raise InvalidRequest(
                f"Invalid '{path}.stream_id': a line feed is not allowed.",
                param=f"{path}.stream_id",
                code="invalid_stream_id",
            )
        if member.stream_id in names[:number]:
            raise InvalidRequest(
                f"Invalid '{path}.stream_id': another member has this name.",
                param=f"{path}.stream_id",
                code="invalid_stream_id",
            )
        if not bytes(member.body).startswith(b"{"):
            raise InvalidRequest(
                f"Invalid '{path}.body': an object is expected.",
                param=f"{path}.body",
                code="invalid_type",
            )
        try:
            background = parse(_body, bytes(member.body)).background
        except InvalidRequest:
            continue  # the member has its own error
        if background:
            raise InvalidRequest(
                f"Unsupported '{path}.body.background': each member is streamed here. Send the "
                "request to POST /v1/responses.",
                param=f"{path}.body.background",
                code="unsupported_parameter",
            )
    return request


class _ClientLeft(Exception):
    """The client has left. `error` is the server's own."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error


class _Stream:
    """The one response. Members write to it in turns."""

    def __init__(self, send: Send) -> None:
        self._sink = AsgiSink(send)
        self._turn = asyncio.Lock()  # first come, first served
        self._begun = False
        self._left: Exception | None = None

    async def write(self, data: bytes) -> None:
        """Send a piece. Raises _ClientLeft."""
        async with self._turn:
            if self._left is not None:
                raise _ClientLeft(self._left)
            try:
                if not self._begun:
                    self._begun = True
                    await self._sink.start(200, _HEADERS)
                await self._sink.write(data)
            except Exception as error:  # noqa: BLE001 (each server has its own; it is raised again)
                self._left = error
                raise _ClientLeft(error) from None

    async def end(self) -> None:
        """End the response."""
        await self._sink.end(b"data: [DONE]\n\n")


class _MemberSink:
    """The client's end of one member."""

    put: Callable[[bytes], bool] | None = None
    """None: each event waits for its turn."""

    def __init__(self, stream: _Stream, name: str, endpoint: str) -> None:
        self._stream = stream
        self._name = name
        self._is_response = endpoint == "/v1/responses"
        self._tagger = Tagger(name)

    async def start(self, status: int, headers: Headers) -> None:
        """Do nothing: all members share one status, which is sent with the first event."""

    async def write(self, data: bytes) -> None:
        """Send the events one by one, or a heartbeat if there are none."""
        events = self._tagger.feed(data)
        if data and not events:
            await self._stream.write(b": keepalive\n\n")
        for line, event in events:
            await self._stream.write(b"%bdata: %b\n\n" % (line, event))

    def end(self, data: bytes) -> Awaitable[None]:
        """Send the last events."""
        return self.write(data)

    def abort(self, code: str) -> NoReturn:
        """Raise ResponseBroken."""
        raise ResponseBroken(code)

    async def fail(self, error: APIError) -> None:
        """Send an error that ends the member."""
        fields = {
            "message": error.message,
            "type": error.type,
            "param": error.param,
            "code": error.code,
        }
        event = {"error": fields, "status": error.status, "stream_id": self._name}
        line = b""
        if self._is_response:
            line, event = b"event: error\n", {"type": "error", **event}
        await self._stream.write(b"%bdata: %b\n\n" % (line, encode_json(event)))

    async def done(self) -> None:
        """Send the end of the member."""
        data = encode_json({"stream_id": self._name, "done": True})
        await self._stream.write(b"data: %b\n\n" % data)


class _Barrier:
    """Members that begin together, or not at all."""

    def __init__(self, members: int) -> None:
        self._missing = members
        self._open = asyncio.Event()
        self.refused: APIError | None = None
        """The first error of a member, if none has begun."""

    async def wait(self) -> None:
        """Wait until all members are admitted. Raises Cancelled if one is not."""
        self._missing -= 1
        if not self._missing:
            self._open.set()
        await self._open.wait()
        if self.refused is not None:
            raise Cancelled("Another member was refused.", code="not_begun", headers=NO_RETRY)

    def refuse(self, error: APIError, number: int) -> bool:
        """Take the error of a member, and return whether it means that none begins."""
        if self._missing and self.refused is None:
            at = f"requests[{number}]"
            error.message = f"Member {at} was refused, so none was begun: {error.message}"
            error.param = f"{at}.body" if error.param is None else f"{at}.body.{error.param}"
            self.refused = error
            self._open.set()
        return self.refused is not None


class _MemberCarrier:
    """One member. See `stream.carrier.Carrier`."""

    method = "POST"

    def __init__(
        self,
        scope: Scope,
        headers: Mapping[str, str],
        caller: Caller,
        member: MultiplexMember,
        stream: _Stream,
        barrier: _Barrier | None,
    ) -> None:
        self._scope = scope
        self._body = bytes(member.body).rstrip(_SPACE)
        self._barrier = barrier
        self.is_admitted = False
        self.path: str = member.endpoint
        self.caller = caller
        self.request_id = new_request_id()
        self.response_headers: Mapping[str, str] = {}
        self.headers = {name: headers[name] for name in _KEPT_HEADERS if name in headers}
        if _IDEMPOTENCY_KEY in headers:
            self.headers[_IDEMPOTENCY_KEY] = f"{headers[_IDEMPOTENCY_KEY]}:{member.stream_id}"
        self.sink = _MemberSink(stream, member.stream_id, member.endpoint)

    async def body(self, max_bytes: int) -> bytes:
        """Return the body. Raises BodyTooLarge."""
        if len(self._body) > max_bytes:
            raise BodyTooLarge(f"The body is over {max_bytes} bytes. Send a smaller one.")
        # Of members with the same name the last one counts.
        comma = b"" if self._body[1:-1].strip(_SPACE) == b"" else b","
        return b'%b%b"stream":true}' % (self._body[:-1], comma)

    def seconds_left(self) -> float | None:
        """Return the seconds that are left for all members together."""
        return seconds_left(self._scope)

    def in_background(self, work: Coroutine[None, None, object]) -> None:
        """Run `work` in the background, as for the whole request."""
        in_background(self._scope, work)

    async def admitted(self) -> None:
        """Wait for the others if all or none are to begin. Raises Cancelled."""
        self.is_admitted = True
        barrier, self._barrier = self._barrier, None  # a fallback is admitted once more
        if barrier is not None:
            await barrier.wait()

    def running(self, cancel: Callable[[], None]) -> None:
        """Do nothing: a member is cancelled by its id, by another request."""

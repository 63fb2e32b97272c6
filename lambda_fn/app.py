"""The ASGI application, and the only file that knows the order of the stages.

    authenticate -> admit -> invoke -> decode -> encode -> settle

Plain ASGI: our own runtime carries it on Lambda, any ASGI server elsewhere. Of Lambda it takes one thing when it is
there, `scope["aws.context"]`, for the deadline.
"""

import asyncio
import time
from collections.abc import Callable

from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lambda_fn import errors, limits
from lambda_fn.admit import admit, check_key
from lambda_fn.authenticate import check_origin, read_key
from lambda_fn.aws.dynamodb import Table
from lambda_fn.aws.signing import Credentials
from lambda_fn.decode import LineDecoder
from lambda_fn.encode import ChatBody, ChatStream, Encoder
from lambda_fn.errors import APIError, UpstreamTimeout, from_container
from lambda_fn.events import Event, Failure, Start
from lambda_fn.http import Client
from lambda_fn.ids import new_request_id
from lambda_fn.invoke import Invocation
from lambda_fn.log import log
from lambda_fn.schema import ChatRequest, Control, container_body, parse_chat
from lambda_fn.settings import Settings
from lambda_fn.settle import Tally, settle


class AnswerBroken(Exception):
    """An answer has begun and cannot be ended in its own form: whoever carries the application must break the
    connection.
    """


def create_app(settings: Settings, client: Client, credentials: Callable[[], Credentials]) -> ASGIApp:
    """Put the application together. `credentials` is asked at each call to AWS."""
    table = Table(
        client, url=settings.dynamodb_url, region=settings.region, name=settings.usage_table, credentials=credentials
    )
    models = Models(settings, table)
    api = Starlette(
        routes=[
            Route("/v1/chat/completions", ChatCompletions(settings, client, credentials, table), methods=["POST"]),
            Route("/v1/models", models.list, methods=["GET"]),
            Route("/v1/models/{name:path}", models.get, methods=["GET"]),
        ],
        exception_handlers={APIError: _on_api_error, HTTPException: _on_http_error, Exception: _on_exception},
    )
    return Front(api, settings)


class Front:
    """What every request passes first: it gets its id and, unless it came by the distribution, its refusal."""

    def __init__(self, api: ASGIApp, settings: Settings) -> None:
        """Stand in front of `api`."""
        self._api = api
        self._secrets = settings.origin_secrets

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Carry one request."""
        if scope["type"] != "http":
            return
        request_id = scope["sluice.request_id"] = new_request_id()
        name = (b"x-request-id", f"req_{request_id}".encode())

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], name]
            await send(message)

        try:
            check_origin(Headers(scope=scope), self._secrets)
        except APIError as error:
            await _error_response(error)(scope, receive, send_with_id)
            return
        await self._api(scope, receive, send_with_id)


class Models:
    """`GET /v1/models` and `/v1/models/{name}`."""

    def __init__(self, settings: Settings, table: Table) -> None:
        """List what the settings name."""
        self._models = settings.models
        self._table = table

    async def list(self, request: Request) -> Response:
        """Give all models."""
        await check_key(self._table, read_key(request.headers))
        return _json_response({"object": "list", "data": [self._object(name) for name in self._models]})

    async def get(self, request: Request) -> Response:
        """Give one model."""
        await check_key(self._table, read_key(request.headers))
        name = request.path_params["name"]
        if name not in self._models:
            raise _no_model(name)
        return _json_response(self._object(name))

    @staticmethod
    def _object(name: str) -> dict[str, object]:
        return {"id": name, "object": "model", "created": 0, "owned_by": "sluice"}


class ChatCompletions:
    """`POST /v1/chat/completions`."""

    def __init__(
        self, settings: Settings, client: Client, credentials: Callable[[], Credentials], table: Table
    ) -> None:
        """Take what all requests share."""
        self._settings = settings
        self._client = client
        self._credentials = credentials
        self._table = table

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Carry one request through the stages."""
        tally = Tally()
        request_id: str = scope["sluice.request_id"]
        caller = read_key(Headers(scope=scope))
        request = parse_chat(await _read_body(scope, receive))
        model = self._settings.models.get(request.model)
        if model is None:
            raise _no_model(request.model)
        seconds = _seconds_left(scope)
        await admit(
            self._table,
            caller,
            request_id=request_id,
            model=request.model,
            reserved=_upper_bound(request, model.context_tokens),
        )
        control = Control(
            request_id=request_id, deadline_ms=int(seconds * 1000), max_prompt_tokens=model.context_tokens
        )
        try:
            async with Invocation(
                self._client,
                url=self._settings.sagemaker_url,
                region=self._settings.region,
                credentials=self._credentials(),
                endpoint=model.endpoint,
                body=container_body(request, control),
                request_id=request_id,
            ) as invocation:
                answer = Answer(
                    invocation,
                    _encoder(request, request_id),
                    tally,
                    choices=request.n or 1,
                    seconds=seconds + limits.STREAM_GRACE,
                )
                await answer.send(send)
        except asyncio.CancelledError:
            tally.cancelled = True
            raise
        finally:
            await asyncio.shield(settle(self._table, caller, request_id=request_id, model=request.model, tally=tally))


class Answer:
    """The way of one answer from the container to the client."""

    def __init__(self, invocation: Invocation, encoder: Encoder, tally: Tally, *, choices: int, seconds: float) -> None:
        """Join the two ends; the answer must be over in `seconds`."""
        self._invocation = invocation
        self._decoder = LineDecoder(choices)
        self._encoder = encoder
        self._tally = tally
        self._deadline = time.monotonic() + seconds
        self._started = False

    async def send(self, send: Send) -> None:
        """Send the whole answer, or what there is of it and an error.

        Raises:
            APIError: it failed before anything was sent.
            AnswerBroken: it failed later, and its form cannot say so.

        """
        try:
            events = await self._next(limits.FIRST_EVENT_WAIT)
            if events and isinstance(events[0], Failure):
                raise from_container(events[0].code, events[0].message)
            await self._start(send)
            while True:
                await self._write(send, self._encoder.encode(events) if events else self._encoder.heartbeat())
                if events and isinstance(failure := events[-1], Failure):
                    raise from_container(failure.code, failure.message)
                if self._tally.complete:
                    break
                events = await self._next(limits.HEARTBEAT)
        except APIError as error:
            if not self._started:
                raise
            ending = self._encoder.fail(error)
            if ending is None:
                raise AnswerBroken(error.error_code) from None
            await self._write(send, ending)
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _next(self, silence: float) -> list[Event]:
        """Give the next events that have something for the client, or none after `silence` seconds without one.

        Raises:
            APIError: the call failed, or its time is over.

        """
        quiet_at = time.monotonic() + silence
        while True:
            now = time.monotonic()
            if now >= self._deadline:
                raise UpstreamTimeout("The answer took longer than it may, and was ended.")
            data = await self._invocation.read(max(0.0, min(quiet_at, self._deadline) - now))
            if data is None:
                if time.monotonic() >= quiet_at:
                    return []
                continue
            events = self._decoder.feed(data) if data else self._decoder.close()
            self._tally.count(events)
            if events := [event for event in events if type(event) is not Start]:
                return events

    async def _start(self, send: Send) -> None:
        self._started = True
        headers = [
            (b"content-type", self._encoder.content_type.encode()),
            (b"cache-control", b"no-cache, no-transform"),
        ]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await self._write(send, self._encoder.begin())

    async def _write(self, send: Send, data: bytes) -> None:
        if data:
            await send({"type": "http.response.body", "body": data, "more_body": True})


def _encoder(request: ChatRequest, request_id: str) -> Encoder:
    chat_id, created, choices = f"chatcmpl-{request_id}", int(time.time()), request.n or 1
    if not request.stream:
        return ChatBody(chat_id=chat_id, created=created, model=request.model, choices=choices)
    include_usage = request.stream_options is not None and request.stream_options.include_usage
    return ChatStream(
        chat_id=chat_id, created=created, model=request.model, choices=choices, include_usage=include_usage
    )


def _upper_bound(request: ChatRequest, context_tokens: int) -> int:
    """Give the most tokens that a request can come to: the container keeps prompt and each choice within the
    context.
    """
    return context_tokens * (request.n or 1)


def _seconds_left(scope: Scope) -> float:
    """Give the time that the container gets for its answer."""
    context = scope.get("aws.context")
    if context is None:
        return limits.STREAM_DEADLINE
    left: float = context.remaining() - limits.SETTLE_RESERVE - limits.STREAM_GRACE
    return max(1.0, min(limits.STREAM_DEADLINE, left))


async def _read_body(scope: Scope, receive: Receive) -> bytes:
    parts = []
    size = int(length) if (length := Headers(scope=scope).get("content-length", "")).isdecimal() else 0
    more = True
    while more and size <= limits.MAX_BODY:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise errors.InvalidRequest("The request was cut off.")
        parts.append(message.get("body", b""))
        size = sum(map(len, parts))
        more = message.get("more_body", False)
    if size > limits.MAX_BODY:
        raise errors.BodyTooLarge(f"The body is over {limits.MAX_BODY} bytes.")
    return b"".join(parts)


def _no_model(name: str) -> errors.NotFound:
    return errors.NotFound(f"The model '{name[:80]}' does not exist.", param="model", code="model_not_found")


def _json_response(content: object) -> Response:
    return Response(errors.encode_json(content), media_type="application/json")


def _error_response(error: APIError) -> Response:
    headers = {} if error.retry_after is None else {"retry-after": str(error.retry_after)}
    if error.status == 401:
        headers["www-authenticate"] = "Bearer"
    return Response(error.body(), status_code=error.status, headers=headers, media_type="application/json")


async def _on_api_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, APIError)  # noqa: S101 (registered for it)
    return _error_response(error)


async def _on_http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 (registered for it)
    if error.status_code == 405:
        response = _error_response(errors.MethodNotAllowed(f"{request.method} is not allowed here."))
        response.headers.update(error.headers or {})
        return response
    return _error_response(errors.NotFound("Nothing is found under this path."))


async def _on_exception(request: Request, error: Exception) -> Response:
    log("fault", request_id=request.scope.get("sluice.request_id"), error=type(error).__name__)
    return _error_response(errors.ServerError("An internal error. The request id names it."))

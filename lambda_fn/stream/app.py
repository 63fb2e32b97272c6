"""The ASGI application, and the only file that knows the order of the stages.

    authenticate -> admit -> invoke -> decode -> transform -> encode -> settle

Plain ASGI: our own runtime carries it on Lambda, any ASGI server elsewhere. Of Lambda it takes one thing when it is
there: `scope["aws.context"]`, for the deadline, and `scope["aws.after"]`, a list for what is to end before the next
invocation is asked for.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from functools import partial

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lambda_fn import dialects, limits
from lambda_fn.auth import check_origin, read_key
from lambda_fn.aws.dynamodb import Table
from lambda_fn.aws.signing import Credentials
from lambda_fn.encode import Head
from lambda_fn.errors import NO_RETRY, APIError, UpstreamTimeout
from lambda_fn.http.client import Client
from lambda_fn.http.responses import EXCEPTION_HANDLERS, NOSNIFF, Bypass, error_response, json_response, read_body
from lambda_fn.ids import new_request_id
from lambda_fn.schema import ChatRequest, Control
from lambda_fn.settings import Settings
from lambda_fn.stream.admit import Gate
from lambda_fn.stream.cancel import cancel
from lambda_fn.stream.delivery import Answer
from lambda_fn.stream.endpoints.usage import OwnUsage
from lambda_fn.stream.invoke import Invocation
from lambda_fn.stream.negotiate import Asked, read_chat, read_completion
from lambda_fn.stream.rate_limit_errors import no_model
from lambda_fn.stream.settle import Checkpoints, Tally, settle
from lambda_fn.stream.token_bounds import Bounds, fingerprint


def create_app(settings: Settings, client: Client, credentials: Callable[[], Credentials]) -> ASGIApp:
    """Put the application together. `credentials` is asked at each call to AWS."""
    table = Table(
        client, url=settings.dynamodb_url, region=settings.region, name=settings.usage_table, credentials=credentials
    )
    gate = Gate(table, meter_open=settings.meter_open)
    models = Models(settings, gate)
    shared = (settings, client, credentials, table, gate)
    completions = {
        "/v1/chat/completions": Completions(*shared, read_chat),
        "/v1/completions": Completions(*shared, read_completion),
    }
    api = Starlette(
        routes=[
            *(Route(path, endpoint, methods=["POST"]) for path, endpoint in completions.items()),
            Route("/v1/usage", OwnUsage(table, gate).__call__, methods=["GET"]),
            Route("/v1/models", models.list, methods=["GET"]),
            Route("/v1/models/{name:path}", models.get, methods=["GET"]),
            Route("/v1/openapi.json", models.document, methods=["GET"]),
        ],
        exception_handlers=EXCEPTION_HANDLERS,
    )
    api.router.redirect_slashes = False  # a redirect would name the function URL, which clients must not go to
    direct = {("POST", path): Bypass(endpoint) for path, endpoint in completions.items()}
    return Front(api, settings, direct)


class Front:
    """What every request passes first: it gets its id and, unless it came by the distribution, its refusal."""

    def __init__(self, api: ASGIApp, settings: Settings, direct: Mapping[tuple[str, str], ASGIApp]) -> None:
        """Stand in front of `api`, and of what is found `direct`, by method and path."""
        self._api = api
        self._direct = direct
        self._secrets = settings.origin_secrets

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Carry one request."""
        if scope["type"] != "http":
            return
        request_id = scope["sluice.request_id"] = new_request_id()
        name = (b"x-request-id", f"req_{request_id}".encode())

        started = time.monotonic()

        def send_with_id(message: Message) -> Awaitable[None]:
            if message["type"] == "http.response.start":
                took = b"%d" % ((time.monotonic() - started) * 1000)
                told = [(key.encode(), value.encode()) for key, value in scope.get("sluice.headers", {}).items()]
                message["headers"] = [*message["headers"], *told, NOSNIFF, name, (b"openai-processing-ms", took)]
                scope["sluice.started"] = True
            return send(message)

        try:
            # names come in lower case; of a repeated one the first counts
            given = {key.decode("latin-1"): value.decode("latin-1") for key, value in reversed(scope["headers"])}
            scope["sluice.given"] = given
            check_origin(given, self._secrets)
        except APIError as error:
            await error_response(error)(scope, receive, send_with_id)
            return
        api = self._direct.get((scope["method"], scope["path"]), self._api)
        await api(scope, receive, send_with_id)


class Models:
    """`GET /v1/models` and `/v1/models/{name}`."""

    def __init__(self, settings: Settings, gate: Gate) -> None:
        """List what the settings name."""
        self._models = settings.models
        self._gate = gate
        self._document = b""

    async def list(self, request: Request) -> Response:
        """Give all models that the key may use."""
        names = await self._allowed(request)
        return json_response({"object": "list", "data": [self._object(name) for name in names]})

    async def get(self, request: Request) -> Response:
        """Give one model."""
        name = request.path_params["name"]
        if name not in await self._allowed(request):
            raise no_model(name)
        return json_response(self._object(name))

    async def document(self, request: Request) -> Response:
        """Give the OpenAPI document, to anybody: so it is made once."""
        if not self._document:
            from lambda_fn.stream.endpoints.openapi import (
                document,  # it is asked for seldom, and never on the way to a token
            )

            self._document = document(self._models)
        return Response(self._document, media_type="application/json")

    async def _allowed(self, request: Request) -> tuple[str, ...]:
        account = await self._gate.check_key(read_key(request.headers, request.scope.get("client")))
        return tuple(name for name in self._models if account.models is None or name in account.models)

    @staticmethod
    def _object(name: str) -> dict[str, object]:
        return {"id": name, "object": "model", "created": 0, "owned_by": "sluice"}


class Completions:
    """`POST /v1/chat/completions` and `/v1/completions`: one way, in the shape that `read` says."""

    def __init__(
        self,
        settings: Settings,
        client: Client,
        credentials: Callable[[], Credentials],
        table: Table,
        gate: Gate,
        read: Callable[[bytes, Mapping[str, str]], Asked],
    ) -> None:
        """Take what all requests share."""
        self._read = read
        self._settings = settings
        self._client = client
        self._credentials = credentials
        self._table = table
        self._gate = gate
        self._tasks: set[asyncio.Future[object]] = set()
        self._dialects = {model.dialect: dialects.find(model.dialect) for model in settings.models.values()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Carry one request through the stages."""
        tally = Tally()
        request_id: str = scope["sluice.request_id"]
        headers: dict[str, str] = scope["sluice.given"]
        caller = read_key(headers, scope.get("client"))
        await self._gate.authenticate(caller)
        try:
            body = await read_body(receive, headers)
            asked = self._read(body, headers)
            request = asked.request
            model = self._settings.models.get(request.model)
            if model is None:
                raise no_model(request.model)
            dialect = self._dialects[model.dialect]
            dialect.check(request)
        except APIError:
            await self._gate.check_key(caller)  # right here once: who has no key any more learns nothing but that
            raise
        bounds = Bounds.of(request, model, size=len(body))
        admission = await self._gate.admit(
            caller,
            bounds.opening(
                request_id, key_id=caller.key_id, name=request.model, model=model, overdue=self._settings.overdue
            ),
            fingerprint=fingerprint(body, headers.get("idempotency-key", "")),
            repeat=_is_repeat(headers),
        )
        scope["sluice.headers"] = admission.headers
        seconds = _seconds_left(scope)
        control = Control(
            request_id=request_id,
            deadline_ms=int(seconds * 1000),
            max_prompt_tokens=bounds.prompt,
            caller=caller.key_id,
        )
        invoke = partial(
            Invocation,
            self._client,
            url=self._settings.sagemaker_url,
            region=self._settings.region,
            endpoint=model.endpoint,
            component=model.component,
            request_id=request_id,
            refusal=dialect.rejection,
        )
        invocation: Invocation | None = None
        stopping = False  # the process is, and has no time to take anything back
        try:
            credentials = self._credentials()
            invocation = invoke(credentials=credentials, body=dialect.body(bounds.applied(request), control))
            answer = Answer(
                invocation,
                dialect.decoder(request.n or 1),
                asked.encoder(self._head(request, request_id)),
                tally,
                transform=asked.transform(),
                heartbeat=self._settings.heartbeat,
                seconds=seconds + limits.STREAM_GRACE,
            )
            with Checkpoints(self._table, request_id, tally, answer.cancel):
                async with invocation:
                    await answer.send(send)
        except APIError as error:
            if tally.completion_tokens or error.status == UpstreamTimeout.status:
                error.headers |= NO_RETRY  # it was generated, and may be paid: again only if its sender says so
            raise
        except asyncio.CancelledError:
            tally.cancelled = stopping = True
            raise
        finally:
            if invocation is not None and invocation.left and not stopping:
                taken_back = dialect.cancel(request_id)
                if taken_back is not None:
                    work = cancel(partial(invoke, credentials=credentials, body=taken_back), request_id)
                    self._beside(scope, work)
            await asyncio.shield(settle(self._table, admission, tally))

    def _beside(self, scope: Scope, work: Coroutine[None, None, object]) -> None:
        """Have something done that no answer waits for; on Lambda, no invocation is asked for before it is."""
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        if (after := scope.get("aws.after")) is not None:
            after.append(task)

    def _head(self, request: ChatRequest, request_id: str) -> Head:
        return Head(
            response_id=request_id,
            created=int(time.time()),
            model=request.model,
            choices=request.n or 1,
            fingerprint=self._settings.fingerprint(request.model),
            service_tier=None if request.service_tier is None else "default",
            max_bytes=self._settings.max_whole,
        )


def _is_repeat(headers: Mapping[str, str]) -> bool:
    """Tell whether a request may have been sent before: stock SDKs count their retries, some callers name requests."""
    return headers.get("x-stainless-retry-count", "0").strip() not in {"", "0"} or "idempotency-key" in headers


def _seconds_left(scope: Scope) -> float:
    """Give the time that the container gets for its answer."""
    context = scope.get("aws.context")
    if context is None:
        return limits.STREAM_DEADLINE
    left: float = context.remaining() - limits.SETTLE_RESERVE - limits.STREAM_GRACE
    return max(1.0, min(limits.STREAM_DEADLINE, left))

"""The ASGI application: its routes, and the middleware that every request passes.

It is plain ASGI: the function's own runtime runs it on Lambda, and any ASGI server elsewhere.
Two entries of the scope are Lambda's and may be absent: `aws.context`, which has the deadline, and
`aws.after`, a list of tasks that end before the next invocation is fetched.
"""

import re
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from functools import cache, partial
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lambda_fn.auth import check_origin
from lambda_fn.aws.dynamodb import Table
from lambda_fn.aws.signing import Credentials
from lambda_fn.errors import APIError, NotFound
from lambda_fn.http.client import Client
from lambda_fn.http.responses import (
    ANTHROPIC_PATH,
    EXCEPTION_HANDLERS,
    NOSNIFF,
    Bypass,
    error_response,
    is_anthropic,
    json_response,
)
from lambda_fn.ids import new_request_id
from lambda_fn.schema import Rules
from lambda_fn.settings import Settings
from lambda_fn.stream.admit import Gate
from lambda_fn.stream.negotiate import read_chat, read_completion, read_message
from lambda_fn.stream.pipeline import Completions

if TYPE_CHECKING:
    from lambda_fn.http.cors import Cors
    from lambda_fn.stream.endpoints.embeddings import Embeddings
    from lambda_fn.stream.endpoints.models import Models
    from lambda_fn.stream.endpoints.tokenize import Tokenizer
    from lambda_fn.stream.rejections import Rejections


HEALTH = ("/health", "/v1/health", "/healthz", "/ping")
"""Where load generators, proxies and uptime checks ask whether the function answers."""


def create_app(
    settings: Settings, client: Client, credentials: Callable[[], Credentials]
) -> ASGIApp:
    """Return the application. `credentials` is called for each call of an AWS API."""
    table = Table(
        client,
        url=settings.dynamodb_url,
        region=settings.region,
        name=settings.usage_table,
        credentials=credentials,
    )
    gate = Gate(table, meter_open=settings.meter_open)
    rules = Rules(strict=settings.strict, loose_tool_history=settings.loose_tool_history)
    shared = (settings, client, credentials, table, gate)
    completions = {
        "/v1/chat/completions": Completions(*shared, partial(read_chat, rules=rules)),
        "/v1/completions": Completions(*shared, partial(read_completion, rules=rules)),
        ANTHROPIC_PATH: Completions(*shared, read_message),
    }

    # The other endpoints are imported by their first request. So the cold start of a completion
    # does not pay for them.

    @cache
    def models() -> "Models":
        from lambda_fn.stream.endpoints.models import Models

        return Models(settings, gate)

    async def usage(request: Request) -> Response:
        from lambda_fn.stream.endpoints.usage import KeyUsage

        return await KeyUsage(table, gate)(request)

    async def count_tokens(request: Request) -> Response:
        from lambda_fn.stream.endpoints.count_tokens import CountTokens

        return await CountTokens(*shared)(request)

    async def list_models(request: Request) -> Response:
        return await models().list(request)

    async def get_model(request: Request) -> Response:
        return await models().get(request)

    @cache
    def tokenizer() -> "Tokenizer":
        from lambda_fn.stream.endpoints.single_calls import SingleCalls
        from lambda_fn.stream.endpoints.tokenize import Tokenizer

        return Tokenizer(SingleCalls(*shared))

    async def tokenize(request: Request) -> Response:
        return await tokenizer().tokenize(request)

    async def detokenize(request: Request) -> Response:
        return await tokenizer().detokenize(request)

    @cache
    def embedder() -> "Embeddings":
        from lambda_fn.stream.endpoints.embeddings import Embeddings
        from lambda_fn.stream.endpoints.single_calls import SingleCalls

        return Embeddings(SingleCalls(*shared))

    async def embeddings(request: Request) -> Response:
        return await embedder()(request)

    async def health(request: Request) -> Response:
        return json_response({"status": "ok"})

    async def openapi(request: Request) -> Response:
        return await models().document(request)

    api = Starlette(
        routes=[
            *(Route(path, endpoint, methods=["POST"]) for path, endpoint in completions.items()),
            Route(f"{ANTHROPIC_PATH}/count_tokens", count_tokens, methods=["POST"]),
            Route("/v1/usage", usage, methods=["GET"]),
            Route("/v1/models", list_models, methods=["GET"]),
            Route("/v1/models/{name:path}", get_model, methods=["GET"]),
            Route("/v1/openapi.json", openapi, methods=["GET"]),
            Route("/v1/embeddings", embeddings, methods=["POST"]),
            *(Route(f"{at}/tokenize", tokenize, methods=["POST"]) for at in ("/v1", "")),
            *(Route(f"{at}/detokenize", detokenize, methods=["POST"]) for at in ("/v1", "")),
            *(Route(path, health, methods=["GET"]) for path in HEALTH),
        ],
        exception_handlers={**EXCEPTION_HANDLERS, HTTPException: _on_http_error},
    )
    # A redirect would name the function URL, which clients must not use.
    api.router.redirect_slashes = False
    bypass = {("POST", path): Bypass(endpoint) for path, endpoint in completions.items()}
    return Middleware(api, settings, bypass)


async def _on_http_error(request: Request, error: Exception) -> Response:
    """Return the response for a path or method that does not exist, with the right address."""
    assert isinstance(error, HTTPException)  # noqa: S101 (registered for it)
    if error.status_code != 404:
        return await EXCEPTION_HANDLERS[HTTPException](request, error)
    paths = [
        route.path.replace(":path", "") for route in request.app.routes if route.path not in HEALTH
    ]
    meant = _meant(request.url.path.rstrip("/ ").lower(), paths)
    if meant is None:
        hint = f"The paths are {', '.join(paths)}."
    else:
        hint = (
            f"The address is {meant}: the client's base URL is this API's address with '/v1' "
            "behind it, once."
        )
        if meant.startswith(ANTHROPIC_PATH):
            hint = (
                f"The address is {meant}: the base URL of Anthropic's clients is this API's "
                "address without '/v1'."
            )
    return error_response(NotFound(f"This path does not exist. {hint}"), request.scope)


def _meant(path: str, paths: Iterable[str]) -> str | None:
    """Return the path that a client with a wrong base URL meant, or None.

    Such a client doubles the version, leaves it out, or has something else in its place.
    """
    found = None
    for known in paths:
        fixed, parameter, _ = known.removeprefix("/v1").partition("{")
        fits = fixed in path if parameter else path.endswith(fixed)
        if fits and (found is None or len(known) > len(found)):
            found = known
    return found


class Middleware:
    """Assigns each request its id, and rejects requests that bypass the distribution."""

    def __init__(
        self, api: ASGIApp, settings: Settings, bypass: Mapping[tuple[str, str], ASGIApp]
    ) -> None:
        """Wrap `api`. A request whose method and path are in `bypass` goes to that application."""
        self._api = api
        self._bypass = bypass
        self._secrets = settings.origin_secrets
        self._rejections: Rejections | None = None
        self._deployment = settings.deployment
        self._cors: Cors | None = None
        if settings.cors_origins:
            from lambda_fn.http import cors  # few deployments have any

            self._cors = cors.Cors(settings.cors_origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            return
        scope["sluice.request_id"] = new_request_id()

        started = time.monotonic()
        shared: list[tuple[bytes, bytes]] = []

        def send_with_id(message: Message) -> Awaitable[None]:
            if message["type"] == "http.response.start":
                took = b"%d" % ((time.monotonic() - started) * 1000)
                added = scope.get("sluice.response_headers", {}).items()
                headers = [(key.encode(), value.encode()) for key, value in added]
                public_id = f"req_{scope['sluice.request_id']}".encode()
                if is_anthropic(scope):
                    headers.append((b"request-id", public_id))
                message["headers"] = [
                    *message["headers"],
                    *headers,
                    *shared,
                    NOSNIFF,
                    (b"x-request-id", public_id),
                    (b"openai-processing-ms", took),
                ]
                scope["sluice.started"] = True
                if message["status"] >= 400 and "sluice.response_headers" not in scope:
                    self._count_rejection(scope)
            return send(message)

        try:
            headers = _headers(scope["headers"])
            scope["sluice.request_headers"] = headers
            check_origin(headers, self._secrets)
            if self._cors is not None:
                shared = self._cors.headers(headers)
                preflight = self._cors.preflight(scope["method"], headers)
                if preflight is not None:
                    shared = [*shared, *preflight]
                    await Response("")(scope, receive, send_with_id)
                    return
        except APIError as error:
            await error_response(error, scope)(scope, receive, send_with_id)
            return
        path = scope["path"]
        if "//" in path or path.endswith("/"):  # from a base URL that ends in a slash
            scope["path"] = path = re.sub("/+", "/", path).rstrip("/") or "/"
        api = self._bypass.get((scope["method"], path), self._api)
        await api(scope, receive, send_with_id)

    def _count_rejection(self, scope: Scope) -> None:
        """Count a request that was not admitted, if metrics are on."""
        if self._deployment is None or (error := scope.get("sluice.error")) is None:
            return
        if self._rejections is None:
            from lambda_fn.stream.rejections import Rejections  # not at a cold start

            self._rejections = Rejections(self._deployment)
        self._rejections.add(*error)


_LISTS = (b"accept", b"content-encoding")


def _headers(raw: list[tuple[bytes, bytes]]) -> dict[str, str]:
    """Return a request's headers by their names, which ASGI has in lower case.

    If a header is repeated, the first one counts. Those of `_LISTS` are joined.
    """
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in reversed(raw)}
    if len(headers) < len(raw):
        for name in _LISTS:
            values = [value.decode("latin-1") for key, value in raw if key == name]
            if len(values) > 1:
                headers[name.decode()] = ", ".join(values)
    return headers

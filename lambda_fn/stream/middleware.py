"""What every request of the public API passes, and the responses of paths that do not exist."""

import re
import time
from collections.abc import Awaitable, Iterable, Mapping
from typing import TYPE_CHECKING

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lambda_fn.auth import check_origin
from lambda_fn.errors import APIError, NotFound
from lambda_fn.http.responses import (
    ANTHROPIC_PATH,
    EXCEPTION_HANDLERS,
    NOSNIFF,
    error_response,
    is_anthropic,
)
from lambda_fn.ids import new_request_id
from lambda_fn.settings import Settings

if TYPE_CHECKING:
    from lambda_fn.http.cors import Cors
    from lambda_fn.stream.rejections import Rejections

RESPONSES_PATH = "/v1/responses"
MULTIPLEX_PATH = "/v1/sluice/multiplex"
COMPACT_PATH = f"{RESPONSES_PATH}/compact"
_CONVERSATIONS = "/v1/conversations"
HEALTH = ("/health", "/v1/health", "/healthz", "/ping")
"""The paths at which load balancers, proxies and uptime checks ask whether the function answers."""


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


_LISTS = (b"accept", b"content-encoding", b"tracestate")


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


async def on_http_error(request: Request, error: Exception) -> Response:
    """Return the response for a path or method that does not exist, with the right address."""
    assert isinstance(error, HTTPException)  # noqa: S101 (registered for it)
    if error.status_code != 404:
        return await EXCEPTION_HANDLERS[HTTPException](request, error)
    paths = dict.fromkeys(  # a path may have a route for each of its methods
        route.path.replace(":path", "") for route in request.app.routes if route.path not in HEALTH
    )
    path = request.url.path
    meant = None if path.startswith(_CONVERSATIONS) else _meant(path.rstrip("/ ").lower(), paths)
    if meant is None:
        hint = _absent(path, paths) or f"The paths are {', '.join(paths)}."
    else:
        hint = (
            f"The address is {meant}: set the client's base URL to this API's address, followed by "
            "'/v1' once."
        )
        if meant.startswith(ANTHROPIC_PATH):
            hint = (
                f"The address is {meant}: set the base URL of Anthropic's clients to this API's "
                "address, without '/v1'."
            )
    return error_response(NotFound(f"This path does not exist. {hint}"), request.scope)


def _absent(path: str, paths: Iterable[str]) -> str:
    """Return why a path of OpenAI's API does not exist here, empty if that is not known."""
    if path.startswith(_CONVERSATIONS):
        return "This deployment keeps no conversations: its setting 'persistence' is off."
    if path.startswith(f"{RESPONSES_PATH}/") and f"{RESPONSES_PATH}/{{id}}" not in paths:
        return "This deployment keeps no responses: its setting 'persistence' is off."
    return ""


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

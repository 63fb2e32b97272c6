"""HTTP helpers: bounded body, JSON and error responses."""

import asyncio
from collections.abc import Mapping

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from lambda_fn import errors, limits
from lambda_fn.errors import APIError
from lambda_fn.log import log

_DIGITS = len(str(limits.MAX_BODY_WITH_IMAGES))


NOSNIFF = (b"x-content-type-options", b"nosniff")
"""A header of every response: a browser must not take the text of a model for a page."""


async def read_body(
    receive: Receive, headers: Mapping[str, str], *, max_bytes: int = limits.MAX_BODY
) -> bytes:
    """Return the body of a request, decoded as its `content-encoding` says.

    Raises:
        BodyTooLarge: the body is over `max_bytes`, encoded or decoded, or its `content-length` is.
            No more than that is kept.
        InvalidRequest: the body was truncated, is not what its `content-encoding` says, or did not
            arrive within `BODY_TIMEOUT`.
        UnsupportedEncoding: its `content-encoding` is not supported.

    """
    body = await _received(receive, headers, max_bytes)
    encoding = headers.get("content-encoding")
    if not encoding:
        return body
    from lambda_fn.http import content_encoding  # not at a cold start: few bodies have one

    try:
        return content_encoding.decoded(body, encoding, max_bytes)
    except content_encoding.TooLarge:
        raise _too_large(max_bytes, "decoded body") from None


async def _received(receive: Receive, headers: Mapping[str, str], max_bytes: int) -> bytes:
    declared = headers.get("content-length", "").lstrip("0")
    if declared.isdecimal() and (len(declared) > _DIGITS or int(declared) > max_bytes):
        raise _too_large(max_bytes)
    body = bytearray()
    more = True
    try:
        async with asyncio.timeout(limits.BODY_TIMEOUT):
            while more:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise errors.InvalidRequest(
                        "The request ended before its body was complete. Send it again."
                    )
                part: bytes = message.get("body", b"")
                if len(body) + len(part) > max_bytes:
                    raise _too_large(max_bytes)
                more = message.get("more_body", False)
                if not more and not body:
                    return part  # the only part, as always on Lambda: no copy is made
                body += part
    except TimeoutError:
        raise errors.InvalidRequest(
            "The body did not arrive in time. Send the request again."
        ) from None
    return bytes(body)


def _too_large(max_bytes: int, what: str = "body") -> errors.BodyTooLarge:
    return errors.BodyTooLarge(f"The {what} is over {max_bytes} bytes. Send a smaller one.")


def json_response(content: object) -> Response:
    """Return a 200 with a JSON body."""
    return Response(errors.encode_json(content), media_type="application/json")


ANTHROPIC_PATH = "/v1/messages"


def is_anthropic(scope: Scope) -> bool:
    """Return whether a request expects errors in Anthropic's form: by its path, or by the header
    that all of Anthropic's clients send.
    """
    path: str = scope["path"]
    return path.startswith(ANTHROPIC_PATH) or "anthropic-version" in scope.get(
        "sluice.request_headers", ()
    )


def error_response(error: APIError, scope: Scope | None = None) -> Response:
    """Return the response for an error: its status, its headers and its body.

    The body has OpenAI's form, or Anthropic's if the request of `scope` expects that.
    """
    headers = dict(error.headers)
    if error.retry_after is not None:
        headers["retry-after"] = str(error.retry_after)
    if error.status == 401:
        headers["www-authenticate"] = "Bearer"
    body = error.body()
    if scope is not None:
        scope["sluice.error"] = (error.status, error.code)  # for whoever counts errors
    if scope is not None and is_anthropic(scope):
        body = errors.anthropic_body(error, scope.get("sluice.request_id", ""))
    return Response(body, status_code=error.status, headers=headers, media_type="application/json")


async def _on_api_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, APIError)  # noqa: S101 (registered for it)
    return error_response(error, request.scope)


async def _on_http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 (registered for it)
    if error.status_code == 405:
        allowed = (error.headers or {}).get("Allow", "")
        response = error_response(
            errors.MethodNotAllowed(
                f"{request.method} is not allowed for this path. It takes {allowed}."
            ),
            request.scope,
        )
        response.headers.update(error.headers or {})
        return response
    return error_response(errors.NotFound("This path does not exist."), request.scope)


async def _on_exception(request: Request, error: Exception) -> Response:
    log("fault", request_id=request.scope.get("sluice.request_id"), error=type(error).__name__)
    return error_response(errors.internal_error(), request.scope)


EXCEPTION_HANDLERS = {
    APIError: _on_api_error,
    HTTPException: _on_http_error,
    Exception: _on_exception,
}
"""For Starlette: the handlers of all errors that an endpoint raises."""


class Bypass:
    """Serves an endpoint without Starlette's middleware and routing.

    This saves two calls for each token, and the lookup of the route. An error that the endpoint
    raises before its response has begun gets the same response as from Starlette's handlers.
    """

    def __init__(self, endpoint: ASGIApp) -> None:
        """Wrap an endpoint."""
        self._endpoint = endpoint

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request. `scope["sluice.started"]` tells whether the response has begun."""
        try:
            await self._endpoint(scope, receive, send)
        except Exception as error:
            if scope.get("sluice.started"):
                raise
            if isinstance(error, APIError):
                await error_response(error, scope)(scope, receive, send)
                return
            await (await _on_exception(Request(scope), error))(scope, receive, send)
            raise

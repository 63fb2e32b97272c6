"""HTTP in the small: a request's body, bounded; values and errors as responses."""

import asyncio
from collections.abc import Mapping

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from lambda_fn import errors, limits
from lambda_fn.errors import APIError
from lambda_fn.log import log

_DIGITS = len(str(limits.MAX_BODY))


NOSNIFF = (b"x-content-type-options", b"nosniff")
"""A header of every response: a browser must not take an answer for a page because of what a model wrote in it."""


async def read_body(receive: Receive, headers: Mapping[str, str], *, most: int = limits.MAX_BODY) -> bytes:
    """Return the whole body of a request.

    Raises:
        BodyTooLarge: it has more than `most` bytes, or says so. No more than that is kept.
        InvalidRequest: it was cut off, or did not arrive within `BODY_TIMEOUT`.

    """
    declared = headers.get("content-length", "").lstrip("0")
    if declared.isdecimal() and (len(declared) > _DIGITS or int(declared) > most):
        raise _too_large(most)
    body = bytearray()
    more = True
    try:
        async with asyncio.timeout(limits.BODY_TIMEOUT):
            while more:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise errors.InvalidRequest("The request was cut off.")
                part: bytes = message.get("body", b"")
                if len(body) + len(part) > most:
                    raise _too_large(most)
                more = message.get("more_body", False)
                if not more and not body:
                    return part  # Lambda's are always whole: no copy is made
                body += part
    except TimeoutError:
        raise errors.InvalidRequest("The body did not arrive in time.") from None
    return bytes(body)


def _too_large(most: int) -> errors.BodyTooLarge:
    return errors.BodyTooLarge(f"The body is over {most} bytes.")


def json_response(content: object) -> Response:
    """Give a 200 with a JSON body."""
    return Response(errors.encode_json(content), media_type="application/json")


def error_response(error: APIError) -> Response:
    """Give an error its status, its headers and OpenAI's body."""
    headers = dict(error.headers)
    if error.retry_after is not None:
        headers["retry-after"] = str(error.retry_after)
    if error.status == 401:
        headers["www-authenticate"] = "Bearer"
    return Response(error.body(), status_code=error.status, headers=headers, media_type="application/json")


async def _on_api_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, APIError)  # noqa: S101 (registered for it)
    return error_response(error)


async def _on_http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 (registered for it)
    if error.status_code == 405:
        response = error_response(errors.MethodNotAllowed(f"{request.method} is not allowed here."))
        response.headers.update(error.headers or {})
        return response
    return error_response(errors.NotFound("Nothing is found under this path."))


async def _on_exception(request: Request, error: Exception) -> Response:
    log("fault", request_id=request.scope.get("sluice.request_id"), error=type(error).__name__)
    return error_response(errors.ServerError("An internal error. The request id names it."))


EXCEPTION_HANDLERS = {APIError: _on_api_error, HTTPException: _on_http_error, Exception: _on_exception}
"""For Starlette: whatever an endpoint raises has its answer."""


class Bypass:
    """An endpoint without Starlette about it, which is two calls on the way of every token and a search for the route.

    What the endpoint raises before it has answered has the same answers.
    """

    def __init__(self, endpoint: ASGIApp) -> None:
        """Stand about `endpoint`."""
        self._endpoint = endpoint

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Carry one request; `scope["sluice.started"]` says whether the answer has begun."""
        try:
            await self._endpoint(scope, receive, send)
        except Exception as error:
            if scope.get("sluice.started"):
                raise
            if isinstance(error, APIError):
                await error_response(error)(scope, receive, send)
                return
            await (await _on_exception(Request(scope), error))(scope, receive, send)
            raise

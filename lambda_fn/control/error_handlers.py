"""Errors in OpenAI's shape.

FastAPI's 422 becomes a 400 that names the field and repeats no value.
"""

from collections.abc import Callable, Sequence
from typing import Any

from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from lambda_fn.aws.dynamodb import MeterUnavailable
from lambda_fn.errors import MAX_PARAM, APIError, InvalidRequest, Unavailable
from lambda_fn.http.responses import EXCEPTION_HANDLERS, error_response
from lambda_fn.log import log

_MESSAGES = {
    "extra_forbidden": "There is no such field.",
    "missing": "It is missing.",
    "json_invalid": "The body is not valid JSON.",
}
_PLACES = {"body", "query", "path", "header"}


def invalid(errors: Sequence[Any]) -> APIError:
    """Return the error for the first invalid field."""
    first = errors[0]
    kind = first["type"]
    if kind == "json_invalid":
        return _invalid_json()
    path = [str(part) for part in first["loc"] if part not in _PLACES]
    param = ".".join(path)[:MAX_PARAM] or None
    message = (
        _MESSAGES.get(kind)
        or _length(first)
        or first["msg"].removeprefix("Value error, ").rstrip(".") + "."
    )
    return InvalidRequest(f"'{param}': {message}" if param else f"The body: {message}", param=param)


def _length(error: Any) -> str | None:
    """Return the message for a list that is too short or too long."""
    context = error.get("ctx", {})
    match error["type"]:
        case "too_short":
            return f"must have {context['min_length']} or more."
        case "too_long":
            return f"must have {context['max_length']} or fewer."
    return None


def _invalid_json() -> APIError:
    return InvalidRequest(_MESSAGES["json_invalid"], code="invalid_json")


async def _on_http_error(request: Request, error: Exception) -> Response:
    """Return the response for an HTTP error.

    FastAPI raises a 400 for a body whose grammar is right but which cannot be parsed, because it is
    nested too deeply or has too long a number.
    """
    if isinstance(error, HTTPException) and error.status_code == 400:
        return error_response(_invalid_json())
    response: Response = await EXCEPTION_HANDLERS[HTTPException](request, error)
    return response


async def _on_invalid(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101 (registered for it)
    return error_response(invalid(error.errors()))


async def _on_unavailable(request: Request, error: Exception) -> Response:
    log("fault", request_id=request.scope.get("sluice.request_id"), error=str(error))
    return error_response(Unavailable("The usage table does not answer. Try again.", retry_after=5))


HANDLERS: dict[Any, Callable[[Request, Exception], Any]] = {
    **EXCEPTION_HANDLERS,
    HTTPException: _on_http_error,
    RequestValidationError: _on_invalid,
    MeterUnavailable: _on_unavailable,
}

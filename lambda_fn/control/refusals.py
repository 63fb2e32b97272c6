"""Whatever goes wrong, in OpenAI's shape: FastAPI's own 422 becomes a 400 that names the field, and repeats nothing of
what was given.
"""

from collections.abc import Callable, Sequence
from typing import Any

from fastapi.exceptions import RequestValidationError
from starlette.requests import Request
from starlette.responses import Response

from lambda_fn.aws.dynamodb import MeterUnavailable
from lambda_fn.errors import APIError, InvalidRequest, Unavailable
from lambda_fn.log import log
from lambda_fn.replies import EXCEPTION_HANDLERS, error_response

_WORDS = {
    "extra_forbidden": "There is no such field.",
    "missing": "It is missing.",
    "json_invalid": "The body is not valid JSON.",
}
_PLACES = {"body", "query", "path", "header"}


def invalid(errors: Sequence[Any]) -> APIError:
    """Give the error for the first thing that is wrong."""
    first = errors[0]
    kind = first["type"]
    if kind == "json_invalid":
        return InvalidRequest(_WORDS[kind], code="invalid_json")
    path = [str(part) for part in first["loc"] if part not in _PLACES]
    param = ".".join(path) or None
    words = _WORDS.get(kind) or first["msg"].removeprefix("Value error, ").rstrip(".") + "."
    return InvalidRequest(f"'{param}': {words}" if param else f"The body: {words}", param=param)


async def _on_invalid(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101 (registered for it)
    return error_response(invalid(error.errors()))


async def _on_unavailable(request: Request, error: Exception) -> Response:
    log("fault", request_id=request.scope.get("sluice.request_id"), error=str(error))
    return error_response(Unavailable("The usage table does not answer. Try again.", retry_after=5))


HANDLERS: dict[Any, Callable[[Request, Exception], Any]] = {
    **EXCEPTION_HANDLERS,
    RequestValidationError: _on_invalid,
    MeterUnavailable: _on_unavailable,
}

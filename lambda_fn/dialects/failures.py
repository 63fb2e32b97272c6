"""Maps the errors of other servers, in any of their forms, to our container's codes.

Known forms:

    {"error": {"message", "type", "code"}}           vLLM, SGLang
    {"object": "error", "message", "code"}           older vLLM
    {"error": "text", "error_type": "overloaded"}    TGI
    {"code": 424, "error": "text"}                   LMI
"""

import re

import msgspec

from lambda_fn.dialects.templates import template_failure
from lambda_fn.events import Failure

_MAX_MESSAGE = 1_000
_BY_STATUS = {
    400: "invalid_request",
    408: "deadline_exceeded",
    413: "context_length_exceeded",
    422: "invalid_request",
    429: "overloaded",
    503: "not_ready",
    504: "deadline_exceeded",
}
_BY_TYPE = {
    "validation": "invalid_request",
    "overloaded": "overloaded",
    "badrequesterror": "invalid_request",
    "invalid_request_error": "invalid_request",
    "unhealthy": "not_ready",
}
_TOO_LONG = re.compile(
    r"context (length|window)|max_model_len|maximum (model|context|input) "
    r"length|max_new_tokens. must be <="
    r"|longer than the model|(input|prompt) (is |too |tokens )+(too )?long",
    re.IGNORECASE,
)


class _Fields(msgspec.Struct):
    error: msgspec.Raw = msgspec.Raw(b"null")
    error_type: str | None = None
    message: str | None = None
    type: str | None = None
    code: int | str | None = None


_fields = msgspec.json.Decoder(_Fields)
_inner = msgspec.json.Decoder(_Fields | str | None)


def failure_of(body: bytes | str, status: int | None = None) -> Failure:
    """Return the failure that a server's error describes.

    An error of an unknown form becomes an `engine_error`. Never raises.

    Args:
        body: The error as JSON, or any other text.
        status: The HTTP status, if there is one. It is used if the error contains no code.

    """
    try:
        outer = _fields.decode(body)
        inner = _inner.decode(outer.error)
    except (ValueError, RecursionError):
        outer, inner = _Fields(), None
    if isinstance(inner, str):
        outer.message = inner
    fields = inner if isinstance(inner, _Fields) else outer
    message = fields.message or "The model failed to answer."
    kind = (fields.type or fields.error_type or outer.error_type or "").lower()
    number = _number(fields.code)
    code = _BY_STATUS.get(number if number is not None else status or 0) or _BY_TYPE.get(
        kind, "engine_error"
    )
    if code == "invalid_request" and _TOO_LONG.search(message):
        code = "context_length_exceeded"
    failure = template_failure(Failure(code=code, message=message))
    return msgspec.structs.replace(failure, message=failure.message[:_MAX_MESSAGE])


def _number(code: int | str | None) -> int | None:
    if isinstance(code, str):
        return int(code) if code.isascii() and code.isdigit() else None
    return code

"""The errors of other servers, in whatever shape -> our container's codes.

Seen: `{"error": {"message", "type", "code"}}` (vLLM, SGLang), `{"object": "error", "message", "code"}` (older vLLM),
`{"error": "text", "error_type": "overloaded"}` (TGI), `{"code": 424, "error": "text"}` (LMI).
"""

import re

import msgspec

from lambda_fn.events import Failure

_LONGEST = 1_000
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
    r"context (length|window)|max_model_len|maximum (model|context|input) length|max_new_tokens. must be <="
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
    """Give the failure that an error's JSON says; what says nothing is an `engine_error`. Never raises.

    Args:
        body: The error's JSON, or what came in its place.
        status: The HTTP status, if it came with one; it counts where the error has no code of its own.

    """
    try:
        outer = _fields.decode(body)
        inner = _inner.decode(outer.error)
    except (ValueError, RecursionError):
        outer, inner = _Fields(), None
    if isinstance(inner, str):
        outer.message = inner
    found = inner if isinstance(inner, _Fields) else outer
    message = (found.message or "The model failed to answer.")[:_LONGEST]
    kind = (found.type or found.error_type or outer.error_type or "").lower()
    own = _number(found.code)
    code = _BY_STATUS.get(own if own is not None else status or 0) or _BY_TYPE.get(kind, "engine_error")
    if code == "invalid_request" and _TOO_LONG.search(message):
        code = "context_length_exceeded"
    return Failure(code=code, message=message)


def _number(code: int | str | None) -> int | None:
    if isinstance(code, str):
        return int(code) if code.isascii() and code.isdigit() else None
    return code

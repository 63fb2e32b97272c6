"""The error tree.

Every error that a client gets is one of these, in OpenAI's format.

    APIError
    ├── InvalidRequest        400  the request is invalid
    │   ├── ContextLengthExceeded  the prompt does not fit the model's context
    │   └── ResponseTooLarge       the response is too large to be buffered until its end
    ├── AuthenticationFailed  401  the key is missing or unknown
    ├── PermissionDenied      403  the key may not do this, or the caller bypassed the distribution
    ├── NotFound              404  the path or model does not exist
    ├── MethodNotAllowed      405  the path exists, but not for this method
    ├── Conflict              409  another change of the same item won; a retry may succeed
    ├── RequestRunning        409  the request repeats one that is still running
    ├── IdempotencyKeyReused  409  the Idempotency-Key was sent with another request
    ├── BodyTooLarge          413  the request's body is over the limit
    ├── UnsupportedEncoding   415  the request's body has a content-encoding that is not supported
    ├── ResponseFailed        424  the kept response that is read has failed, and has no text
    ├── Cancelled             499  the request was cancelled, or no client is left
    ├── RateLimited           429  the model is busy, or a rate limit is reached; retry later
    ├── InsufficientQuota     429  a budget of the key is spent
    └── ServerError           500  a fault of this service
        ├── UpstreamFailed    502  the model failed, or its response was truncated
        ├── Unavailable       503  a dependency is unavailable
        └── UpstreamTimeout   504  the model took too long

Other errors become these at one boundary each: the container's codes in `from_container`, msgspec's
in `schema`.
"""

from collections.abc import Mapping
from typing import ClassVar

import msgspec

encode_json = msgspec.json.encode
NO_RETRY = {"x-should-retry": "false"}
"""A header that tells OpenAI's clients not to retry the request by themselves."""

MAX_PARAM = 200
"""Characters of a `param`. The caller chooses the names in a path, and may choose long ones."""

MAX_MESSAGE = 2_000
"""Characters of a message, which may contain such a path or the text of a container."""


class APIError(Exception):
    """An error with an HTTP status and OpenAI's four fields.

    `message` is for the client: it never contains a prompt, a completion, a key or an internal
    address. `type` and `status` belong to the class; `code` belongs to the instance, and is
    `default_code` unless it is given.
    """

    status: ClassVar[int] = 500
    type: ClassVar[str] = "server_error"
    default_code: ClassVar[str | None] = None

    def __init__(
        self,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        retry_after: int | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Create the error. A long message or path is truncated.

        Args:
            message: What happened, why, and what to do.
            param: The path of the wrong field.
            code: The machine-readable code.
            retry_after: Seconds after which a retry may succeed.
            headers: Further headers of the response.

        """
        super().__init__(message)
        self.message = message[:MAX_MESSAGE]
        self.param = None if param is None else param[:MAX_PARAM]
        self.code = code or self.default_code
        self.retry_after = retry_after
        self.headers = dict(headers or {})

    def body(self) -> bytes:
        """Return the JSON body: `{"error": {"message", "type", "param", "code"}}`."""
        error = {"message": self.message, "type": self.type, "param": self.param, "code": self.code}
        return encode_json({"error": error})


def anthropic_body(error: APIError, request_id: str) -> bytes:
    """Return the JSON body of an error in Anthropic's form.

    It is `{"type": "error", "error": {"type", "message"}, "request_id"}`. The message has the names
    of the Messages API for members that a chat calls otherwise.
    """
    message = error.message
    if isinstance(error, ContextLengthExceeded):
        message = f"prompt is too long: {message}"  # by these words clients know it
    if error.status == 400:
        for chat_name, name in _ANTHROPIC_NAMES:
            message = message.replace(chat_name, name)
    return encode_json(
        {
            "type": "error",
            "error": {"type": _anthropic_type(error.status), "message": message},
            "request_id": f"req_{request_id}",
        }
    )


def _anthropic_type(status: int) -> str:
    return _ANTHROPIC_TYPES.get(status) or (
        "api_error" if status >= 500 else "invalid_request_error"
    )


_ANTHROPIC_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    424: "api_error",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
}
_ANTHROPIC_NAMES = (
    ("response_format.json_schema.schema", "output_config.format.schema"),
    ("response_format", "output_config.format"),
    ("function.parameters", "input_schema"),
    ("tool_choice.function.name", "tool_choice.name"),
    ("'stop'", "'stop_sequences'"),
)


def responses_text(text: str) -> str:
    """Return a message or a path with the names of the Responses API for members of a chat."""
    for chat_name, name in _RESPONSES_NAMES:
        text = text.replace(chat_name, name)
    return text


_RESPONSES_NAMES = (
    ("response_format.json_schema", "text.format"),
    ("response_format", "text.format"),
    (".function.", "."),
    ("tool_choice.allowed_tools", "tool_choice"),
    ("max_completion_tokens", "max_output_tokens"),
    ("max_tokens", "max_output_tokens"),
    ("'messages'", "'input'"),
    ("content blocks of type 'image'", "content parts of type 'input_image'"),
)


class InvalidRequest(APIError):
    """The request is invalid."""

    status = 400
    type = "invalid_request_error"


class ContextLengthExceeded(InvalidRequest):
    """The prompt does not fit the model's context."""

    default_code = "context_length_exceeded"


class ResponseTooLarge(InvalidRequest):
    """The response is not streamed, and is too large to be buffered until its end."""

    default_code = "answer_too_large"


class AuthenticationFailed(APIError):
    """The key is missing or unknown."""

    status = 401
    type = "invalid_request_error"
    default_code = "invalid_api_key"


class PermissionDenied(APIError):
    """The caller is not allowed to do this."""

    status = 403
    type = "invalid_request_error"
    default_code = "permission_denied"


class NotFound(APIError):
    """The path or model does not exist."""

    status = 404
    type = "invalid_request_error"
    default_code = "not_found"


class MethodNotAllowed(APIError):
    """The path exists, but not for this method."""

    status = 405
    type = "invalid_request_error"
    default_code = "method_not_allowed"


class Conflict(APIError):
    """Another change of the same item won."""

    status = 409
    type = "invalid_request_error"
    default_code = "conflict"


class RequestRunning(APIError):
    """The request repeats one that is still running.

    Running it again would generate and bill a second response.
    """

    status = 409
    type = "invalid_request_error"
    default_code = "request_running"


class IdempotencyKeyReused(APIError):
    """The Idempotency-Key was sent with another request before."""

    status = 409
    type = "invalid_request_error"
    default_code = "idempotency_key_reused"


class BodyTooLarge(APIError):
    """The request's body is over the limit."""

    status = 413
    type = "invalid_request_error"
    default_code = "request_too_large"


class UnsupportedEncoding(APIError):
    """The request's body has a content-encoding that is not supported."""

    status = 415
    type = "invalid_request_error"
    default_code = "unsupported_encoding"


class ResponseFailed(APIError):
    """The kept response that is read has failed, and has nothing of its form that could be sent.

    The request that generated it got the status of its failure. Reading it is no such failure.
    """

    status = 424
    type = "server_error"
    default_code = "response_failed"


class Cancelled(APIError):
    """The key that made the request, or an operator, cancelled it. The code `abandoned` appears in
    logs only: the reader of the response left before its end.

    No standard defines 499. Proxies log it for a request whose client closed it, and no client
    retries it.
    """

    status = 499
    type = "invalid_request_error"
    default_code = "cancelled"


class RateLimited(APIError):
    """The model is busy, or a rate limit of the key is reached."""

    status = 429
    type = "rate_limit_error"
    default_code = "rate_limit_exceeded"


class InsufficientQuota(APIError):
    """A budget of the key is spent. A retry cannot succeed before its day or month is over."""

    status = 429
    type = "insufficient_quota"
    default_code = "insufficient_quota"


class ServerError(APIError):
    """A fault of this service. The log has the details, under the request's id."""

    default_code = "internal_error"


class UpstreamFailed(ServerError):
    """The model failed, or its response was truncated."""

    status = 502
    default_code = "upstream_error"


class Unavailable(ServerError):
    """A dependency is unavailable."""

    status = 503
    default_code = "service_unavailable"


class UpstreamTimeout(ServerError):
    """The model took too long."""

    status = 504
    default_code = "upstream_timeout"


CONTAINER_CODES: dict[str, type[APIError]] = {
    "invalid_request": InvalidRequest,
    "context_length_exceeded": ContextLengthExceeded,
    "model_not_found": NotFound,
    "overloaded": RateLimited,
    "not_ready": Unavailable,
    "engine_error": UpstreamFailed,
    "caller_denied": UpstreamFailed,
    "request_timeout": UpstreamTimeout,
    "deadline_exceeded": UpstreamTimeout,
    "cancelled": Cancelled,
    "aborted": UpstreamFailed,
    "cut": UpstreamFailed,
    "malformed": UpstreamFailed,
}
"""The container's error codes, and the decoders' three, to the error that the client gets."""

_MESSAGE_IS_PUBLIC = (InvalidRequest, RateLimited)  # other messages may reveal internals


def internal_error() -> ServerError:
    """Return the public error for a fault of this service, whose details only the log has."""
    return ServerError(
        "The service failed. Report the header 'x-request-id' of this response to its operator."
    )


def from_container(code: str, message: str, param: str | None = None) -> APIError:
    """Return the public error for an error of the container.

    An unknown code becomes `UpstreamFailed`.
    """
    kind = CONTAINER_CODES.get(code, UpstreamFailed)
    if issubclass(kind, _MESSAGE_IS_PUBLIC):
        return kind(message, param=param, retry_after=1 if kind is RateLimited else None)
    return kind(
        _PUBLIC_MESSAGES.get(code, "The model failed to answer."),
        param=param,
        code=_PUBLIC_CODES.get(code),
        headers=NO_RETRY if kind is Cancelled else None,
    )


_PUBLIC_CODES = {"cut": "upstream_cut", "model_not_found": "model_not_found"}
_PUBLIC_MESSAGES = {
    "model_not_found": "The model's endpoint does not serve this model.",
    "not_ready": "The model is not ready yet.",
    "deadline_exceeded": "The response took too long, and was ended.",
    "cancelled": "This response was cancelled.",
    "aborted": "The model's server broke the response off.",
    "cut": "The model's response was truncated.",
}

"""The error tree. Every error that a client sees is one of these, in OpenAI's shape.

APIError
├── InvalidRequest        400  the request makes no sense
│   ├── ContextLengthExceeded
│   └── AnswerTooLarge         its answer is more than can be held whole
├── AuthenticationFailed  401  no key, or one that nobody has
├── PermissionDenied      403  a key that may not, or a caller that went round the distribution
├── NotFound              404  no such path or model
├── MethodNotAllowed      405
├── Conflict              409  others are changing the same thing; it may be tried again
├── RequestRunning        409  the same request, sent before, still runs
├── BodyTooLarge          413
├── Cancelled             499  its end was asked for by somebody who may
├── RateLimited           429  the model has no room, or a rate of the key is reached; it may be tried again
├── InsufficientQuota     429  a budget of the key is spent
└── ServerError           500  ours
    ├── UpstreamFailed    502  the model failed, or was cut off
    ├── Unavailable       503  a part that is needed is not there now
    └── UpstreamTimeout   504  the model took longer than it may

Foreign errors become these at one boundary each: the container's codes in `from_container`, msgspec's in `schema`.
"""

from collections.abc import Mapping
from typing import ClassVar

import msgspec

encode_json = msgspec.json.encode
NO_RETRY = {"x-should-retry": "false"}
"""OpenAI's clients obey it: they do not send the request again by themselves."""

PARAM_MOST = 200
"""Characters of a `param`. Paths have names in them that the caller chose, and those may be as long as a body."""

MESSAGE_MOST = 2_000
"""Characters of a message, which may name such a path, or hold what a container said."""


class APIError(Exception):
    """An error with an HTTP status and OpenAI's four fields.

    `message` is for the client: it never holds a prompt, a completion, a key or an address of ours.
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
        """Say what went wrong. `param` is the path of the wrong field, `retry_after` seconds, `headers` others.

        A long message or path is cut.
        """
        super().__init__(message)
        self.message = message[:MESSAGE_MOST]
        self.param = None if param is None else param[:PARAM_MOST]
        self.code = code or self.default_code
        self.retry_after = retry_after
        self.headers = dict(headers or {})

    def body(self) -> bytes:
        """Give the JSON body: `{"error": {"message", "type", "param", "code"}}`."""
        error = {"message": self.message, "type": self.type, "param": self.param, "code": self.code}
        return encode_json({"error": error})


class InvalidRequest(APIError):
    """The request makes no sense."""

    status = 400
    type = "invalid_request_error"


class ContextLengthExceeded(InvalidRequest):
    """The prompt does not fit the model's context."""

    default_code = "context_length_exceeded"


class AnswerTooLarge(InvalidRequest):
    """The answer is larger than what is held of one that is not streamed."""

    default_code = "answer_too_large"


class AuthenticationFailed(APIError):
    """No key, or one that nobody has."""

    status = 401
    type = "invalid_request_error"
    default_code = "invalid_api_key"


class PermissionDenied(APIError):
    """The caller is known, or not to be known, and may not."""

    status = 403
    type = "invalid_request_error"
    default_code = "permission_denied"


class NotFound(APIError):
    """No such path or model."""

    status = 404
    type = "invalid_request_error"
    default_code = "not_found"


class MethodNotAllowed(APIError):
    """The path exists, but not for this method."""

    status = 405
    type = "invalid_request_error"
    default_code = "method_not_allowed"


class Conflict(APIError):
    """Others are changing the same thing."""

    status = 409
    type = "invalid_request_error"
    default_code = "conflict"


class RequestRunning(APIError):
    """The same request, sent before, still runs: another answer to it would be generated and paid a second time."""

    status = 409
    type = "invalid_request_error"
    default_code = "request_running"


class BodyTooLarge(APIError):
    """The request's body is over the limit."""

    status = 413
    type = "invalid_request_error"
    default_code = "request_too_large"


class Cancelled(APIError):
    """The answer's end was asked for by somebody who may. 499 is no standard's, but what proxies log for a request that
    was given up; no client tries it again.
    """

    status = 499
    type = "invalid_request_error"
    default_code = "cancelled"


class RateLimited(APIError):
    """There is no room at the model now, or the key has used its rate."""

    status = 429
    type = "rate_limit_error"
    default_code = "rate_limit_exceeded"


class InsufficientQuota(APIError):
    """A budget of the key is spent. Trying again is of no use before its day or month is over."""

    status = 429
    type = "insufficient_quota"
    default_code = "insufficient_quota"


class ServerError(APIError):
    """A fault of ours. Its details are in the log, under the request's id."""

    default_code = "internal_error"


class UpstreamFailed(ServerError):
    """The model failed, or its answer was cut off."""

    status = 502
    default_code = "upstream_error"


class Unavailable(ServerError):
    """A part that is needed does not answer."""

    status = 503
    default_code = "service_unavailable"


class UpstreamTimeout(ServerError):
    """The model took longer than it may."""

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
    "deadline_exceeded": UpstreamTimeout,
    "cancelled": UpstreamFailed,
    "cut": UpstreamFailed,
    "garbled": UpstreamFailed,
}
"""The container's error codes, the last two being the decoder's for it, and what the client is told."""

_OWN_WORDS = (InvalidRequest, RateLimited)  # these messages are meant for the caller; others may tell of the inside


def from_container(code: str, message: str, param: str | None = None) -> APIError:
    """Give the public error for an error of the container; an unknown code is `UpstreamFailed`."""
    kind = CONTAINER_CODES.get(code, UpstreamFailed)
    if issubclass(kind, _OWN_WORDS):
        return kind(message, param=param, retry_after=1 if kind is RateLimited else None)
    return kind(_PUBLIC_WORDS.get(code, "The model failed to answer."), param=param, code=_PUBLIC_CODES.get(code))


_PUBLIC_CODES = {"cut": "upstream_cut", "model_not_found": "model_not_found"}
_PUBLIC_WORDS = {
    "model_not_found": "The model's endpoint does not serve it.",
    "not_ready": "The model is not ready yet.",
    "deadline_exceeded": "The answer took longer than it may, and was ended.",
    "cancelled": "The answer was cancelled.",
    "cut": "The model's answer was cut off.",
}

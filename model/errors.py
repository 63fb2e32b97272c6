"""What can go wrong in the container.

StartError                      the container does not start: one line on stderr, exit code 1
ModelError                      one request failed
├── InvalidRequestError         400 invalid_request
│   ├── ContextLengthError      400 context_length_exceeded
│   ├── UnknownModelError       404 model_not_found
│   ├── RequestTimeoutError     408 request_timeout
│   ├── BodySizeError           413 invalid_request
│   ├── EncodingError           415 invalid_request
│   ├── HeadSizeError           431 invalid_request
│   ├── RouteError              404 not_found, 405 method_not_allowed
│   └── CallerError             403 caller_denied
├── OverloadedError             429 overloaded, with retry-after
├── NotReadyError               503 not_ready
├── EngineError                 500 engine_error
├── DeadlineError               deadline_exceeded ┐ in an error record even where nothing was
└── RequestCancelledError       cancelled         ┘ sent yet; a whole answer has the status
"""

from __future__ import annotations

import json
from typing import ClassVar

MAX_MESSAGE = 1000  # in characters; the text of a library's error may quote the request


def printable(text: str) -> str:
    """Return the text with everything that is not printable escaped.

    It then has no line break, no terminal's escape sequence and no surrogate.
    """
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in text
    )


class StartError(Exception):
    """The container cannot start. The text is one line that says why and what to change."""


class ModelError(Exception):
    """A failed request: `code` for programs, `status` over HTTP, `message` for people.

    `param` names the offending field of the request ("messages.0.content"), if there is one.
    `record_only` errors appear in an error record of a stream, never as the status of the response.
    """

    code: str = "engine_error"
    status: int = 500
    record_only: ClassVar[bool] = False
    retry_after: ClassVar[int | None] = None

    def __init__(self, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.message = printable(message)[:MAX_MESSAGE]
        self.param = None if param is None else printable(param)[:MAX_MESSAGE]

    @property
    def type(self) -> str:
        """OpenAI's class of the error."""
        at_fault = self.status < 429 or isinstance(self, InvalidRequestError)
        return "invalid_request_error" if at_fault else "server_error"

    def body(self) -> bytes:
        """Return the JSON body of the response, with all four keys that OpenAI's clients read."""
        error = {"message": self.message, "type": self.type, "param": self.param, "code": self.code}
        return json.dumps({"error": error}, ensure_ascii=False).encode("utf-8", "replace")


class InvalidRequestError(ModelError):
    """The request cannot be served as it stands."""

    code = "invalid_request"
    status = 400


class ContextLengthError(InvalidRequestError):
    """The prompt alone does not fit into the context."""

    code = "context_length_exceeded"

    @classmethod
    def of(cls, prompt_tokens: int, limit: int, what: str = "context length") -> ContextLengthError:
        """Return the error for a prompt that exceeds `limit` tokens.

        `what` names the limit: the context length, or the caller's own limit.
        """
        return cls(
            f"The prompt has {prompt_tokens} tokens, the {what} is {limit} tokens.", "messages"
        )


class UnknownModelError(InvalidRequestError):
    """The request names neither the model nor one of its adapters."""

    code = "model_not_found"
    status = 404


class BodySizeError(InvalidRequestError):
    """The body is larger than the container reads."""

    status = 413


class EncodingError(InvalidRequestError):
    """The body has a content-encoding. The container reads plain bodies only."""

    status = 415


class HeadSizeError(InvalidRequestError):
    """The target and the header fields are larger than the container reads."""

    status = 431


class RequestTimeoutError(InvalidRequestError):
    """The request came too slowly."""

    code = "request_timeout"
    status = 408


class RouteError(InvalidRequestError):
    """The path does not exist, or does not allow this method."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = {404: "not_found", 405: "method_not_allowed"}.get(status, "invalid_request")


class CallerError(InvalidRequestError):
    """The request does not have the token that this container requires."""

    code = "caller_denied"
    status = 403

    def __init__(self) -> None:
        super().__init__(
            "The request does not have this container's token: send its SLUICE_CALLER_TOKEN "
            "as X-Sluice-Caller."
        )


class OverloadedError(ModelError):
    """Too many requests are running or waiting. A later attempt may succeed."""

    code = "overloaded"
    status = 429
    retry_after = 1


class NotReadyError(ModelError):
    """The engine is starting, has died or is stopping."""

    code = "not_ready"
    status = 503
    retry_after = 5


class EngineError(ModelError):
    """The engine failed. The request may be correct."""


class DeadlineError(ModelError):
    """The caller's deadline passed."""

    code = "deadline_exceeded"
    status = 408
    record_only = True


class RequestCancelledError(ModelError):
    """The caller cancelled the request, or disconnected."""

    code = "cancelled"
    status = 499
    record_only = True


BY_CODE: dict[str, type[ModelError]] = {
    error.code: error
    for error in (
        InvalidRequestError,
        ContextLengthError,
        OverloadedError,
        NotReadyError,
        EngineError,
        DeadlineError,
        RequestCancelledError,
    )
}

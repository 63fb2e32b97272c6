"""Numbered events of a response, and the logs that keep them so that they can be read again.

A batch is the number of its first event and the events. The producer numbers the events of a
response from 0, in the order in which they leave the transforms. The last one is its terminal
event, an `End` or a `Failed`.
"""

from asyncio import Future, get_running_loop
from collections.abc import Callable
from typing import Protocol

from lambda_fn.encode import Head
from lambda_fn.errors import (
    APIError,
    AuthenticationFailed,
    BodyTooLarge,
    Cancelled,
    Conflict,
    ContextLengthExceeded,
    IdempotencyKeyReused,
    InsufficientQuota,
    InvalidRequest,
    MethodNotAllowed,
    NotFound,
    PermissionDenied,
    RateLimited,
    RequestRunning,
    ResponseFailed,
    ResponseTooLarge,
    ServerError,
    Unavailable,
    UnsupportedEncoding,
    UpstreamFailed,
    UpstreamTimeout,
)
from lambda_fn.events import Event, Failed

Batch = tuple[int, list[Event]]
Take = Callable[[list[Event]], bool]
"""Takes the events of a batch, and returns whether it takes another batch. It raises nothing."""


class Unended(Exception):
    """A source has no more batches, and how the response ends is not known here. Its client gets no
    terminal event, and has to read the log.
    """


class LogEnded(Exception):
    """A log takes no more batches, because another caller has ended the response."""


class Source(Protocol):
    """Where a delivery gets its batches: a producer, or a log that is read."""

    async def read(self, until: float, take: Take | None = None) -> Batch | None:
        """Return the next batch, which has at least one event, or None if none came in time.

        After the terminal event it is not called again.

        Args:
            until: A time of `time.monotonic`.
            take: The source may hand batches to it while this call waits, at once and in order,
                instead of returning them. It may return None at any time then. The batch with the
                terminal event is returned.

        Raises:
            Unended: the source ends here without a terminal event.

        """
        ...


class EventLog(Protocol):
    """The log of one response.

    `append` and `end` start their work at once, keep the order of their calls, and return a future.
    The work goes on if the task that awaits the future is cancelled, which shields it.
    """

    async def open(self, head: Head) -> None:
        """Keep the head. It is called once, before anything of the response is sent."""
        ...

    def append(self, batch: Batch) -> Future[None] | None:
        """Keep a batch without a terminal event, whose number follows that of the last event.

        Returns:
            What to wait for before the batch is delivered, None if it may be delivered now.

        Raises:
            LogEnded: another caller has ended the response. `end` returns how. The future raises
                the same.
            Exception: the log is lost: it is not known whether the batch was kept. Only `end`
                is called after that.

        """
        ...

    def end(self, batch: Batch) -> Future[Batch]:
        """Close the log with the terminal event, which is the only one of its batch. It is called
        once. In a log that is lost, the event follows the last one that was kept, and their numbers
        may have a gap.

        Returns:
            The terminal event that stands in the log: this one, or an earlier one of another
            caller. An exception says that it is not known.

        """
        ...

    def read(self, after: int) -> Source:
        """Return a source of the events with numbers above `after`, future ones included.

        To read from the first event on, `after` is -1.
        """
        ...


class NoLog:
    """Keeps nothing: a response can only be delivered while it is produced."""

    async def open(self, head: Head) -> None:
        """Do nothing."""

    def append(self, batch: Batch) -> None:
        """Do nothing."""

    def end(self, batch: Batch) -> Future[Batch]:
        """Return the batch."""
        ended = get_running_loop().create_future()
        ended.set_result(batch)
        return ended

    def read(self, after: int) -> Source:
        """Raise LookupError."""
        raise LookupError("this response is not kept")


def failed_by(error: APIError) -> Failed:
    """Return the terminal event that reports an error. A class without a name in logs is a
    `ServerError` there.
    """
    return Failed(
        _KINDS.get(type(error), "server_error"),
        error.message,
        error.param,
        error.code,
        error.retry_after,
        error.headers,
    )


def error_of(failed: Failed) -> APIError:
    """Return the error that a terminal event reports. A kind that is unknown here is a
    `ServerError`.
    """
    kind = _ERRORS.get(failed.kind, ServerError)
    return kind(
        failed.message,
        param=failed.param,
        code=failed.code,
        retry_after=failed.retry_after,
        headers=failed.headers,
    )


_ERRORS: dict[str, type[APIError]] = {
    "error": APIError,
    "invalid_request": InvalidRequest,
    "context_length_exceeded": ContextLengthExceeded,
    "response_too_large": ResponseTooLarge,
    "authentication_failed": AuthenticationFailed,
    "permission_denied": PermissionDenied,
    "not_found": NotFound,
    "method_not_allowed": MethodNotAllowed,
    "conflict": Conflict,
    "request_running": RequestRunning,
    "idempotency_key_reused": IdempotencyKeyReused,
    "body_too_large": BodyTooLarge,
    "unsupported_encoding": UnsupportedEncoding,
    "response_failed": ResponseFailed,
    "cancelled": Cancelled,
    "rate_limited": RateLimited,
    "insufficient_quota": InsufficientQuota,
    "server_error": ServerError,
    "upstream_failed": UpstreamFailed,
    "unavailable": Unavailable,
    "upstream_timeout": UpstreamTimeout,
}
"""The names under which logs keep the classes of errors. A class may be renamed; its name here may
not.
"""
_KINDS = {kind: name for name, kind in _ERRORS.items()}

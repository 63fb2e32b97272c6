"""Sends a logged response once more, from where its client has it, and on while it runs."""

import time
from collections.abc import Awaitable, Callable
from typing import Literal, get_args

from lambda_fn import limits
from lambda_fn.aws.dynamodb import Table
from lambda_fn.emf import one
from lambda_fn.encode import Encoder, encoder_of
from lambda_fn.errors import (
    NO_RETRY,
    APIError,
    InvalidRequest,
    RateLimited,
    ResponseFailed,
    Unavailable,
)
from lambda_fn.event_log import Batch, Take, Unended
from lambda_fn.log import log
from lambda_fn.settings import Settings
from lambda_fn.stream.delivery import Delivery
from lambda_fn.stream.sinks import ResponseBroken, Sink
from lambda_fn.stream_log.heads import StoredHead
from lambda_fn.stream_log.reading import LogSource, read_log

_EVENTS = "text/event-stream"
Count = Literal["Resumed", "Replayed", "CacheHits"]
COUNTS = get_args(Count)
"""Metrics of kept responses that are sent again: by a call for them, to a repeat of their own
request, and to an equal one.
"""


async def resume(
    table: Table,
    head: StoredHead,
    after: int,
    sink: Sink,
    *,
    seconds: float | None,
    settings: Settings,
    request_id: str,
    counts_as: Count = "Resumed",
) -> None:
    """Send what follows the wire number `after`, which is -1 for all.

    `seconds` are left to this process, None if they are not limited. The stream ends without a
    terminal event shortly before that, and if a newer reader takes its place. Then the client comes
    back for the rest. The client of a repeat does not know that it can resume. So its stream
    ends with the error `rest_elsewhere`, unless the response runs in the background.
    `counts_as` is the metric that the request `request_id` is counted in.

    A response that failed is read without a failure, so it ends in its own form with the status
    200. Only a repeat of its request gets the status that the first one got.

    Raises:
        InvalidRequest: the response has no log, or one that this code cannot encode any more.
        Unavailable: the log cannot be read now, or a newer deployment runs the response. The next
            call may succeed.
        ResponseFailed: the response failed, and its form is one JSON value.
        APIError: it is a repeat that is answered, and the response failed before its first token.
        ResponseBroken: a broken connection is the only way to tell the end.

    """
    encoder = _encoder(head, after)
    count(head, settings, request_id, counts_as)
    sink = _Filled(sink, encoder.heartbeat() if head.head.form == "plain_text" else b"")
    is_repeat = counts_as != "Resumed"
    source = _Until(read_log(table, head.response_id, is_repeat=is_repeat), _deadline(seconds))
    # What waits in the queue begins to be told at once: its first event may take minutes.
    first_wait = 0.0 if head.status == "queued" else None
    delivery = Delivery(encoder, sink, heartbeat=settings.heartbeat, first_wait=first_wait)
    is_stream = encoder.content_type.startswith(_EVENTS)
    try:
        await delivery.run(source)
    except ResponseBroken as broken:
        if str(broken) != "unended" or not is_stream:
            raise
        # An event stream tells its end by its terminal event, so it can end well without one. A
        # broken connection would count as a failure of this function.
        knows = not is_repeat or head.head.queued is True  # of the background: it resumes
        ending = None if knows else encoder.fail(_elsewhere(head))
        await sink.end(ending or b"")
    except APIError as error:
        if delivery.has_started:
            raise
        if source.unended:
            if is_repeat or not is_stream:
                raise Unavailable(
                    "The response cannot be read now. Try again.", retry_after=1
                ) from None
            await _start(encoder, sink)
            await sink.end(encoder.begin())
        elif is_repeat:
            raise
        else:
            await _fail(encoder, sink, error)
    finally:
        await source.close()


def count(head: StoredHead, settings: Settings, request_id: str, counts_as: Count) -> None:
    """Log that a response is sent again, with its metric."""
    log(
        "resume" if counts_as == "Resumed" else "replay",
        request_id=request_id,
        response_id=head.response_id,
        **one(counts_as, settings.deployment, model=head.head.model, now=time.time()),
    )


def _elsewhere(head: StoredHead) -> APIError:
    """Return the error of a repeat that cannot be sent the rest."""
    return Unavailable(
        "The rest of this answer cannot be sent here. Read it with GET /v1/sluice/streams/"
        f"{head.response_id}.",
        code="rest_elsewhere",
    )


def _encoder(head: StoredHead, after: int) -> Encoder:
    if head.kept != "segments":
        raise InvalidRequest(
            "This response was stored without its events, so it cannot be streamed again.",
            param="id",
            code="not_streamable",
        )
    try:
        return encoder_of(head.head, None if after < 0 else after)
    except LookupError:
        if head.is_final:
            raise InvalidRequest(
                "This response can no longer be streamed.", param="id", code="not_streamable"
            ) from None
        raise Unavailable(
            "This response runs in a newer deployment. Try again.", retry_after=1
        ) from None


async def _fail(encoder: Encoder, sink: Sink, error: APIError) -> None:
    """Send a response that failed before its first token.

    Raises:
        APIError: its form cannot tell that, so its status does.

    """
    ending = encoder.fail(error)
    if ending is not None:
        await _start(encoder, sink)
        await sink.end(encoder.begin() + ending)
    elif error.status >= 500 or error.status == RateLimited.status:
        raise ResponseFailed(error.message, param=error.param, code=error.code, headers=NO_RETRY)
    else:
        raise error


async def _start(encoder: Encoder, sink: Sink) -> None:
    content_type = encoder.content_type.encode()
    await sink.start(
        200, [(b"content-type", content_type), (b"cache-control", b"no-cache, no-transform")]
    )


def _deadline(seconds: float | None) -> float:
    """Return the time of `time.monotonic` at which a stream ends, whatever is left of it."""
    left = limits.STREAM_DEADLINE if seconds is None else seconds
    return time.monotonic() + max(1.0, left - limits.RESUME_RESERVE)


class _Filled:
    """A sink whose response is not empty.

    Lambda delivers no empty body, so the runtime makes it a line feed. In bare text, a client would
    take that for text. So `filler` is sent, which does not count.
    """

    put: Callable[[bytes], bool] | None = None
    """None: a log is read in large pieces."""

    def __init__(self, sink: Sink, filler: bytes) -> None:
        self._sink = sink
        self._filler = filler
        self._is_empty = True
        self.start = sink.start
        self.abort = sink.abort

    def write(self, data: bytes) -> Awaitable[None]:
        self._is_empty = self._is_empty and not data
        return self._sink.write(data)

    def end(self, data: bytes) -> Awaitable[None]:
        return self._sink.end(data or (self._filler if self._is_empty else b""))


class _Until:
    """A log that ends without a terminal event at a time of `time.monotonic`.

    `unended` tells whether it has ended so.
    """

    def __init__(self, source: LogSource, deadline: float) -> None:
        self._source = source
        self._deadline = deadline
        self.unended = False

    async def read(self, until: float, take: Take | None = None) -> Batch | None:
        try:
            if time.monotonic() >= self._deadline:
                raise Unended
            return await self._source.read(min(until, self._deadline))
        except Unended:
            self.unended = True
            raise

    async def close(self) -> None:
        await self._source.close()

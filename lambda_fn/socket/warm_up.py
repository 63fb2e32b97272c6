"""Responses without output: requests with `generate` false are only checked and remembered."""

from typing import Any

import msgspec

from lambda_fn import limits
from lambda_fn.aws.dynamodb import MeterError, Table
from lambda_fn.encode import Head
from lambda_fn.encode.responses import ResponseStream
from lambda_fn.errors import InvalidRequest, Unavailable
from lambda_fn.events import End
from lambda_fn.log import log
from lambda_fn.settings import Model
from lambda_fn.stream.negotiate import ReadRequest
from lambda_fn.stream_log.heads import StoredHead
from lambda_fn.stream_log.results import Input, ResultLog


class _Begun(msgspec.Struct):
    response: dict[str, Any]


_begun = msgspec.json.Decoder(_Begun)
_NO_USAGE = {
    "input_tokens": 0,
    "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
    "output_tokens": 0,
    "output_tokens_details": {"reasoning_tokens": 0},
    "total_tokens": 0,
}


def whole(head: Head, now: int) -> bytes:
    """Return all events of a response without output, as server-sent events.

    `now` is when it is completed, in Unix seconds.
    """
    begun = ResponseStream(head).begin()
    response = _begun.decode(begun.rpartition(b"\ndata: ")[2]).response
    response |= {"status": "completed", "completed_at": now, "usage": _NO_USAGE}
    event = {"type": "response.completed", "sequence_number": 2, "response": response}
    return b"%bevent: response.completed\ndata: %b\n\n" % (begun, msgspec.json.encode(event))


def no_conversation() -> InvalidRequest:
    """Return the error for a request that names a conversation, which has to be generated."""
    return InvalidRequest(
        "With 'generate' false nothing is added to a 'conversation'. Send one of them.",
        param="generate",
        code="unsupported_value",
    )


async def keep(
    table: Table, head: Head, model: Model, read: ReadRequest, owner: str, days: int, now: float
) -> None:
    """Keep a response without output in StreamTable, for requests that go on from it.

    `days` is how long a stored response is kept, and `now` the time in Unix seconds.

    Raises:
        InvalidRequest: the request names a conversation, which only generated responses add to.
        Unavailable: the table does not answer.

    """
    if read.conversation is not None:
        raise no_conversation()
    assert read.kept_items is not None  # noqa: S101 (requests of a socket are kept)
    seconds = 86_400 * days if read.kept_seconds is None else read.kept_seconds
    stored = StoredHead(
        head=head,
        owner=owner,
        status="in_progress",
        created=head.created,
        expires=head.created + seconds,
        metadata=read.metadata or None,
        endpoint=model.endpoint,
        component=model.component,
        dialect=model.dialect,
    )
    kept = Input(list(read.kept_items), list(read.ancestors))
    result = ResultLog(
        *(table, stored, kept, lambda: (0, 0)), seconds=limits.LOG_END_TIMEOUT, now=lambda: now
    )
    try:
        await result.open(head)
    except (MeterError, TimeoutError) as error:
        log("log_closed", request_id=head.response_id, error=type(error).__name__)
        raise Unavailable(
            "The request cannot be kept now. Try again.", code="log_unavailable", retry_after=1
        ) from None
    await result.end((0, [End(int(now))]))

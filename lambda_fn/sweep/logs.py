"""Ends the logs of responses whose functions have ended, and settles these by them.

A function that lived may have settled its request without an end in its log, because StreamTable
did not answer in time. Its ledger item is watched until the log has one. The outcome in the ledger
decides which: a cancelled response ends as cancelled, and any other one as failed, because its log
does not have all of it.
"""

from lambda_fn.aws.dynamodb import Table
from lambda_fn.events import Finish
from lambda_fn.ids import request_time
from lambda_fn.metering.ledger import Outcome, Settlement
from lambda_fn.stream_log.heads import (
    CANCELLED,
    LOST,
    StoredHead,
    end_overdue,
    end_segment,
    read_head,
)
from lambda_fn.stream_log.keys import head_key
from lambda_fn.stream_log.reading import read_all
from lambda_fn.stream_log.removal import remove_headless
from lambda_fn.stream_log.segments import Segment


async def end_log(
    table: Table, request_id: str, *, now: float, settled: Outcome | None = None
) -> Settlement | None:
    """End the response of a request if it has a head, and return its settlement by the log.

    What was stored of a head that was not put is removed.

    Call it only when the request's function cannot be running any more. It may be repeated.

    Args:
        table: StreamTable.
        request_id: The request.
        now: Unix seconds.
        settled: The outcome that its function has settled, None if it has not.

    Returns:
        None if this request did not log its events. Then the last checkpoint has its counts.

    Raises:
        MeterUnavailable: it stopped somewhere; call it again.
        Incomplete, UnknownVersion: the log cannot be read here.

    """
    head = await read_head(table, request_id, now=now)
    if head is None:
        await remove_headless(table, head_key(request_id))
        return None
    if head.starter is not None:
        return None  # it was queued, and other requests run it
    if not head.is_final:
        event = None if settled is None else CANCELLED if settled == "cancelled" else LOST
        head = await end_overdue(table, head, now=now, event=event)
    if head is None or head.kept != "segments":
        return None
    if not head.is_final:
        raise ValueError(f"the head of {request_id} was changed by its producer, which lives")
    await end_segment(table, head)
    return _settlement(head, await read_all(table, head))


def _settlement(head: StoredHead, segments: list[Segment]) -> Settlement:
    """Return the settlement of a response that has ended.

    The counts never go back, so the largest are the last ones.
    """
    prompt_tokens = max(head.prompt_tokens, *(segment.prompt_tokens for segment in segments))
    tokens = max(head.completion_tokens, *(segment.completion_tokens for segment in segments))
    reasons = [
        event.finish_reason
        for segment in segments
        for event in segment.events
        if type(event) is Finish
    ]
    is_complete = head.status in ("completed", "incomplete")
    outcome: Outcome = "complete" if is_complete else "cut" if tokens else "failed"
    if head.status == "cancelled":
        outcome = "cancelled"
    by_producer = head.ended_by == head.writer and head.ended is not None
    ended = head.ended if by_producer else head.lease
    return Settlement(
        outcome=outcome,
        prompt_tokens=prompt_tokens,
        completion_tokens=tokens,
        finish_reason=reasons[0] if is_complete and reasons else None,
        ttft_ms=None,
        duration_ms=round(((ended or 0) - request_time(head.response_id)) * 1000),
    )

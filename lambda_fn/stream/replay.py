"""Sends a repeat the response that was generated for an earlier request."""

import time

from lambda_fn.aws.dynamodb import Table
from lambda_fn.metering.accounts import Account
from lambda_fn.settings import Settings
from lambda_fn.stream.carrier import Carrier
from lambda_fn.stream.logged import HEADER
from lambda_fn.stream.rate_limit_errors import no_model, rate_headers
from lambda_fn.stream.repeats import REPLAYED
from lambda_fn.stream.request_count import count_request
from lambda_fn.stream.resume import count, resume
from lambda_fn.stream_log.heads import StoredHead
from lambda_fn.stream_log.readers import Readers


async def replay(
    tables: tuple[Table, Table],
    account: Account,
    head: StoredHead,
    carrier: Carrier,
    settings: Settings,
    *,
    from_cache: bool = False,
    only_state: bool = False,
) -> None:
    """Send a response from its first event, and on while it runs.

    It counts in the requests per minute of the key, and not in its tokens.

    Args:
        tables: The usage table and StreamTable.
        account: The caller's account, which was read just before.
        head: The head of the response, which is one of this key.
        carrier: The repeat's.
        settings: The function's settings.
        from_cache: Whether an equal request made it, and not this one's own first try.
        only_state: Whether a running response is returned as it stands, without waiting for its
            end, as for a background request.

    Raises:
        NotFound: the key may not use the model any more.
        RateLimited: the key has made all its requests of this minute, or follows as many running
            responses as it may.
        APIError: as `resume` and `Carrier.admitted`.

    """
    usage, streams = tables
    if not account.may_use(head.head.model):
        raise no_model(head.head.model)
    now = time.time()
    counted = await count_request(usage, account, now)
    carrier.response_headers = {
        **rate_headers(counted, when=now, now=now),
        HEADER: head.response_id,
        **REPLAYED,
    }
    if only_state and not head.is_final:
        from lambda_fn.stream.queueing import tell  # only a repeat in the background needs it

        await carrier.admitted()
        count(head, settings, carrier.request_id, "Replayed")
        await tell(carrier, head.head, head.status)
        return
    seconds = carrier.seconds_left()
    async with Readers(streams, settings.recall_per_key).following(head, seconds):
        await carrier.admitted()
        await resume(
            *(streams, head, -1, carrier.sink),
            seconds=seconds,
            settings=settings,
            request_id=carrier.request_id,
            counts_as="CacheHits" if from_cache else "Replayed",
        )

"""The seam of the pipeline: a carrier that is not HTTP has the same answer, meter and log."""

import asyncio
import json
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from lambda_fn import limits
from lambda_fn.auth import Caller
from lambda_fn.aws.dynamodb import Table
from lambda_fn.errors import APIError, AuthenticationFailed, InvalidRequest, RateLimited
from lambda_fn.http.client import Client
from lambda_fn.ids import hash_key
from lambda_fn.metering.keys import ledger_key
from lambda_fn.settings import Model, Settings
from lambda_fn.stream.admit import Gate
from lambda_fn.stream.completions import Completions
from lambda_fn.stream.negotiate import read_chat
from lambda_fn.stream.pipeline import share
from tests.support.function import (
    CREDENTIALS,
    FIRST,
    KEY,
    KEY_ID,
    TABLE,
    Call,
    StandIn,
    exception_frame,
)
from tests.support.replies import CHAT, STREAM
from tests.support.seam import ListCarrier

pytestmark = pytest.mark.usefixtures("account")
CALLER = Caller(key_id=KEY_ID, key_hash=hash_key(KEY))
MODELS = {
    "m": Model(endpoint="endpoint-1", context_tokens=100),
    "big": Model(endpoint="endpoint-2", context_tokens=1000),
}
Make = Callable[..., Completions]


@pytest.fixture
def completions(moto_url: str, sagemaker: StandIn, http: Client, table: Table) -> Make:
    """Return a function that makes the endpoint of chats, with other settings."""

    def make(**changes: Any) -> Completions:
        settings = Settings(
            region="eu-west-1",
            usage_table=TABLE,
            models=MODELS,
            origin_secrets=("o",),
            dynamodb_url=moto_url,
            sagemaker_url=sagemaker.url,
            **changes,
        )
        shared = share(settings, http, lambda: CREDENTIALS, table, Gate(table))
        return Completions(shared, partial(read_chat))

    return make


def carried(body: dict[str, Any], **options: Any) -> ListCarrier:
    """Return a carrier of a request."""
    return ListCarrier(options.pop("caller", CALLER), json.dumps(body).encode(), **options)


def same_id(body: bytes, request_id: str) -> bytes:
    """Return a response without its id, its time and its padding."""
    if not body.startswith(b"data: "):
        chunks = [json.loads(body)]
    else:
        chunks = [json.loads(line[6:]) for line in body.splitlines() if line.startswith(b"data: {")]
    for chunk in chunks:
        assert chunk.pop("id").endswith(request_id)
        chunk.pop("created")
        chunk.pop("obfuscation", None)
    return json.dumps(chunks).encode()


@pytest.mark.parametrize("body", [STREAM, CHAT])
async def test_a_request_without_http_gets_the_same_answer(
    completions: Make, call: Call, items: Any, body: dict[str, Any]
) -> None:
    """The ledger has it as well, and the client learns of its limits."""
    carrier = carried(body)
    await completions().answer(carrier)
    reply = await call(body=body)
    by_http = reply.headers["x-request-id"].removeprefix("req_")
    assert (carrier.sink.status, carrier.sink.ends) == (200, 1)
    assert same_id(carrier.sink.body, carrier.request_id) == same_id(reply.body, by_http)
    assert carrier.response_headers.items() <= reply.headers.items()
    item = items.get_item(Key=ledger_key(carrier.request_id))["Item"]
    assert (item["outcome"], item["completion_tokens"]) == ("complete", 2)


async def test_an_error_before_the_answer_is_raised(completions: Make, sagemaker: StandIn) -> None:
    """Its carrier has got nothing, and tells the client in its own form."""
    other = Caller(key_id=KEY_ID, key_hash=hash_key(f"{KEY}x"))
    for carrier, kind in (
        (carried({**STREAM, "n": 0}), InvalidRequest),
        (carried(STREAM, caller=other), AuthenticationFailed),
    ):
        with pytest.raises(kind):
            await completions().answer(carrier)
        assert carrier.sink.status == 0
    assert not sagemaker.bodies


async def test_a_later_error_is_in_the_answer(completions: Make, sagemaker: StandIn) -> None:
    """Its carrier need not know of it."""
    sagemaker.script = [FIRST, exception_frame("InternalStreamFailure")]
    carrier = carried(STREAM)
    await completions().answer(carrier)
    await carrier.settled()
    assert b'"error"' in carrier.sink.pieces[-1]


@pytest.mark.parametrize("headers", [{}, {"idempotency-key": "k"}])
async def test_the_carrier_cancels_its_answer(
    completions: Make, sagemaker: StandIn, streams: Any, items: Any, headers: dict[str, str]
) -> None:
    """It ends as cancelled while the model is silent, with or without a log, and is settled."""
    never = asyncio.Event()
    sagemaker.script = [FIRST, never]
    carrier = carried(STREAM, headers=headers)
    answering = asyncio.ensure_future(completions(stream_table=streams.name).answer(carrier))
    await carrier.sink.started.wait()
    assert carrier.cancel is not None
    carrier.cancel()
    carrier.cancel()
    await answering
    await carrier.settled()
    assert b'"cancelled"' in carrier.sink.pieces[-1]
    item = items.get_item(Key=ledger_key(carrier.request_id))["Item"]
    assert (item["outcome"], item["completion_tokens"]) == ("cancelled", 1)
    assert sagemaker.cancelled == [carrier.request_id]


async def test_a_fallback_renames_the_request(completions: Make, sagemaker: StandIn) -> None:
    """The id is that of the model which answers, before the answer begins."""
    sagemaker.busy = {"endpoint-1"}
    carrier = carried(STREAM)
    first = carrier.request_id
    await completions(fallbacks={"m": "big"}).answer(carrier)
    assert carrier.request_id != first
    assert carrier.request_id.encode() in carrier.sink.body
    with pytest.raises(RateLimited):
        await completions().answer(carried(STREAM))


async def test_the_carriers_time_limits_the_model(completions: Make, sagemaker: StandIn) -> None:
    """The container gets what the carrier leaves, less what the end takes."""
    carrier = carried(STREAM)
    carrier.left = 100.0
    await completions().answer(carrier)
    left = 100.0 - limits.SETTLE_RESERVE - limits.STREAM_GRACE
    assert sagemaker.bodies[-1]["sluice"]["deadline_ms"] == int(left * 1000)


async def test_a_repeat_is_attached_whatever_carries_it(
    completions: Make, sagemaker: StandIn, streams: Any
) -> None:
    """Carriers of the same path share the responses of a key."""
    endpoint = completions(stream_table=streams.name)
    carriers = [carried(STREAM, headers={"idempotency-key": "k"}) for _ in range(2)]
    for carrier in carriers:
        await endpoint.answer(carrier)
        await carrier.settled()
    first, second = (carrier.sink.body for carrier in carriers)
    assert first == second
    assert len(sagemaker.bodies) == 1
    assert carriers[1].response_headers["x-sluice-replayed"] == "true"
    changed = carried({**STREAM, "seed": 1}, headers={"idempotency-key": "k"})
    with pytest.raises(APIError) as raised:
        await endpoint.answer(changed)
    assert raised.value.status == 409

"""A model without capacity is answered for by its fallback, and each is metered as what it is."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from lambda_fn.settings import Model
from tests.support.function import START, WHOLE, Call, StandIn, lines, part
from tests.support.replies import CHAT, STREAM, events, ledger_item, text

pytestmark = pytest.mark.usefixtures("account")
MODELS = {
    "m": Model(endpoint="endpoint-1", context_tokens=100, prompt_price=1, completion_price=1),
    "big": Model(endpoint="endpoint-2", context_tokens=1000, prompt_price=9, completion_price=9),
    "old": Model(endpoint="endpoint-3", context_tokens=100, dialect="tgi"),
}
LAST = Model(endpoint="endpoint-3", context_tokens=100)
CHAIN = {"m": "big", "big": "old", "old": "m"}


@pytest.fixture
def ask(make_call: Callable[..., Call], sagemaker: StandIn) -> Call:
    """Return a function that calls an application with three models. The first one is busy."""
    sagemaker.busy = {"endpoint-1"}
    sagemaker.script = [part(WHOLE)]
    return make_call(models=MODELS, fallbacks={"m": "big"}, aliases={"gpt": "m"})


@pytest.fixture
def booked(items: Any) -> Callable[[], list[tuple[str, str, int, int]]]:
    """Return a function that tells what the test booked: model, outcome, tokens and cost."""

    def found() -> dict[tuple[str, str], tuple[str, str, int, int]]:
        every = items.scan(ConsistentRead=True)["Items"]
        return {
            (it["pk"], it["sk"]): (
                *(it["model"], it["outcome"]),
                *(int(it["completion_tokens"]), int(it["cost"])),
            )
            for it in every
            if "outcome" in it
        }

    before = found()
    return lambda: sorted(it for key, it in found().items() if key not in before)


@pytest.mark.parametrize("name", ["m", "gpt"])
async def test_the_fallback_answers(ask: Call, items: Any, booked: Any, name: str) -> None:
    """The answer has the fallback's name, and the request id under which it is booked."""
    reply = await ask(body={**STREAM, "model": name})
    assert text(reply) == "Hello world"
    assert {it["model"] for it in events(reply)[:-1]} == {"big"}
    assert ledger_item(items, reply)["model"] == "big"
    assert booked() == [("big", "complete", 2, 6 * 9), ("m", "failed", 0, 0)]


async def test_a_failure_within_the_stream(ask: Call, sagemaker: StandIn) -> None:
    """A queue that is full counts as well, and so does a model that is not there."""
    sagemaker.busy = set()
    for code, status in (("overloaded", 429), ("not_ready", 503)):
        refusal = {"type": "error", "code": code, "message": "no"}
        sagemaker.script = [part(lines(START, refusal))]
        before = len(sagemaker.bodies)
        assert (await ask(body=STREAM)).status == status
        assert len(sagemaker.bodies) == before + 2


async def test_without_capacity_anywhere(
    make_call: Callable[..., Call], sagemaker: StandIn, booked: Any
) -> None:
    """Each fallback is tried once, also in a circle. The error is that of the first model."""
    sagemaker.busy = {"endpoint-1", "endpoint-2", "endpoint-3"}
    ask = make_call(models=MODELS, fallbacks=CHAIN)
    reply = await ask(body=CHAT)
    assert (reply.status, reply.error["message"]) == (429, "The model is busy. Try again.")
    assert reply.headers["retry-after"] == "1"
    assert [it[:2] for it in booked()] == [(it, "failed") for it in ("big", "m", "old")]


async def test_a_fallback_that_cannot(
    make_call: Callable[..., Call], sagemaker: StandIn, account: dict[str, str], items: Any
) -> None:
    """A fallback that cannot honour the request, or that the key may not use, is none."""
    sagemaker.busy = {"endpoint-1"}
    ask = make_call(models=MODELS, fallbacks={"m": "old"})
    reply = await ask(body={**CHAT, "n": 2})
    assert (reply.status, len(sagemaker.bodies)) == (429, 1)
    items.update_item(
        Key=account,
        UpdateExpression="SET models = :m",
        ExpressionAttributeValues={":m": ["m"]},
    )
    assert (await ask(body=CHAT)).status == 429
    assert len(sagemaker.bodies) == 2


@pytest.mark.parametrize("code", ["engine_error", "deadline_exceeded"])
async def test_what_is_no_lack_of_capacity(ask: Call, sagemaker: StandIn, code: str) -> None:
    """A model that fails is not asked for by another name: its tokens may have been billed."""
    sagemaker.busy = set()
    sagemaker.script = [part(lines(START, {"type": "error", "code": code, "message": "no"}))]
    assert (await ask(body=STREAM)).status in (502, 504)
    assert len(sagemaker.bodies) == 1


async def test_a_limit_of_the_key(ask: Call, items: Any, account: dict[str, str]) -> None:
    """A key that has reached its own limit gets that error, from the first model."""
    items.update_item(
        Key=account,
        UpdateExpression="SET max_streams = :n",
        ExpressionAttributeValues={":n": 0},
    )
    reply = await ask(body=CHAT)
    assert reply.status == 429
    assert "0 streams at once" in reply.error["message"]


async def test_the_body_is_that_of_the_fallback(ask: Call, sagemaker: StandIn) -> None:
    """Each model gets the request within its own bounds, under an id of its own."""
    await ask(body={**CHAT, "max_tokens": 500})
    first, second = sagemaker.bodies
    assert (first["max_tokens"], second["max_tokens"]) == (100, 500)
    assert first["sluice"]["request_id"] != second["sluice"]["request_id"]
    assert json.dumps(first["messages"]) == json.dumps(second["messages"])


@pytest.mark.parametrize("kept", [{"sluice": {"durable": True}}, {"store": True}])
async def test_one_response_is_kept(
    make_call: Callable[..., Call], sagemaker: StandIn, streams: Any, kept: dict[str, Any]
) -> None:
    """The client's list has the response of the fallback, and no attempt before it."""

    def listed() -> list[tuple[str, str]]:
        items = streams.scan(ConsistentRead=True)["Items"]
        heads = [it for it in items if it["sk"] == "HEAD" and "deleted" not in it]
        return sorted((it["model"], it["status"]) for it in heads)

    sagemaker.busy = {"endpoint-1", "endpoint-2"}
    sagemaker.script = [part(WHOLE)]
    ask = make_call(models={**MODELS, "old": LAST}, fallbacks=CHAIN, stream_table=streams.name)
    reply = await ask(body={**CHAT, **kept})
    assert reply.status == 200
    assert listed() == [("old", "completed")]
    sagemaker.busy.add("endpoint-3")
    assert (await ask(body={**CHAT, **kept})).status == 429
    assert [status for _, status in listed()].count("completed") == 1

"""`POST /v1/messages/count_tokens` before our container and before other servers."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

from lambda_fn import limits
from lambda_fn.settings import Model
from tests.support.function import START, Call, StandIn, lines, part
from tests.support.model_answers import chunk, sse
from tests.support.replies import ledger_item

pytestmark = pytest.mark.usefixtures("account")
PATH = "/v1/messages/count_tokens"
TOOL = {"name": "f", "input_schema": {"type": "object"}}
ASKED = {"model": "m", "messages": [{"role": "user", "content": "Hi"}], "tools": [TOOL]}


async def test_our_container_counts(
    call: Call, sagemaker: StandIn, items: Any, account: dict[str, str]
) -> None:
    """A count is the container's. It is one request of the key, and costs no tokens."""
    sagemaker.script = [part(lines(START, {"type": "end"}))]
    reply = await call(path=PATH, body=ASKED)
    assert (reply.status, json.loads(reply.body)) == (200, {"input_tokens": 4})
    (body,) = sagemaker.bodies
    assert (body["sluice"]["count"], body["tools"][0]["function"]["name"]) == (True, "f")
    item = ledger_item(items, reply)
    assert (item["state"], item["outcome"], item["prompt_tokens"]) == ("SETTLED", "complete", 0)
    booked = items.get_item(Key=account)["Item"]
    assert (booked["requests"], booked["prompt_tokens"], booked["in_flight"]) == (1, 0, {})


@pytest.mark.parametrize("first", [{"prompt_tokens": 7, "completion_tokens": 0}, None])
async def test_other_servers_count_an_answer_of_one_token(
    make_call: Callable[..., Call], sagemaker: StandIn, first: Any
) -> None:
    """Another server tells its count with its first record, or at its end."""
    last = {"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 1}}
    begun = chunk({"content": "x"}) | ({"usage": first} if first else {})
    sagemaker.script = [part(sse(begun, chunk({}, "length"), last) + b"data: [DONE]\n\n")]
    call = make_call(models={"m": Model("endpoint-1", context_tokens=1000, dialect="openai")})
    reply = await call(path=PATH, body=ASKED)
    assert json.loads(reply.body) == {"input_tokens": 7}
    assert sagemaker.bodies[0]["max_tokens"] == 1


@pytest.mark.parametrize(
    ("script", "status"),
    [
        ([part(b"\n")], 502),
        ([part(lines({"type": "error", "code": "overloaded", "message": "Full."}))], 429),
        ([None], 502),
    ],
)
async def test_a_count_that_fails(
    call: Call, sagemaker: StandIn, items: Any, script: Any, status: int
) -> None:
    """A server that does not tell its count is an error, never a guess."""
    sagemaker.script = script
    reply = await call(path=PATH, body=ASKED)
    assert reply.status == status
    assert ledger_item(items, reply)["outcome"] == "failed"


async def test_a_count_that_no_record_has(
    make_call: Callable[..., Call], sagemaker: StandIn
) -> None:
    """An empty prompt has 0 tokens for our container. For another server 0 is no count."""
    sagemaker.script = [part(lines({**START, "prompt_tokens": 0}, {"type": "end"}))]
    reply = await make_call()(path=PATH, body=ASKED)
    assert json.loads(reply.body) == {"input_tokens": 0}
    sagemaker.script = [part(sse(chunk({"content": "x"}), chunk({}, "stop")) + b"data: [DONE]\n\n")]
    call = make_call(models={"m": Model("endpoint-1", context_tokens=1000, dialect="openai")})
    assert (await call(path=PATH, body=ASKED)).status == 502


async def test_a_count_that_takes_too_long(
    call: Call, sagemaker: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A count has less time than the edge gives it."""
    monkeypatch.setattr(limits, "COUNT_TIMEOUT", 0.02)
    sagemaker.script = [(hold := asyncio.Event())]
    reply = await call(path=PATH, body=ASKED)
    hold.set()
    assert (reply.status, json.loads(reply.body)["error"]["type"]) == (504, "timeout_error")

"""The application before servers that are not our container."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from lambda_fn.settings import Model
from tests.support.function import Call, StandIn, part
from tests.support.model_answers import chunk, sse
from tests.support.replies import CHAT, STREAM, events, ledger_item, text

pytestmark = pytest.mark.usefixtures("account")
MODELS = {"m": Model(endpoint="endpoint-1", context_tokens=1000, dialect="openai")}


@pytest.fixture
def ask(make_call: Callable[..., Call]) -> Call:
    """Return a function that calls an application whose model runs on vLLM."""
    return make_call(models=MODELS)


async def test_a_limit_that_may_not_fit_is_kept_here(
    ask: Call, sagemaker: StandIn, items: Any
) -> None:
    """A limit that may not fit beside the prompt is not sent. The response ends at it all the same.

    No more is booked than was reserved, although the server would go on.
    """
    sagemaker.script = [part(sse(*(chunk({"content": str(number)}) for number in range(910))))]
    reply = await ask(body={**STREAM, "max_tokens": 900})
    assert "max_tokens" not in sagemaker.bodies[0]
    assert text(reply) == "".join(map(str, range(900)))
    assert events(reply)[-2]["choices"][0]["finish_reason"] == "length"
    assert events(reply)[-1] == "[DONE]"
    item = ledger_item(items, reply)
    assert (item["outcome"], item["completion_tokens"], item["finish_reason"]) == (
        "complete",
        900,
        "length",
    )


async def test_a_full_queue_within_the_stream(ask: Call, sagemaker: StandIn) -> None:
    """SGLang refuses with an event on a 200. The client gets a 429 that says when to come again."""
    full = {"error": {"object": "error", "message": "The request queue is full.", "code": 503}}
    sagemaker.script = [part(sse(full))]
    for body in (CHAT, STREAM):
        reply = await ask(body=body)
        assert (reply.status, reply.headers["retry-after"]) == (429, "1")
        assert reply.error["message"] == "The request queue is full."


async def test_a_refusal_keeps_its_words(ask: Call, sagemaker: StandIn) -> None:
    """A refusal that SageMaker passes on has the server's status and sentence."""
    words = "request (4390 tokens) exceeds the available context size (4096 tokens)"
    sagemaker.status, sagemaker.headers = 424, {"x-amzn-errortype": "ModelError"}
    for original, message in (
        (500, {"error": {"code": 500, "message": words, "type": "server_error"}}),
        (400, {"detail": words}),
    ):
        error = {"OriginalStatusCode": original, "OriginalMessage": json.dumps(message)}
        sagemaker.script = [json.dumps(error).encode()]
        reply = await ask(body=STREAM)
        assert (reply.status, reply.error["code"]) == (400, "context_length_exceeded")
        assert reply.error["message"] == words


async def test_a_whole_answer_is_streamed(ask: Call, sagemaker: StandIn, items: Any) -> None:
    """A whole answer to a request for a stream is streamed and metered."""
    whole = {
        "object": "chat.completion",
        "choices": [{"index": 0, "message": {"content": "Hello there"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 2},
    }
    sagemaker.script = [part(json.dumps(whole).encode())]
    reply = await ask(body=STREAM)
    assert (reply.status, text(reply)) == (200, "Hello there")
    assert ledger_item(items, reply)["completion_tokens"] == 2

"""The application before servers that are not our container."""

import json
from collections.abc import Callable
from typing import Any

import msgspec
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


def thinking(*, counted: int | None) -> bytes:
    """Return vLLM's stream of two pieces of reasoning and one of text, each of two tokens."""
    details = (
        {} if counted is None else {"completion_tokens_details": {"reasoning_tokens": counted}}
    )
    pieces: list[dict[str, str]] = [{"reasoning": "be"}, {"reasoning": "cause"}, {"content": "So."}]
    usage = [{"prompt_tokens": 3, "completion_tokens": 2 * number} for number in (1, 2, 3)]
    chunks = [{**chunk(it), "usage": so_far} for it, so_far in zip(pieces, usage, strict=True)]
    return sse(*chunks, chunk({}, "stop"), {"choices": [], "usage": usage[-1] | details})


async def test_reasoning_has_both_names(ask: Call, sagemaker: StandIn) -> None:
    """Clients get reasoning under the new name and the old one, streamed and whole, and its count:
    the server's, or that of its chunks.
    """
    for counted, tokens in ((None, 4), (3, 3)):
        sagemaker.script = [part(thinking(counted=counted))]
        reply = await ask(body={**STREAM, "stream_options": {"include_usage": True}})
        said = [it["choices"][0]["delta"] for it in events(reply)[1:4]]
        assert said == [
            {"reasoning": "be", "reasoning_content": "be"},
            {"reasoning": "cause", "reasoning_content": "cause"},
            {"content": "So."},
        ]
        details = events(reply)[-2]["usage"]["completion_tokens_details"]
        assert details["reasoning_tokens"] == tokens
        reply = await ask(body=CHAT)
        message = json.loads(reply.body)["choices"][0]["message"]
        assert (message["reasoning"], message["reasoning_content"]) == ("because", "because")
        assert (
            json.loads(reply.body)["usage"]["completion_tokens_details"]["reasoning_tokens"]
            == tokens
        )


@pytest.mark.parametrize(
    "asked", [{}, {"reasoning": {"exclude": True}}], ids=["setting", "request"]
)
async def test_hidden_reasoning(
    make_call: Callable[..., Call], sagemaker: StandIn, items: Any, asked: dict[str, Any]
) -> None:
    """Hidden reasoning never leaves the function, whatever the form, and is counted and booked."""
    hidden = msgspec.structs.replace(MODELS["m"], reasoning="shown" if asked else "hidden")
    ask = make_call(models={"m": hidden})
    sagemaker.script = [part(thinking(counted=None))]
    for body in (CHAT, STREAM):
        more = {"stream_options": {"include_usage": True}} if body is STREAM else {}
        reply = await ask(body={**body, **asked, **more})
        assert b"cause" not in reply.body
        assert b"So." in reply.body
        assert b'"reasoning_tokens":4' in reply.body
        assert ledger_item(items, reply)["completion_tokens"] == 6


async def test_reasoning_between_tags(make_call: Callable[..., Call], sagemaker: StandIn) -> None:
    """The setting `reasoning_tags` separates the reasoning of a server without a parser."""
    ask = make_call(models={"m": msgspec.structs.replace(MODELS["m"], reasoning_tags="</think>")})
    sagemaker.script = [
        part(sse(chunk({"content": "why</thi"}), chunk({"content": "nk>So."}, "stop")))
    ]
    message = json.loads((await ask(body=CHAT)).body)["choices"][0]["message"]
    assert (message["reasoning"], message["content"]) == ("why", "So.")
    message = json.loads((await ask(body={**CHAT, "enable_thinking": False})).body)["choices"][0][
        "message"
    ]
    assert message["content"] == "why</think>So."


async def test_a_model_that_does_not_reason(
    make_call: Callable[..., Call], sagemaker: StandIn
) -> None:
    """With the setting `reasoning=none`, a request for reasoning is refused before it is sent."""
    ask = make_call(models={"m": msgspec.structs.replace(MODELS["m"], reasoning="none")})
    reply = await ask(body={**CHAT, "reasoning_effort": "high"})
    assert (reply.status, reply.error["param"]) == (400, "reasoning_effort")
    sagemaker.script = [part(sse(chunk({"content": "So."}, "stop")))]
    assert (await ask(body={**CHAT, "reasoning_effort": "none"})).status == 200
    assert "reasoning_effort" not in sagemaker.bodies[-1]

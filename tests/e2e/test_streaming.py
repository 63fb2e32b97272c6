"""A stream as a user of the stock OpenAI client sees it, over the whole local cloud."""

import asyncio
import json
import time
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import httpx
import openai
import pytest
from openai.types.chat import ChatCompletionChunk

from lambda_fn import ids
from lambda_fn.metering.keys import account_key, ledger_key
from tests.support.deployments import DEMO_RATE, SCRIPTED_MODEL, Deployment

pytestmark = pytest.mark.e2e


def script(**fields: Any) -> Any:
    """Return the messages that tell the scripted engine what to say."""
    return [{"role": "user", "content": json.dumps(fields)}]


def text(chunks: list[ChatCompletionChunk]) -> str:
    """Return the whole text of a stream."""
    return "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)


def settled(deployment: Deployment, chat_id: str, key: str = "") -> dict[str, Any]:
    """Wait until a request is settled and its hold is captured. Return its ledger item.

    Its key is `key`, or the deployment's.
    """
    request_id = chat_id.removeprefix("chatcmpl-")
    account = account_key(ids.key_id_of(key or deployment.key) or "")
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        item: dict[str, Any] = found(deployment, ledger_key(request_id))
        if item["state"] == "SETTLED" and request_id not in found(deployment, account)["in_flight"]:
            return item
        time.sleep(0.02)
    raise AssertionError(f"{request_id} is still OPEN or in flight")


def found(deployment: Deployment, key: dict[str, str]) -> Any:
    """Return an item of the usage table as it is now."""
    return deployment.table.get_item(Key=key, ConsistentRead=True)["Item"]


def test_real_model_streams_as_it_samples(demo: Deployment) -> None:
    """Tokens of a real model arrive while it samples others.

    The answer is whole, counted and finished.
    """
    chunks: list[ChatCompletionChunk] = []
    times: list[float] = []
    stream = demo.client.chat.completions.create(
        model=demo.model,
        messages=[{"role": "user", "content": "Tell me a story about a lighthouse."}],
        stream=True,
        stream_options={"include_usage": True},
        max_tokens=40,
    )
    with stream:
        for chunk in stream:
            if chunk.choices and chunk.choices[0].delta.content:
                times.append(time.monotonic())
            chunks.append(chunk)
    assert chunks[-1].usage is not None
    tokens = chunks[-1].usage.completion_tokens
    assert tokens >= 10
    assert chunks[-2].choices[0].finish_reason in {"stop", "length"}
    # A read brings what was sampled since the last one: a token, or on a busy machine two or three.
    reads = 1 + sum(late - early > 0.25 / DEMO_RATE for early, late in pairwise(times))
    assert reads > tokens / 3


def test_whole_answer_in_one_body(demo: Deployment) -> None:
    """Without `stream` the answer is one object. It has logprobs if they were requested."""
    answer = demo.client.chat.completions.create(
        model=demo.model,
        messages=[{"role": "user", "content": "Hello!"}],
        max_tokens=8,
        logprobs=True,
        seed=1,
    )
    assert answer.usage is not None
    assert answer.choices[0].message.content
    assert answer.choices[0].logprobs is not None
    assert len(answer.choices[0].logprobs.content or []) == answer.usage.completion_tokens


def test_guided_json(demo: Deployment) -> None:
    """A schema guides the real model: its answer is valid JSON of that schema."""
    schema = {
        "type": "object",
        "properties": {"name": {"enum": ["Ada", "Bob"]}, "adult": {"type": "boolean"}},
        "required": ["name", "adult"],
        "additionalProperties": False,
    }
    answer = demo.client.chat.completions.create(
        model=demo.model,
        messages=[{"role": "user", "content": "Give me a person as JSON."}],
        response_format={
            "type": "json_schema",
            "json_schema": {"name": "person", "schema": schema, "strict": True},
        },
        max_tokens=60,
    )
    person = json.loads(answer.choices[0].message.content or "")
    assert person.keys() == {"name", "adult"}


def test_exact_answer_exactly_counted(scripted: Deployment) -> None:
    """The model's text arrives exactly, and the ledger has its counts."""
    said = ["Grüße", " an 🚰", "\n\n", "data: [DONE]", ' "quoted" \\ ', "\u2028"]
    stream = scripted.client.chat.completions.create(
        model=SCRIPTED_MODEL, messages=script(say=said, prompt_tokens=7), stream=True
    )
    chunks = list(stream)
    assert text(chunks) == "".join(said)
    item = settled(scripted, chunks[0].id)
    found = {
        name: item[name]
        for name in ("outcome", "finish_reason", "prompt_tokens", "completion_tokens", "model")
    }
    assert found == {
        "outcome": "complete",
        "finish_reason": "stop",
        "prompt_tokens": 7,
        "completion_tokens": len(said),
        "model": SCRIPTED_MODEL,
    }


def test_several_choices(scripted: Deployment) -> None:
    """Two choices arrive in one stream, each whole."""
    stream = scripted.client.chat.completions.create(
        model=SCRIPTED_MODEL, messages=script(repeat=" {i}", count=5), n=2, stream=True
    )
    texts = {0: "", 1: ""}
    for chunk in stream:
        for choice in chunk.choices:
            texts[choice.index] += choice.delta.content or ""
    assert texts == {0: " 0 1 2 3 4", 1: " 0 1 2 3 4"}


async def test_fifty_at_once(scripted: Deployment) -> None:
    """Fifty concurrent streams are each whole and in order, and each is counted once.

    A key may have two hundred, which stream/test_admit counts. Each has an environment of its own.
    """
    client = scripted.async_client()
    many, count = 50, 20
    admitting = asyncio.Semaphore(20)  # the local table takes some 50 holds of one key a second

    async def one(number: int) -> str:
        said = script(repeat=f" {number}:{{i}}", count=count, rate=4)
        async with admitting:
            stream = await client.chat.completions.create(
                model=SCRIPTED_MODEL, messages=said, stream=True
            )
        chunks = [chunk async for chunk in stream]
        assert text(chunks) == "".join(f" {number}:{place}" for place in range(count))
        assert chunks[-1].choices[0].finish_reason == "stop"
        return chunks[0].id

    async with client:
        ids = await asyncio.gather(*(one(number) for number in range(many)))
    assert len(set(ids)) == many
    for chat_id in ids:
        assert settled(scripted, chat_id)["completion_tokens"] == count


def test_models(demo: Deployment) -> None:
    """The model is in the list, and is found by its name."""
    assert [model.id for model in demo.client.models.list()] == [demo.model]
    assert demo.client.models.retrieve(demo.model).id == demo.model


def test_reasoning_over_the_whole_cloud(scripted: Deployment, demo: Deployment) -> None:
    """Reasoning arrives under both names and is counted; a model without it refuses it by name. The
    tokenizer, the health check and the age of the model answer on the same deployment.
    """
    stream = scripted.client.chat.completions.create(
        model=SCRIPTED_MODEL,
        messages=script(think=["be", "cause"], say=["So", "."], prompt_tokens=3),
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = list(stream)
    extra = [c.delta.model_extra or {} for chunk in chunks for c in chunk.choices]
    for name in ("reasoning", "reasoning_content"):
        assert "".join(it.get(name, "") for it in extra) == "because"
    assert text(chunks) == "So."
    usage = chunks[-1].usage
    assert usage is not None
    assert usage.completion_tokens_details is not None
    assert usage.completion_tokens_details.reasoning_tokens == 2
    assert settled(scripted, chunks[0].id)["completion_tokens"] == 4
    with pytest.raises(openai.BadRequestError, match="does not reason") as refusal:
        demo.client.chat.completions.create(
            model=demo.model,
            messages=[{"role": "user", "content": "Why?"}],
            reasoning_effort="high",
        )
    assert refusal.value.param == "reasoning_effort"
    found: Any = demo.client.post("/tokenize", body={"prompt": "Grüße"}, cast_to=object)
    back: Any = demo.client.post("/detokenize", body={"tokens": found["tokens"]}, cast_to=object)
    assert (back["prompt"], found["count"]) == ("Grüße", len(found["tokens"]))
    assert httpx.get(f"{demo.origin}/health").json() == {"status": "ok"}
    made = demo.client.models.retrieve(demo.model).created
    assert abs(made - time.time()) < 24 * 3600


@pytest.fixture
def serving(scripted: Deployment) -> Iterator[Deployment]:
    """Yield the scripted deployment. After the test, wait until its container was replaced."""
    yield scripted
    # a 503 says when to try again, and the stock client does so
    patient = scripted.client.with_options(max_retries=20)
    patient.chat.completions.create(model=SCRIPTED_MODEL, messages=script(say=["here"]))


def test_cut_stream_raises(serving: Deployment) -> None:
    """If a container is killed after three tokens, the stock client raises an error."""
    stream = serving.client.chat.completions.create(
        model=SCRIPTED_MODEL,
        messages=script(repeat=" x", count=10, rate=20, die_after=3),
        stream=True,
    )
    chunks: list[ChatCompletionChunk] = []
    with pytest.raises(openai.APIError) as failure:
        chunks.extend(iter(stream))
    assert failure.value.code == "upstream_cut"


@pytest.mark.parametrize("stream", [True, False])
def test_container_that_dies_at_once_is_a_502(serving: Deployment, stream: bool) -> None:
    """If a container is killed before its first token, the response is a 502 in OpenAI's shape."""
    with pytest.raises(openai.InternalServerError) as failure:
        serving.client.chat.completions.create(
            model=SCRIPTED_MODEL,
            messages=script(count=10, first_after=0.3, die_after=0),
            stream=stream,
        )
    assert failure.value.status_code == 502
    assert failure.value.type == "server_error"

"""The messages between container and stream function, which share no code."""

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import model.errors
from lambda_fn.dialects.jsonl import LineDecoder
from lambda_fn.encode import ChatBody, Head
from lambda_fn.errors import CONTAINER_CODES, UpstreamFailed, from_container
from lambda_fn.events import Delta, Event, Failure
from lambda_fn.schema import Control, container_body, parse_chat
from lambda_fn.schema.container import FORWARDED, RESHAPED
from model.app import create_app
from model.engines import create
from model.generation import Generation
from model.schema import ChatRequest, parse_invocation
from model.settings import Settings

CONTROL = Control(request_id="r1", deadline_ms=30_000, max_prompt_tokens=1000, caller="k")


def body(script: dict[str, Any], **more: Any) -> bytes:
    """Return a container request as the stream function makes it."""
    message = {"role": "user", "content": json.dumps(script)}
    return container_body(
        parse_chat(json.dumps({"model": "m", "messages": [message], **more}).encode()), CONTROL
    )


@pytest.fixture
async def container() -> AsyncIterator[httpx.AsyncClient]:
    """Yield the real container application over the scripted engine, in this process."""
    chosen = Settings(engine="scripted", model_name="scripted", parallel=4, queue=4)
    engine = create(chosen)
    await engine.start()
    transport = httpx.ASGITransport(create_app(Generation(engine, chosen), chosen.models))
    async with httpx.AsyncClient(transport=transport, base_url="http://container") as client:
        yield client
    await engine.close()


async def ask(
    container: httpx.AsyncClient, script: dict[str, Any], **more: Any
) -> tuple[list[Event], bytes]:
    """Send a request. Return the response, decoded with the stream function's decoder."""
    answer = await container.post("/invocations", content=body(script, **more))
    assert answer.status_code == 200, answer.text
    decoder = LineDecoder(choices=more.get("n", 1))
    return decoder.feed(answer.content) + decoder.close(), answer.content


async def test_answer_is_understood(container: httpx.AsyncClient) -> None:
    """Every record of the container becomes an event, and the response is complete."""
    script = {
        "say": ["Grüße", " 🚰\n", '"'],
        "tool_calls": [{"name": "f", "arguments": ['{"a"', ":1}"]}],
    }
    events, raw = await ask(container, script, n=2, logprobs=True)
    assert not any(isinstance(event, Failure) for event in events)
    assert len(events) == sum(1 for line in raw.splitlines() if line.strip())
    answer = json.loads(ChatBody(Head("c", 1, "m", 2)).encode(events))
    for choice in answer["choices"]:
        assert choice["message"]["content"] == 'Grüße 🚰\n"'
        assert choice["message"]["tool_calls"][0]["function"] == {
            "name": "f",
            "arguments": '{"a":1}',
        }
        assert choice["finish_reason"] == "tool_calls"


async def test_counts_agree(container: httpx.AsyncClient) -> None:
    """The tokens that the function counts are those of the usage record."""
    events, _ = await ask(container, {"repeat": " x", "count": 30}, n=3)
    counted = sum(event.tokens for event in events if isinstance(event, Delta))
    answer = json.loads(ChatBody(Head("c", 1, "m", 3)).encode(events))
    assert counted == answer["usage"]["completion_tokens"] == 90


async def test_failure_is_understood(container: httpx.AsyncClient) -> None:
    """An error record is a failure. Records before it are kept."""
    events, _ = await ask(container, {"repeat": " x", "count": 5, "fail_after": 2})
    assert isinstance(events[-1], Failure)
    assert sum(event.tokens for event in events if isinstance(event, Delta)) == 2
    assert isinstance(from_container(events[-1].code, events[-1].message), UpstreamFailed)


async def test_refusal_is_understood(container: httpx.AsyncClient) -> None:
    """If the container rejects a request, the function can read the body and knows the code."""
    answer = await container.post(
        "/invocations", content=body({"prompt_tokens": 100_000, "say": ["x"]})
    )
    error = answer.json()["error"]
    assert answer.status_code == 400
    assert from_container(error["code"], error["message"]).code == "context_length_exceeded"


def test_every_code_has_a_public_status() -> None:
    """The function's table has each code of the container. A status of 4xx stays the same."""
    kinds = [model.errors.ModelError]
    for kind in kinds:
        kinds += kind.__subclasses__()
    assert {kind.code for kind in kinds} <= set(CONTAINER_CODES)
    assert set(model.errors.BY_CODE) <= set(CONTAINER_CODES)
    own = {
        model.errors.BodySizeError,
        model.errors.EncodingError,
        model.errors.CallerError,
        model.errors.HeadSizeError,
        model.errors.RequestTimeoutError,
    }  # no request that the function accepts can cause these
    for kind in set(kinds) - own:
        if kind.status < 500 and not kind.record_only:
            told = from_container(kind.code, "words", "model")
            assert (told.status, told.param) == (kind.status, "model")
    assert from_container("model_not_found", "words").code == "model_not_found"


text = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)
messages = st.fixed_dictionaries({"role": st.just("user"), "content": text})
requests = st.fixed_dictionaries(
    {
        "model": st.just("m"),
        "messages": st.lists(
            st.fixed_dictionaries({"role": st.just("user"), "content": text}), min_size=1
        ),
    },
    optional={
        "stream": st.booleans(),
        "max_tokens": st.integers(1, 10_000),
        "temperature": st.floats(0, 2),
        "top_p": st.floats(0.01, 1),
        "frequency_penalty": st.floats(-2, 2),
        "presence_penalty": st.floats(-2, 2),
        "seed": st.integers(0, 2**31),
        "stop": st.lists(
            st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=5),
            max_size=4,
        ),
        "n": st.integers(1, 8),
        "logprobs": st.booleans(),
        "logit_bias": st.dictionaries(
            st.integers(0, 2000).map(str), st.floats(-100, 100), max_size=3
        ),
        "tools": st.just(
            [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]
        ),
        "response_format": st.sampled_from([{"type": "text"}, {"type": "json_object"}]),
    },
)


@given(requests)
@settings(max_examples=50, deadline=None)
def test_what_the_function_lets_through_the_container_takes(request: dict[str, Any]) -> None:
    """The container accepts each request that the function accepts, with the same meaning."""
    asked = parse_invocation(container_body(parse_chat(json.dumps(request).encode()), CONTROL))
    assert isinstance(asked, ChatRequest)
    asked.check_schemas()
    assert asked.n == request.get("n", 1)
    assert asked.sluice is not None
    assert asked.sluice.request_id == "r1"


def test_the_container_knows_every_parameter_that_it_is_sent() -> None:
    """The container has every parameter that the function sends.

    It ignores unknown ones, so a new parameter of the function must be added there.
    """
    forwarded = {*FORWARDED, *RESHAPED, "sluice"}
    assert forwarded <= set(ChatRequest.model_fields)

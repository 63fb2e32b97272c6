"""The stock openai-python with strict response validation, sync and async."""

import asyncio
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import openai
import pytest
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from pydantic import BaseModel

from local.cloud import LocalCloud
from tests.e2e.test_streaming import script, text
from tests.support.deployments import SCRIPTED_MODEL, Deployment
from tests.support.faults import fault

pytestmark = pytest.mark.e2e

CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
WEATHER: Any = {
    "type": "function",
    "function": {"name": "get_weather", "description": "Get it.", "parameters": CITY},
}
CALL = {"name": "get_weather", "arguments": ['{"city"', ': "Rö', 'm"}']}
ASK: Any = [{"role": "user", "content": "What is the weather in Rome?"}]


class Person(BaseModel):
    """The type of a structured answer."""

    name: Literal["Ada", "Bob"]
    adult: bool


@dataclass
class Sync:
    """The synchronous client."""

    deployment: Deployment

    def _client(self, retries: int) -> openai.OpenAI:
        return openai.OpenAI(
            base_url=f"{self.deployment.origin}/v1",
            api_key=self.deployment.key,
            max_retries=retries,
            timeout=60,
            _strict_response_validation=True,
        )

    def whole(self, retries: int = 0, **fields: Any) -> ChatCompletion:
        """Return one answer."""
        with self._client(retries) as client:
            answer: ChatCompletion = client.chat.completions.create(
                model=self.deployment.model, **fields
            )
            return answer

    def stream(self, **fields: Any) -> list[ChatCompletionChunk]:
        """Return the chunks of one answer."""
        with self._client(0) as client:
            return list(
                client.chat.completions.create(model=self.deployment.model, stream=True, **fields)
            )

    def parse(self, **fields: Any) -> Any:
        """Return an answer that is parsed into a type."""
        with self._client(0) as client:
            return (
                client.chat.completions.parse(model=self.deployment.model, **fields)
                .choices[0]
                .message.parsed
            )

    def helper(self, **fields: Any) -> Any:
        """Return the whole answer that the client's streaming helper assembles."""
        with (
            self._client(0) as client,
            client.chat.completions.stream(model=self.deployment.model, **fields) as stream,
        ):
            return stream.until_done().get_final_completion()


class Async(Sync):
    """The asynchronous client. Each call has a new event loop."""

    def _async(self, retries: int = 0) -> openai.AsyncOpenAI:
        return openai.AsyncOpenAI(
            base_url=f"{self.deployment.origin}/v1",
            api_key=self.deployment.key,
            max_retries=retries,
            timeout=60,
            _strict_response_validation=True,
        )

    def whole(self, retries: int = 0, **fields: Any) -> ChatCompletion:
        """Return one answer."""

        async def run() -> ChatCompletion:
            async with self._async(retries) as client:
                answer: ChatCompletion = await client.chat.completions.create(
                    model=self.deployment.model, **fields
                )
                return answer

        return asyncio.run(run())

    def stream(self, **fields: Any) -> list[ChatCompletionChunk]:
        """Return the chunks of one answer."""

        async def run() -> list[ChatCompletionChunk]:
            async with self._async() as client:
                stream = await client.chat.completions.create(
                    model=self.deployment.model, stream=True, **fields
                )
                return [chunk async for chunk in stream]

        return asyncio.run(run())

    def parse(self, **fields: Any) -> Any:
        """Return an answer that is parsed into a type."""

        async def run() -> Any:
            async with self._async() as client:
                answer = await client.chat.completions.parse(model=self.deployment.model, **fields)
                return answer.choices[0].message.parsed

        return asyncio.run(run())

    def helper(self, **fields: Any) -> Any:
        """Return the whole answer that the client's streaming helper assembles."""

        async def run() -> Any:
            async with (
                self._async() as client,
                client.chat.completions.stream(model=self.deployment.model, **fields) as stream,
            ):
                return await (await stream.until_done()).get_final_completion()

        return asyncio.run(run())


@pytest.fixture(params=[Sync, Async])
def demo_client(request: pytest.FixtureRequest, demo: Deployment) -> Sync:
    """Return either client, for the demo model."""
    made: Sync = request.param(demo)
    return made


@pytest.fixture(params=[Sync, Async])
def client(request: pytest.FixtureRequest, scripted: Deployment) -> Sync:
    """Return either client, for the scripted engine."""
    made: Sync = request.param(scripted)
    return made


def test_stream_and_whole_say_the_same(client: Sync) -> None:
    """Stream and single body have the same text, usage and finish reason.

    All have the types that the client declares.
    """
    said = script(say=["Grüße", " 🚰", "\n"], prompt_tokens=3)
    chunks = client.stream(messages=said, stream_options={"include_usage": True})
    answer = client.whole(messages=said)
    assert text(chunks) == answer.choices[0].message.content == "Grüße 🚰\n"
    assert chunks[-1].usage is not None
    assert answer.usage == chunks[-1].usage
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (3, 3)
    assert answer.system_fingerprint == chunks[0].system_fingerprint is not None


def test_every_parameter_at_once(client: Sync) -> None:
    """All parameters that a text model can honour are accepted together.

    So are those that are accepted without effect.
    """
    chunks = client.stream(
        messages=[{"role": "developer", "content": "Be short."}, *script(say=["a", "b"])],
        max_completion_tokens=5, temperature=0.5, top_p=0.9, frequency_penalty=0.1, presence_penalty=0.1, seed=7,
        stop=["zzz"], n=2, logprobs=True, top_logprobs=2, logit_bias={"5": 1}, response_format={"type": "text"},
        tools=[WEATHER], tool_choice="none", parallel_tool_calls=False, user="u", metadata={"a": "b"}, store=False,
        service_tier="auto", stream_options={"include_usage": True, "include_obfuscation": False},
    )  # fmt: skip
    assert text(chunks) in {"abab", "aabb"}
    assert {chunk.service_tier for chunk in chunks} == {"default"}
    assert all(chunk.to_dict().get("obfuscation") is None for chunk in chunks)


def test_which_tool_and_which_arguments(client: Sync) -> None:
    """A tool call arrives exactly, in fragments and whole.

    The tool's result is sent back by the call's id.
    """
    said = script(tool_calls=[CALL, {"name": "get_weather", "arguments": ["{}"]}])
    final = client.helper(messages=said, tools=[WEATHER])
    message = client.whole(messages=said, tools=[WEATHER]).choices[0].message
    said_calls: list[Any] = [final.choices[0].message.to_dict(), message.to_dict()]
    for given in said_calls:
        functions = [call["function"] for call in given["tool_calls"]]
        assert [(function["name"], function["arguments"]) for function in functions] == [
            ("get_weather", '{"city": "Röm"}'),
            ("get_weather", "{}"),
        ]
    assert final.choices[0].finish_reason == "tool_calls"
    assert message.content is None
    answers = [
        {"role": "tool", "tool_call_id": call.id, "content": "sunny"}
        for call in message.tool_calls or []
    ]
    again: Any = [*said, message.to_dict(), *answers, *script(say=["It is sunny."])]
    assert (
        client.whole(messages=again, tools=[WEATHER]).choices[0].message.content == "It is sunny."
    )


@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")
def test_a_conversation_is_compacted(scripted: Deployment) -> None:
    """The client compacts a conversation, and goes on with its output.

    It warns of the user's messages in the output, for which it has no type.
    """
    said = script(say=["It is", " sunny."])
    compacted = scripted.client.responses.compact(model=SCRIPTED_MODEL, input=said)
    assert compacted.object == "response.compaction"
    assert [item.type for item in compacted.output] == ["message", "compaction"]
    assert compacted.usage.output_tokens > 0
    going_on: Any = [*compacted.output, *script(say=["Yes."])]
    response = scripted.client.responses.create(model=SCRIPTED_MODEL, input=going_on)
    assert response.output_text == "Yes."
    assert response.usage is not None
    assert response.usage.input_tokens > compacted.usage.output_tokens
    forged: Any = [{"type": "compaction", "encrypted_content": "A" * 100}]
    with pytest.raises(openai.BadRequestError, match="cannot be read"):
        scripted.client.responses.create(model=SCRIPTED_MODEL, input=forged)


def test_agent_on_the_demo_model(demo_client: Sync) -> None:
    """An agent's loop of two steps: a call that matches the schema, its result, and an answer."""
    messages = list(ASK)
    message = (
        demo_client.whole(messages=messages, tools=[WEATHER], tool_choice="required", max_tokens=60)
        .choices[0]
        .message
    )
    assert message.tool_calls
    for call in message.tool_calls:
        assert call.type == "function"
        assert call.function.name == "get_weather"
        assert isinstance(json.loads(call.function.arguments)["city"], str)
    messages.append(message.to_dict())
    messages += [
        {"role": "tool", "tool_call_id": call.id, "content": "sunny"} for call in message.tool_calls
    ]
    answer = demo_client.whole(
        messages=messages, tools=[WEATHER], tool_choice="none", max_tokens=30
    )
    assert answer.choices[0].message.content


@pytest.mark.parametrize(
    "choice", ["required", {"type": "function", "function": {"name": "get_weather"}}]
)
def test_forced_calls_of_the_demo_model_stream(demo_client: Sync, choice: Any) -> None:
    """A required call begins with the first token, in fragments, for any question."""
    hello: Any = [{"role": "user", "content": "Hello"}]
    chunks = demo_client.stream(messages=hello, tools=[WEATHER], tool_choice=choice, max_tokens=80)
    pieces = [call for chunk in chunks for call in chunk.choices[0].delta.tool_calls or []]
    assert (pieces[0].id is not None, pieces[0].function and pieces[0].function.name) == (
        True,
        "get_weather",
    )
    arguments = "".join(piece.function.arguments or "" for piece in pieces if piece.function)
    assert isinstance(json.loads(arguments)["city"], str)
    assert chunks[-1].choices[0].finish_reason == "tool_calls"
    assert text(chunks) == ""


def test_structured_output_of_the_demo_model(demo_client: Sync) -> None:
    """`parse` and the streaming helper return an object of the requested type."""
    messages: Any = [{"role": "user", "content": "Give me a person as JSON."}]
    assert isinstance(
        demo_client.parse(messages=messages, response_format=Person, max_tokens=60), Person
    )
    final = demo_client.helper(messages=messages, response_format=Person, max_tokens=60)
    assert isinstance(final.choices[0].message.parsed, Person)
    fields = {"guided_choice": ["yes", "no"], "top_k": 5, "min_p": 0.1, "repetition_penalty": 1.1}
    chosen = demo_client.whole(messages=messages, tools=[], extra_body=fields, max_tokens=9)
    assert chosen.choices[0].message.content in ("yes", "no")


@pytest.mark.parametrize(
    ("fields", "kind", "code"),
    [
        ({"messages": []}, openai.BadRequestError, "empty_array"),
        ({"messages": ASK, "audio": {"voice": "alloy"}}, openai.BadRequestError, "unsupported_parameter"),
        ({"messages": script(prompt_tokens=100_000)}, openai.BadRequestError, "context_length_exceeded"),
        ({"messages": script(count=3, fail_after=0, code="overloaded")}, openai.RateLimitError, "rate_limit_exceeded"),
        ({"messages": script(count=3, fail_after=0)}, openai.InternalServerError, "upstream_error"),
    ],
    ids=["invalid", "unsupported", "too long", "overloaded", "failed"],
)  # fmt: skip
def test_failures_before_the_first_token(
    client: Sync, fields: Any, kind: type[openai.APIStatusError], code: str
) -> None:
    """Each failure has its own status, its code and a request id, streamed or not."""
    for ask in (client.whole, client.stream):
        with pytest.raises(kind) as failure:
            ask(**fields)
        assert failure.value.code == code
        assert (failure.value.request_id or "").startswith("req_")


def test_failure_in_the_stream(client: Sync) -> None:
    """If a model fails after tokens, the client raises. The text before that has arrived."""
    with pytest.raises(openai.APIError) as failure:
        client.stream(messages=script(repeat=" x", count=9, fail_after=3, rate=50))
    assert failure.value.code == "upstream_error"
    assert not isinstance(failure.value, openai.APIConnectionError)


@pytest.fixture
def killed(cloud: LocalCloud) -> Iterator[None]:
    """Kill the function in the middle of the next answer."""
    with fault(cloud, scope="scripted*", kind="function-killed-in-response", after=700):
        yield


@pytest.mark.usefixtures("killed")
def test_broken_connection(client: Sync) -> None:
    """If a function is killed in its answer, the connection breaks and the client raises."""
    with pytest.raises(openai.APIConnectionError):
        client.stream(messages=script(repeat=" x", count=30, rate=100))


def test_unknown_model_and_key(scripted: Deployment) -> None:
    """An unknown model and an unknown key raise the client's own classes of errors."""
    with pytest.raises(openai.NotFoundError):
        scripted.client.chat.completions.create(model="gpt-9", messages=ASK)
    with pytest.raises(openai.AuthenticationError):
        scripted.client.with_options(api_key="sk-wrong").chat.completions.create(
            model=SCRIPTED_MODEL, messages=ASK
        )


def test_old_completions(scripted: Deployment) -> None:
    """The completions endpoint works with the client's method for it, whole and streamed."""
    prompt = json.dumps({"say": ["one", " two"]})
    whole = scripted.client.completions.create(model=SCRIPTED_MODEL, prompt=prompt)
    chunks = list(
        scripted.client.completions.create(model=SCRIPTED_MODEL, prompt=prompt, stream=True)
    )
    assert whole.choices[0].text == "".join(chunk.choices[0].text for chunk in chunks) == "one two"

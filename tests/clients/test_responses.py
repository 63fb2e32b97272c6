"""The Responses API by openai-python, LangChain and openai-agents-python, as they come."""

import json
import os
from collections.abc import Callable
from typing import Any

import openai
import pytest
from agents import Agent, ModelSettings, OpenAIResponsesModel, Runner, function_tool
from agents.exceptions import AgentsException
from agents.tracing import set_tracing_disabled
from langchain_core.messages import HumanMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from openai import AsyncOpenAI, OpenAI
from openai.types.responses import ResponseFunctionToolCall, ResponseReasoningItem
from pydantic import BaseModel

set_tracing_disabled(disabled=True)
CALL = {"name": "get_weather", "arguments": ['{"city"', ': "Rö', 'm"}']}
WEATHER: Any = {
    "type": "function",
    "name": "get_weather",
    "description": "Get the weather.",
    "strict": True,
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
        "additionalProperties": False,
    },
}


class Person(BaseModel):
    """What the structured answer is."""

    name: str
    adult: bool


def given(name: str) -> dict[str, Any]:
    """Return the arguments of a client of the model `DEMO` or `SCRIPTED`."""
    url, key = os.environ[f"SLUICE_{name}_URL"], os.environ[f"SLUICE_{name}_KEY"]
    return {"base_url": url, "api_key": key, "max_retries": 0}


def script(**fields: Any) -> dict[str, Any]:
    """Return arguments of a request that tell the scripted engine what to say."""
    return {"model": os.environ["SLUICE_SCRIPTED_MODEL"], "input": json.dumps(fields)}


@pytest.fixture
def client() -> OpenAI:
    """Return the client of the scripted engine, which checks every response against its types."""
    return OpenAI(**given("SCRIPTED"), _strict_response_validation=True)


@pytest.fixture
def demo() -> OpenAI:
    """Return the client of the demo model."""
    return OpenAI(**given("DEMO"), _strict_response_validation=True)


def test_a_whole_response(client: OpenAI) -> None:
    """A response has its text, usage, status and request id."""
    response = client.responses.create(
        **script(say=["Grü", "ße"], prompt_tokens=3), instructions="Be brief.", metadata={"a": "b"}
    )
    assert (response.output_text, response.status) == ("Grüße", "completed")
    assert response.usage is not None
    assert (response.usage.input_tokens, response.usage.output_tokens) == (3, 2)
    assert (response.instructions, response.metadata) == ("Be brief.", {"a": "b"})
    assert (response._request_id or "").startswith("req_")


def test_a_stream_is_accumulated(client: OpenAI) -> None:
    """The accumulator makes the same response, from reasoning and text."""
    asked = script(think=["Hm", "."], say=["Grü", "ße"], prompt_tokens=3)
    with client.responses.stream(**asked) as stream:
        events = list(stream)
        response = stream.get_final_response()
    texts = [event.delta for event in events if event.type == "response.output_text.delta"]
    assert texts == ["Grü", "ße"]
    assert [event.sequence_number for event in events] == list(range(len(events)))
    thought, message = response.output
    assert isinstance(thought, ResponseReasoningItem)
    assert thought.content is not None
    assert thought.content[0].text == "Hm."
    assert (response.output_text, message.status) == ("Grüße", "completed")
    with client.responses.stream(**asked, reasoning={"summary": "auto"}) as stream:
        kinds = {event.type for event in stream}
        thought = stream.get_final_response().output[0]
    assert "response.reasoning_summary_text.delta" in kinds
    assert isinstance(thought, ResponseReasoningItem)
    assert thought.summary[0].text == "Hm."


async def test_the_asynchronous_client() -> None:
    """It streams, too."""
    client = AsyncOpenAI(**given("SCRIPTED"), _strict_response_validation=True)
    async with client.responses.stream(**script(say=["a", "b"])) as stream:
        assert (await stream.get_final_response()).output_text == "ab"
    await client.close()


def test_tools(client: OpenAI) -> None:
    """Several calls arrive whole, streamed or not, and their outputs go back with the reasoning."""
    asked = script(think=["Hm."], tool_calls=[CALL, {**CALL, "name": "other"}])
    asked["tools"] = [WEATHER, {**WEATHER, "name": "other"}]
    with client.responses.stream(**asked) as stream:
        streamed = stream.get_final_response()
    whole = client.responses.create(**asked)
    for response in (streamed, whole):
        calls = [it for it in response.output if isinstance(it, ResponseFunctionToolCall)]
        assert [(it.name, it.arguments) for it in calls] == [
            ("get_weather", '{"city": "Röm"}'),
            ("other", '{"city": "Röm"}'),
        ]
    outputs = [
        {"type": "function_call_output", "call_id": it.call_id, "output": "sunny"}
        for it in whole.output
        if isinstance(it, ResponseFunctionToolCall)
    ]
    last = {"role": "user", "content": json.dumps({"say": ["It", " is."]})}
    asked["input"] = [{"role": "user", "content": asked["input"]}, *whole.output, *outputs, last]
    assert client.responses.create(**asked).output_text == "It is."


def test_a_tool_that_must_be_called(demo: OpenAI) -> None:
    """The demo model calls a tool that it must call, with arguments of its schema."""
    response = demo.responses.create(
        model=os.environ["SLUICE_DEMO_MODEL"],
        max_output_tokens=60,
        temperature=0,
        input="What is the weather in Rome?",
        tools=[WEATHER, {**WEATHER, "name": "other"}],
        tool_choice={
            "type": "allowed_tools",
            "mode": "required",
            "tools": [{"type": "function", "name": "get_weather"}],
        },
        parallel_tool_calls=False,
    )
    (call,) = response.output
    assert isinstance(call, ResponseFunctionToolCall)
    assert call.name == "get_weather"
    assert isinstance(json.loads(call.arguments)["city"], str)


def test_structured_output(client: OpenAI, demo: OpenAI) -> None:
    """The client's own helper parses the answer, which the schema guides."""
    made = script(say=['{"name": "Ada"', ', "adult": true}'])
    parsed = client.responses.parse(**made, text_format=Person).output_parsed
    assert parsed == Person(name="Ada", adult=True)
    with client.responses.stream(**made, text_format=Person) as stream:
        assert stream.get_final_response().output_parsed == parsed
    schema = {**Person.model_json_schema(), "additionalProperties": False}
    schema["properties"]["name"] = {"enum": ["Ada", "Bob"]}
    response = demo.responses.create(
        model=os.environ["SLUICE_DEMO_MODEL"],
        max_output_tokens=60,
        temperature=0,
        input="Give me a person as JSON.",
        text={"format": {"type": "json_schema", "name": "person", "schema": schema}},
    )
    assert json.loads(response.output_text)["name"] in ("Ada", "Bob")


def test_log_probabilities(demo: OpenAI) -> None:
    """Each token of the text has its log probability, and the likeliest ones in its place."""
    with demo.responses.stream(
        model=os.environ["SLUICE_DEMO_MODEL"],
        max_output_tokens=4,
        input="Hello",
        include=["message.output_text.logprobs"],
        top_logprobs=2,
    ) as stream:
        events = list(stream)
    last: Any = events[-1]
    assert last.type == "response.incomplete"
    assert last.response.incomplete_details.reason == "max_output_tokens"
    logprobs = last.response.output[0].content[0].logprobs
    assert len(logprobs) == last.response.usage.output_tokens
    assert all(len(it.top_logprobs) == 2 for it in logprobs)


def test_counts(demo: OpenAI) -> None:
    """A count is what a response then uses, tools included."""
    asked: Any = {
        "model": os.environ["SLUICE_DEMO_MODEL"],
        "instructions": "Be brief.",
        "input": [{"role": "user", "content": "What is the weather in Rome?"}],
        "tools": [WEATHER],
    }
    counted = demo.responses.input_tokens.count(**asked).input_tokens
    usage = demo.responses.create(**asked, max_output_tokens=16).usage
    assert usage is not None
    assert counted == usage.input_tokens


@pytest.mark.parametrize(
    ("fields", "kind", "code"),
    [
        ({"prompt_tokens": 100_000}, openai.BadRequestError, "context_length_exceeded"),
        (
            {"count": 3, "fail_after": 0, "code": "overloaded"},
            openai.RateLimitError,
            "rate_limit_exceeded",
        ),
        ({"count": 3, "fail_after": 0}, openai.InternalServerError, "upstream_error"),
    ],
    ids=["too long", "overloaded", "failed"],
)
def test_failures(
    client: OpenAI, fields: dict[str, Any], kind: type[openai.APIStatusError], code: str
) -> None:
    """Every failure before the first byte raises with its status."""
    with pytest.raises(kind) as raised, client.responses.stream(**script(**fields)) as stream:
        stream.until_done()
    assert raised.value.code == code


def test_a_failure_within_the_stream(client: OpenAI) -> None:
    """It is the last event, which has what there is, and no response can be had from it."""
    asked = script(count=9, fail_after=3, rate=50)
    with client.responses.stream(**asked) as stream:
        events = list(stream)
        with pytest.raises(RuntimeError, match=r"response\.completed"):
            stream.get_final_response()
    last: Any = events[-1]
    assert (last.type, last.response.status) == ("response.failed", "failed")
    assert last.response.error.code == "server_error"
    assert last.response.output[0].content[0].text == " word word word"


def test_refusals(client: OpenAI) -> None:
    """A wrong key, a wrong model, a hosted tool and what needs storage raise what they should."""
    asked = script(say=["x"])
    with pytest.raises(openai.AuthenticationError):
        client.with_options(api_key="sk-wrong").responses.create(**asked)
    with pytest.raises(openai.NotFoundError):
        client.responses.create(**{**asked, "model": "gpt-0"})
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve("resp_1")
    for change in (
        {"tools": [{"type": "web_search"}]},
        {"previous_response_id": "resp_1"},
        {"background": True, "store": False},
    ):
        with pytest.raises(openai.BadRequestError) as raised:
            client.responses.create(**asked, **change)  # type: ignore[call-overload]
        assert raised.value.param in (*change, "tools[0].type")


def test_a_kept_response(client: OpenAI) -> None:
    """A response is read again, gone on from, listed by its input, and deleted."""
    first = client.responses.create(**script(say=["one"]), metadata={"a": "b"})
    assert first.store
    assert client.responses.retrieve(first.id).output_text == "one"
    second = client.responses.create(**script(say=["two"]), previous_response_id=first.id)
    assert (second.output_text, second.previous_response_id) == ("two", first.id)
    items = client.responses.input_items.list(second.id).data
    assert [item.type for item in items] == ["message"]
    client.responses.delete(first.id)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(first.id)
    with pytest.raises(openai.BadRequestError) as raised:
        client.responses.create(**script(say=["three"]), previous_response_id=second.id)
    assert raised.value.code == "previous_response_not_found"
    with pytest.raises(openai.BadRequestError, match="completed"):
        client.responses.cancel(second.id)


def test_a_background_response(client: OpenAI) -> None:
    """A background response is answered at once, and read when it has ended."""
    response = client.responses.create(**script(say=["a", "b"], rate=5), background=True)
    assert response.status == "queued"
    done = client.responses.retrieve(response.id, extra_query={"wait": 30})
    assert (done.status, done.output_text) == ("completed", "ab")
    slow = client.responses.create(**script(count=900, rate=20), background=True)
    assert client.responses.cancel(slow.id).status == "cancelled"
    assert client.responses.retrieve(slow.id).status == "cancelled"


def test_a_stream_that_is_cut_is_resumed(client: OpenAI) -> None:
    """A client that leaves a logged stream gets the rest of it by its last number."""
    asked = script(say=["a", "b", "c", "d"], rate=20)
    stream = client.responses.create(**asked, stream=True, extra_body={"sluice": {"durable": True}})
    seen = []
    for event in stream:
        seen.append(event)
        if event.type == "response.output_text.delta":
            break
    stream.close()
    created: Any = seen[0]
    rest = client.responses.retrieve(
        created.response.id, stream=True, starting_after=seen[-1].sequence_number
    )
    events = [*seen, *rest]
    assert [event.sequence_number for event in events] == list(range(len(events)))
    last: Any = events[-1]
    assert (last.type, last.response.output_text) == ("response.completed", "abcd")


def test_a_cancel(client: OpenAI) -> None:
    """A response that runs is cancelled by its id, and its stream ends so."""
    with client.responses.stream(**script(count=500, rate=20)) as stream:
        events = []
        for event in stream:
            events.append(event)
            if event.type == "response.output_text.delta" and len(events) < 8:
                created: Any = events[0]
                assert client.responses.cancel(created.response.id).status == "cancelled"
    last: Any = events[-1]
    assert (last.type, last.response.status) == ("response.failed", "cancelled")
    assert client.responses.retrieve(created.response.id).status == "cancelled"


@tool
def magic_function(number: int) -> int:
    """Apply a magic function to a number."""
    return number + 2


def test_langchain() -> None:
    """LangChain streams, calls tools, sends results back, parses structures and counts tokens."""
    model = ChatOpenAI(
        model=os.environ["SLUICE_SCRIPTED_MODEL"], use_responses_api=True, **given("SCRIPTED")
    )
    arguments = ['{"numb', 'er": ', "3}"]
    asked = HumanMessage(
        json.dumps({"tool_calls": [{"name": "magic_function", "arguments": arguments}]})
    )
    bound = model.bind_tools([magic_function])
    answer = bound.invoke([asked])
    pieces = list(bound.stream([asked]))
    together: Any = pieces[0]
    for piece in pieces[1:]:
        together += piece
    for message in (answer, together):
        assert [(it["name"], it["args"]) for it in message.tool_calls] == [
            ("magic_function", {"number": 3})
        ]
    results = [magic_function.invoke(call) for call in answer.tool_calls]
    last = HumanMessage(json.dumps({"say": ["It", " is 5."], "prompt_tokens": 7}))
    final = bound.invoke([asked, answer, *results, last])
    assert final.text == "It is 5."
    assert final.usage_metadata["input_tokens"] == 7
    # a conversation with a text of the model's in it
    again = bound.invoke([HumanMessage("Hi"), final, last])
    assert again.text == "It is 5."
    said = HumanMessage(json.dumps({"say": ['{"name": "Ada"', ', "adult": true}']}))
    formed = model.with_structured_output(Person, method="json_schema")
    assert formed.invoke([said]) == Person(name="Ada", adult=True)
    with pytest.raises(openai.BadRequestError):
        model.invoke([HumanMessage(json.dumps({"prompt_tokens": 100_000}))])


@function_tool
def get_weather(city: str) -> str:
    """Get the weather."""
    return f"sunny in {city}"


def agent(name: str, **options: Any) -> Agent[None]:
    """Return an agent of the model `DEMO` or `SCRIPTED`."""
    client = AsyncOpenAI(**given(name))
    model = OpenAIResponsesModel(os.environ[f"SLUICE_{name}_MODEL"], client)
    return Agent(name="a", instructions="Help.", model=model, **options)


Run = Callable[[Agent[None], str], Any]


async def streamed(made: Agent[None], asked: str) -> Any:
    """Run an agent and stream its events."""
    result = Runner.run_streamed(made, asked)
    async for _ in result.stream_events():
        pass
    return result


@pytest.mark.parametrize("run", [Runner.run, streamed])
async def test_agents(run: Run) -> None:
    """An agent calls its tool, whose output goes back, and answers, streamed or not."""
    settings = ModelSettings(tool_choice="required", max_tokens=60, temperature=0)
    result = await run(
        agent("DEMO", tools=[get_weather], model_settings=settings), "What is the weather in Rome?"
    )
    kinds = [item.type for item in result.new_items]
    assert kinds[:2] == ["tool_call_item", "tool_call_output_item"]
    assert kinds[-1] == "message_output_item"
    assert isinstance(result.final_output, str)
    formed = await run(
        agent("SCRIPTED", output_type=Person),
        json.dumps({"say": ['{"name": "Ada"', ', "adult": true}']}),
    )
    assert formed.final_output == Person(name="Ada", adult=True)


@pytest.mark.parametrize("run", [Runner.run, streamed])
async def test_an_agent_whose_model_fails(run: Run) -> None:
    """A failure raises, before the stream and within it."""
    for fields in ({"count": 3, "fail_after": 0}, {"count": 9, "fail_after": 3, "rate": 50}):
        with pytest.raises((AgentsException, openai.APIError)):
            await run(agent("SCRIPTED"), json.dumps(fields))

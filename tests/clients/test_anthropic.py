"""Anthropic's own client, LangChain's `ChatAnthropic`, and the bodies that Claude Code sends.

claude_code.json has these bodies, written after their public shape.
"""

import json
import os
from pathlib import Path
from typing import Any

import anthropic
import httpx
import pytest
from anthropic import Anthropic, AsyncAnthropic
from langchain_anthropic import ChatAnthropic
from langchain_core.messages import HumanMessage, SystemMessage
from langchain_core.tools import tool
from pydantic import BaseModel

CLAUDE_CODE = json.loads(Path(__file__).with_name("claude_code.json").read_text(encoding="utf-8"))
CALL = {"name": "get_weather", "arguments": ['{"city"', ': "Rö', 'm"}']}
WEATHER: Any = {
    "name": "get_weather",
    "description": "Get the weather.",
    "input_schema": {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
    },
}


def given(name: str) -> dict[str, Any]:
    """Return the address and the key of the model `DEMO` or `SCRIPTED`. Its client adds `/v1`."""
    url = os.environ[f"SLUICE_{name}_URL"].removesuffix("/v1")
    return {"base_url": url, "api_key": os.environ[f"SLUICE_{name}_KEY"], "max_retries": 0}


def script(**fields: Any) -> Any:
    """Return arguments of a request that tell the scripted engine what to say."""
    return {
        "model": os.environ["SLUICE_SCRIPTED_MODEL"],
        "max_tokens": 100,
        "messages": [{"role": "user", "content": json.dumps(fields)}],
    }


@pytest.fixture
def client() -> Anthropic:
    """Return the client of the scripted engine."""
    return Anthropic(**given("SCRIPTED"))


@pytest.fixture
def demo() -> Anthropic:
    """Return the client of the demo model."""
    return Anthropic(**given("DEMO"))


def test_a_whole_message(client: Anthropic) -> None:
    """A message has its text, usage, reason and request id."""
    message = client.messages.create(**script(say=["Grü", "ße"], prompt_tokens=3))
    (block,) = message.content
    assert (block.type, block.text) == ("text", "Grüße")  # type: ignore[union-attr]
    assert (message.usage.input_tokens, message.usage.output_tokens) == (3, 2)
    assert message.stop_reason == "end_turn"
    assert (message._request_id or "").startswith("req_")


def test_a_stream_is_accumulated(client: Anthropic) -> None:
    """The accumulator makes the same message, and has the prompt's tokens from the beginning."""
    with client.messages.stream(**script(say=["Grü", "ße"], prompt_tokens=3)) as stream:
        first = next(iter(stream))
        assert first.type == "message_start"
        assert first.message.usage.input_tokens == 3
        texts = list(stream.text_stream)
        message = stream.get_final_message()
    assert texts == ["Grü", "ße"]
    assert (message.usage.input_tokens, message.usage.output_tokens) == (3, 2)
    assert message.stop_reason == "end_turn"


async def test_a_bearer_token_and_the_asynchronous_client() -> None:
    """A key is taken as a bearer token, as Claude Code's ANTHROPIC_AUTH_TOKEN is sent."""
    options = given("SCRIPTED")
    client = AsyncAnthropic(**{**options, "api_key": None}, auth_token=options["api_key"])
    async with client.messages.stream(**script(say=["a", "b"])) as stream:
        assert await stream.get_final_text() == "ab"
    await client.close()


def test_tools(client: Anthropic) -> None:
    """A call arrives whole, streamed or not, and its result goes back."""
    asked = {**script(tool_calls=[CALL, {**CALL, "name": "other"}]), "tools": [WEATHER]}
    with client.messages.stream(**asked) as stream:
        streamed = stream.get_final_message()
    whole = client.messages.create(**asked)
    for message in (streamed, whole):
        assert message.stop_reason == "tool_use"
        assert [(it.name, it.input) for it in message.content if it.type == "tool_use"] == [
            ("get_weather", {"city": "Röm"}),
            ("other", {"city": "Röm"}),
        ]
    results = [
        {"type": "tool_result", "tool_use_id": it.id, "content": "sunny"}
        for it in whole.content
        if it.type == "tool_use"
    ]
    last = {"type": "text", "text": json.dumps({"say": ["It", " is."]})}
    asked["messages"] += [
        {"role": "assistant", "content": whole.content},
        {"role": "user", "content": [*results, last]},
    ]
    (block,) = client.messages.create(**asked).content
    assert block.text == "It is."  # type: ignore[union-attr]


def test_a_tool_that_must_be_called(demo: Anthropic) -> None:
    """The demo model calls a tool that it must call, with arguments of its schema."""
    message = demo.messages.create(
        model=os.environ["SLUICE_DEMO_MODEL"],
        max_tokens=60,
        temperature=0,
        messages=[{"role": "user", "content": "What is the weather in Rome?"}],
        tools=[WEATHER],
        tool_choice={"type": "tool", "name": "get_weather", "disable_parallel_tool_use": True},
    )
    (call,) = message.content
    assert call.type == "tool_use"
    assert isinstance(call.input["city"], str)


class Person(BaseModel):
    """What the structured answer is."""

    name: str
    adult: bool


def test_structured_output(client: Anthropic, demo: Anthropic) -> None:
    """The client's own helper parses the answer, which the schema guides."""
    made = script(say=['{"name": "Ada"', ', "adult": true}'])
    parsed = client.messages.parse(**made, output_format=Person).parsed_output
    assert parsed == Person(name="Ada", adult=True)
    schema = {**Person.model_json_schema(), "additionalProperties": False}
    schema["properties"]["name"] = {"enum": ["Ada", "Bob"]}
    message = demo.messages.create(
        model=os.environ["SLUICE_DEMO_MODEL"],
        max_tokens=60,
        temperature=0,
        messages=[{"role": "user", "content": "Give me a person as JSON."}],
        output_config={"format": {"type": "json_schema", "schema": schema}},
    )
    (block,) = message.content
    assert json.loads(block.text)["name"] in ("Ada", "Bob")  # type: ignore[union-attr]


def test_counts(demo: Anthropic) -> None:
    """A count is what a message then uses, tools included, and needs the key."""
    asked: Any = {
        "model": os.environ["SLUICE_DEMO_MODEL"],
        "system": "Be brief.",
        "messages": [{"role": "user", "content": "What is the weather in Rome?"}],
    }
    plain = demo.messages.count_tokens(**asked).input_tokens
    asked["tools"] = [WEATHER]
    counted = demo.messages.count_tokens(**asked).input_tokens
    usage = demo.messages.create(**asked, max_tokens=2).usage
    assert counted == usage.input_tokens + (usage.cache_read_input_tokens or 0)
    assert counted > plain > 0
    wrong = demo.with_options(api_key="sk-wrong")
    with pytest.raises(anthropic.AuthenticationError):
        wrong.messages.count_tokens(**asked)


def test_a_stop_sequence(client: Anthropic) -> None:
    """The sequence that ended a message is named."""
    message = client.messages.create(**script(say=["a", " END", " b"]), stop_sequences=["END"])
    assert (message.stop_reason, message.stop_sequence) == ("stop_sequence", "END")
    cut = client.messages.create(**{**script(count=9), "max_tokens": 2})
    assert cut.stop_reason == "max_tokens"


@pytest.mark.parametrize(
    ("fields", "kind", "type_"),
    [
        ({"prompt_tokens": 100_000}, anthropic.BadRequestError, "invalid_request_error"),
        (
            {"count": 3, "fail_after": 0, "code": "overloaded"},
            anthropic.RateLimitError,
            "rate_limit_error",
        ),
        ({"count": 3, "fail_after": 0}, anthropic.InternalServerError, "api_error"),
        ({"count": 9, "fail_after": 3, "rate": 50}, anthropic.APIStatusError, "api_error"),
    ],
    ids=["too long", "overloaded", "failed", "failed in the stream"],
)
def test_failures(
    client: Anthropic, fields: dict[str, Any], kind: type[anthropic.APIStatusError], type_: str
) -> None:
    """Every failure raises with Anthropic's type. None looks like a short answer."""
    with pytest.raises(kind) as raised, client.messages.stream(**script(**fields)) as stream:
        stream.until_done()
    body: Any = raised.value.body
    assert body["error"]["type"] == type_
    assert body["request_id"].startswith("req_")


def test_refusals(client: Anthropic) -> None:
    """A wrong key, a wrong model, a server's tool and an image raise what they should."""
    with pytest.raises(anthropic.AuthenticationError):
        client.with_options(api_key="sk-wrong").messages.create(**script(say=["x"]))
    with pytest.raises(anthropic.NotFoundError):
        client.messages.create(**{**script(say=["x"]), "model": "claude-0"})
    search: Any = {"type": "web_search_20250305", "name": "web_search"}
    with pytest.raises(anthropic.BadRequestError, match="web_search_20250305"):
        client.messages.create(**script(say=["x"]), tools=[search])


@pytest.mark.parametrize("recorded", CLAUDE_CODE, ids=lambda it: it["name"])
@pytest.mark.parametrize("name", ["DEMO", "SCRIPTED"])
def test_claude_code(recorded: dict[str, Any], name: str) -> None:
    """Each request of Claude Code is answered, by either model."""
    options = given(name)
    body = {"model": os.environ[f"SLUICE_{name}_MODEL"], **recorded["body"]}
    if body.get("max_tokens", 0) > 60 and name == "DEMO":
        body["max_tokens"] = 12  # it is slow
    headers = {
        "x-api-key": options["api_key"],
        "anthropic-version": "2023-06-01",
        "anthropic-beta": recorded["beta"],
        "anthropic-dangerous-direct-browser-access": "true",
        "x-app": "cli",
    }
    answer = httpx.post(
        options["base_url"] + recorded["path"], json=body, headers=headers, timeout=90
    )
    assert answer.status_code == 200, answer.text
    assert answer.headers["request-id"]
    if body.get("stream"):
        events = [line[7:] for line in answer.text.split("\n") if line.startswith("event: ")]
        assert (events[0], events[-1]) == ("message_start", "message_stop")
        # The demo model samples. It may end its turn at once, or be cut in the name of a call.
        assert "content_block_delta" in events or name == "DEMO"
    elif "count_tokens" in recorded["path"]:
        assert answer.json()["input_tokens"] > 0
    else:
        assert answer.json()["stop_reason"] in ("max_tokens", "end_turn")


@tool
def magic_function(number: int) -> int:
    """Apply a magic function to a number."""
    return number + 2


def test_langchain() -> None:
    """LangChain's provider streams, calls tools, sends results back and parses structures."""
    model: Any = ChatAnthropic(model=os.environ["SLUICE_SCRIPTED_MODEL"], **given("SCRIPTED"))
    asked = HumanMessage(
        json.dumps(
            {"tool_calls": [{"name": "magic_function", "arguments": ['{"numb', 'er": ', "3}"]}]}
        )
    )
    bound = model.bind_tools([magic_function])
    answer = bound.invoke([SystemMessage("Call it."), asked])
    pieces = list(bound.stream([asked]))
    together = pieces[0]
    for piece in pieces[1:]:
        together += piece
    for message in (answer, together):
        assert [(it["name"], it["args"]) for it in message.tool_calls] == [
            ("magic_function", {"number": 3})
        ]
    results = [magic_function.invoke(call) for call in answer.tool_calls]
    last = HumanMessage(json.dumps({"say": ["It", " is 5."], "prompt_tokens": 7}))
    final = bound.invoke([asked, answer, *results, last])
    assert final.content == "It is 5."
    assert final.usage_metadata["input_tokens"] == 7
    said = HumanMessage(json.dumps({"say": ['{"name": "Ada"', ', "adult": true}']}))
    formed = model.with_structured_output(Person, method="json_schema")
    assert formed.invoke([said]) == Person(name="Ada", adult=True)
    with pytest.raises(anthropic.BadRequestError):
        model.invoke([HumanMessage(json.dumps({"prompt_tokens": 100_000}))])

"""LangChain's standard tests of chat models, with its stock `ChatOpenAI`, and additions to them.

The suite runs against the demo model, which is not trained for it, so it tests only wire format and
grammar there. The tests below use the scripted engine, which says what a test tells it. They check
which tool is called with which arguments.
"""

import json
import os
from typing import Any

import openai
import pytest
from langchain_core.exceptions import OutputParserException
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from langchain_tests.integration_tests import ChatModelIntegrationTests

OF_THE_MODEL = (
    "what the model says, not how: a demo model of two million parameters does not read that "
    "from a prompt"
)


def given(name: str) -> dict[str, Any]:
    """Return the arguments of a client of the model `DEMO` or `SCRIPTED`."""
    return {
        "model": os.environ[f"SLUICE_{name}_MODEL"],
        "base_url": os.environ[f"SLUICE_{name}_URL"],
        "api_key": os.environ[f"SLUICE_{name}_KEY"],
        "max_retries": 0,
        "stream_usage": True,  # by itself ChatOpenAI requests usage from OpenAI's own address only
    }


class TestStandard(ChatModelIntegrationTests):
    """The suite's tests of a chat model."""

    @property
    def chat_model_class(self) -> type[BaseChatModel]:
        """The stock client."""
        return ChatOpenAI

    @property
    def chat_model_params(self) -> dict[str, Any]:
        """The client's arguments. Sampling is greedy, so that runs are repeatable."""
        return {**given("DEMO"), "temperature": 0, "max_tokens": 120}

    @property
    def supports_json_mode(self) -> bool:
        """The API honours a `response_format` of type `json_object`."""
        return True

    @property
    def model_override_value(self) -> str:
        """The model of this deployment."""
        return os.environ["SLUICE_DEMO_MODEL"]

    @pytest.mark.xfail(reason=OF_THE_MODEL, raises=AssertionError, strict=True)
    def test_tool_calling(self, model: BaseChatModel) -> None:
        """The suite expects the argument 3."""
        super().test_tool_calling(model)

    @pytest.mark.xfail(reason=OF_THE_MODEL, raises=AssertionError, strict=True)
    async def test_tool_calling_async(self, model: BaseChatModel) -> None:
        """The suite expects the argument 3."""
        await super().test_tool_calling_async(model)

    @pytest.mark.xfail(reason=OF_THE_MODEL, raises=OutputParserException, strict=True)
    def test_json_mode(self, model: BaseChatModel) -> None:
        """The suite expects the keys that the prompt names. JSON mode ensures only some object."""
        super().test_json_mode(model)

    @pytest.mark.xfail(reason=OF_THE_MODEL, raises=AssertionError, strict=True)
    def test_unicode_tool_call_integration(self, model: BaseChatModel) -> None:
        """The suite expects the name in the prompt."""
        super().test_unicode_tool_call_integration(model)


@tool
def magic_function(number: int) -> int:
    """Apply a magic function to a number."""
    return number + 2


def script(**fields: Any) -> HumanMessage:
    """Return messages that tell the scripted engine what to say."""
    return HumanMessage(json.dumps(fields))


CALL = {"name": "magic_function", "arguments": ['{"numb', 'er": ', "3}"]}


@pytest.fixture
def scripted() -> ChatOpenAI:
    """Return the stock client of the scripted engine."""
    return ChatOpenAI(**given("SCRIPTED"))


def test_which_tool_and_which_arguments(scripted: ChatOpenAI) -> None:
    """Calls arrive unchanged, whole and in fragments.

    An agent's loop of two steps ends in the answer.
    """
    bound = scripted.bind_tools([magic_function])
    asked = script(tool_calls=[CALL])
    answer = bound.invoke([asked])
    pieces = list(bound.stream([asked]))
    together = pieces[0]
    for piece in pieces[1:]:
        together += piece
    for message in (answer, together):
        assert [(call["name"], call["args"]) for call in message.tool_calls] == [
            ("magic_function", {"number": 3})
        ]
    results = [magic_function.invoke(call) for call in answer.tool_calls]
    assert all(isinstance(result, ToolMessage) for result in results)
    final = bound.invoke([asked, answer, *results, script(say=["It", " is 5."])])
    assert isinstance(final, AIMessage)
    assert final.content == "It is 5."


async def test_async_stream(scripted: ChatOpenAI) -> None:
    """Text arrives in several pieces, with usage at the end."""
    pieces = [
        piece async for piece in scripted.astream([script(say=["Grü", "ße"], prompt_tokens=2)])
    ]
    assert "".join(piece.content for piece in pieces) == "Grüße"
    assert [piece.usage_metadata["total_tokens"] for piece in pieces if piece.usage_metadata] == [4]


def test_structured_output(scripted: ChatOpenAI) -> None:
    """The answer is parsed into the schema's type."""
    schema = {
        "title": "Number",
        "type": "object",
        "properties": {"n": {"type": "integer"}},
        "required": ["n"],
    }
    asked = [script(say=['{"n"', ": 7}"])]
    assert scripted.with_structured_output(schema, method="json_schema").invoke(asked) == {"n": 7}


@pytest.mark.parametrize(
    ("fields", "kind"),
    [
        ({"prompt_tokens": 100_000}, openai.BadRequestError),
        ({"count": 3, "fail_after": 0, "code": "overloaded"}, openai.RateLimitError),
        ({"count": 3, "fail_after": 0}, openai.InternalServerError),
        ({"count": 9, "fail_after": 3, "rate": 50}, openai.APIError),
    ],
    ids=["too long", "overloaded", "failed", "failed in the stream"],
)
def test_failures(scripted: ChatOpenAI, fields: dict[str, Any], kind: type[Exception]) -> None:
    """Every failure raises. None looks like a short answer."""
    with pytest.raises(kind):
        list(scripted.stream([script(**fields)]))

"""The values that errors name where a request has one that is not in a list."""

from typing import Any, Literal

import msgspec
import pytest

from lambda_fn.errors import InvalidRequest
from lambda_fn.schema import parse_chat
from lambda_fn.schema.anthropic import parse_messages
from lambda_fn.schema.choices import choices_at
from lambda_fn.schema.parse import parse
from lambda_fn.schema.responses import parse_responses
from tests.support.bad_requests import body

COLOUR = "'green', 'red'"


class One(msgspec.Struct, tag="one"):
    """A part with lists of values."""

    colour: Literal["red", "green"]
    size: Literal[1, 2] | None = None


class Two(msgspec.Struct, tag="two"):
    """A part of the same union, with another list for one member."""

    size: Literal[3] | None = None


class Asked(msgspec.Struct):
    """A request with lists of values in all places."""

    plain: Literal["red", "green"] | One | None = None
    parts: list[One | Two] = []
    named: dict[str, Literal["red", "green"]] = {}
    renamed: Literal["red", "green"] | None = msgspec.field(default=None, name="as")


@pytest.mark.parametrize(
    ("sent", "message"),
    [
        ({"plain": "blue"}, f"Invalid 'plain': 'blue' is not one of {COLOUR}."),
        ({"named": {"a": "blue"}}, f"Invalid 'named': 'blue' is not one of {COLOUR}."),
        ({"as": "blue"}, f"Invalid 'as': 'blue' is not one of {COLOUR}."),
        (
            {"parts": [{"type": "two"}, {"type": "one", "colour": "blue"}]},
            f"Invalid 'parts[1].colour': 'blue' is not one of {COLOUR}.",
        ),
        (
            {"parts": [{"type": "two", "size": 1}]},  # it is not known which list is meant
            "Invalid 'parts[0].size': Invalid enum value 1.",
        ),
    ],
)
def test_the_values_of_a_list_are_named(sent: dict[str, Any], message: str) -> None:
    """Wherever the list stands, if only one can be meant."""
    with pytest.raises(InvalidRequest) as refusal:
        parse(msgspec.json.Decoder(Asked), msgspec.json.encode(sent))
    assert (refusal.value.message, refusal.value.code) == (message, "invalid_value")


def test_a_member_without_a_list() -> None:
    """It has no values, as one that does not exist."""
    assert choices_at(Asked, "parts[0]") == choices_at(Asked, "other.parts") == ()


def test_requests_of_all_kinds() -> None:
    """Each kind of request names the values that it accepts. A long value is cut."""
    asked = {"model": "m", "input": "Hi", "truncation": "x"}
    message = {"model": "m", "max_tokens": 9, "messages": [{"role": "x", "content": "Hi"}]}
    for read, data, end in (
        (
            parse_chat,
            body({"sluice": {"buffer": "x"}}),
            "'json', 'line', 'none', 'sentence', 'word'.",
        ),
        (parse_chat, body({"mirostat": 3}), "3 is not one of 0, 1, 2."),
        (parse_responses, msgspec.json.encode(asked), "'x' is not one of 'auto', 'disabled'."),
        (parse_messages, msgspec.json.encode(message), "'assistant', 'system', 'user'."),
    ):
        with pytest.raises(InvalidRequest) as refusal:
            read(data)
        assert refusal.value.message.endswith(end)
    with pytest.raises(InvalidRequest) as refusal:
        parse_chat(body({"sluice": {"buffer": "x" * 5_000}}))
    assert len(refusal.value.message) < 400

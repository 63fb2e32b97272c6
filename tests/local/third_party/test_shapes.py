"""What the stand-ins answer: the prompt, or a call of the tool that is offered."""

import json
from typing import Any

import pytest

from local.third_party.shapes import SERVERS, reply

TOOL = {"name": "f", "parameters": {"type": "object", "required": ["city", "unit"]}}


def records(server: str, prompt: str, tool: dict[str, Any] | None) -> list[dict[str, Any]]:
    """Return the records of an answer."""
    lines = [
        line.removeprefix(b"data:").strip()
        for line in SERVERS[server](reply(prompt, None, tool), {"messages": []})
    ]
    return [json.loads(line) for line in lines if line not in (b"[DONE]", b"")]


@pytest.mark.parametrize("server", ["vllm", "sglang", "lmi"])
def test_a_tool_that_is_offered_is_called(server: str) -> None:
    """The answer to a text is a call, whose required arguments are the text, in pieces."""
    found = records(server, "Rö\nm", TOOL)
    calls = [
        call
        for record in found
        for choice in record["choices"]
        for call in choice["delta"].get("tool_calls") or ()
    ]
    assert calls[0]["function"]["name"] == "f"
    assert len(calls) > 2
    arguments = "".join(call["function"]["arguments"] for call in calls)
    assert json.loads(arguments) == {"city": "Rö\nm", "unit": "Rö\nm"}
    reasons = [choice["finish_reason"] for record in found for choice in record["choices"]]
    assert [reason for reason in reasons if reason] == ["tool_calls"]


def test_a_script_says_what_it_has() -> None:
    """A script is followed although a tool is offered, and a tool without arguments has none."""
    assert reply('{"say": ["a", "b"]}', None, TOOL).pieces == ["a", "b"]
    assert reply('{"say": ["a", "b"]}', None, TOOL).call is None
    assert reply("x", None, {"name": "g"}).pieces == ["{}"]

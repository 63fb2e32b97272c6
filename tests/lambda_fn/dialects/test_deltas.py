"""What a delta or a message says, under whichever names and in whichever forms."""

import json
from typing import Any

import msgspec
import pytest

from lambda_fn.dialects.deltas import DeltaFields, read_delta
from tests.support.model_answers import answer, chunk, sse


@pytest.mark.parametrize(
    "delta",
    [
        {"reasoning_content": "why"},
        {"reasoning": "why"},
        {"reasoning": "why", "reasoning_content": "why"},
        {"reasoning_content": None, "reasoning": "why"},
        {"reasoning_content": "", "reasoning": "why"},
        {"thinking": "why"},
        {"reasoning_text": "why"},
        {"reasoning_details": [{"type": "reasoning.text", "text": "why", "index": 0}]},
        {"reasoning_details": [{"type": "reasoning.summary", "summary": "why"}]},
        {"reasoning": "why", "reasoning_details": [{"type": "reasoning.text", "text": "why"}]},
        {"thinking_blocks": [{"type": "thinking", "thinking": "why", "signature": "s"}]},
        {"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "why"}]}]},
        {"content": [{"type": "reasoning", "summary": [{"type": "summary_text", "text": "why"}]}]},
        {"reasoning": {"content": "why"}},
        {"reasoningContent": "why"},
        {"content": [{"text": "why", "thought": True}]},
        {"thinking_content": "why", "reasoning_effort": "high", "thought_signature": "c2ln"},
        {"thoughts": ["why"]},
        {"reasoning_summary": [{"type": "summary_text", "text": "why"}]},
        {"content": [{"reasoningContent": {"reasoningText": {"text": "why"}}}]},
    ],
    ids=lambda it: json.dumps(it)[:60],
)
def test_reasoning_has_one_name(delta: dict[str, Any]) -> None:
    """Reasoning of any name is `reasoning_content`, streamed and whole.

    vllm-project/vllm#50624, BerriAI/litellm#20246, NousResearch/hermes-agent#4748 and
    symfony/ai#2422 have these names and forms.
    """
    streamed = answer(sse(chunk(delta), chunk({"content": "So."}), chunk({}, "stop")))
    content = delta.get("content", [])
    both = {**delta, "content": [*content, {"type": "text", "text": "So."}] if content else "So."}
    for found in (streamed, answer(sse({"choices": [{"message": both, "finish_reason": "stop"}]}))):
        assert (found.reasoning, found.text) == (["why"], "So.")


@pytest.mark.parametrize(("depth", "text"), [(2, "why"), (50, None)])
def test_parts_are_nested_within_a_bound(depth: int, text: str | None) -> None:
    """Parts within parts are read to a depth, and rejected beyond it."""
    part: Any = "why"
    for _ in range(depth):
        part = {"type": "thinking", "thinking": [part]}
    delta = msgspec.json.decode(json.dumps({"content": [part]}), type=DeltaFields)
    if text is not None:
        assert read_delta(delta).reasoning == text
        return
    with pytest.raises(ValueError, match="too deeply"):
        read_delta(delta)

"""Reads what a delta or a message says, in whichever members and forms a server says it. Pure.

What comes out has OpenAI's members and no others, so that a streamed response and a whole one have
the same: `content`, `refusal`, `tool_calls`, and `reasoning_content`, which DeepSeek, SGLang and
our container send, for all names of reasoning.
"""

import re
from typing import Any

import msgspec

from lambda_fn.events import NULL

Text = Any
"""A text, or the parts of one, as Mistral and Databricks send, or null."""

_decode = msgspec.json.decode
_REASONING = re.compile(
    "(?!.*(signature|effort|budget|status|type|format|time|duration|id$))"
    "(internal_)?(reason|think|thought|cot$|chain_?of_?thought)",
    re.IGNORECASE,
)
"""Names of members that hold reasoning, beside those that are read first."""
_REASONING_TYPES = ("thinking", "reasoning", "thought", "summary", "redacted")
_TEXTS = (
    "text", "thinking", "reasoning", "reasoning_content", "summary", "content", "refusal",
    "reasoningText",
)  # fmt: skip
_DEPTH = 8
_NOT_SAID = frozenset(
    {
        "role", "name", "id", "object", "type", "index", "tool_call_id", "finish_reason",
        "stop_reason", "done_reason", "finishReason", "native_finish_reason", "matched_stop",
        "stop_sequence", "logprobs", "prompt_logprobs", "token_ids", "prompt_token_ids",
        "routed_experts", "hidden_states", "usage", "seed", "content_filter_results",
        "content_filter_result", "content_filter_offsets", "annotations", "citations", "signature",
        "reasoning_signature", "provider_specific_fields", "prefix", "partial", "delta", "message",
        "mm_embeddings", "weight_version", "obfuscation",
    }
)  # fmt: skip
"""Members of choices, deltas and messages that hold nothing of the answer."""


class DeltaFields(msgspec.Struct):
    """The members of a delta or message that servers say something in."""

    content: Text = None
    reasoning_content: Text = None
    reasoning: Text = None
    thinking: Text = None
    thought: Text = None
    reasoning_text: Text = None
    reasoning_details: Text = None
    thinking_blocks: Text = None
    refusal: Text = None
    text: Text = None
    tool_calls: msgspec.Raw = NULL
    function_call: msgspec.Raw = NULL

    @property
    def only_content(self) -> bool:
        """Whether there is no other member. That is so for nearly every token."""
        return (
            self.tool_calls is NULL
            and self.reasoning_content is None
            and self.reasoning is None
            and self.refusal is None
            and self.text is None
            and self.thinking is None
            and self.thought is None
            and self.reasoning_text is None
            and self.reasoning_details is None
            and self.thinking_blocks is None
            and self.function_call is NULL
        )


class Said(msgspec.Struct):
    """The content of a delta. `calls` has the pieces of tool calls.

    `unread` names the members that may be a part of the answer and have no known form.
    """

    content: str = ""
    reasoning: str = ""
    refusal: str = ""
    calls: list[dict[str, Any]] | None = None
    unread: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        """Return whether it says anything."""
        return bool(self.content or self.reasoning or self.refusal or self.calls)


def read_delta(delta: DeltaFields) -> Said:
    """Return the content of a delta or message.

    Raises:
        ValueError: a part is malformed.

    """
    content = delta.content
    if type(content) is str and delta.only_content:
        return Said(content)
    said = _parts(content)
    if not said.content and delta.text is not None:
        said.content = _parts(delta.text).content
    said.reasoning = said.reasoning or _reasoning(delta)
    if delta.refusal is not None:
        said.refusal += _flat(delta.refusal)
    if delta.tool_calls is not NULL:
        said.calls = _calls(_decode(delta.tool_calls), said)
    if delta.function_call is not NULL and not said.calls:
        # The form before tools, whose one call has neither an index nor an id.
        said.calls = [{"function": call} for call in _calls(_decode(delta.function_call), said)]
    return said


def _calls(sent: Any, said: Said) -> list[dict[str, Any]]:
    """Return the pieces in a list of them, or a single one, which older TGI sends."""
    if isinstance(sent, str) and sent.lstrip().startswith(("[", "{")):
        sent = _decode(sent)
    pieces = sent if isinstance(sent, list) else [sent] if sent else []
    calls = [piece for piece in pieces if isinstance(piece, dict)]
    if len(calls) < len(pieces):
        said.unread = (*said.unread, "tool_calls")
    return calls


def _reasoning(delta: DeltaFields) -> str:
    """Return the reasoning. Servers that send two names send the same in both."""
    for sent in (
        delta.reasoning_content,
        delta.reasoning,
        delta.thinking,
        delta.thought,
        delta.reasoning_text,
        delta.reasoning_details,
        delta.thinking_blocks,
    ):
        if sent is not None and (text := _flat(sent)):
            return text
    return ""


def _parts(content: Text) -> Said:
    said = Said()
    if content is None:
        return said
    if not isinstance(content, str | list | dict):
        raise ValueError("a content that is not a text")
    for part in content if isinstance(content, list) else [content]:
        if isinstance(part, str):
            said.content += part
        elif isinstance(part, dict):
            _part(part, said)
    return said


def _part(part: dict[str, Any], said: Said) -> None:
    kind = str(part.get("type") or "text")
    if kind.startswith(_REASONING_TYPES) or part.get("thought") is True:  # the latter is Gemini's
        said.reasoning += _flat(part)
    elif kind == "refusal":
        said.refusal += _flat(part)
    elif text := _flat(part):
        said.content += text
    elif reasoning := other_reasoning(part):
        said.reasoning += reasoning
    elif kind != "reference":
        said.unread = (*said.unread, kind[:40])


def _flat(value: Any, depth: int = 0) -> str:
    """Return the texts in nested parts, joined."""
    if isinstance(value, str):
        return value
    if depth >= _DEPTH:
        raise ValueError("parts are nested too deeply")
    if isinstance(value, list):
        return "".join(_flat(item, depth + 1) for item in value)
    if isinstance(value, dict):
        # One member of a part has its text. Some servers repeat it in another.
        return next((text for name in _TEXTS if (text := _flat(value.get(name), depth + 1))), "")
    return ""


def other_reasoning(fields: Any) -> str:
    """Return the reasoning in other members of a choice, delta, message or part."""
    if not isinstance(fields, dict):
        return ""
    names = (name for name in fields if name not in _NOT_SAID and _REASONING.match(name))
    return next((text for name in names if (text := _flat(fields[name]))), "")


def unread_in(fields: Any) -> tuple[str, ...]:
    """Return the names of members that may hold a part of the answer, and that nothing here reads.

    `fields` is a choice, a delta or a message that said nothing in its known members.
    """
    if not isinstance(fields, dict):
        return ()
    return tuple(
        name[:40]
        for name, value in fields.items()
        if value and isinstance(value, str | list | dict) and name not in _NOT_SAID
    )

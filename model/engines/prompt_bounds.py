"""Refuses prompts that are too large before an engine's template and tokenizer see them.

Pure; linear in the request's size.

Both are native code that cannot be stopped, and far slower than this count: llama.cpp takes 0.3 ms
for a message and about a second for a megabyte.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from model.errors import ContextLengthError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from model.schema import ChatRequest

BYTES_PER_TOKEN = 32  # more than a token of words has; only a run of spaces may have more


def check(request: ChatRequest, context_tokens: int, message_tokens: int) -> None:
    """Raise ContextLengthError for a prompt that cannot fit into the context.

    `message_tokens` is the minimum of tokens that the model's template makes of a message without
    content.
    """
    size = _said(request) + _described(request)
    tokens = max(len(request.messages) * message_tokens, size // BYTES_PER_TOKEN)
    _refuse(tokens, context_tokens, larger_part(request))


def check_text(text: str, context_tokens: int) -> None:
    """Raise ContextLengthError for a text that cannot fit into the context."""
    size = len(text.encode("utf-8", "replace"))
    _refuse(size // BYTES_PER_TOKEN, context_tokens, "prompt")


def _refuse(tokens: int, context_tokens: int, param: str) -> None:
    if tokens > context_tokens:
        raise ContextLengthError(
            (
                f"The prompt has {tokens} tokens, or more: the context length is "
                f"{context_tokens} tokens."
            ),
            param,
        )


def larger_part(request: ChatRequest) -> str:
    """Return the field that most of the prompt comes from: `messages`, or `tools`."""
    return "tools" if _described(request) > _said(request) else "messages"


def _described(request: ChatRequest) -> int:
    """Return the bytes of the tools. Descriptions within their schemas count, too."""
    return _size(tool.model_dump_json() for tool in request.visible_tools)


def _said(request: ChatRequest) -> int:
    """Return the bytes of the texts and calls of a conversation."""
    texts = [message.text for message in request.messages]
    texts += [message.reasoning_content or "" for message in request.messages]
    return _size(texts) + _size(
        call.function.name + call.function.arguments
        for message in request.messages
        for call in message.tool_calls or ()
    )


def _size(texts: Iterable[str]) -> int:
    return sum(len(text.encode("utf-8", "replace")) for text in texts)

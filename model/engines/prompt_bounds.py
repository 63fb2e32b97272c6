"""Refuses prompts that are too large before an engine's template and tokenizer see them.

Pure; linear in the request's size.

Both are native code that cannot be stopped, and far slower than this count: llama.cpp takes 0.3 ms
for a message and about a second for a megabyte.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from model.errors import ContextLengthError, InvalidRequestError

if TYPE_CHECKING:
    from model.schema import ChatRequest

BYTES_PER_TOKEN = 32  # no text of words has so many characters in a token; a run of spaces may
MAX_ARGUMENTS_DEPTH = 64
# A string, perhaps unterminated, or a bracket outside of a string.
_PIECE = re.compile(r'"(?:[^"\\]|\\.)*"?|[\[\]{}]', re.DOTALL)


def check(request: ChatRequest, context_tokens: int, message_tokens: int) -> None:
    """Raise ContextLengthError if the prompt cannot fit, InvalidRequestError if it would end native
    code.

    `message_tokens` is the minimum that the model's template makes of a message without content.
    """
    size = sum(len(message.text.encode("utf-8", "replace")) for message in request.messages)
    size += sum(len((tool.function.description or "").encode("utf-8", "replace")) for tool in request.visible_tools)
    for number, message in enumerate(request.messages):
        for place, call in enumerate(message.tool_calls or ()):
            size += len(call.function.arguments.encode("utf-8", "replace"))
            if _deep(call.function.arguments):
                param = f"messages.{number}.tool_calls.{place}.function.arguments"
                raise InvalidRequestError(f"{param}: nested deeper than {MAX_ARGUMENTS_DEPTH} levels", param)
    tokens = max(len(request.messages) * message_tokens, size // BYTES_PER_TOKEN)
    if tokens > context_tokens:
        raise ContextLengthError(
            f"The prompt has {tokens} tokens, or more: the context length is {context_tokens} tokens.", "messages"
        )


def _deep(text: str) -> bool:
    """Return whether brackets are nested deeper than allowed, in JSON or in text that only looks
    like it.
    """
    if text.count("[") + text.count("{") <= MAX_ARGUMENTS_DEPTH:
        return False
    depth = 0
    for piece in _PIECE.finditer(text):
        first = piece[0][0]
        depth += (first in "[{") - (first in "]}")
        if depth > MAX_ARGUMENTS_DEPTH:
            return True
    return False

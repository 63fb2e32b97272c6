"""Refuses prompts that are too large before an engine's template and tokenizer see them.

Pure; linear in the request's size.

Both are native code that cannot be stopped, and far slower than this count: llama.cpp takes 0.3 ms
for a message and about a second for a megabyte.
"""

from __future__ import annotations

import json
import math
import re
from typing import TYPE_CHECKING

from model.errors import ContextLengthError, InvalidRequestError

if TYPE_CHECKING:
    from model.schema import ChatRequest

BYTES_PER_TOKEN = 32  # more than a token of words has; only a run of spaces may have more
MAX_ARGUMENTS_DEPTH = 64
# Everything but brackets: strings, even unterminated ones, and the text between them. The pattern
# never backtracks.
_NO_BRACKETS = re.compile(r'(?>"(?>[^"\\]|\\.)*+"?|[^\[\]{}"]++)++', re.DOTALL)


def check(request: ChatRequest, context_tokens: int, message_tokens: int) -> None:
    """Raise an error for a prompt that is too large, or that would crash native code.

    `message_tokens` is the minimum of tokens that the model's template makes of a message without
    content.

    Raises ContextLengthError for a prompt that cannot fit into the context, and InvalidRequestError
    for arguments of a call that are nested too deeply.
    """
    calls = [
        (f"messages.{number}.tool_calls.{place}.function.arguments", call.function.arguments)
        for number, message in enumerate(request.messages)
        for place, call in enumerate(message.tool_calls or ())
    ]
    texts = [message.text for message in request.messages] + [arguments for _, arguments in calls]
    texts += [tool.function.description or "" for tool in request.visible_tools]
    size = sum(len(text.encode("utf-8", "replace")) for text in texts)
    tokens = max(len(request.messages) * message_tokens, size // BYTES_PER_TOKEN)
    if tokens > context_tokens:  # before any walk over a text
        raise ContextLengthError(
            (
                f"The prompt has {tokens} tokens, or more: the context length is "
                f"{context_tokens} tokens."
            ),
            "messages",
        )
    for param, arguments in calls:
        if _deep(arguments):
            raise InvalidRequestError(
                f"{param}: nested deeper than {MAX_ARGUMENTS_DEPTH} levels", param
            )


def check_json(request: ChatRequest) -> None:
    """Raise InvalidRequestError for arguments of a call that llama.cpp cannot read as JSON.

    Call `check` first, which limits their depth.
    """
    for number, message in enumerate(request.messages):
        for place, call in enumerate(message.tool_calls or ()):
            if (why := _no_json(call.function.arguments)) is not None:
                param = f"messages.{number}.tool_calls.{place}.function.arguments"
                raise InvalidRequestError(
                    f"{param}: {why}; write the arguments of the call as JSON", param
                )


def _no_json(text: str) -> str | None:
    try:
        value = json.loads(
            text.removeprefix("\ufeff"),
            parse_constant=_no_constant,
            parse_float=_finite,
            parse_int=_finite,
        )
        json.dumps(value, ensure_ascii=False).encode()
    except json.JSONDecodeError as error:
        return f"this is no JSON ({error.msg} at character {error.pos})"
    except UnicodeEncodeError:
        return "a string has half of a surrogate pair"
    except (ValueError, RecursionError) as error:
        return str(error)
    return None


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def _finite(digits: str) -> float:
    if math.isinf(number := float(digits)):
        raise ValueError("a number is too large")
    return number


def _deep(text: str) -> bool:
    """Return whether brackets are nested deeper than allowed. The text need not be valid JSON."""
    if text.count("[") + text.count("{") <= MAX_ARGUMENTS_DEPTH:
        return False
    rest = _NO_BRACKETS.sub("", text).replace("{", "[").replace("}", "]")
    if "[" * (MAX_ARGUMENTS_DEPTH + 1) in rest:
        return True
    for _ in range(MAX_ARGUMENTS_DEPTH):  # each pass removes one level
        before, rest = len(rest), rest.replace("[]", "")
        if len(rest) == before:
            break
    return rest.count("[") > MAX_ARGUMENTS_DEPTH or "[]" in rest

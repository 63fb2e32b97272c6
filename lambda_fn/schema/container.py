"""Converts a checked request to the body of the container's `POST /invocations`."""

from typing import Any, Literal

import msgspec
from msgspec import UNSET, Struct, UnsetType

from lambda_fn.schema.chat import DEFAULT_ONLY, INERT, UNSUPPORTED, ChatRequest
from lambda_fn.schema.extras import ALIASES, FORMS
from lambda_fn.schema.messages import plain
from lambda_fn.schema.reasoning import NAMES, SENT, for_server
from lambda_fn.schema.tools import chosen

RESHAPED = ("messages", "max_tokens", "max_completion_tokens", "tools", "tool_choice", *SENT)
_NOT_FORWARDED = {
    *(*UNSUPPORTED, *DEFAULT_ONLY, *INERT, *RESHAPED, *ALIASES, *FORMS, *NAMES),
    *("moderation", "sluice"),
}
FORWARDED = tuple(name for name in ChatRequest.__struct_fields__ if name not in _NOT_FORWARDED)
"""Parameters that reach the model unchanged: all that the other lists do not name."""


class Control(Struct, frozen=True):
    """The data that the container needs beside the request.

    It is in the body, because SageMaker passes on no custom headers.
    """

    request_id: str
    deadline_ms: int
    max_prompt_tokens: int
    caller: str
    """The key's public id. The container prepares the schemas of different callers in turn."""
    v: int = 1
    soft_thinking: Literal[True] | UnsetType = UNSET
    """Set if the request's wishes about thinking have no effect on a model that cannot follow
    them."""


def container_body(request: ChatRequest, control: Control) -> bytes:
    """Return our container's request body for a checked request."""
    return msgspec.json.encode({**plain_body(request), "sluice": control})


def plain_body(request: ChatRequest) -> dict[str, Any]:
    """Return the parameters of a checked request that have an effect, under OpenAI's names."""
    body: dict[str, Any] = {
        name: value for name in FORWARDED if (value := getattr(request, name)) is not None
    }
    if not request.logprobs:  # 0 is allowed then, but not by every server
        body.pop("top_logprobs", None)
    body |= for_server(request)
    body["messages"] = [plain(message) for message in request.messages]
    limit = request.max_tokens or request.max_completion_tokens
    if limit is not None:
        body["max_tokens"] = limit
    if request.tools is not None:
        body["tools"], choice = chosen(request.tools, request.tool_choice)
        if choice is not None:
            body["tool_choice"] = choice
    return body

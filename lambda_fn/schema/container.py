"""A checked request -> the body of the container's `POST /invocations`."""

from typing import Any

import msgspec
from msgspec import Struct

from lambda_fn.schema.chat import ChatRequest
from lambda_fn.schema.messages import plain
from lambda_fn.schema.tools import chosen

_AS_THEY_ARE = (
    "model",
    "stream",
    "stream_options",
    "temperature",
    "top_p",
    "frequency_penalty",
    "presence_penalty",
    "seed",
    "stop",
    "n",
    "logprobs",
    "top_logprobs",
    "logit_bias",
    "response_format",
    "parallel_tool_calls",
)


class Control(Struct, frozen=True):
    """What the container is told beside the request, because SageMaker passes no headers of ours on."""

    request_id: str
    deadline_ms: int
    max_prompt_tokens: int
    caller: str
    """The key's public id. Callers take turns where the container prepares what guides an answer."""
    v: int = 1


def container_body(request: ChatRequest, control: Control) -> bytes:
    """Give our container's request body for a checked request."""
    return msgspec.json.encode({**plain_body(request), "sluice": control})


def plain_body(request: ChatRequest) -> dict[str, Any]:
    """Give what has an effect in a checked request, and only that, under OpenAI's names."""
    body: dict[str, Any] = {name: value for name in _AS_THEY_ARE if (value := getattr(request, name)) is not None}
    body["messages"] = [plain(message) for message in request.messages]
    limit = request.max_tokens or request.max_completion_tokens
    if limit is not None:
        body["max_tokens"] = limit
    if request.tools is not None:
        body["tools"], choice = chosen(request.tools, request.tool_choice)
        if choice is not None:
            body["tool_choice"] = choice
    return body

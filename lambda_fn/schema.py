"""The public request, as types; what does not fit them is refused with the path of the wrong field.

Unknown fields are tolerated, as OpenAI's clients send new ones before servers know them.
"""

import re
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from lambda_fn.errors import InvalidRequest

Tokens = Annotated[int, Meta(ge=1, le=10_000_000)]
StopString = Annotated[str, Meta(min_length=1, max_length=1_000)]
Name = Annotated[str, Meta(max_length=256)]


class TextPart(Struct, frozen=True, tag="text", tag_field="type"):
    """The one kind of content part that a text model can take."""

    text: str


Content = str | list[TextPart]


class System(Struct, frozen=True, tag="system", tag_field="role", omit_defaults=True):
    """Instructions."""

    content: Content
    name: Name | None = None


class Developer(System, frozen=True, tag="developer"):
    """Instructions, under their newer name."""


class User(System, frozen=True, tag="user"):
    """What the user says."""


class Assistant(Struct, frozen=True, tag="assistant", tag_field="role", omit_defaults=True):
    """An earlier answer."""

    content: Content | None = None
    name: Name | None = None
    refusal: str | None = None
    tool_calls: list[dict[str, Any]] | None = None


class Tool(Struct, frozen=True, tag="tool", tag_field="role"):
    """What a tool answered."""

    content: Content
    tool_call_id: Name


Message = System | Developer | User | Assistant | Tool


class StreamOptions(Struct, frozen=True, omit_defaults=True):
    """How to stream."""

    include_usage: bool = False
    include_obfuscation: bool | None = None


class ResponseFormat(Struct, frozen=True, omit_defaults=True):
    """What form the answer is to have; the model's own container checks the schema."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: dict[str, Any] | None = None


class ChatRequest(Struct, frozen=True, omit_defaults=True):
    """The body of `POST /v1/chat/completions`."""

    model: Annotated[str, Meta(min_length=1, max_length=256)]
    messages: Annotated[list[Message], Meta(min_length=1)]
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: Tokens | None = None
    max_completion_tokens: Tokens | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, Meta(gt=0, le=1)] | None = None
    frequency_penalty: Annotated[float, Meta(ge=-2, le=2)] | None = None
    presence_penalty: Annotated[float, Meta(ge=-2, le=2)] | None = None
    seed: Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)] | None = None
    stop: StopString | Annotated[list[StopString], Meta(max_length=4)] | None = None
    n: Annotated[int, Meta(ge=1, le=8)] | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None
    logit_bias: dict[str, Annotated[float, Meta(ge=-100, le=100)]] | None = None
    response_format: ResponseFormat | None = None
    tools: Annotated[list[dict[str, Any]], Meta(max_length=128)] | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None


class Control(Struct, frozen=True):
    """What the container is told beside the request, because SageMaker passes no headers of ours on."""

    request_id: str
    deadline_ms: int
    max_prompt_tokens: int
    v: int = 1


class ContainerRequest(ChatRequest, frozen=True, omit_defaults=True):
    """The body of the container's `POST /invocations`."""

    sluice: Control | UnsetType = UNSET


_chat_decoder = msgspec.json.Decoder(ChatRequest)
_PATH = re.compile(r" - at (?:key in )?`\$\.?(.*?)`$")


def parse_chat(body: bytes) -> ChatRequest:
    """Read and check the body of a chat request.

    Raises:
        InvalidRequest: it is not JSON, has a field of a wrong type or out of range, or fields that exclude each
        other.

    """
    if not body:
        raise InvalidRequest("The body is empty; a JSON object is expected.", code="invalid_json")
    try:
        request = _chat_decoder.decode(body)
    except msgspec.ValidationError as error:
        text = str(error)
        path = _PATH.search(text)
        message = text if path is None else text[: path.start()]
        missing = re.search(r"missing required field `(\w+)`", message)
        param = ".".join(part for part in (path.group(1) if path else "", missing.group(1) if missing else "") if part)
        raise InvalidRequest(
            f"Invalid '{param}': {message}." if param else f"{message}.", param=param or None
        ) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidRequest(f"The body is not valid JSON: {error}.", code="invalid_json") from None
    except RecursionError:
        raise InvalidRequest("The body is nested too deeply.", code="invalid_json") from None
    _check(request)
    return request


def _check(request: ChatRequest) -> None:
    if request.stream_options is not None and not request.stream:
        raise InvalidRequest("'stream_options' is only allowed when 'stream' is true.", param="stream_options")
    if request.top_logprobs and not request.logprobs:
        raise InvalidRequest("'top_logprobs' needs 'logprobs' to be true.", param="top_logprobs")
    if request.max_tokens is not None and request.max_completion_tokens is not None:
        raise InvalidRequest(
            "'max_tokens' and 'max_completion_tokens' are two names of one limit: give one.", param="max_tokens"
        )


def container_body(request: ChatRequest, control: Control) -> bytes:
    """Give the container's request body for a checked request."""
    fields = {name: getattr(request, name) for name in ChatRequest.__struct_fields__}
    if fields["max_completion_tokens"] is not None:
        fields["max_tokens"], fields["max_completion_tokens"] = fields["max_completion_tokens"], None
    return msgspec.json.encode(ContainerRequest(**fields, sluice=control))

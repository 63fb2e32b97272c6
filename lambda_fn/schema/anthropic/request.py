"""The bodies of `POST /v1/messages` and `POST /v1/messages/count_tokens`."""

import re
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import Meta, Struct

from lambda_fn.schema.anthropic.blocks import Blocks, TextBlock
from lambda_fn.schema.chat import unsupported
from lambda_fn.schema.parse import parse_tagged
from lambda_fn.schema.parts import (
    Extensions,
    Stop,
    Temperature,
    Tokens,
    TopP,
    Unsupported,
    WrongField,
)
from lambda_fn.schema.tools import Description

_NAME = re.compile("[a-zA-Z0-9_-]{1,128}")


class Turn(Struct, frozen=True):
    """One turn. A text is the same as one text block."""

    role: Literal["user", "assistant", "system"]
    content: str | Blocks


class ToolParam(Struct, frozen=True, omit_defaults=True):
    """A tool that the client runs. `input_schema` is a JSON schema."""

    type: str | None = None
    name: str = ""
    description: Description | None = None
    input_schema: dict[str, Any] | None = None
    strict: bool | None = None

    def __post_init__(self) -> None:
        """Reject tools that Anthropic's service defines, by their type."""
        if self.type not in (None, "custom"):
            raise Unsupported(
                f"tools of type '{self.type[:64]}' are not available: use tools of your own, "
                "with 'name' and 'input_schema'",
                "type",
            )
        if not _NAME.fullmatch(self.name):
            raise WrongField("1 to 128 letters, digits, '_' and '-' are expected", "name")
        if self.input_schema is None:
            raise WrongField("a JSON schema is expected", "input_schema")


class ToolChoice(Struct, frozen=True, omit_defaults=True):
    """Whether tools are called, and which."""

    type: Literal["auto", "any", "tool", "none"]
    name: str | None = None
    disable_parallel_tool_use: bool | None = None


class JsonFormat(Struct, frozen=True, tag="json_schema"):
    """JSON that matches a schema."""

    schema: dict[str, Any]


class OutputConfig(Struct, frozen=True, omit_defaults=True):
    """The form of the answer, and how much the model thinks about it."""

    format: JsonFormat | None = None
    effort: Literal["low", "medium", "high", "xhigh", "max"] | None = None


class ThinkingMode(Struct, frozen=True, omit_defaults=True):
    """Whether the model thinks, and whether its thoughts are shown."""

    type: Literal["enabled", "disabled", "adaptive"]
    budget_tokens: Annotated[int, Meta(ge=0)] | None = None
    display: Literal["summarized", "omitted"] | None = None

    @property
    def shown(self) -> bool:
        """Whether thoughts are a part of the answer."""
        return self.type != "disabled" and self.display != "omitted"


class CountRequest(Struct, frozen=True, omit_defaults=True):
    """The members that make the prompt: all that a count reads."""

    model: Annotated[str, Meta(min_length=1, max_length=256)]
    messages: Annotated[list[Turn], Meta(min_length=1, max_length=4096)]
    system: str | Annotated[list[TextBlock], Meta(max_length=4096)] | None = None
    tools: Annotated[list[ToolParam], Meta(max_length=128)] | None = None
    tool_choice: ToolChoice | None = None
    thinking: ThinkingMode | None = None
    output_config: OutputConfig | None = None
    output_format: JsonFormat | None = None
    """An older place of `output_config.format`."""
    mcp_servers: list[Any] | None = None


class MessagesRequest(CountRequest, frozen=True, omit_defaults=True, kw_only=True):
    """The parameters of a message."""

    max_tokens: Tokens
    stream: bool | None = None
    stop_sequences: Stop | None = None
    temperature: Temperature | None = None
    top_p: TopP | None = None
    top_k: Annotated[int, Meta(ge=0, le=1_000_000)] | None = None
    sluice: Extensions | None = None


_messages = msgspec.json.Decoder(MessagesRequest)
_count = msgspec.json.Decoder(CountRequest)
T = TypeVar("T", bound=CountRequest)


def parse_messages(body: bytes) -> MessagesRequest:
    """Return the checked body of a request for a message.

    Raises:
        InvalidRequest: the body is not JSON, or a member has a wrong type or value or cannot be
            honoured.

    """
    return _parsed(_messages, body)


def parse_count(body: bytes) -> CountRequest:
    """Return the checked body of a request for a count. Raises as `parse_messages`."""
    return _parsed(_count, body)


def _parsed(decoder: "msgspec.json.Decoder[T]", body: bytes) -> T:
    request = parse_tagged(decoder, body)
    if request.mcp_servers:
        raise unsupported(
            "mcp_servers", "this service runs no tools: send tools that your client runs in 'tools'"
        )
    return request

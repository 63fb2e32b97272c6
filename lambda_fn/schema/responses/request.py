"""The bodies of `POST /v1/responses` and `POST /v1/responses/input_tokens`."""

from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import Meta, Struct

from lambda_fn.errors import InvalidRequest
from lambda_fn.schema.chat import unsupported
from lambda_fn.schema.extras import Extras, check_refused
from lambda_fn.schema.parse import parse_tagged
from lambda_fn.schema.parts import (
    Extensions,
    Identifier,
    LogitBias,
    Metadata,
    ModerationOptions,
    Penalty,
    Seed,
    Stop,
    Temperature,
    Tokens,
    ToolName,
    TopP,
    Unsupported,
    WrongField,
)
from lambda_fn.schema.reasoning import Reasoning, TemplateArguments
from lambda_fn.schema.responses.items import Item
from lambda_fn.schema.tools import Description, JsonObject, TextFormat

LOGPROBS = "message.output_text.logprobs"
_WITHOUT_EFFECT = ("reasoning.encrypted_content",)
"""Values of `include` that have no effect. Many clients always send them."""


class FunctionParam(Struct, frozen=True, omit_defaults=True):
    """A function that the model may call. `parameters` is a JSON schema."""

    type: str
    name: ToolName | None = None
    description: Description | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None

    def __post_init__(self) -> None:
        """Reject tools that OpenAI's service runs, by their type."""
        _check_function(self.type)
        if self.name is None:
            raise WrongField("a function needs a name", "name")


class AllowedTool(Struct, frozen=True):
    """A tool of a choice."""

    type: str
    name: ToolName | None = None

    def __post_init__(self) -> None:
        """Reject what is no function."""
        _check_function(self.type)


class ChoiceParam(Struct, frozen=True, omit_defaults=True):
    """The function that must be called, or the functions that may be."""

    type: str
    name: ToolName | None = None
    mode: Literal["auto", "required"] | None = None
    tools: Annotated[list[AllowedTool], Meta(min_length=1, max_length=128)] | None = None

    def __post_init__(self) -> None:
        """Reject other choices, and choices that lack a member."""
        if self.type != "allowed_tools":
            _check_function(self.type)
        needed = ("mode", "tools") if self.type == "allowed_tools" else ("name",)
        for name in needed:
            if getattr(self, name) is None:
                raise WrongField(f"a choice of type '{self.type}' needs '{name}'", name)


def _check_function(kind: str) -> None:
    if kind != "function":
        raise Unsupported(
            f"tools of type '{kind[:64]}' are not available: this service runs no tools; use "
            "tools of type 'function'",
            "type",
        )


class TextSchema(Struct, frozen=True, tag="json_schema", tag_field="type", omit_defaults=True):
    """JSON that matches a schema."""

    name: Identifier
    schema: dict[str, Any]
    description: Description | None = None
    strict: bool | None = None


class TextOptions(Struct, frozen=True, omit_defaults=True):
    """The form of the text."""

    format: TextFormat | JsonObject | TextSchema | None = None
    verbosity: Literal["low", "medium", "high"] | None = None


class ResponseStreamOptions(Struct, frozen=True, omit_defaults=True):
    """Options of a streamed response."""

    include_obfuscation: bool | None = None


Items = Annotated[list[Item], Meta(min_length=1, max_length=8192)]


class ConversationParam(Struct, frozen=True):
    """A conversation of the caller."""

    id: Annotated[str, Meta(min_length=1, max_length=256)]


class InputTokensRequest(Extras, frozen=True, omit_defaults=True):
    """The members that make the prompt: all that a count reads.

    Those of the last group need responses that are kept.
    """

    model: Annotated[str, Meta(min_length=1, max_length=256)]
    input: str | Items
    instructions: str | None = None
    tools: Annotated[list[FunctionParam], Meta(max_length=128)] | None = None
    tool_choice: Literal["none", "auto", "required"] | ChoiceParam | None = None
    parallel_tool_calls: bool | None = None
    text: TextOptions | None = None
    reasoning: Reasoning | None = None
    truncation: Literal["auto", "disabled"] | None = None

    previous_response_id: str | None = None
    conversation: Annotated[str, Meta(min_length=1, max_length=256)] | ConversationParam | None = (
        None
    )

    @property
    def conversation_id(self) -> str | None:
        """The id of the conversation, as it was sent."""
        found = self.conversation
        return found.id if isinstance(found, ConversationParam) else found


class ResponsesRequest(InputTokensRequest, frozen=True, omit_defaults=True):
    """The parameters of a response.

    Those of the second group are not OpenAI's: other servers of this API have them, as those of
    `Extras`. The third group is rejected by name. The fourth has no effect on the response.
    """

    stream: bool | None = None
    stream_options: ResponseStreamOptions | None = None
    max_output_tokens: Tokens | None = None
    temperature: Temperature | None = None
    top_p: TopP | None = None
    top_logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None
    include: Annotated[list[str], Meta(max_length=64)] | None = None

    frequency_penalty: Penalty | None = None
    presence_penalty: Penalty | None = None
    seed: Seed | None = None
    stop: Stop | None = None
    logit_bias: LogitBias | None = None
    chat_template_kwargs: TemplateArguments | None = None

    store: bool | None = None
    background: bool | None = None
    prompt: Any = None
    moderation: ModerationOptions | None = None
    context_management: Any = None

    max_tool_calls: Annotated[int, Meta(ge=0, le=2**31 - 1)] | None = None
    metadata: Metadata | None = None
    user: Annotated[str, Meta(max_length=512)] | None = None
    safety_identifier: Annotated[str, Meta(max_length=64)] | None = None
    service_tier: (
        Literal["auto", "default", "flex", "scale", "priority", "fast", "ultrafast"] | None
    ) = None
    prompt_cache_key: Annotated[str, Meta(max_length=512)] | None = None
    prompt_cache_retention: Literal["in_memory", "in-memory", "24h"] | None = None

    sluice: Extensions | None = None


UNSUPPORTED = {
    "prompt": "this service keeps no prompts: send 'instructions' and 'input'",
    "context_management": (
        "no conversation is compacted by itself: compact it by POST /v1/responses/compact"
    ),
}
"""Parameters that are rejected with any value, and why."""

_responses = msgspec.json.Decoder(ResponsesRequest)
_count = msgspec.json.Decoder(InputTokensRequest)
T = TypeVar("T", bound=InputTokensRequest)


def parse_responses(
    body: bytes, *, kept: bool = False, continues: bool | None = None
) -> ResponsesRequest:
    """Return the checked body of a request for a response.

    `kept` tells whether the deployment keeps responses. `continues` tells whether the request may
    go on from an earlier one; by default it is as `kept`.

    Raises:
        InvalidRequest: the body is not JSON, or a member has a wrong type or value or cannot be
            honoured.

    """
    request = _parsed(_responses, body, continues=kept if continues is None else continues)
    check_refused(body, 1, chat=True)
    for name, why in UNSUPPORTED.items():
        if getattr(request, name) not in (None, []):
            raise unsupported(name, why)
    if request.stream_options is not None and not request.stream:
        raise InvalidRequest(
            "'stream_options' is only allowed when 'stream' is true.", param="stream_options"
        )
    for name in ("store", "background", "conversation"):
        if getattr(request, name) and not kept:
            raise _unkept(name)
    if request.background and request.store is False:
        raise unsupported("background", "a background response is kept: leave out 'store'")
    for number, name in enumerate(request.include or ()):
        if name != LOGPROBS and name not in _WITHOUT_EFFECT:
            param = f"include[{number}]"
            raise InvalidRequest(
                f"Unsupported '{param}': no response here has '{name[:64]}'.",
                param=param,
                code=Unsupported.code,
            )
    if (request.n_cmpl or 1) > 1:
        raise unsupported("n_cmpl", "a response is one answer")
    return request


def parse_input_tokens(body: bytes) -> InputTokensRequest:
    """Return the checked body of a request for a count. Raises as `parse_responses`."""
    request = _parsed(_count, body, continues=True)
    if request.previous_response_id is not None:
        raise unsupported(
            "previous_response_id", "a count reads no kept responses: send all items in 'input'"
        )
    if request.conversation is not None:
        raise unsupported(
            "conversation", "a count reads no conversations: send all items in 'input'"
        )
    return request


def _parsed(decoder: "msgspec.json.Decoder[T]", body: bytes, *, continues: bool) -> T:
    request = parse_tagged(decoder, body)
    check_continued(request.previous_response_id, kept=continues)
    if request.conversation is not None and request.previous_response_id is not None:
        raise InvalidRequest(
            "Mutually exclusive parameters: 'previous_response_id' and 'conversation'. Send one of "
            "them.",
            param="previous_response_id",
            code="mutually_exclusive_parameters",
        )
    if request.text is not None and request.text.verbosity not in (None, "medium"):
        raise unsupported("text.verbosity", "no server takes it; 'medium', the default, is allowed")
    return request


def check_continued(previous_response_id: str | None, *, kept: bool) -> None:
    """Check that a request may go on from a response. Raises InvalidRequest."""
    if previous_response_id is not None and not kept:
        raise _unkept("previous_response_id")


def _unkept(name: str) -> InvalidRequest:
    instead = "Leave it out."
    if name in ("previous_response_id", "conversation"):
        instead = "Send all items of the conversation in 'input'."
    return InvalidRequest(
        f"Unsupported parameter: '{name}': this deployment keeps no responses (its setting "
        f"'persistence' is off). {instead}",
        param=name,
        code="unsupported_parameter",
    )

"""The body of a request: OpenAI's chat completion with the object `sluice` beside it.

OpenAI's fields that no engine here knows are accepted and have no effect, as with other servers.
"""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal, Self, TypeAlias, TypeVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    Field,
    StringConstraints,
    ValidationError,
    model_validator,
)

from model.errors import InvalidRequestError
from model.extras import Extras, StructuredOutputs, Whole
from model.extras import Model as _Model
from model.tools import Tool, ToolChoice, Tools, problem, visible
from schema_guard import Guide, SchemaRefused, arguments_text, check_plain, more_values

MAX_BODY_BYTES = 6 * 1024 * 1024  # the limit of InvokeEndpointWithResponseStream
# Commas, brackets and braces of a body: the stream function's limit, and room for what it adds.
MAX_VALUES = 160_000
MAX_PARTS = 4096  # parts of a message's content, as in the stream function
MAX_BIASES = 1024
_MAX_CANCEL_BYTES = 1024
_TOKENS = (b'{"sluice":{"v":1,"tokenize":', b'{"sluice":{"v":1,"detokenize":')
_BOM = b"\xef\xbb\xbf"

Json: TypeAlias = dict[str, Any]
Parsed = TypeVar("Parsed", bound=BaseModel)
TokenId: TypeAlias = Annotated[str, StringConstraints(pattern=r"^[0-9]{1,9}$")]
Bias: TypeAlias = Annotated[float, Field(ge=-100, le=100, strict=False)]
MessageName: TypeAlias = Annotated[str, StringConstraints(max_length=256)]
StopString: TypeAlias = Annotated[str, StringConstraints(min_length=1, max_length=1000)]


def _few(biases: Any) -> Any:
    """Refuse too many entries at once, instead of checking each of them."""
    if isinstance(biases, dict) and len(biases) > MAX_BIASES:
        raise ValueError(f"has more than {MAX_BIASES} entries")
    return biases


TemplateArgument: TypeAlias = Annotated[
    str, StringConstraints(pattern=r"^[a-zA-Z_][a-zA-Z0-9_]{0,63}\z")
]
TemplateValue: TypeAlias = (
    bool
    | Annotated[int, Field(ge=-(2**31), lt=2**31)]
    | Annotated[float, Field(ge=-1e9, le=1e9)]
    | Annotated[str, StringConstraints(max_length=256)]
    | None
)


class TextPart(_Model):
    """A text."""

    type: Literal["text"]
    text: str


class ImageUrl(_Model):
    """An image as a data URL. An engine must not fetch anything from elsewhere."""

    url: Annotated[str, StringConstraints(pattern=r"^data:image/[\w.+-]{1,32};")]
    detail: Literal["auto", "low", "high", "original"] | None = None


class ImagePart(_Model):
    """An image."""

    type: Literal["image_url"]
    image_url: ImageUrl


Part: TypeAlias = Annotated[TextPart | ImagePart, Field(discriminator="type")]


class ToolFunction(_Model):
    """The function that the model called, and its arguments."""

    name: Annotated[str, StringConstraints(min_length=1, max_length=256)]
    arguments: Annotated[str, BeforeValidator(arguments_text)] = "{}"


class ToolCall(_Model):
    """A call that an assistant message made."""

    id: str
    type: Literal["function"]
    function: ToolFunction


class Message(_Model):
    """One turn. Content may be missing only where the assistant called tools."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: (
        str
        | Annotated[list[Part], Field(min_length=1, max_length=MAX_PARTS, fail_fast=True)]
        | None
    ) = None
    name: MessageName | None = None
    tool_call_id: MessageName | None = None
    tool_calls: (
        Annotated[list[ToolCall], Field(min_length=1, max_length=128, fail_fast=True)] | None
    ) = None
    reasoning_content: str | None = None

    @model_validator(mode="after")
    def _has_content(self) -> Self:
        if self.content is None and not (self.role == "assistant" and self.tool_calls):
            raise ValueError("content is needed")
        return self

    @property
    def text(self) -> str:
        """The content as one string."""
        if isinstance(self.content, list):
            return "".join(part.text for part in self.content if isinstance(part, TextPart))
        return self.content or ""

    @property
    def images(self) -> int:
        """The number of images."""
        if not isinstance(self.content, list):
            return 0
        return sum(isinstance(part, ImagePart) for part in self.content)

    def for_template(self) -> Json:
        """Return the message for a chat template.

        Its content is one string, unless it has images. The role `developer` becomes `system`.
        """
        body = self.model_dump(exclude_none=True)
        if body["role"] == "developer":
            body["role"] = "system"
        if isinstance(body.get("content"), list) and not self.images:
            body["content"] = self.text
        return body


class JsonSchema(_Model):
    """The schema of a structured answer, under the name OpenAI gives the field."""

    name: str = "answer"
    schema_: Json = Field(alias="schema", default_factory=dict)


class ResponseFormat(_Model):
    """The form that the answer must have."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None

    @model_validator(mode="after")
    def _has_schema(self) -> Self:
        if self.type == "json_schema" and self.json_schema is None:
            raise ValueError("json_schema is needed with this type")
        return self


class StreamOptions(_Model):
    """The options of a streamed answer."""

    include_usage: bool | None = None


class SluiceOptions(_Model):
    """Fields of this project. They are in the body because SageMaker passes on no such headers."""

    v: Literal[1]
    request_id: Annotated[str, StringConstraints(min_length=1, max_length=128)] | None = None
    # The name of the request's owner. Owners take turns.
    caller: Annotated[str, StringConstraints(max_length=128)] = ""
    deadline_ms: Annotated[Whole, Field(ge=1, le=24 * 3600 * 1000)] | None = None
    max_prompt_tokens: Annotated[Whole, Field(ge=0)] | None = None
    # Whether only the prompt is counted.
    count: bool = False
    # Whether the request's wishes about thinking have no effect on a model that cannot follow them.
    soft_thinking: bool = False


class ChatRequest(Extras):
    """One request for `n` answers to one prompt."""

    messages: Annotated[list[Message], Field(min_length=1, max_length=4096, fail_fast=True)]
    max_tokens: Annotated[Whole, Field(ge=1, le=10_000_000)] | None = None
    max_completion_tokens: Annotated[Whole, Field(ge=1, le=10_000_000)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2, strict=False)] | None = None
    top_p: Annotated[float, Field(ge=0, le=1, strict=False)] | None = None
    presence_penalty: Annotated[float, Field(ge=-2, le=2, strict=False)] | None = None
    frequency_penalty: Annotated[float, Field(ge=-2, le=2, strict=False)] | None = None
    seed: Annotated[Whole, Field(ge=-(2**63), lt=2**63)] | None = None
    stop: StopString | Annotated[list[StopString], Field(max_length=32, fail_fast=True)] | None = (
        None
    )
    n: Annotated[Whole, Field(ge=1, le=128)] = 1
    logprobs: bool = False
    top_logprobs: Annotated[Whole, Field(ge=0, le=20)] | None = None
    response_format: ResponseFormat | None = None
    tools: Tools | None = None
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool = True
    reasoning_effort: Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"] | None = (
        None
    )
    chat_template_kwargs: (
        Annotated[dict[TemplateArgument, TemplateValue], Field(max_length=16)] | None
    ) = None
    thinking_token_budget: Annotated[Whole, Field(ge=1, le=10_000_000)] | None = None
    logit_bias: Annotated[dict[TokenId, Bias], BeforeValidator(_few)] | None = None
    structured_outputs: StructuredOutputs | None = None
    model: Annotated[str, StringConstraints(min_length=1, max_length=256)] | None = None
    stream: bool = False
    stream_options: StreamOptions | None = None
    sluice: SluiceOptions = SluiceOptions(v=1)

    @model_validator(mode="before")
    @classmethod
    def _null_is_default(cls, value: Any) -> Any:
        # Clients send null for values that they leave to the server.
        return (
            {key: item for key, item in value.items() if item is not None}
            if isinstance(value, dict)
            else value
        )

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.top_logprobs and not self.logprobs:
            raise ValueError("top_logprobs needs logprobs")
        if self.stream_options is not None and not self.stream:
            raise ValueError("stream_options needs stream")
        if (reason := problem(self.tools, self.tool_choice)) is not None:
            raise ValueError(reason)
        if self.structured_outputs is not None and (self.is_json or self.visible_tools):
            raise ValueError("structured_outputs excludes response_format and tools")
        if self.ignore_eos and (self.is_json or self.structured_outputs or self.visible_tools):
            raise ValueError("ignore_eos excludes tools and forms, whose answers have an end")
        return self

    @property
    def is_json(self) -> bool:
        """Whether the answer must be JSON."""
        return self.response_format is not None and self.response_format.type != "text"

    @property
    def schemas_text(self) -> str | None:
        """The members that the check of the schemas reads, as text; None if there is no schema."""
        form = self.response_format
        schema = form.json_schema.schema_ if form is not None and form.json_schema else None
        if self.structured_outputs is not None:
            schema = self.structured_outputs.schema_
        parameters = [tool.function.parameters for tool in self.tools or ()]
        if schema is None and not any(parameters):
            return None
        return json.dumps([self._guides_calls, schema, parameters])

    @property
    def _guides_calls(self) -> bool:
        """Whether llama.cpp's own converter guides calls: those that the model may make."""
        return self.tool_choice in (None, "auto")

    def check_schemas(self, tokens: int = 0) -> None:
        """Raise InvalidRequestError for a JSON schema that cannot guide the answer.

        The error has the schema's place in the request. `tokens` is the size of the vocabulary that
        the engine compares with its own grammars, or 0.
        """
        parameters = [
            (("tools", number, "function", "parameters"), tool.function.parameters)
            for number, tool in enumerate(self.tools or ())
            if tool.function.parameters is not None
        ]
        try:
            if self.response_format is not None and self.response_format.json_schema is not None:
                place = ("response_format", "json_schema", "schema")
                check_plain([(place, self.response_format.json_schema.schema_)], by="llguidance")
            if self.structured_outputs is not None:
                form = (("structured_outputs",), self.structured_outputs.schema_)
                check_plain([form], by="llguidance")
            by: Guide = "llama.cpp" if self._guides_calls else "llguidance"
            check_plain(parameters, by=by, tokens=tokens)
        except SchemaRefused as refusal:
            raise InvalidRequestError(f"{refusal.path}: {refusal.reason}", refusal.path) from None

    @property
    def asks_reasoning(self) -> str | None:
        """The field that asks the model to reason, or None."""
        if self.reasoning_effort not in (None, "none"):
            return "reasoning_effort"
        if self.thinking_token_budget is not None:
            return "thinking_token_budget"
        return self._switch(on=True)

    @property
    def asks_no_reasoning(self) -> str | None:
        """The field that asks the model not to reason, or None."""
        return "reasoning_effort" if self.reasoning_effort == "none" else self._switch(on=False)

    def _switch(self, *, on: bool) -> str | None:
        arguments = self.chat_template_kwargs or {}
        names = (name for name in ("enable_thinking", "thinking") if arguments.get(name) is on)
        return next((f"chat_template_kwargs.{name}" for name in names), None)

    @property
    def visible_tools(self) -> list[Tool]:
        """The tools that the prompt shows. The tool choice determines them."""
        return visible(self.tools, self.tool_choice)

    @property
    def must_call(self) -> bool:
        """Whether the answer must be a tool call."""
        return self.tool_choice not in (None, "none", "auto")

    @property
    def limit(self) -> int | None:
        """The maximum number of tokens in a choice; None means the rest of the context."""
        given = [
            limit for limit in (self.max_completion_tokens, self.max_tokens) if limit is not None
        ]
        return min(given, default=None)

    @property
    def stops(self) -> tuple[str, ...]:
        """The stop strings."""
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())


class _CancelOptions(_Model):
    v: Literal[1]
    cancel: Annotated[str, StringConstraints(min_length=1, max_length=128)]


class CancelRequest(_Model):
    """Stops the running request that has this id."""

    sluice: _CancelOptions

    @property
    def request_id(self) -> str:
        """The id of the request to be cancelled."""
        return self.sluice.cancel


class _TokensOptions(_Model):
    v: Literal[1]
    tokenize: str | None = None
    special: bool = True
    detokenize: (
        Annotated[
            list[Annotated[int, Field(ge=0, lt=2**31)]], Field(max_length=100_000, fail_fast=True)
        ]
        | None
    ) = None

    @model_validator(mode="after")
    def _has_one(self) -> Self:
        if (self.tokenize is None) == (self.detokenize is None):
            raise ValueError("tokenize or detokenize is needed")
        return self


class TokensRequest(_Model):
    """Asks for the tokens of a text, or for the text of tokens."""

    sluice: _TokensOptions


def parse_chat(body: bytes) -> ChatRequest:
    """Return the request, whose schemas are not checked yet.

    Raises InvalidRequestError that names the first invalid field.
    """
    return _parsed(ChatRequest, body)


def parse_invocation(body: bytes) -> ChatRequest | CancelRequest | TokensRequest:
    """Return the request, whose schemas are not checked yet, a cancel, or a request for tokens,
    which has no member before `sluice`.

    Raises InvalidRequestError that names the first invalid field.
    """
    # Most requests do not have the word, and the search for it spares them a second parse.
    if len(body) <= _MAX_CANCEL_BYTES and b'"cancel"' in body:
        try:
            return CancelRequest.model_validate_json(body)
        except ValidationError:
            pass  # the word was in a chat request
    if body.startswith(_TOKENS):
        return _parsed(TokensRequest, body)
    return parse_chat(body)


def _parsed(kind: type[Parsed], body: bytes) -> Parsed:
    body = body.removeprefix(_BOM)
    if more_values(body, MAX_VALUES):
        raise InvalidRequestError(f"the body has more than {MAX_VALUES} values")
    try:
        return kind.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        # The path of an error has pydantic's names of union members ("list[TextPart]").
        path = [
            str(part)
            for part in first["loc"]
            if "[" not in str(part) and part not in ("str", "constrained-str")
        ]
        param = ".".join(path) or None
        message = first["msg"].removeprefix("Value error, ")
        raise InvalidRequestError(f"{param}: {message}" if param else message, param) from None

"""The messages of a chat, one type for each role."""

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Literal

import msgspec
from msgspec import Meta, Struct
from msgspec.structs import force_setattr

from lambda_fn.errors import InvalidRequest
from lambda_fn.schema.parts import Name, Rejected, Unsupported, WrongField
from lambda_fn.schema.reasoning import Earlier, text_of


class TextPart(Struct, frozen=True, tag="text", tag_field="type"):
    """A text."""

    text: str


class RefusalPart(Struct, frozen=True, tag="refusal", tag_field="type"):
    """An assistant's refusal, in an earlier response."""

    refusal: str


class ImageUrl(Struct, frozen=True, omit_defaults=True):
    """Where an image is: a data URL, or an https URL from which the deployment fetches it."""

    url: Annotated[str, Meta(min_length=1)]
    detail: Literal["auto", "low", "high", "original"] | None = None


class ImagePart(Struct, frozen=True, tag="image_url", tag_field="type"):
    """An image. Some clients send the URL itself; `stream.images` checks it."""

    image_url: ImageUrl | Annotated[str, Meta(min_length=1)]


class NoImage(Rejected, frozen=True, tag="image_url", tag_field="type"):
    """An image where a model reads none."""

    why: ClassVar[str] = "only messages of the roles 'user' and 'tool' can have images"


class AudioPart(Rejected, frozen=True, tag="input_audio", tag_field="type"):
    """A sound."""

    why: ClassVar[str] = "this model cannot read audio (content parts of type 'input_audio')"


class FilePart(Rejected, frozen=True, tag="file", tag_field="type"):
    """A file."""

    why: ClassVar[str] = "this model cannot read files (content parts of type 'file')"


class ThinkingPart(Struct, frozen=True, tag="thinking", tag_field="type"):
    """Reasoning of an earlier response, beside its text."""

    thinking: Earlier | None = None
    text: str | None = None


class ReasoningPart(ThinkingPart, frozen=True, tag="reasoning"):
    """The same under another name."""

    reasoning: Earlier | None = None
    summary: Earlier | None = None


class RedactedPart(Struct, frozen=True, tag="redacted_thinking", tag_field="type"):
    """Reasoning that only the server that wrote it could read. The model does not get it."""


Parts = Meta(min_length=1, max_length=4096)
Content = str | Annotated[list[TextPart | ImagePart | AudioPart | FilePart], Parts]
Instructions = str | Annotated[list[TextPart | NoImage | AudioPart | FilePart], Parts]
AssistantPart = (
    TextPart
    | RefusalPart
    | ThinkingPart
    | ReasoningPart
    | RedactedPart
    | NoImage
    | AudioPart
    | FilePart
)
AssistantContent = str | Annotated[list[AssistantPart], Parts]


class System(Struct, frozen=True, tag="system", tag_field="role", omit_defaults=True):
    """Instructions."""

    content: Instructions
    name: Name | None = None


class Developer(System, frozen=True, tag="developer"):
    """Instructions, under the newer name of the role."""


class User(Struct, frozen=True, tag="user", tag_field="role", omit_defaults=True):
    """A message of the user."""

    content: Content
    name: Name | None = None


class CalledFunction(Struct, frozen=True):
    """The function that was called, with its arguments as the text of a JSON object.

    Some clients send back no arguments, an empty text, or the object itself.
    """

    name: Annotated[str, Meta(min_length=1, max_length=256)]
    arguments: str | dict[str, Any] | None = None

    def __post_init__(self) -> None:
        """Replace the arguments by their text."""
        if self.arguments == "{}":
            return
        # Imported here and not at a cold start, because most requests have no such call.
        from schema_guard import ArgumentsRefused, arguments_text

        try:
            force_setattr(self, "arguments", arguments_text(self.arguments))
        except ArgumentsRefused as refusal:
            raise WrongField(f"the arguments {refusal}", "arguments") from None


class ToolCall(Struct, frozen=True, tag="function", tag_field="type"):
    """A tool call of an earlier response."""

    id: Annotated[str, Meta(min_length=1, max_length=256)]
    function: CalledFunction


class CustomCall(Rejected, frozen=True, tag="custom", tag_field="type"):
    """A call of a custom tool."""

    why: ClassVar[str] = "custom tools are not supported: use tools of type 'function'"


class Assistant(Struct, frozen=True, tag="assistant", tag_field="role", omit_defaults=True):
    """An earlier response."""

    content: AssistantContent | None = None
    name: Name | None = None
    refusal: str | None = None
    tool_calls: (
        Annotated[list[ToolCall | CustomCall], Meta(min_length=1, max_length=128)] | None
    ) = None
    audio: Any = None
    function_call: Any = None
    reasoning_content: Earlier | None = None
    reasoning: Earlier | None = None
    thinking: Earlier | None = None
    reasoning_text: Earlier | None = None
    reasoning_details: Earlier | None = None
    thinking_blocks: Earlier | None = None

    def __post_init__(self) -> None:
        """Check that the message has content, and that its content is supported."""
        if self.audio is not None:
            raise Unsupported(
                "this is a text model: 'audio' of earlier responses is not supported", "audio"
            )
        if self.function_call is not None:
            raise Unsupported("'function_call' is not supported: use 'tool_calls'", "function_call")
        if (
            self.content is None
            and self.refusal is None
            and self.tool_calls is None
            and not _reasoning(self)
        ):
            raise ValueError("an assistant message needs 'content' or 'tool_calls'")


class Tool(Struct, frozen=True, tag="tool", tag_field="role"):
    """The result of a tool call, which may have images."""

    content: Content
    tool_call_id: Name


class FunctionResult(Rejected, frozen=True, tag="function", tag_field="role"):
    """The result of a function call, in the form that tools replaced."""

    why: ClassVar[str] = "messages of the role 'function' are not supported: use the role 'tool'"


Message = System | Developer | User | Assistant | Tool | FunctionResult


def check_tool_results(messages: Sequence[Message]) -> None:
    """Check that each tool call is followed by its result, and that each result follows its call.

    Raises:
        InvalidRequest: a result or a call stands alone.

    """
    open_calls: dict[str, str] = {}  # id -> the path of its message
    has_result = False
    for number, message in enumerate(messages):
        if type(message) is Tool:
            if not open_calls and not has_result:
                raise InvalidRequest(
                    (
                        "Messages with role 'tool' must be a response to a preceding message "
                        "with 'tool_calls'."
                    ),
                    param=f"messages[{number}].role",
                )
            if open_calls.pop(message.tool_call_id, None) is None:
                raise InvalidRequest(
                    (
                        f"The 'tool_call_id' of messages[{number}] does not belong to a "
                        "preceding call without a result."
                    ),
                    param=f"messages[{number}].tool_call_id",
                )
            has_result = True
            continue
        if open_calls:
            break
        has_result = False
        if type(message) is Assistant and message.tool_calls:
            path = f"messages[{number}].tool_calls"
            open_calls = {call.id: path for call in message.tool_calls if type(call) is ToolCall}
            if len(open_calls) < len(message.tool_calls):
                raise InvalidRequest(f"Two calls of {path} have the same 'id'.", param=path)
    if open_calls:
        path = next(iter(open_calls.values()))
        raise InvalidRequest(
            "An assistant message with 'tool_calls' must be followed by tool messages "
            "responding to each of its "
            f"{len(open_calls)} calls that have no result.",
            param=path,
        )


def has_images(messages: Sequence[Message]) -> bool:
    """Return whether any message has an image."""
    return any(
        type(part) is ImagePart
        for message in messages
        if (type(message) is User or type(message) is Tool) and type(message.content) is list
        for part in message.content
    )


def plain(message: Message) -> Message:
    """Return a message as the container takes it: an earlier refusal becomes content, and
    reasoning of any name `reasoning_content`.
    """
    if type(message) is not Assistant:
        return message
    reasoning = _reasoning(message)
    if message.refusal is None and isinstance(message.content, str) and not reasoning:
        return message
    parts = message.content or []
    text = parts if isinstance(parts, str) else "".join(_text(part) for part in parts)
    empty = None if message.tool_calls else ""
    return Assistant(
        content=text or message.refusal or empty,
        name=message.name,
        tool_calls=message.tool_calls,
        reasoning_content=reasoning or None,
    )


def _reasoning(message: Assistant) -> str:
    """Return the reasoning of an earlier response. Clients send it back under one name or more."""
    for said in (
        message.reasoning_content,
        message.reasoning,
        message.thinking,
        message.reasoning_text,
        message.reasoning_details,
        message.thinking_blocks,
    ):
        if said is not None and (text := text_of(said)):
            return text
    parts = message.content if isinstance(message.content, list) else []
    return "".join(
        text_of(msgspec.structs.asdict(part)) for part in parts if isinstance(part, ThinkingPart)
    )


def _text(part: AssistantPart) -> str:
    return (
        part.text
        if isinstance(part, TextPart)
        else part.refusal
        if isinstance(part, RefusalPart)
        else ""
    )

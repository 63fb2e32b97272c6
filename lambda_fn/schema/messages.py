"""The messages of a chat, by their roles."""

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar

from msgspec import Meta, Struct

from lambda_fn.errors import InvalidRequest
from lambda_fn.schema.parts import Name, Refused, Unsupported


class TextPart(Struct, frozen=True, tag="text", tag_field="type"):
    """The one kind of content part that a text model can take."""

    text: str


class RefusalPart(Struct, frozen=True, tag="refusal", tag_field="type"):
    """An assistant's refusal, in an earlier answer."""

    refusal: str


class ImagePart(Refused, frozen=True, tag="image_url", tag_field="type"):
    """An image."""

    why: ClassVar[str] = "this is a text model: it cannot read images (content parts of type 'image_url')"


class AudioPart(Refused, frozen=True, tag="input_audio", tag_field="type"):
    """A sound."""

    why: ClassVar[str] = "this is a text model: it cannot read audio (content parts of type 'input_audio')"


class FilePart(Refused, frozen=True, tag="file", tag_field="type"):
    """A file."""

    why: ClassVar[str] = "this is a text model: it cannot read files (content parts of type 'file')"


Parts = Meta(min_length=1, max_length=4096)
Content = str | Annotated[list[TextPart | ImagePart | AudioPart | FilePart], Parts]
AssistantContent = str | Annotated[list[TextPart | RefusalPart | ImagePart | AudioPart | FilePart], Parts]


class System(Struct, frozen=True, tag="system", tag_field="role", omit_defaults=True):
    """Instructions."""

    content: Content
    name: Name | None = None


class Developer(System, frozen=True, tag="developer"):
    """Instructions, under their newer name."""


class User(System, frozen=True, tag="user"):
    """What the user says."""


class CalledFunction(Struct, frozen=True):
    """What was called, with its arguments as JSON in a string."""

    name: Annotated[str, Meta(min_length=1, max_length=256)]
    arguments: str


class ToolCall(Struct, frozen=True, tag="function", tag_field="type"):
    """A call that an earlier answer made."""

    id: Annotated[str, Meta(min_length=1, max_length=256)]
    function: CalledFunction


class CustomCall(Refused, frozen=True, tag="custom", tag_field="type"):
    """A call of a custom tool."""

    why: ClassVar[str] = "custom tools are not supported: use tools of type 'function'"


class Assistant(Struct, frozen=True, tag="assistant", tag_field="role", omit_defaults=True):
    """An earlier answer."""

    content: AssistantContent | None = None
    name: Name | None = None
    refusal: str | None = None
    tool_calls: Annotated[list[ToolCall | CustomCall], Meta(min_length=1, max_length=128)] | None = None
    audio: Any = None
    function_call: Any = None

    def __post_init__(self) -> None:
        """Check that it says something."""
        if self.audio is not None:
            raise Unsupported("this is a text model: 'audio' of earlier answers is not supported", "audio")
        if self.function_call is not None:
            raise Unsupported("'function_call' is not supported: use 'tool_calls'", "function_call")
        if self.content is None and self.refusal is None and self.tool_calls is None:
            raise ValueError("an assistant message needs 'content' or 'tool_calls'")


class Tool(Struct, frozen=True, tag="tool", tag_field="role"):
    """What a tool answered."""

    content: Content
    tool_call_id: Name


class FunctionAnswer(Refused, frozen=True, tag="function", tag_field="role"):
    """What a function answered, in the form before tools."""

    why: ClassVar[str] = "messages of the role 'function' are not supported: use the role 'tool'"


Message = System | Developer | User | Assistant | Tool | FunctionAnswer


def check_tool_answers(messages: Sequence[Message]) -> None:
    """Hold the tool messages against the calls before them: each call has its answer, each answer its call.

    Raises:
        InvalidRequest: an answer or a call stands alone.

    """
    open_calls: dict[str, str] = {}  # id -> the path of its message
    answered = False
    for number, message in enumerate(messages):
        if type(message) is Tool:
            if not open_calls and not answered:
                raise InvalidRequest(
                    "Messages with role 'tool' must be a response to a preceding message with 'tool_calls'.",
                    param=f"messages[{number}].role",
                )
            if open_calls.pop(message.tool_call_id, None) is None:
                raise InvalidRequest(
                    f"The 'tool_call_id' of messages[{number}] is not that of a call without an answer before it.",
                    param=f"messages[{number}].tool_call_id",
                )
            answered = True
            continue
        if open_calls:
            break
        answered = False
        if type(message) is Assistant and message.tool_calls:
            path = f"messages[{number}].tool_calls"
            open_calls = {call.id: path for call in message.tool_calls if type(call) is ToolCall}
            if len(open_calls) < len(message.tool_calls):
                raise InvalidRequest(f"Two calls of {path} have the same 'id'.", param=path)
    if open_calls:
        path = next(iter(open_calls.values()))
        raise InvalidRequest(
            "An assistant message with 'tool_calls' must be followed by tool messages responding to each of its "
            f"{len(open_calls)} calls that have no answer.",
            param=path,
        )


def plain(message: Message) -> Message:
    """Give a message as the container takes it: an earlier refusal is what the assistant said."""
    if type(message) is not Assistant or (message.refusal is None and not isinstance(message.content, list)):
        return message
    parts = message.content or []
    said = parts if isinstance(parts, str) else "".join(_said(part) for part in parts)
    nothing = None if message.tool_calls else ""
    return Assistant(content=said or message.refusal or nothing, name=message.name, tool_calls=message.tool_calls)


def _said(part: TextPart | RefusalPart | ImagePart | AudioPart | FilePart) -> str:
    return part.text if isinstance(part, TextPart) else part.refusal if isinstance(part, RefusalPart) else ""

"""Translates a checked request of the Messages API into the chat request that answers it. Pure.

- All texts of `system` and of messages with the role `system` become one system message at the
  beginning: many chat templates accept no other place. The block by which Claude Code tells
  Anthropic's billing about itself is left out: it changes with every request, so that no server
  could reuse its work on the prompt.
- Consecutive turns of one role become one turn. A user's turn with results becomes one message of
  the role `tool` for each result, and then the rest of it.
- `is_error` becomes the words that begin the result.
- Thoughts of earlier turns go back to the model where chats have them, without their signatures.
- If the model has a switch for thinking, it is on if the request asks for thoughts, and off
  otherwise. So without thoughts the first block of an answer is its text, as clients expect. A
  model without a switch answers as usual. Neither a budget nor an effort is passed on: thinking is
  a switch.
"""

from collections.abc import Sequence
from typing import Any, NoReturn

import msgspec

from lambda_fn.errors import InvalidRequest
from lambda_fn.schema.anthropic.blocks import (
    Base64Source,
    Block,
    ImageBlock,
    RedactedThinkingBlock,
    TextBlock,
    ThinkingBlock,
    ToolResultBlock,
    ToolUseBlock,
    UrlSource,
)
from lambda_fn.schema.anthropic.request import (
    CountRequest,
    MessagesRequest,
    ToolChoice,
    ToolParam,
    Turn,
)
from lambda_fn.schema.chat import LENIENT, ChatRequest
from lambda_fn.schema.messages import (
    Assistant,
    CalledFunction,
    ImagePart,
    ImageUrl,
    System,
    TextPart,
    ToolCall,
    User,
)
from lambda_fn.schema.messages import Message as ChatMessage
from lambda_fn.schema.messages import Tool as ToolMessage
from lambda_fn.schema.parts import Rules, WrongField
from lambda_fn.schema.tools import (
    ChosenFunction,
    Function,
    FunctionName,
    FunctionTool,
    JsonSchema,
    Schema,
)

SOURCE = "source"
"""The member of an image block that has the image."""
MEDIA_TYPES = ("image/jpeg", "image/png", "image/gif", "image/webp")
_BILLING = "x-anthropic-billing-header:"
_ERROR = "Error: "
_FORMAT = "output"
"""The name of a schema in a chat. A Messages request has none."""
_MAX_MESSAGES = 4096
_MAX_CALLS = 128


class Asked(msgspec.Struct, frozen=True):
    """A translated request.

    `stops` are its stop sequences, and `thinking` tells whether thoughts are a part of the answer.
    `images` are the paths of its images, in the order in which the chat has them.
    """

    chat: ChatRequest
    stops: tuple[str, ...] = ()
    thinking: bool = False
    images: tuple[str, ...] = ()


def asked(request: CountRequest, rules: Rules = LENIENT) -> Asked:
    """Return the chat request that answers a request. A count has the prompt's members only.

    Raises:
        InvalidRequest: its members do not fit together, a schema cannot guide the answer, or a
            block cannot be honoured.

    """
    tools = _tools(request.tools)
    choice = request.tool_choice
    conversation = _Conversation(request, loose=rules.loose_tool_history)
    fields: dict[str, Any] = {
        "model": request.model,
        "messages": conversation.messages(),
        "tools": tools,
        "response_format": _format(request),
        "enable_thinking": request.thinking is not None and request.thinking.type != "disabled",
        **_choice(choice, request.tools or ()),
    }
    _check_schemas(request, choice)
    shown = request.thinking is not None and request.thinking.shown
    if type(fields["messages"][-1]) is Assistant:
        fields |= {"continue_final_message": True, "add_generation_prompt": False}
    images = tuple(conversation.images)
    if not isinstance(request, MessagesRequest):
        return Asked(ChatRequest(**fields), thinking=shown, images=images)
    stop = request.stop_sequences
    stops = (stop,) if isinstance(stop, str) else tuple(stop or ())
    chat = ChatRequest(
        **fields,
        stream=request.stream,
        max_tokens=request.max_tokens,
        temperature=request.temperature,
        top_p=request.top_p,
        top_k=request.top_k,
        stop=list(stops) or None,
        sluice=request.sluice,
    )
    return Asked(chat, stops, shown, images)


class _Conversation:
    """The messages of a chat while they are made."""

    def __init__(self, request: CountRequest, *, loose: bool) -> None:
        self.images: list[str] = []
        """The paths of the images, in the order of the messages."""
        self._request = request
        self._loose = loose
        self._system = [request.system] if isinstance(request.system, str) else []
        if isinstance(request.system, list):
            self._system += [block.text for block in request.system]
        self._made: list[ChatMessage] = []
        self._said: list[str] = []
        self._thought: list[str] = []
        self._calls: list[ToolCall] = []
        self._results: list[ChatMessage] = []
        self._parts: list[Any] = []
        self._images: list[str] = []
        self._open: dict[str, str] = {}
        """Calls without a result yet: their ids, and the paths of their messages."""
        self._role = ""

    def messages(self) -> list[ChatMessage]:
        """Return the messages of the chat.

        Raises:
            InvalidRequest: a block is where it cannot be, or a call or a result stands alone.

        """
        for number, message in enumerate(self._request.messages):
            self._read(message, f"messages[{number}]")
        self._end_turn()
        self._check_results()
        if not self._made:
            raise InvalidRequest("A message of the user is needed.", param="messages")
        texts = [text for text in self._system if text and not text.startswith(_BILLING)]
        if texts:
            self._made.insert(0, System(content="\n\n".join(texts)))
        if len(self._made) > _MAX_MESSAGES:
            raise InvalidRequest(
                f"'messages' has more than {_MAX_MESSAGES} messages and results.", param="messages"
            )
        return self._made

    def _read(self, message: Turn, path: str) -> None:
        content = message.content
        blocks: list[Block] = [TextBlock(content)] if isinstance(content, str) else content
        if message.role == "system":
            for number, block in enumerate(blocks):
                if type(block) is not TextBlock:
                    _misplaced(block, "system", f"{path}.content[{number}].type")
                self._system.append(block.text)
            return
        if message.role != self._role:
            self._end_turn()
            self._role = message.role
            if message.role == "assistant":
                self._check_results()
        read = self._assistants if message.role == "assistant" else self._users
        for number, block in enumerate(blocks):
            read(block, f"{path}.content[{number}]", path)

    def _assistants(self, block: Block, path: str, turn: str) -> None:
        if type(block) is TextBlock:
            self._said.append(block.text)
        elif type(block) is ToolUseBlock:
            if block.id in self._open:
                raise InvalidRequest(
                    f"Invalid '{path}.id': two calls have the same id.", param=f"{path}.id"
                )
            self._open[block.id] = turn
            try:
                function = CalledFunction(block.name, block.input)
            except WrongField as error:
                raise InvalidRequest(
                    f"Invalid '{path}.input': {error}.", param=f"{path}.input", code=error.code
                ) from None
            self._calls.append(ToolCall(block.id, function))
            if len(self._calls) > _MAX_CALLS:
                raise InvalidRequest(
                    f"'{turn}' has more than {_MAX_CALLS} calls.", param=f"{turn}.content"
                )
        elif type(block) is ThinkingBlock:
            self._thought.append(block.thinking)
        elif type(block) is not RedactedThinkingBlock:
            _misplaced(block, "assistant", f"{path}.type")

    def _users(self, block: Block, path: str, turn: str) -> None:
        if type(block) is TextBlock:
            self._parts.append(TextPart(block.text))
        elif type(block) is ImageBlock:
            self._parts.append(image_part(block, path))
            self._images.append(f"{path}.{SOURCE}")
        elif type(block) is ToolResultBlock:
            if self._open.pop(block.tool_use_id, None) is None and not self._loose:
                raise InvalidRequest(
                    f"Invalid '{path}.tool_use_id': the assistant's turn before has no call "
                    "('tool_use') of this id without a result.",
                    param=f"{path}.tool_use_id",
                )
            content = self._result(block, path)
            self._results.append(ToolMessage(content=content, tool_call_id=block.tool_use_id))
        else:
            _misplaced(block, "user", f"{path}.type")

    def _check_results(self) -> None:
        """Reject a turn of the assistant, or an end, before every call has its result."""
        if self._open and not self._loose:
            path = next(iter(self._open.values()))
            raise InvalidRequest(
                f"{len(self._open)} calls ('tool_use') have no result: each needs a 'tool_result' "
                f"in the user's turn after {path}.",
                param=path,
            )
        self._open.clear()

    def _result(self, block: ToolResultBlock, path: str) -> Any:
        if isinstance(block.content, str):
            content: Any = block.content
        else:
            parts: list[Any] = []
            for number, inner in enumerate(block.content or ()):
                place = f"{path}.content[{number}]"
                if type(inner) is TextBlock:
                    parts.append(TextPart(inner.text))
                elif type(inner) is ImageBlock:
                    parts.append(image_part(inner, place))
                    self.images.append(f"{place}.{SOURCE}")
            content = _content(parts)
        if not block.is_error:
            return content
        if isinstance(content, str):
            begins = content.lstrip()[: len(_ERROR)].lower().startswith("error")
            return content if begins else _ERROR + content
        return [TextPart(_ERROR), *content]

    def _end_turn(self) -> None:
        if self._role == "assistant":
            content = "".join(self._said)
            self._made.append(
                Assistant(
                    content=content or (None if self._calls else ""),
                    tool_calls=list(self._calls) or None,
                    reasoning_content="".join(self._thought) or None,
                )
            )
        elif self._role == "user":
            self._made += self._results
            self.images += self._images
            if self._parts or not self._results:
                self._made.append(User(content=_content(self._parts)))
        self._said, self._thought, self._calls = [], [], []
        self._results, self._parts, self._images = [], [], []


def _content(parts: list[Any]) -> Any:
    """Return content as one text if it has only texts: templates know that best."""
    if all(type(part) is TextPart for part in parts):
        return "\n".join(part.text for part in parts)
    return parts


def image_part(block: ImageBlock, path: str) -> ImagePart:
    """Return the chat's content part for an image. `path` is that of the block.

    It is the only place where the images of the two APIs meet.

    Raises:
        InvalidRequest: its media type is not one of `MEDIA_TYPES`, or it is empty.

    """
    source = block.source
    if type(source) is Base64Source and source.media_type.lower() not in MEDIA_TYPES:
        raise InvalidRequest(
            f"Invalid '{path}.{SOURCE}.media_type': expected {', '.join(MEDIA_TYPES)}.",
            param=f"{path}.{SOURCE}.media_type",
            code="invalid_value",
        )
    name, url = "data", ""
    if type(source) is UrlSource:
        name, url = "url", source.url
    elif type(source) is Base64Source and source.data:
        url = f"data:{source.media_type};base64,{source.data}"
    if not url:
        raise InvalidRequest(
            f"Invalid '{path}.{SOURCE}.{name}': it is empty.",
            param=f"{path}.{SOURCE}.{name}",
            code="string_below_min_length",
        )
    return ImagePart(ImageUrl(url))


def _misplaced(block: Block, role: str, path: str) -> NoReturn:
    kind = type(block).__struct_config__.tag
    raise InvalidRequest(
        f"Invalid '{path}': messages with the role '{role}' have no content blocks of type "
        f"'{kind}'.",
        param=path,
        code="invalid_value",
    )


def _tools(tools: list[ToolParam] | None) -> list[Any] | None:
    if not tools:
        return None
    names = [tool.name for tool in tools]
    if len(set(names)) < len(names):
        raise InvalidRequest("Two tools have the same name.", param="tools")
    return [
        FunctionTool(Function(tool.name, tool.description, tool.input_schema)) for tool in tools
    ]


def _choice(choice: ToolChoice | None, tools: Sequence[ToolParam]) -> dict[str, Any]:
    if choice is None:
        return {}
    if not tools:
        if choice.type in ("any", "tool"):
            raise InvalidRequest("'tool_choice' needs 'tools'.", param="tool_choice")
        return {}
    made: Any = {"auto": "auto", "any": "required", "none": "none"}.get(choice.type)
    if made is None:
        if choice.name not in [tool.name for tool in tools]:
            raise InvalidRequest(
                "'tool_choice.name' is not the name of one of the tools.", param="tool_choice.name"
            )
        made = ChosenFunction(FunctionName(choice.name or ""))
    parallel = None if choice.disable_parallel_tool_use is None else False
    if choice.disable_parallel_tool_use is False:
        parallel = True
    return {"tool_choice": made, "parallel_tool_calls": parallel}


def _format(request: CountRequest) -> JsonSchema | None:
    form = request.output_config.format if request.output_config is not None else None
    form = form or request.output_format
    return None if form is None else JsonSchema(Schema(_FORMAT, schema=form.schema, strict=True))


def _check_schemas(request: CountRequest, choice: ToolChoice | None) -> None:
    """Check every JSON schema that guides the answer, as a chat's are, under their names here."""
    forms: list[tuple[tuple[str | int, ...], Any]] = []
    if request.output_config is not None and request.output_config.format is not None:
        forms.append((("output_config", "format", "schema"), request.output_config.format.schema))
    elif request.output_format is not None:
        forms.append((("output_format", "schema"), request.output_format.schema))
    parameters: list[tuple[tuple[str | int, ...], Any]] = [
        (("tools", number, "input_schema"), tool.input_schema)
        for number, tool in enumerate(request.tools or ())
    ]
    if not forms and not parameters:
        return
    from schema_guard import SchemaRefused, check_plain

    chosen = choice is None or choice.type == "auto"
    try:
        check_plain(forms, by="llguidance")
        check_plain(parameters, by="llama.cpp" if chosen else "llguidance")
    except SchemaRefused as refusal:
        raise InvalidRequest(
            f"Invalid '{refusal.path}': {refusal.reason}.",
            param=refusal.path,
            code="invalid_value",
        ) from None

"""Turns the items of an input into the messages of a chat. Pure.

- `instructions` and the messages of the system and of developers at the beginning become one system
  message: many chat templates accept no other place. Later ones stay where they are.
- Consecutive reasoning, texts and calls of the assistant become one message.
- An output follows the message with its call, wherever it stands after it.
- A compaction is a message of the assistant, in place of what it summarises.
"""

from collections import defaultdict, deque
from collections.abc import Callable
from typing import Any

import msgspec

from lambda_fn.errors import InvalidRequest
from lambda_fn.schema.messages import (
    Assistant,
    CalledFunction,
    ImagePart,
    ImageUrl,
    Message,
    System,
    TextPart,
    Tool,
    ToolCall,
    User,
)
from lambda_fn.schema.parts import Unsupported, WrongField
from lambda_fn.schema.responses.items import InputImage, Item, Part, Refusal
from lambda_fn.seals import Forged

_MAX_MESSAGES = 4096
_MAX_CALLS = 128
_LEADING = ("system", "developer")
_SUMMARY = "Summary of the conversation until here:\n\n"
"""What the model reads before the text of a compaction."""


class History(msgspec.Struct, frozen=True):
    """What a request names of responses and conversations that are kept.

    `before` has the items of its conversation until now, and `ancestors` the ids of the responses
    that keep them. `items` has those that its input refers to, by their ids, both as they were sent
    and as they were read. `size` is the size of all in bytes. `param` is the member that names what
    came before. `conversation` is the conversation as it was read, for whoever appends to it.
    `unseal` opens the compactions of the caller, and raises `Forged`; without it, none opens.
    """

    before: list[Item] = []  # msgspec makes a new list for each
    items: dict[str, tuple[msgspec.Raw, Item]] = {}
    ancestors: list[str] = []
    size: int = 0
    param: str = "previous_response_id"
    conversation: Any = None
    unseal: Callable[[str], str] | None = None


class Conversation:
    """The messages of a chat while they are made."""

    def __init__(
        self, instructions: str | None, items: list[Item], history: History, *, loose: bool
    ) -> None:
        """Begin with no message. `loose` allows calls and outputs that stand alone."""
        self.images: list[str] = []
        """The paths of the images, in the order of the messages."""
        self.items = [*history.before, *items]
        """The items. References become what they mean when the messages are made."""
        self._before = len(history.before)
        self._history = history
        self._loose = loose
        self._system = [instructions] if instructions else []
        self._made: list[Message] = []
        self._outputs: dict[str, deque[int]] = defaultdict(deque)
        self._turn = _Turn()

    def messages(self) -> list[Message]:
        """Return the messages.

        Raises:
            InvalidRequest: a part is where it cannot be, or a call or an output stands alone.

        """
        for number, item in enumerate(self.items):
            if item.kind == "item_reference":
                item = self.items[number] = self._referred(item, self._path(number))
            if item.kind == "function_call_output":
                self._outputs[item.call_id or ""].append(number)
        for number, item in enumerate(self.items):
            self._read(item, number)
        self._end_turn()
        if not self._made:
            self._take_system()
        if not self._made:
            raise InvalidRequest("A message is needed.", param="input")
        if len(self._made) > _MAX_MESSAGES:
            raise InvalidRequest(
                f"'input' makes more than {_MAX_MESSAGES} messages.",
                param="input",
                code="array_above_max_length",
            )
        return self._made

    def _path(self, number: int) -> str:
        """Return the path of an item in the body."""
        if number < self._before:
            return self._history.param
        return f"input[{number - self._before}]"

    def _read(self, item: Item, number: int) -> None:
        path = self._path(number)
        kind = item.kind
        if kind == "compaction" or (kind == "message" and item.role == "assistant"):
            if self._turn.texts and not self._turn.calls:
                self._end_turn()
            if kind == "compaction":
                self._turn.texts.append(_SUMMARY + opened(item, path, self._history.unseal))
            else:
                self._turn.texts.append(_text(item, path))
        elif kind == "reasoning":
            self._turn.reasoning.append(_reasoning(item, path))
        elif kind == "function_call":
            self._turn.add(item, number, path)
        elif kind == "function_call_output":
            self._end_turn()
            self._take_unasked(item, number, path)
        else:
            self._end_turn()
            self._say(item, path)

    def _referred(self, item: Item, path: str) -> Item:
        found = self._history.items.get(item.id or "")
        if found is None:
            raise InvalidRequest(
                f"Unsupported '{path}': items can be referred to where responses are kept (the "
                "setting 'persistence'), and not in a count. Send the item itself.",
                param=path,
                code=Unsupported.code,
            )
        return found[1]

    def _say(self, item: Item, path: str) -> None:
        """Add a message of the user or of the system."""
        if item.role == "user":
            self._take_system()
            self._made.append(User(content=self._content(item.content, f"{path}.content")))
        elif self._made:
            self._made.append(System(content=_text(item, path)))
        else:
            self._system.append(_text(item, path))

    def _take_system(self) -> None:
        if not self._made and (texts := [text for text in self._system if text]):
            self._made.append(System(content="\n\n".join(texts)))

    def _end_turn(self) -> None:
        """Add the assistant's message, and the outputs of its calls behind it."""
        turn, self._turn = self._turn, _Turn()
        if not turn:
            return
        self._take_system()
        self._made.append(turn.message())
        for call, number in turn.calls:
            places = self._outputs[call.id]  # of those that are not read or taken yet
            if places:
                place = places.popleft()
                self._answer(self.items[place], self._path(place))
            elif not self._loose:
                raise InvalidRequest(
                    f"No tool output found for function call {call.id[:64]}: 'input' needs a "
                    "'function_call_output' behind each 'function_call'.",
                    param=self._path(number),
                )

    def _take_unasked(self, item: Item, number: int, path: str) -> None:
        """Take an output that no call before it has taken."""
        places = self._outputs[item.call_id or ""]
        if not places or places[0] != number:
            return
        if not self._loose:
            raise InvalidRequest(
                f"No tool call found for function call output with call_id "
                f"{(item.call_id or '')[:64]}.",
                param=f"{path}.call_id",
            )
        places.popleft()
        self._take_system()
        self._answer(item, path)

    def _answer(self, item: Item, path: str) -> None:
        content = self._content(item.output, f"{path}.output")
        self._made.append(Tool(content=content, tool_call_id=item.call_id or ""))

    def _content(self, content: Any, path: str) -> Any:
        """Return content that may have images: one text if it has none."""
        if isinstance(content, str):
            return content
        parts = [self._part(part, f"{path}[{place}]") for place, part in enumerate(content)]
        texts = [part.text for part in parts if isinstance(part, TextPart)]
        return "\n".join(texts) if len(texts) == len(parts) else parts

    def _part(self, part: Part, path: str) -> TextPart | ImagePart:
        if isinstance(part, InputImage):
            self.images.append(f"{path}.image_url")
            return ImagePart(ImageUrl(part.image_url or "", part.detail))
        return TextPart(_text_of(part, path))


def opened(item: Item, path: str, unseal: Callable[[str], str] | None) -> str:
    """Return the text of a compaction. Raises InvalidRequest if it does not open."""
    try:
        if unseal is None:
            raise Forged
        return unseal(item.encrypted_content or "")
    except Forged:
        raise InvalidRequest(
            f"Invalid '{path}': its 'encrypted_content' cannot be read. It was changed, or comes from "
            "another key or deployment. Send the items themselves, or compact them again.",
            param=path,
            code="invalid_encrypted_content",
        ) from None


class _Body(msgspec.Struct):
    input: str | list[msgspec.Raw]


_body = msgspec.json.Decoder(_Body)
_reference = msgspec.json.Decoder(Item)


def own_items(body: bytes, history: History) -> list[msgspec.Raw]:
    """Return the items of a checked body as they were sent. References become what they mean."""
    own = _body.decode(body.removeprefix(b"\xef\xbb\xbf")).input
    if isinstance(own, str):
        part = {"type": "input_text", "text": own}
        item = {"type": "message", "role": "user", "content": [part]}
        return [msgspec.Raw(msgspec.json.encode(item))]
    if not history.items:
        return own
    return [
        history.items[read.id or ""][0] if read.kind == "item_reference" else raw
        for raw in own
        for read in (_reference.decode(raw),)
    ]


class _Turn:
    """One turn of the assistant: its reasoning, its texts, and its calls with their places."""

    def __init__(self) -> None:
        self.reasoning: list[str] = []
        self.texts: list[str] = []
        self.calls: list[tuple[ToolCall, int]] = []
        self._ids: set[str] = set()

    def __bool__(self) -> bool:
        return bool(self.reasoning or self.texts or self.calls)

    def add(self, item: Item, number: int, path: str) -> None:
        """Add a call."""
        call_id = item.call_id or ""
        if call_id in self._ids:
            raise InvalidRequest(
                f"Invalid '{path}.call_id': two calls have the same id.", param=f"{path}.call_id"
            )
        if len(self.calls) == _MAX_CALLS:
            raise InvalidRequest(f"More than {_MAX_CALLS} calls follow each other.", param=path)
        try:
            function = CalledFunction(item.name or "", item.arguments)
        except WrongField as error:
            raise InvalidRequest(
                f"Invalid '{path}.arguments': {error}.", param=f"{path}.arguments", code=error.code
            ) from None
        self._ids.add(call_id)
        self.calls.append((ToolCall(call_id, function), number))

    def message(self) -> Assistant:
        """Return the turn as a message."""
        text = "".join(self.texts)
        return Assistant(
            content=text or (None if self.calls else ""),
            tool_calls=[call for call, _ in self.calls] or None,
            reasoning_content="".join(self.reasoning) or None,
        )


def _reasoning(item: Item, path: str) -> str:
    """Return the reasoning of an item, or its summary."""
    if isinstance(item.content, str):
        return item.content
    for name, parts in (("content", item.content), ("summary", item.summary)):
        if isinstance(parts, list) and parts:
            return "".join(
                _text_of(part, f"{path}.{name}[{place}]") for place, part in enumerate(parts)
            )
    return item.summary if isinstance(item.summary, str) else ""


def _text(item: Item, path: str) -> str:
    """Return the content of a message that can have no images."""
    if isinstance(item.content, str):
        return item.content
    return "\n".join(
        _text_of(part, f"{path}.content[{place}]") for place, part in enumerate(item.content or ())
    )


def _text_of(part: Part, path: str) -> str:
    if isinstance(part, Refusal):
        return part.refusal
    if isinstance(part, InputImage):
        raise InvalidRequest(
            f"Unsupported '{path}.type': only messages of the role 'user' and outputs of functions "
            "can have images.",
            param=f"{path}.type",
            code=Unsupported.code,
        )
    return part.text  # type: ignore[union-attr]

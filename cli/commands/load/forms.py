"""The forms that a load test speaks: what a request is, and how its answer is read. Pure.

A form is one row of `FORMS`: a path, a request, and a reader of the answer's bytes. A reader counts
what is output, and notes whatever tells that an answer is whole.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import msgspec

from cli.commands.load.event_stream import EventStream, Malformed

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from cli.commands.load.plan import Ask

_TRAILER = b"\x1e"
_HEARTBEAT = b"\x16"
_MAX_CODE = 64
_MAX_TRAILER = 64 * 1024


@dataclass
class Signs:
    """What an answer has shown so far about its end. None and False mean not yet."""

    finish: str | None = None
    """The finish reason."""
    marker: bool = False
    """Whether the end marker came: `[DONE]`, or Anthropic's `message_stop`."""
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    error: str | None = None
    """The code of an error within the stream, else its type."""
    number: int = field(default=-1, compare=False)
    """The wire number of the last piece, from which the answer can be resumed; -1 before one."""


class Reader(Protocol):
    """Reads one answer."""

    signs: Signs

    def feed(self, data: bytes) -> list[int]:
        """Return the characters of output in each chunk that `data` completes.

        Chunks without output, such as heartbeats, usage and the end marker, are not in the list.

        Raises:
            Malformed: this is no answer of the form.

        """
        ...

    def close(self) -> None:
        """Take the end of the body. Raises as `feed` does."""
        ...

    def resume(self) -> None:
        """Drop an unfinished event: the next bytes begin after the last number."""
        ...


@dataclass(frozen=True)
class Form:
    """One form of the API. `path` is below the base URL that clients use."""

    path: str
    body: Callable[[str, Ask], Mapping[str, Any]]
    """The request's JSON, from the model and what is asked."""
    reader: Callable[[], Reader]
    accept: str = "text/event-stream"
    proves_end: bool = True
    """Whether an answer itself shows a finish reason, an end marker and usage."""
    is_socket: bool = False
    """Whether each request has a WebSocket of its own. Then a reader gets whole events."""


class _Call(msgspec.Struct):
    arguments: str | None = None


class _ToolCall(msgspec.Struct):
    function: _Call | None = None


class _Delta(msgspec.Struct):
    content: str | None = None
    reasoning: str | None = None
    reasoning_content: str | None = None
    refusal: str | None = None
    tool_calls: list[_ToolCall] | None = None


class _Choice(msgspec.Struct):
    delta: _Delta | None = None
    text: str | None = None
    finish_reason: str | None = None


class _Usage(msgspec.Struct):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None


class _Own(msgspec.Struct):
    n: int = -1


class _Chunk(msgspec.Struct):
    """A chunk of a chat, or of a completion of the old form."""

    choices: list[_Choice] = []
    usage: _Usage | None = None
    error: Any = None
    sluice: _Own | None = None


_chunk = msgspec.json.Decoder(_Chunk)


class _Events:
    """What the readers of event streams have in common."""

    _trailing: ClassVar[bytes | None] = None
    """An event that may follow the end marker."""

    def __init__(self) -> None:
        self.signs = Signs()
        self._stream = EventStream()

    def feed(self, data: bytes) -> list[int]:
        sizes = []
        for event in self._stream.feed(data):
            if self.signs.marker:
                if event == self._trailing:
                    continue
                raise Malformed("events_after_the_end")
            try:
                size = self._event(event)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                raise Malformed("event_not_readable") from None
            if size:
                sizes.append(size)
        return sizes

    def close(self) -> None:
        """Do nothing: an event without its end is no event."""

    def resume(self) -> None:
        """Drop an event without its end."""
        self._stream = EventStream()

    def _number(self, own: _Own | None) -> None:
        if own is not None:
            self.signs.number = max(self.signs.number, own.n)

    def _event(self, data: bytes) -> int:
        raise NotImplementedError


class _Chunks(_Events):
    """OpenAI's chunks."""

    def _event(self, data: bytes) -> int:
        if data == b"[DONE]":
            self.signs.marker = True
            return 0
        chunk = _chunk.decode(data)
        self._number(chunk.sluice)
        if chunk.error is not None:
            self.signs.error = _code(chunk.error)
        if chunk.usage is not None:
            self.signs.prompt_tokens = chunk.usage.prompt_tokens
            self.signs.completion_tokens = chunk.usage.completion_tokens
        size = 0
        for choice in chunk.choices:
            if choice.finish_reason is not None:
                self.signs.finish = choice.finish_reason
            if choice.text:
                size += len(choice.text)
            if (delta := choice.delta) is not None:
                size += len(delta.content or "") + len(delta.refusal or "")
                size += len(delta.reasoning or delta.reasoning_content or "")
                for call in delta.tool_calls or ():
                    size += len((call.function and call.function.arguments) or "")
        return size


class _Part(msgspec.Struct):
    text: str | None = None
    thinking: str | None = None
    partial_json: str | None = None
    stop_reason: str | None = None


class _Counts(msgspec.Struct):
    input_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    output_tokens: int | None = None


class _Message(msgspec.Struct):
    usage: _Counts | None = None


class _MessageEvent(msgspec.Struct):
    type: str = ""
    delta: _Part | None = None
    message: _Message | None = None
    usage: _Counts | None = None
    error: Any = None
    sluice: _Own | None = None


_message_event = msgspec.json.Decoder(_MessageEvent)


class _Messages(_Events):
    """Anthropic's events."""

    def _event(self, data: bytes) -> int:
        event = _message_event.decode(data)
        self._number(event.sluice)
        if event.type == "error":
            self.signs.error = _code(event.error)
        elif event.type == "message_stop":
            self.signs.marker = True
        usage = event.usage
        if usage is None and event.message is not None:
            usage = event.message.usage
        if usage is not None:
            parts = (
                usage.input_tokens,
                usage.cache_read_input_tokens,
                usage.cache_creation_input_tokens,
            )
            if usage.input_tokens is not None:
                self.signs.prompt_tokens = sum(part or 0 for part in parts)
            # that of message_start is a first guess; the last one counts
            self.signs.completion_tokens = usage.output_tokens
        if event.delta is None:
            return 0
        if event.delta.stop_reason is not None:
            self.signs.finish = event.delta.stop_reason
        parts_of_text = (event.delta.text, event.delta.thinking, event.delta.partial_json)
        return sum(len(part or "") for part in parts_of_text)


class _ResponseUsage(msgspec.Struct):
    input_tokens: int | None = None
    output_tokens: int | None = None


class _Response(msgspec.Struct):
    status: str | None = None
    usage: _ResponseUsage | None = None
    error: Any = None


class _ResponseEvent(msgspec.Struct):
    type: str = ""
    delta: str | None = None
    code: str | None = None
    error: Any = None
    response: _Response | None = None
    sequence_number: int = -1


_response_event = msgspec.json.Decoder(_ResponseEvent)
_RESPONSE_ENDS = frozenset({"response.completed", "response.incomplete"})


class _Responses(_Events):
    """The events of OpenAI's Responses API. The terminal event is the end marker."""

    _trailing = b"[DONE]"  # OpenAI sends none

    def _event(self, data: bytes) -> int:
        event = _response_event.decode(data)
        self.signs.number = max(self.signs.number, event.sequence_number)
        if event.type == "error":
            self.signs.error = event.code or _code(event.error)
        elif event.type == "response.failed":
            self.signs.error = _code(event.response and event.response.error)
        elif event.type in _RESPONSE_ENDS and event.response is not None:
            self.signs.finish, self.signs.marker = event.response.status, True
            if (usage := event.response.usage) is not None:
                self.signs.prompt_tokens = usage.input_tokens
                self.signs.completion_tokens = usage.output_tokens
        return len(event.delta or "") if event.type.endswith(".delta") else 0


class _SocketEvents(_Responses):
    """The same events, each of which is a message of a WebSocket."""

    def feed(self, data: bytes) -> list[int]:
        if self.signs.marker:
            raise Malformed("events_after_the_end")
        try:
            size = self._event(data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise Malformed("event_not_readable") from None
        return [size] if size else []


@dataclass
class _Text:
    """Bare text. What comes at once is a piece. A line after U+001E tells of an early end."""

    signs: Signs = field(default_factory=Signs)
    _trailer: bytes | None = None

    def feed(self, data: bytes) -> list[int]:
        if self._trailer is None:
            data, found, rest = data.partition(_TRAILER)
            self._trailer = rest if found else None
        else:
            self._trailer += data
            data = b""
        if self._trailer is not None and len(self._trailer) > _MAX_TRAILER:
            raise Malformed("trailer_too_large")
        size = len(data) - data.count(_HEARTBEAT)
        if size:
            self.signs.number = max(self.signs.number, 0) + size
        return [size] if size else []

    def resume(self) -> None:
        """Do nothing: every byte counts."""

    def close(self) -> None:
        if self._trailer is None:
            return
        try:
            found = msgspec.json.decode(self._trailer, type=dict[str, Any])
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise Malformed("trailer_not_readable") from None
        if "error" in found:
            self.signs.error = _code(found["error"])
        elif isinstance(reason := found.get("finish_reason"), str):
            self.signs.finish = reason


def _code(error: Any) -> str:
    """Return the code of an error object, else its type, else `unnamed`."""
    if isinstance(error, dict):
        for name in ("code", "type"):
            if isinstance(word := error.get(name), str | int) and word != "":
                return str(word)[:_MAX_CODE]
    return "unnamed"


def error_code(body: bytes) -> str:
    """Return the code of a response that is an error: its code or type, else empty."""
    try:
        found = msgspec.json.decode(body, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ""
    return _code(found["error"]) if "error" in found else ""


def _chat(model: str, ask: Ask) -> Mapping[str, Any]:
    return {
        "model": model,
        "messages": [{"role": "user", "content": ask.prompt}],
        "max_tokens": ask.max_tokens,
        "stream": True,
        "stream_options": {"include_usage": True},
    }


def _completion(model: str, ask: Ask) -> Mapping[str, Any]:
    return {
        "model": model,
        "prompt": ask.prompt,
        "max_tokens": ask.max_tokens,
        "stream": True,
        "stream_options": {"include_usage": True},
    }


def _message(model: str, ask: Ask) -> Mapping[str, Any]:
    return {
        "model": model,
        "messages": [{"role": "user", "content": ask.prompt}],
        "max_tokens": ask.max_tokens,
        "stream": True,
    }


def _response(model: str, ask: Ask) -> Mapping[str, Any]:
    return {
        "model": model,
        "input": ask.prompt,
        "max_output_tokens": ask.max_tokens,
        "stream": True,
        "store": False,
    }


def _create(model: str, ask: Ask) -> Mapping[str, Any]:
    return {"type": "response.create", **_response(model, ask)}


def _text(model: str, ask: Ask) -> Mapping[str, Any]:
    return {
        "model": model,
        "messages": [{"role": "user", "content": ask.prompt}],
        "max_tokens": ask.max_tokens,
        "stream": True,
    }


FORMS: Mapping[str, Form] = {
    "chat": Form("/chat/completions", _chat, _Chunks),
    "completions": Form("/completions", _completion, _Chunks),
    "messages": Form("/messages", _message, _Messages),
    "responses": Form("/responses", _response, _Responses),
    "websocket": Form("/responses", _create, _SocketEvents, is_socket=True),
    "text": Form("/chat/completions", _text, _Text, accept="text/plain", proves_end=False),
}
"""The forms by the names of `--form`. `cli.commands.load.FORMS` lists them for the command line."""

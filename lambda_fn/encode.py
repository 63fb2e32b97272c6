"""Stage 6: events -> bytes, pure. The wire forms of an answer; none of them knows of sockets or time.

The server-sent events carry `data:` lines only, because stock clients fail on `event:`, `id:` or `retry:`. What is
the same in every chunk is put together once; the delta that the model's container sent is passed on as the JSON it
is.
"""

from collections.abc import Iterable
from typing import Any, ClassVar, Protocol

import msgspec

from lambda_fn.errors import APIError, UpstreamFailed
from lambda_fn.events import NULL, Delta, End, Event, Finish, Usage

_json = msgspec.json.encode


class Encoder(Protocol):
    """The wire form of one answer. Every method gives bytes to send now, perhaps none.

    It trusts the decoder: indexes are those of choices that were asked for, deltas are objects.
    """

    content_type: ClassVar[str]

    def begin(self) -> bytes:
        """Open the answer, with the status 200."""
        ...

    def encode(self, events: Iterable[Event]) -> bytes:
        """Say what the events say."""
        ...

    def heartbeat(self) -> bytes:
        """Break a silence, in a form that every client takes for nothing."""
        ...

    def fail(self, error: APIError) -> bytes | None:
        """End the answer with an error; None when this form has no way to say it, so that the connection must
        break.
        """
        ...


class ChatStream:
    """`chat.completion.chunk` objects as server-sent events."""

    content_type: ClassVar[str] = "text/event-stream; charset=utf-8"

    def __init__(self, *, chat_id: str, created: int, model: str, choices: int, include_usage: bool) -> None:
        """Put together what is the same in every chunk.

        Args:
            chat_id: The public `id`.
            created: Unix seconds.
            model: The public name.
            choices: How many the request asked for.
            include_usage: Whether a usage chunk ends the answer; every other one then has `"usage": null`.

        """
        self._choices = choices
        self._include_usage = include_usage
        head = _json({"id": chat_id, "object": "chat.completion.chunk", "created": created, "model": model})[:-1]
        self._head = b"data: " + head + b',"system_fingerprint":null,"choices":['
        tail = b"]" + (b',"usage":null' if include_usage else b"") + b"}\n\n"
        self._tail = tail
        self._open_delta = [self._head + b'{"index":%d,"delta":' % index for index in range(choices)]
        self._close_delta = b',"logprobs":null,"finish_reason":null}' + tail

    def begin(self) -> bytes:
        """Give the role chunk of every choice."""
        role = b'{"role":"assistant","content":"","refusal":null}'
        return b"".join(opened + role + self._close_delta for opened in self._open_delta)

    def encode(self, events: Iterable[Event]) -> bytes:
        """Give one chunk an event, and `[DONE]` for the end."""
        out: list[bytes] = []
        for event in events:
            if type(event) is Delta:
                if event.logprobs is NULL:
                    out += (self._open_delta[event.index], event.delta, self._close_delta)
                else:
                    logprobs = (b',"logprobs":', event.logprobs, b',"finish_reason":null}', self._tail)
                    out += (self._open_delta[event.index], event.delta, *logprobs)
            elif type(event) is Finish:
                reason = (b'{},"logprobs":null,"finish_reason":', _json(event.finish_reason), b"}", self._tail)
                out += (self._open_delta[event.index], *reason)
            elif type(event) is Usage and self._include_usage:
                out += (self._head, b'],"usage":', _json(_usage(event)), b"}\n\n")
            elif type(event) is End:
                out.append(b"data: [DONE]\n\n")
        return b"".join(out)

    def heartbeat(self) -> bytes:
        """Give a chunk with an empty delta: a comment breaks some clients, an empty chunk none."""
        return self._open_delta[0] + b"{}" + self._close_delta

    def fail(self, error: APIError) -> bytes:
        """Give the error object as an event; no `[DONE]` follows, so that no client takes the answer for whole."""
        return b"data: " + error.body() + b"\n\n"


class ChatBody:
    """One `chat.completion` object. Silence is broken with white space, which JSON allows before it."""

    content_type: ClassVar[str] = "application/json"

    def __init__(self, *, chat_id: str, created: int, model: str, choices: int) -> None:
        """Begin with no text. The arguments are those of `ChatStream`."""
        self._fields = {"id": chat_id, "object": "chat.completion", "created": created, "model": model}
        self._choices = [_Choice() for _ in range(choices)]
        self._usage: Usage | None = None

    def begin(self) -> bytes:
        """Give nothing yet."""
        return b""

    def encode(self, events: Iterable[Event]) -> bytes:
        """Collect, and give the whole object at the end."""
        for event in events:
            if type(event) is Delta:
                self._choices[event.index].add(event)
            elif type(event) is Finish:
                self._choices[event.index].finish_reason = event.finish_reason
            elif type(event) is Usage:
                self._usage = event
            elif type(event) is End:
                choices = [choice.body(index) for index, choice in enumerate(self._choices)]
                usage = None if self._usage is None else _usage(self._usage)
                return _json({**self._fields, "choices": choices, "usage": usage, "system_fingerprint": None})
        return b""

    def heartbeat(self) -> bytes:
        """Give a space."""
        return b" "

    def fail(self, error: APIError) -> None:
        """Have the connection broken: a 200 with an error in it would pass for an answer."""


class _Function(msgspec.Struct):
    name: str | None = None
    arguments: str | None = None


class _ToolPiece(msgspec.Struct):
    index: int = 0
    id: str | None = None
    function: _Function = msgspec.field(default_factory=_Function)


class _DeltaFields(msgspec.Struct):
    content: str | None = None
    refusal: str | None = None
    tool_calls: list[_ToolPiece] = []  # msgspec makes a new list for each


_delta = msgspec.json.Decoder(_DeltaFields)
_logprobs = msgspec.json.Decoder(dict[str, list[msgspec.Raw] | None] | None)


class _Choice:
    """One choice, put together from its deltas."""

    def __init__(self) -> None:
        self.finish_reason: str | None = None
        self._content: list[str] = []
        self._refusal: list[str] = []
        self._tools: dict[int, dict[str, Any]] = {}
        self._logprobs: list[msgspec.Raw] | None = None

    def add(self, event: Delta) -> None:
        try:
            fields = _delta.decode(event.delta)
            logprobs = _logprobs.decode(event.logprobs)
        except msgspec.DecodeError:
            raise UpstreamFailed("The model sent a record that makes no sense.") from None
        if fields.content is not None:
            self._content.append(fields.content)
        if fields.refusal is not None:
            self._refusal.append(fields.refusal)
        for call in fields.tool_calls:
            self._add_tool(call)
        if logprobs is not None:
            self._logprobs = self._logprobs or []
            self._logprobs.extend(logprobs.get("content") or [])

    def _add_tool(self, piece: _ToolPiece) -> None:
        call = self._tools.setdefault(piece.index, {"id": "", "name": "", "arguments": []})
        call["id"] = piece.id or call["id"]
        call["name"] = piece.function.name or call["name"]
        call["arguments"].append(piece.function.arguments or "")

    def body(self, index: int) -> dict[str, Any]:
        message: dict[str, Any] = {
            "role": "assistant",
            "content": None if self._tools and not any(self._content) else "".join(self._content),
            "refusal": "".join(self._refusal) or None,
        }
        if self._tools:
            message["tool_calls"] = [
                {
                    "id": call["id"],
                    "type": "function",
                    "function": {"name": call["name"], "arguments": "".join(call["arguments"])},
                }
                for _, call in sorted(self._tools.items())
            ]
        logprobs = None if self._logprobs is None else {"content": self._logprobs, "refusal": None}
        return {"index": index, "message": message, "logprobs": logprobs, "finish_reason": self.finish_reason}


def _usage(event: Usage) -> dict[str, int]:
    total = event.prompt_tokens + event.completion_tokens
    return {"prompt_tokens": event.prompt_tokens, "completion_tokens": event.completion_tokens, "total_tokens": total}

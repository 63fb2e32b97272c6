"""Anthropic's messages: server-sent events with names, or one `message` object.

A message is a list of content blocks, of which a stream has one open at a time. So `_Blocks` turns
deltas into a sequence of blocks that begin, grow and end, and both forms are written from that. A
stream begins with the first delta and not with `Start`, whose count it carries, so that a failure
before the first token still has its own status. Its heartbeat is a `ping`, which clients accept at
any place. Deltas are padded as those of chats are.
"""

from base64 import urlsafe_b64encode
from collections.abc import Iterable, Iterator
from hashlib import sha256
from typing import Any, ClassVar, Literal, NamedTuple

import msgspec

from lambda_fn.encode.base import PADDING_BLOCK, Head, SizeLimit, ToolPiece, read_delta
from lambda_fn.errors import APIError, anthropic_body
from lambda_fn.events import Delta, End, Event, Finish, Start, Usage

_json = msgspec.json.encode
_PING = b'event: ping\ndata: {"type":"ping"}\n\n'
_STOP_REASONS = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "content_filter": "refusal",
}
_DELTAS = {
    "text": ("text_delta", "text"),
    "thinking": ("thinking_delta", "thinking"),
    "tool_use": ("input_json_delta", "partial_json"),
}


_Text = Literal["text", "thinking"]


class _Begin(NamedTuple):
    """A block begins. `block` is its beginning as Anthropic writes it."""

    block: dict[str, Any]


class _Grow(NamedTuple):
    """The open block grows by a text, which is JSON in a `tool_use` block."""

    kind: Literal["text", "thinking", "tool_use"]
    text: str


class _Finished(NamedTuple):
    """The open block ends."""

    kind: str


_Step = _Begin | _Grow | _Finished


class _Blocks:
    """The blocks of one message.

    A block that has ended cannot grow. So what comes while the arguments of a call are incomplete,
    and does not belong to that call, is held back to the end: some servers interleave the pieces of
    several calls.
    """

    def __init__(self, head: Head) -> None:
        self._thinking = head.thinking is True
        self._seed = head.response_id
        self._open = ""
        self._call = -1
        self._arguments: list[str] = []
        self._ended: set[int] = set()
        self._held: dict[int | _Text, list[ToolPiece | str]] = {}
        """The pieces that are held back, by the index of a call or the kind of a text."""
        self.refused = False

    def add(self, event: Delta) -> Iterator[_Step]:
        """Yield the steps of a delta. Raises as `read_delta`."""
        fields = read_delta(event)
        if fields.reasoning_content and self._thinking:
            yield from self._text("thinking", fields.reasoning_content)
        if fields.content:
            yield from self._text("text", fields.content)
        if fields.refusal:
            self.refused = True
            yield from self._text("text", fields.refusal)
        for piece in fields.tool_calls or ():
            yield from self._piece(piece)

    def end(self) -> Iterator[_Step]:
        """Yield the steps that end the message."""
        yield from self._close()
        held, self._held = self._held, {}
        for key, parts in held.items():
            for part in parts:
                if isinstance(part, ToolPiece):
                    yield from self._write(part)
                elif not isinstance(key, int):
                    yield from self._grow(key, part)
            yield from self._close()

    @property
    def signature(self) -> str:
        """The signature of thoughts. It proves nothing, but clients drop thoughts without one."""
        return urlsafe_b64encode(sha256(self._seed.encode()).digest()).decode()

    def _text(self, kind: _Text, text: str) -> Iterator[_Step]:
        if self._must_wait():
            self._held.setdefault(kind, []).append(text)
        else:
            yield from self._grow(kind, text)

    def _piece(self, piece: ToolPiece) -> Iterator[_Step]:
        ours = self._open == "tool_use" and piece.index == self._call
        if ours or (piece.index not in self._ended and not self._must_wait()):
            yield from self._write(piece)
        elif piece.index not in self._ended:
            self._held.setdefault(piece.index, []).append(piece)

    def _must_wait(self) -> bool:
        """Return whether the open block is a call whose arguments are incomplete."""
        if self._held:
            return True
        if self._open != "tool_use":
            return False
        try:
            msgspec.json.decode("".join(self._arguments), type=msgspec.Raw)
        except (msgspec.DecodeError, RecursionError):
            return True
        return False

    def _grow(self, kind: _Text, text: str) -> Iterator[_Step]:
        if self._open != kind:
            yield from self._close()
            self._open = kind
            empty = {"type": kind, kind: ""}
            yield _Begin(empty | {"signature": ""} if kind == "thinking" else empty)
        yield _Grow(kind, text)

    def _write(self, piece: ToolPiece) -> Iterator[_Step]:
        if self._open != "tool_use" or piece.index != self._call:
            yield from self._close()
            self._open, self._call, self._arguments = "tool_use", piece.index, []
            yield _Begin(
                {
                    "type": "tool_use",
                    "id": piece.id or f"toolu_{self._seed}_{piece.index}",
                    "name": piece.function.name or "",
                    "input": {},
                }
            )
        if piece.function.arguments:
            self._arguments.append(piece.function.arguments)
            yield _Grow("tool_use", piece.function.arguments)

    def _close(self) -> Iterator[_Step]:
        if self._open:
            kind, self._open = self._open, ""
            if kind == "tool_use":
                self._ended.add(self._call)
            yield _Finished(kind)


class _Counts:
    """The token counts and the end of one message."""

    def __init__(self, head: Head) -> None:
        self._stops = head.stops or ()
        self._prompt = 0
        self._cached = 0
        self._completion = 0
        self._reasoning = 0
        self._reason = "stop"
        self._sequence: str | None = None

    def add(self, event: Event) -> None:
        if type(event) is Delta:
            self._completion += event.tokens
        elif type(event) is Start:
            self._prompt = event.prompt_tokens
        elif type(event) is Finish:
            self._reason = event.finish_reason
            if event.stop_sequence in self._stops:
                self._sequence = event.stop_sequence
        elif type(event) is Usage:
            self._prompt, self._cached = event.prompt_tokens, event.cached_tokens
            self._completion, self._reasoning = event.completion_tokens, event.reasoning_tokens

    def stop(self, blocks: _Blocks) -> dict[str, Any]:
        """Return the stop reason, and the stop sequence if there is one."""
        reason = _STOP_REASONS.get(self._reason, "end_turn")
        if blocks.refused:
            reason = "refusal"
        elif self._sequence is not None and reason == "end_turn":
            return {"stop_reason": "stop_sequence", "stop_sequence": self._sequence}
        return {"stop_reason": reason, "stop_sequence": None}

    def usage(self, *, ended: bool) -> dict[str, Any]:
        """Return the usage. The tokens of the prompt are those of three members together."""
        usage: dict[str, Any] = {
            "input_tokens": self._prompt - self._cached,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": self._cached,
            "output_tokens": self._completion if ended else 0,
        }
        if ended and self._reasoning:
            usage["output_tokens_details"] = {"thinking_tokens": self._reasoning}
        return usage


def _message(head: Head, content: list[Any], stop: dict[str, Any], usage: Any) -> dict[str, Any]:
    return {
        "id": f"msg_{head.response_id}",
        "type": "message",
        "role": "assistant",
        "model": head.model,
        "content": content,
        **stop,
        "usage": usage,
    }


class MessageStream:
    """A streamed message."""

    content_type: ClassVar[str] = "text/event-stream; charset=utf-8"

    def __init__(self, head: Head) -> None:
        """Begin with no block."""
        self._head = head
        self._blocks = _Blocks(head)
        self._counts = _Counts(head)
        self._begun = False
        self._index = -1
        self._padding = urlsafe_b64encode(sha256(head.response_id.encode()).digest())

    def begin(self) -> bytes:
        """Return nothing yet: the first event has the tokens of the prompt."""
        return b""

    def encode(self, events: Iterable[Event]) -> bytes:
        """Return the events of blocks, from the first delta on, and the end of the message."""
        out: list[bytes] = []
        for event in events:
            if type(event) is Delta:
                self._begin(out)
                self._counts.add(event)
                self._write(self._blocks.add(event), out)
            elif type(event) is End:
                self._begin(out)
                self._write(self._blocks.end(), out)
                delta = self._counts.stop(self._blocks)
                usage = self._counts.usage(ended=True)
                out += (
                    _event("message_delta", {"delta": delta, "usage": usage}),
                    _event("message_stop", {}),
                )
            else:
                self._counts.add(event)
        return b"".join(out)

    def _begin(self, out: list[bytes]) -> None:
        if self._begun:
            return
        self._begun = True
        usage = self._counts.usage(ended=False)
        message = _message(self._head, [], {"stop_reason": None, "stop_sequence": None}, usage)
        out.append(_event("message_start", {"message": message}))

    def _write(self, steps: Iterator[_Step], out: list[bytes]) -> None:
        for step in steps:
            if isinstance(step, _Begin):
                self._index += 1
                fields = {"index": self._index, "content_block": step.block}
                out.append(_event("content_block_start", fields))
            elif isinstance(step, _Grow):
                out.append(self._delta(*_DELTAS[step.kind], step.text))
            else:
                if step.kind == "thinking":
                    signed = ("signature_delta", "signature", self._blocks.signature)
                    out.append(self._delta(*signed))
                out.append(_event("content_block_stop", {"index": self._index}))

    def _delta(self, kind: str, member: str, text: str) -> bytes:
        data = _json(text)
        padding = self._padding[: -len(data) % PADDING_BLOCK]
        delta = b'{"type":"%b","%b":%b}' % (kind.encode(), member.encode(), data)
        return (
            b"event: content_block_delta\n"
            b'data: {"type":"content_block_delta","index":%d,"delta":%b,"obfuscation":"%b"}\n\n'
        ) % (self._index, delta, padding)

    def heartbeat(self) -> bytes:
        """Return a ping."""
        return _PING

    def fail(self, error: APIError) -> bytes:
        """Return an error event. No `message_stop` follows."""
        return b"event: error\ndata: " + anthropic_body(error, self._head.response_id) + b"\n\n"


def _event(name: str, fields: dict[str, Any]) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (name.encode(), _json({"type": name, **fields}))


class MessageBody:
    """A message that is not streamed."""

    content_type: ClassVar[str] = "application/json"

    def __init__(self, head: Head) -> None:
        """Begin with no block."""
        self._head = head
        self._blocks = _Blocks(head)
        self._counts = _Counts(head)
        self._size_limit = SizeLimit(head.max_bytes)
        self._content: list[dict[str, Any]] = []
        self._texts: list[str] = []

    def begin(self) -> bytes:
        """Return nothing yet."""
        return b""

    def encode(self, events: Iterable[Event]) -> bytes:
        """Collect the events, and return the object at the end. Raises ResponseTooLarge."""
        for event in events:
            self._counts.add(event)
            if type(event) is Delta:
                self._size_limit.add(event)
                self._collect(self._blocks.add(event))
            elif type(event) is End:
                self._collect(self._blocks.end())
                stop = self._counts.stop(self._blocks)
                usage = self._counts.usage(ended=True)
                return _json(_message(self._head, self._content, stop, usage))
        return b""

    def _collect(self, steps: Iterator[_Step]) -> None:
        for step in steps:
            if isinstance(step, _Begin):
                self._content.append(step.block)
                self._texts = []
            elif isinstance(step, _Grow):
                self._texts.append(step.text)
            else:
                block, text = self._content[-1], "".join(self._texts)
                if block["type"] == "tool_use":
                    block["input"] = msgspec.Raw(_object(text))
                else:
                    block[block["type"]] = text
                if block["type"] == "thinking":
                    block["signature"] = self._blocks.signature

    def heartbeat(self) -> bytes:
        """Return a space."""
        return b" "

    def fail(self, error: APIError) -> None:
        """Return None: clients take a JSON value with the status 200 for a success."""


def _object(text: str) -> bytes:
    """Return the arguments of a call as the text of one JSON object.

    A truncated call keeps the members that are complete: the stop reason tells that it was
    truncated. Arguments that are not an object become the member `raw_arguments`.
    """
    for found in (text or "{}", _complete_part(text)):
        try:
            msgspec.json.decode(found, type=dict[str, msgspec.Raw])
        except (msgspec.DecodeError, RecursionError):
            continue
        return found.encode()
    return _json({"raw_arguments": text})


def _complete_part(text: str) -> str:
    """Return a truncated object without its last member, and closed. The text is read once."""
    closers: list[str] = []
    kept = place = 0
    while place < len(text):
        character = text[place]
        if character == '"':
            place += 1
            while place < len(text) and text[place] != '"':
                place += 2 if text[place] == "\\" else 1
        elif character in "{[":
            closers.append("}" if character == "{" else "]")
            kept = place + 1
        elif character in "}]" and closers:
            closers.pop()
            kept = place + 1
        elif character == ",":
            kept = place
        place += 1
    return text[:kept] + "".join(reversed(closers))

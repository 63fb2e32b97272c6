"""Anthropic's messages: server-sent events with names, or one `message` object.

A message is a list of content blocks, of which a stream has one open at a time. Both forms are
written from the steps of `Blocks`. A stream begins with the first delta and not with `Start`, whose
count it carries, so that a failure before the first token still has its own status. Its heartbeat
is a `ping`, which clients accept at any place. Deltas are padded as those of chats are.
"""

from base64 import urlsafe_b64encode
from collections.abc import Iterable, Iterator
from hashlib import sha256
from typing import Any, ClassVar

import msgspec

from lambda_fn.encode.base import PADDING_BLOCK, Head, SizeLimit
from lambda_fn.encode.blocks import Begin, Blocks, Cite, Grow, Step
from lambda_fn.errors import APIError, anthropic_body
from lambda_fn.events import Delta, End, Event, Finish, Start, Usage

_json = msgspec.json.encode
_FILL = PADDING_BLOCK - 1  # `-size & _FILL` is `-size % PADDING_BLOCK`
_PING = b'event: ping\ndata: {"type":"ping"}\n\n'
_STOP_REASONS = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "content_filter": "refusal",
}
_DELTAS = {
    "text": b'{"type":"text_delta","text":',
    "thinking": b'{"type":"thinking_delta","thinking":',
    "tool_use": b'{"type":"input_json_delta","partial_json":',
}
_SIGNATURE = b'{"type":"signature_delta","signature":'


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

    def stop(self, blocks: Blocks) -> dict[str, Any]:
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


def _blocks(head: Head) -> Blocks:
    return Blocks(thinking=head.thinking is True, refusal="text")


def _beginning(begun: Begin, head: Head) -> dict[str, Any]:
    """Return the beginning of a block as Anthropic writes it."""
    if begun.call is None:
        empty = {"type": begun.kind, begun.kind: ""}
        return empty | {"signature": ""} if begun.kind == "thinking" else empty
    return {
        "type": "tool_use",
        "id": begun.call.id or f"toolu_{head.response_id}_{begun.call.index}",
        "name": begun.call.function.name or "",
        "input": {},
    }


def _signature(head: Head) -> str:
    """Return the signature of thoughts. It proves nothing, but clients drop thoughts without
    one.
    """
    return urlsafe_b64encode(sha256(head.response_id.encode()).digest()).decode()


class MessageStream:
    """A streamed message."""

    content_type: ClassVar[str] = "text/event-stream; charset=utf-8"

    def __init__(self, head: Head) -> None:
        """Begin with no block."""
        self._head = head
        self._blocks = _blocks(head)
        self._counts = _Counts(head)
        self._begun = False
        self._index = -1
        self._opening = b""
        """The beginning of a delta of the open block."""
        padding = urlsafe_b64encode(sha256(head.response_id.encode()).digest())
        self._tails = [
            b'},"obfuscation":"%b"}\n\n' % padding[:size] for size in range(PADDING_BLOCK)
        ]
        """The endings of deltas by the length of their padding."""

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
                text = self._blocks.grown(event)
                if text is None:
                    self._write(self._blocks.add(event), out)
                else:
                    data = _json(text)
                    out += (self._opening, data, self._tails[-len(data) & _FILL])
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

    def _write(self, steps: Iterator[Step], out: list[bytes]) -> None:
        for step in steps:
            if isinstance(step, Begin):
                self._index += 1
                fields = {"index": self._index, "content_block": _beginning(step, self._head)}
                out.append(_event("content_block_start", fields))
                self._opening = self._delta(_DELTAS[step.kind])
            elif isinstance(step, Grow):
                data = _json(step.text)
                out += (self._opening, data, self._tails[-len(data) & _FILL])
            elif isinstance(step, Cite):
                delta = {"type": "citations_delta", "citation": _citation(step)}
                fields = {"index": self._index, "delta": delta}
                out.append(_event("content_block_delta", fields))
            else:
                if step.kind == "thinking":
                    data = _json(_signature(self._head))
                    out += (self._delta(_SIGNATURE), data, self._tails[-len(data) & _FILL])
                out.append(_event("content_block_stop", {"index": self._index}))

    def _delta(self, beginning: bytes) -> bytes:
        """Return the opening of an event with a delta that begins so, up to the delta's text."""
        return (
            b'event: content_block_delta\ndata: {"type":"content_block_delta","index":%d,"delta":%b'
        ) % (self._index, beginning)

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
        self._blocks = _blocks(head)
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

    def _collect(self, steps: Iterator[Step]) -> None:
        for step in steps:
            if isinstance(step, Begin):
                self._content.append(_beginning(step, self._head))
                self._texts = []
            elif isinstance(step, Grow):
                self._texts.append(step.text)
            elif isinstance(step, Cite):
                self._content[-1].setdefault("citations", []).append(_citation(step))
            else:
                block, text = self._content[-1], "".join(self._texts)
                if block["type"] == "tool_use":
                    block["input"] = msgspec.Raw(_object(text))
                else:
                    block[block["type"]] = text
                if block["type"] == "thinking":
                    block["signature"] = _signature(self._head)

    def heartbeat(self) -> bytes:
        """Return a space."""
        return b" "

    def fail(self, error: APIError) -> None:
        """Return None: clients take a JSON value with the status 200 for a success."""


def _citation(step: Cite) -> dict[str, Any]:
    """Return the citation of a search result, whose text is not known here."""
    return {
        "type": "search_result_location",
        "cited_text": "",
        "source": step.source.url,
        "title": step.source.title or None,
        "search_result_index": step.source.source,
        "start_block_index": 0,
        "end_block_index": 0,
    }


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

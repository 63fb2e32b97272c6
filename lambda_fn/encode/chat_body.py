"""One `chat.completion` object."""

from collections.abc import Iterable
from typing import Any, ClassVar

import msgspec

from lambda_fn.encode.base import (
    Head,
    SizeLimit,
    ToolPiece,
    ended_fields,
    moderation_of,
    raw_logprobs,
    read_delta,
    usage_of,
)
from lambda_fn.errors import APIError
from lambda_fn.events import Delta, End, Ended, Event, Finish, Usage


class ChatBody:
    """A chat completion that is not streamed.

    The heartbeat is a space, because JSON allows white space before the object.
    """

    content_type: ClassVar[str] = "application/json"

    def __init__(self, head: Head) -> None:
        """Begin with no text."""
        self._head = head
        self._choices = [_Choice() for _ in range(head.choices)]
        self._usage: Usage | None = None
        self._ended: Ended | None = None
        self._size_limit = SizeLimit(head.max_bytes)

    def begin(self) -> bytes:
        """Return nothing yet."""
        return b""

    def encode(self, events: Iterable[Event]) -> bytes:
        """Collect the events, and return the object at the end. Raises ResponseTooLarge."""
        for event in events:
            if type(event) is Delta:
                self._size_limit.add(event)
                self._choices[event.index].add(event)
            elif type(event) is Finish:
                self._choices[event.index].finish_reason = event.finish_reason
                self._ended = self._ended or event.ended
            elif type(event) is Usage:
                self._usage = event
            elif type(event) is End:
                return msgspec.json.encode(self._body(moderation_of(event)))
        return b""

    def _body(self, moderation: msgspec.Raw | None) -> dict[str, Any]:
        head = self._head
        body: dict[str, Any] = {
            "id": f"chatcmpl-{head.response_id}",
            "object": "chat.completion",
            "created": head.created,
            "model": head.model,
            "choices": [choice.body(index) for index, choice in enumerate(self._choices)],
            "system_fingerprint": head.fingerprint,
        }
        if self._usage is not None:
            body["usage"] = usage_of(self._usage)
        if head.service_tier is not None:
            body["service_tier"] = head.service_tier
        if moderation is not None:
            body["moderation"] = moderation
        return body | ended_fields(self._ended)

    def heartbeat(self) -> bytes:
        """Return a space."""
        return b" "

    def fail(self, error: APIError) -> None:
        """Return None: clients take a JSON value with the status 200 for a success."""


class _Choice:
    """One choice, assembled from its deltas."""

    def __init__(self) -> None:
        self.finish_reason: str | None = None
        self._content: list[str] = []
        self._reasoning: list[str] = []
        self._refusal: list[str] = []
        self._annotations: list[dict[str, Any]] = []
        self._tools: dict[int, dict[str, Any]] = {}
        self._logprobs: bytearray | None = None

    def add(self, event: Delta) -> None:
        fields = read_delta(event)
        logprobs = raw_logprobs(event)
        for texts, text in (
            (self._content, fields.content),
            (self._reasoning, fields.reasoning_content),
            (self._refusal, fields.refusal),
        ):
            if text is not None:
                texts.append(text)
        for it in fields.annotations or ():
            cited = {"type": "url_citation", "url_citation": it.citation()}
            self._annotations.append(cited)
        for call in fields.tool_calls or ():
            self._add_tool(call)
        if logprobs is not None:
            self._logprobs = bytearray() if self._logprobs is None else self._logprobs
            self._logprobs += b"," + logprobs if self._logprobs and logprobs else logprobs

    def _add_tool(self, piece: ToolPiece) -> None:
        call = self._tools.setdefault(piece.index, {"id": "", "name": "", "arguments": []})
        call["id"] = piece.id or call["id"]
        call["name"] += piece.function.name or ""
        call["arguments"].append(piece.function.arguments or "")

    def body(self, index: int) -> dict[str, Any]:
        message: dict[str, Any] = {
            "role": "assistant",
            "content": None if self._tools and not any(self._content) else "".join(self._content),
            "refusal": "".join(self._refusal) or None,
            "annotations": self._annotations,
        }
        if reasoning := "".join(self._reasoning):
            message["reasoning"] = message["reasoning_content"] = reasoning
        if self._tools:
            message["tool_calls"] = [
                {
                    "id": call["id"],
                    "type": "function",
                    "function": {"name": call["name"], "arguments": "".join(call["arguments"])},
                }
                for _, call in sorted(self._tools.items())
            ]
        logprobs = None
        if self._logprobs is not None:
            logprobs = msgspec.Raw(b'{"content":[%b],"refusal":null}' % bytes(self._logprobs))
        return {
            "index": index,
            "message": message,
            "logprobs": logprobs,
            "finish_reason": self.finish_reason,
        }

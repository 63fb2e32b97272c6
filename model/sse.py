"""Encodes events as OpenAI's chat completions: server-sent chunks, or one whole body. Pure.

The stream has `data:` lines only, because stock clients fail on `event:`, `id:` and `retry:`. Its
chunks are the role of every choice, deltas, an empty delta with the finish reason, and the usage if
it was requested; `data: [DONE]` ends it. A heartbeat is a chunk with an empty delta. A failure is
`data: {"error":{...}}` and then the end, without `[DONE]`.
"""

from __future__ import annotations

import json
from json.encoder import encode_basestring as quoted
from typing import TYPE_CHECKING, Any

from model.errors import InvalidRequestError
from model.events import Delta, Event, Finish, Start, Usage

if TYPE_CHECKING:
    from model.errors import ModelError


# Characters of an answer in one body. With 20 alternatives, a token has about 2,000.
MAX_WHOLE = 64 * 2**20


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


class SseEncoder:
    """Encodes one streamed answer.

    `created` is in Unix seconds. It, the id and the model are the same in every chunk.
    """

    media_type = b"text/event-stream; charset=utf-8"

    def __init__(
        self, answer_id: str, created: int, model: str, *, choices: int, include_usage: bool
    ) -> None:
        head = {
            "id": answer_id,
            "object": "chat.completion.chunk",
            "created": created,
            "model": model,
        }
        self._head = "data: " + _json(head)[:-1]
        self._usage = ',"usage":null' if include_usage else ""
        self._include_usage = include_usage
        self._choices = choices

    def _chunk(self, index: int, delta: str, finish: str = "null", logprobs: str = "null") -> bytes:
        choice = (
            f'{{"index":{index},"delta":{delta},"logprobs":{logprobs},"finish_reason":{finish}}}'
        )
        return f'{self._head},"choices":[{choice}]{self._usage}}}\n\n'.encode()

    def opening(self) -> bytes:
        """Return the role chunk of every choice."""
        role = '{"role":"assistant","content":""}'
        return b"".join(self._chunk(index, role) for index in range(self._choices))

    def event(self, event: Event) -> bytes:
        """Return one chunk, or no bytes for an event that OpenAI's stream does not have."""
        if isinstance(event, Delta):
            logprobs = (
                "null"
                if event.logprobs is None
                else _json({"content": list(event.logprobs), "refusal": None})
            )
            return self._chunk(event.index, _delta(event), logprobs=logprobs)
        if isinstance(event, Finish):
            return self._chunk(event.index, "{}", f'"{event.reason}"')
        if isinstance(event, Usage) and self._include_usage:
            return f'{self._head},"choices":[],"usage":{_json(usage_of(event))}}}\n\n'.encode()
        return b""

    def heartbeat(self) -> bytes:
        """Return a chunk that adds nothing: the only heartbeat that every client accepts."""
        return self._chunk(0, "{}")

    def end(self) -> bytes:
        """Return the end of a complete answer."""
        return b"data: [DONE]\n\n"

    def error(self, error: ModelError) -> bytes:
        """Return the end of a failed answer."""
        return b"data: " + error.body() + b"\n\n"


def _delta(event: Delta) -> str:
    if not event.tool_calls and not event.reasoning:
        return f'{{"content":{quoted(event.content)}}}'
    delta: dict[str, Any] = {}
    if event.reasoning:
        delta["reasoning_content"] = event.reasoning
    if event.content:
        delta["content"] = event.content
    if event.tool_calls:
        delta["tool_calls"] = list(event.tool_calls)
    return _json(delta)


def usage_of(event: Usage) -> dict[str, Any]:
    """Return OpenAI's usage object."""
    reasoning = {"reasoning_tokens": event.reasoning_tokens}
    return {
        "prompt_tokens": event.prompt_tokens,
        "completion_tokens": event.completion_tokens,
        "total_tokens": event.prompt_tokens + event.completion_tokens,
        **({"completion_tokens_details": reasoning} if event.reasoning_tokens else {}),
    }


class WholeAnswer:
    """Collects the events of one request into one chat completion."""

    def __init__(self, answer_id: str, created: int, model: str, *, choices: int) -> None:
        self._head = {
            "id": answer_id,
            "object": "chat.completion",
            "created": created,
            "model": model,
        }
        self._choices = [_Choice() for _ in range(choices)]
        self._usage: Usage | None = None
        self._size = 0

    def add(self, event: Event) -> None:
        """Add the next event, in the order of an engine.

        Raises InvalidRequestError if the answer is larger than `MAX_WHOLE`.
        """
        if isinstance(event, Usage):
            self._usage = event
        elif isinstance(event, Finish):
            self._choices[event.index].finish = event.reason
        elif not isinstance(event, Start):
            self._size += self._choices[event.index].add(event)
            if self._size > MAX_WHOLE:
                raise InvalidRequestError(
                    f"The answer is larger than {MAX_WHOLE // 2**20} MiB; stream it, or ask "
                    "for fewer top_logprobs"
                )

    def body(self) -> bytes:
        """Return the body. Call it after the last event."""
        choices = ",".join(choice.body(index) for index, choice in enumerate(self._choices))
        usage = _json(usage_of(self._usage) if self._usage else None)
        return f'{_json(self._head)[:-1]},"choices":[{choices}],"usage":{usage}}}'.encode()


class _Choice:
    def __init__(self) -> None:
        self.finish: str | None = None
        self._content: list[str] = []
        self._reasoning: list[str] = []
        self._tools: dict[int, dict[str, Any]] = {}
        self._logprobs: list[str] | None = None  # kept as JSON, which takes a fifth of the memory

    def add(self, delta: Delta) -> int:
        """Add a delta; return about how many characters it adds to the answer."""
        self._content.append(delta.content)
        self._reasoning.append(delta.reasoning)
        for part in delta.tool_calls:
            self._add_tool(dict(part))
        size = len(delta.content) + len(delta.reasoning)
        if delta.logprobs is not None:
            if self._logprobs is None:
                self._logprobs = []
            for entry in delta.logprobs:
                self._logprobs.append(_json(entry))
                size += len(self._logprobs[-1])
        return size

    def _add_tool(self, part: dict[str, Any]) -> None:
        index = part.get("index", 0)
        call = self._tools.setdefault(
            index, {"id": None, "type": "function", "function": {"name": "", "arguments": ""}}
        )
        call["id"] = part.get("id") or call["id"]
        function = part.get("function") or {}
        call["function"]["name"] += function.get("name") or ""
        call["function"]["arguments"] += function.get("arguments") or ""

    def body(self, index: int) -> str:
        content = "".join(self._content)
        message: dict[str, Any] = {"role": "assistant", "content": content, "refusal": None}
        if reasoning := "".join(self._reasoning):
            message["reasoning_content"] = reasoning
        if self._tools:
            message["content"] = content or None
            message["tool_calls"] = [self._tools[place] for place in sorted(self._tools)]
        logprobs = (
            "null"
            if self._logprobs is None
            else f'{{"content":[{",".join(self._logprobs)}],"refusal":null}}'
        )
        head = f'"index":{index},"message":{_json(message)}'
        return f'{{{head},"logprobs":{logprobs},"finish_reason":{_json(self.finish)}}}'

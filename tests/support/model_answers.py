"""Decodes what a model's server sent, and assembles it as clients do."""

import json
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from lambda_fn import dialects
from lambda_fn.encode import ChatBody, ChatStream, Head
from lambda_fn.events import End, Event, Failure


def decode(
    dialect: str,
    data: bytes,
    cuts: list[int] | None = None,
    choices: int = 1,
    limit: int | None = None,
) -> list[Event]:
    """Decode bytes that are cut at the given positions, and close the decoder."""
    decoder = dialects.find(dialect).decoder(choices, limit)
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts or []), len(data)]
    events = [event for start, end in pairwise(edges) for event in decoder.feed(data[start:end])]
    return events + decoder.close()


def sse(*records: Any, done: bool = True) -> bytes:
    """Return records as server-sent events. A text is sent as it is."""
    data = [it if isinstance(it, str) else json.dumps(it, ensure_ascii=False) for it in records]
    return "".join(f"data: {it}\n\n" for it in [*data, *(["[DONE]"] if done else [])]).encode()


def chunk(delta: Any = None, reason: Any = None, index: int = 0, **more: Any) -> dict[str, Any]:
    """Return a chunk of one choice. `more` are further members of the chunk."""
    choice = {"index": index, "delta": {} if delta is None else delta, "finish_reason": reason}
    return {"id": "chatcmpl-1", "object": "chat.completion.chunk", "choices": [choice], **more}


@dataclass
class Answer:
    """What a client has once a response has ended. `failure` is what it ended in, if not well."""

    texts: list[str] = field(default_factory=list)
    reasoning: list[str] = field(default_factory=list)
    calls: list[list[tuple[str, str]]] = field(default_factory=list)
    ids: list[list[str]] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)
    usage: dict[str, Any] = field(default_factory=dict)
    failure: Failure | None = None

    @property
    def text(self) -> str:
        """The first choice's text."""
        return self.texts[0]

    @property
    def reason(self) -> str:
        """The first choice's finish reason."""
        return self.reasons[0]

    @property
    def counts(self) -> tuple[int, int, int, int]:
        """Tokens of the prompt, of the completion, cached and of reasoning."""
        return (
            self.usage["prompt_tokens"],
            self.usage["completion_tokens"],
            self.usage["prompt_tokens_details"]["cached_tokens"],
            self.usage["completion_tokens_details"]["reasoning_tokens"],
        )


def answer(data: bytes, dialect: str = "openai", choices: int = 1) -> Answer:
    """Return the answer that the bytes of a server become.

    It is the same streamed and whole, byte by byte and at once, and follows OpenAI's rules.
    """
    events = decode(dialect, data, choices=choices)
    assert decode(dialect, data, list(range(len(data))), choices) == events
    assert [isinstance(event, End | Failure) for event in events].count(True) == 1
    last = events[-1]
    if isinstance(last, Failure):
        return Answer(failure=last)
    streamed, whole = _streamed(events, choices), _whole(events, choices)
    assert streamed == whole
    return whole


def _whole(events: list[Event], choices: int) -> Answer:
    body = json.loads(ChatBody(Head("1", 1, "m", choices)).encode(events))
    found = Answer(usage=body["usage"])
    for choice in body["choices"]:
        message = choice["message"]
        calls = message.get("tool_calls", [])
        found.texts.append(message["content"] or "")
        found.reasoning.append(message.get("reasoning_content", ""))
        found.calls.append([(it["function"]["name"], it["function"]["arguments"]) for it in calls])
        found.ids.append([it["id"] for it in calls])
        found.reasons.append(choice["finish_reason"])
    return found


def _streamed(events: list[Event], choices: int) -> Answer:
    encoder = ChatStream(Head("1", 1, "m", choices, include_usage=True))
    found = Answer([""] * choices, [""] * choices, [[] for _ in range(choices)])
    found.ids, found.reasons = [[] for _ in range(choices)], [""] * choices
    lines = (encoder.begin() + encoder.encode(events)).decode().split("\n\n")
    assert lines[-2:] == ["data: [DONE]", ""]
    for line in lines[:-2]:
        sent = json.loads(line.removeprefix("data: "))
        found.usage = sent["usage"] or found.usage
        for choice in sent["choices"]:
            index, delta = choice["index"], choice["delta"]
            assert not found.reasons[index], "nothing follows a finish"
            found.reasons[index] = choice["finish_reason"] or ""
            reasoning = delta.pop("reasoning", "")
            assert set(delta) <= {"role", "content", "reasoning_content", "refusal", "tool_calls"}
            assert delta.get("reasoning_content", "") == reasoning
            assert delta.get("role") or None not in delta.values()
            found.texts[index] += delta.get("content", "")
            found.reasoning[index] += delta.get("reasoning_content", "")
            for piece in delta.get("tool_calls", []):
                _add(piece, found.calls[index], found.ids[index])
    return found


def _add(piece: dict[str, Any], calls: list[tuple[str, str]], ids: list[str]) -> None:
    """Add a piece of a tool call by its index, as OpenAI's clients do."""
    function = piece["function"]
    assert isinstance(function["arguments"], str)
    assert None not in [*piece.values(), *function.values()]
    if piece["index"] == len(calls):
        assert piece["type"] == "function"
        assert piece["id"]
        calls.append(("", ""))
        ids.append(piece["id"])
    name, arguments = calls[piece["index"]]
    calls[piece["index"]] = (
        name + function.get("name", ""),
        arguments + function["arguments"],
    )

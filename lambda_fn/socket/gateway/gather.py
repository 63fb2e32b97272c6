"""Joins the events of a response that wait to be posted, and shortens what is too long. Pure.

Each event is a message of its own, and each message costs a call. While one is under way, the model
goes on. The deltas that come meanwhile become one delta, with the number of the last.
"""

from typing import Any

import msgspec

MAX_MESSAGE = 120_000
"""Bytes of an event above which it is shortened. API Gateway takes 131,072."""
_ECHOES: dict[str, Any] = {
    "instructions": None,
    "tools": [],
    "metadata": {},
    "text": {"format": {"type": "text"}},
    "prompt_cache_key": None,
    "user": None,
}
"""Members of a response that repeat its request, and what stands for them."""
_JOINED = (
    "response.output_text.delta",
    "response.reasoning_text.delta",
    "response.reasoning_summary_text.delta",
    "response.function_call_arguments.delta",
    "response.refusal.delta",
)
_SAME = ("type", "item_id", "output_index", "content_index", "summary_index", "stream_id")
_encode = msgspec.json.encode
_decode = msgspec.json.decode


def is_delta(event: bytes) -> bool:
    """Return whether an event may be one of several that are joined."""
    return b'.delta"' in event[:80]


def joined(events: list[bytes]) -> list[bytes]:
    """Return events, as JSON, with the deltas that follow each other joined."""
    result: list[bytes] = []
    run: list[dict[str, Any]] = []
    for data in events:
        event = _decode(data) if is_delta(data) else None
        if event is None or event.get("type") not in _JOINED:
            result += _flushed(run)
            run = []
            result.append(data)
        elif run and not _alike(run[-1], event):
            result += _flushed(run)
            run = [event]
        else:
            run.append(event)
    return result + _flushed(run)


def _alike(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return all(one.get(name) == other.get(name) for name in _SAME)


def _flushed(run: list[dict[str, Any]]) -> list[bytes]:
    if not run:
        return []
    whole = dict(run[-1])
    whole["delta"] = "".join(event["delta"] for event in run)
    logprobs = [entry for event in run for entry in event.get("logprobs") or ()]
    if logprobs:
        whole["logprobs"] = logprobs
    if len(run) > 1:
        whole.pop("obfuscation", None)
    return [_encode(whole)]


def shortened(data: bytes) -> bytes:
    """Return an event that a message can hold: without its echoes, or without its output.

    One that is cut is marked by `"sluice": {"truncated": true}`. `GET /v1/responses/{id}` has the
    whole.
    """
    if len(data) <= MAX_MESSAGE:
        return data
    event: dict[str, Any] = _decode(data)
    response = event.get("response")
    if isinstance(response, dict):
        response |= {name: value for name, value in _ECHOES.items() if name in response}
        if len(slim := _encode(event)) <= MAX_MESSAGE:
            return slim
        response["output"] = []
    for name, empty in (("text", ""), ("arguments", ""), ("delta", ""), ("logprobs", [])):
        if name in event:
            event[name] = empty
    for name in ("item", "part"):
        if isinstance(event.get(name), dict):
            event[name] = _emptied(event[name])
    event["sluice"] = {"truncated": True}
    return _encode(event)


def _emptied(part: dict[str, Any]) -> dict[str, Any]:
    empty: dict[str, Any] = {"content": [], "summary": [], "text": "", "arguments": ""}
    empty |= {"annotations": [], "logprobs": []}
    return part | {name: value for name, value in empty.items() if name in part}

"""What an answer must be, as pure functions from what came to what is wrong with it."""

from itertools import pairwise
from typing import Any

from openai.types.chat import ChatCompletion, ChatCompletionChunk
from pydantic import BaseModel, ValidationError

from cli.commands.check.wire import Answer, Stream

LONGEST_SILENCE = 15.0
"""Seconds between two packets: proxies on the way give up after 30 to 60."""


def mistyped(kind: type[BaseModel], value: Any) -> list[str]:
    """Hold an object against OpenAI's published type, strictly."""
    try:
        kind.model_validate(value, strict=True)
    except ValidationError as error:
        return [f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors()[:3]]
    return []


def wrong_error(answer: Answer, status: int) -> list[str]:
    """Hold a refusal against its status and OpenAI's shape."""
    found = [] if answer.status == status else [f"status {answer.status} instead of {status}"]
    body = answer.json()
    error = body.get("error") if isinstance(body, dict) else None
    if not isinstance(error, dict):
        return [*found, "the body has no object 'error'"]
    missing = {"message", "type", "param", "code"} - error.keys()
    if missing:
        found.append(f"the error has no {', '.join(sorted(missing))}")
    if not isinstance(error.get("message"), str):
        found.append("the error's message is no text")
    return found


def wrong_whole(answer: Answer) -> list[str]:
    """Hold an answer in one body against its type."""
    if answer.status != 200:
        return [f"status {answer.status}: {answer.body[:200].decode(errors='replace')}"]
    body = answer.json()
    if not isinstance(body, dict):
        return ["the body is no JSON object"]
    found = mistyped(ChatCompletion, body)
    usage = body.get("usage") or {}
    if not usage:
        found.append("there is no usage")
    elif usage.get("total_tokens") != usage.get("prompt_tokens", 0) + usage.get("completion_tokens", 0):
        found.append("total_tokens is not the sum of the others")
    if not all(choice.get("finish_reason") for choice in body.get("choices", [])):
        found.append("a choice has no finish_reason")
    return found


def wrong_order(stream: Stream, choices: int = 1) -> list[str]:
    """Hold a stream's events against their order: roles, deltas, one finish reason a choice, `[DONE]`."""
    found = []
    if not stream.events or stream.events[-1][1] != "[DONE]":
        found.append("the last event is not [DONE]")
    chunks = stream.chunks
    found += [
        f"'{name}' is not the same in every chunk"
        for name in ("id", "created", "model", "object")
        if len({str(chunk.get(name)) for chunk in chunks}) > 1
    ]
    ended: set[int] = set()
    begun: set[int] = set()
    for chunk in chunks:
        for choice in chunk.get("choices", []):
            index, delta = choice.get("index"), choice.get("delta", {})
            if index in ended:
                found.append(f"choice {index} goes on after its finish_reason")
            if index not in begun and delta.get("role") != "assistant":
                found.append(f"choice {index} does not begin with its role")
            begun.add(index)
            if choice.get("finish_reason"):
                ended.add(index)
    if ended != set(range(choices)):
        found.append(f"{len(ended)} of {choices} choices have a finish_reason: clients take what is cut for whole")
    return found


def wrong_types(stream: Stream) -> list[str]:
    """Hold every chunk against its type."""
    for chunk in stream.chunks:
        if found := mistyped(ChatCompletionChunk, chunk):
            return found
    return []


def wrong_usage(stream: Stream, *, asked: bool) -> list[str]:
    """Hold the usage against what was asked for."""
    chunks = stream.chunks
    if not asked:
        return ["usage, though nobody asked"] if any(chunk.get("usage") for chunk in chunks) else []
    if not chunks or chunks[-1].get("choices") != [] or not chunks[-1].get("usage"):
        return ["the last chunk has no usage, or has choices beside it"]
    if any(chunk.get("usage", 0) is not None for chunk in chunks[:-1]):
        return ["'usage' is not null in the chunks before the last"]
    return []


def silence(answer: Answer) -> float:
    """Give the longest time between two packets, and before the first."""
    times = [0.0, *(when for when, _ in answer.pieces)]
    return max((late - early for early, late in pairwise(times)), default=0.0)


def buffered(stream: Stream) -> tuple[bool | None, str]:
    """Tell whether something on the way holds chunks back: None where the answer was too quick to tell."""
    times = [when for when, data in stream.events if data != "[DONE]" and '"content"' in data]
    if len(times) < 8:
        return None, f"only {len(times)} chunks with text came; ask for a longer answer"
    whole, spread = times[-1], times[-1] - times[0]
    arrivals = len(set(times))
    span = f"first after {times[0] * 1000:.0f} ms, last after {whole * 1000:.0f} ms"
    told = f"{len(times)} chunks in {arrivals} packets; {span}"
    if spread > 0.2 * whole or arrivals > len(times) / 3:
        return False, told
    if whole < 0.3:
        return None, f"{told}: too quick to tell"
    return True, told

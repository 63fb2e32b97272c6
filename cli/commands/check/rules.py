"""Rules for responses, as pure functions.

Each returns a list of sentences that say what is wrong. The list is empty if nothing is.
"""

from itertools import pairwise
from typing import Any

from openai.types.chat import ChatCompletion, ChatCompletionChunk
from pydantic import BaseModel, ValidationError

from cli.commands.check.wire import Response, Stream

LONGEST_SILENCE = 15.0
"""Seconds between two packets. Proxies on the way give up after 30 to 60."""


def mistyped(kind: type[BaseModel], value: Any) -> list[str]:
    """Validate an object strictly against OpenAI's published type."""
    try:
        kind.model_validate(value, strict=True)
    except ValidationError as error:
        return [
            f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors()[:3]
        ]
    return []


def wrong_error(response: Response, status: int) -> list[str]:
    """Check that an error has its status and OpenAI's shape."""
    wrong = [] if response.status == status else [f"status {response.status} instead of {status}"]
    body = response.json()
    error = body.get("error") if isinstance(body, dict) else None
    if not isinstance(error, dict):
        return [*wrong, "the body has no object 'error'"]
    missing = {"message", "type", "param", "code"} - error.keys()
    if missing:
        wrong.append(f"the error has no {', '.join(sorted(missing))}")
    if not isinstance(error.get("message"), str):
        wrong.append("the error's message is not a text")
    return wrong


def wrong_whole(response: Response) -> list[str]:
    """Check a completion in one body: its type, usage and finish reasons."""
    if response.status != 200:
        return [f"status {response.status}: {response.body[:200].decode(errors='replace')}"]
    body = response.json()
    if not isinstance(body, dict):
        return ["the body is not a JSON object"]
    wrong = mistyped(ChatCompletion, body)
    usage = body.get("usage") or {}
    if not usage:
        wrong.append("there is no usage")
    elif usage.get("total_tokens") != usage.get("prompt_tokens", 0) + usage.get(
        "completion_tokens", 0
    ):
        wrong.append("total_tokens is not the sum of the others")
    if not all(choice.get("finish_reason") for choice in body.get("choices", [])):
        wrong.append("a choice has no finish_reason")
    return wrong


def wrong_order(stream: Stream, choices: int = 1) -> list[str]:
    """Check the order of a stream's events.

    It is: roles, deltas, one finish reason for each choice, `[DONE]`.
    """
    wrong = []
    if not stream.events or stream.events[-1][1] != "[DONE]":
        wrong.append("the last event is not [DONE]")
    chunks = stream.chunks
    wrong += [
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
                wrong.append(f"choice {index} goes on after its finish_reason")
            if index not in begun and delta.get("role") != "assistant":
                wrong.append(f"choice {index} does not begin with its role")
            begun.add(index)
            if choice.get("finish_reason"):
                ended.add(index)
    if ended != set(range(choices)):
        wrong.append(
            f"{len(ended)} of {choices} choices have a finish_reason: clients take a "
            "truncated answer for complete"
        )
    return wrong


def wrong_types(stream: Stream) -> list[str]:
    """Validate every chunk against its type."""
    for chunk in stream.chunks:
        if wrong := mistyped(ChatCompletionChunk, chunk):
            return wrong
    return []


def wrong_usage(stream: Stream, *, requested: bool) -> list[str]:
    """Check that a stream has usage if it was requested, and only then."""
    chunks = stream.chunks
    if not requested:
        return (
            ["there is usage, though it was not requested"]
            if any(chunk.get("usage") for chunk in chunks)
            else []
        )
    if not chunks or chunks[-1].get("choices") != [] or not chunks[-1].get("usage"):
        return ["the last chunk has no usage, or has choices beside it"]
    if any(chunk.get("usage", 0) is not None for chunk in chunks[:-1]):
        return ["'usage' is not null in the chunks before the last"]
    return []


def silence(response: Response) -> float:
    """Return the longest time in seconds without a packet, including the time before the first."""
    times = [0.0, *(when for when, _ in response.pieces)]
    return max((late - early for early, late in pairwise(times)), default=0.0)


def buffered(stream: Stream) -> tuple[bool | None, str]:
    """Return whether a proxy on the way holds chunks back, and the measured times as text.

    None means that the response was too quick to tell.
    """
    times = [when for when, data in stream.events if data != "[DONE]" and '"content"' in data]
    if len(times) < 8:
        return None, f"only {len(times)} chunks with text came; request a longer answer"
    whole, spread = times[-1], times[-1] - times[0]
    arrivals = len(set(times))
    span = f"first after {times[0] * 1000:.0f} ms, last after {whole * 1000:.0f} ms"
    figures = f"{len(times)} chunks in {arrivals} packets; {span}"
    if spread > 0.2 * whole or arrivals > len(times) / 3:
        return False, figures
    if whole < 0.3:
        return None, f"{figures}: too quick to tell"
    return True, figures

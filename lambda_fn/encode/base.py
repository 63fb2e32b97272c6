"""What every wire form is, and what they share."""

import secrets
from collections.abc import Iterable
from functools import cache
from typing import Any, ClassVar, Protocol

import msgspec

from lambda_fn import limits
from lambda_fn.errors import APIError, ResponseTooLarge, UpstreamFailed
from lambda_fn.events import Delta, Event, Usage

PADDING_BLOCK = 32
"""Chunks of server-sent events are padded to multiples of this many bytes of their delta.

Encryption hides what a chunk says but not its length, and the lengths of tokens reveal much of a text. So each chunk
has a field `obfuscation` that pads it. A token of up to 18 bytes always makes a chunk of one size. OpenAI pads to 8
characters. To pad a chunk is to choose one of 32 endings that are made once per process.
"""

_PADDING = secrets.token_urlsafe(PADDING_BLOCK).encode()


class Head(msgspec.Struct, frozen=True):
    """What is the same in every piece of an answer.

    `response_id` is the request's id without a prefix, `created` Unix seconds, `model` the public name, `choices` how
    many were asked for; `service_tier` is named only where the request named one. `most` is how many bytes of it are
    held where it is not streamed.
    """

    response_id: str
    created: int
    model: str
    choices: int = 1
    fingerprint: str | None = None
    service_tier: str | None = None
    max_bytes: int = limits.MAX_WHOLE


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


class SizeLimit:
    """The size of an answer that is held until its end."""

    def __init__(self, most: int) -> None:
        """Begin with nothing held, of `most` bytes."""
        self._size = 0
        self._most = most

    def add(self, event: Delta) -> None:
        """Count a delta.

        Raises:
            ResponseTooLarge: the answer has more bytes than may be held.

        """
        self._size += len(event.delta) + len(event.logprobs)
        if self._size > self._most:
            raise ResponseTooLarge(
                f"The answer is over {self._most} bytes, which is the most that is held for one that is not "
                "streamed. Set 'stream' to true, or ask for fewer tokens, choices or log probabilities."
            )


class FunctionPiece(msgspec.Struct):
    """What a piece of a tool call adds to its function."""

    name: str | None = None
    arguments: str | None = None


class ToolPiece(msgspec.Struct):
    """A piece of a tool call; the first one of an index has the id and the name."""

    index: int = 0
    id: str | None = None
    function: FunctionPiece = msgspec.field(default_factory=FunctionPiece)


class DeltaFields(msgspec.Struct):
    """A delta, read."""

    content: str | None = None
    reasoning_content: str | None = None
    refusal: str | None = None
    tool_calls: list[ToolPiece] | None = None


class Logprob(msgspec.Struct):
    """One token's log probability."""

    token: str
    logprob: float
    bytes: list[int] | None = None
    top_logprobs: "list[Logprob]" = []  # msgspec makes a new list for each


_delta = msgspec.json.Decoder(DeltaFields)
_raw_logprobs = msgspec.json.Decoder(dict[str, list[msgspec.Raw] | None] | None)
_logprobs = msgspec.json.Decoder(dict[str, list[Logprob] | None] | None)


def read_delta(event: Delta) -> DeltaFields:
    """Read a delta.

    Raises:
        UpstreamFailed: it makes no sense.

    """
    try:
        return _delta.decode(event.delta)
    except msgspec.DecodeError:
        raise _senseless() from None


def raw_logprobs(event: Delta) -> bytes | None:
    """Return the entries of a delta's log probabilities as the JSON they came as, with commas between them.

    None if the delta has no log probabilities. Raises as `read_delta`.
    """
    try:
        found = _raw_logprobs.decode(event.logprobs)
    except msgspec.DecodeError:
        raise _senseless() from None
    return None if found is None else b",".join(found.get("content") or [])


def read_logprobs(event: Delta) -> list[Logprob]:
    """Give the entries of a delta's log probabilities, read. Raises as `read_delta`."""
    try:
        found = _logprobs.decode(event.logprobs)
    except msgspec.DecodeError:
        raise _senseless() from None
    return (found or {}).get("content") or []


def usage_of(event: Usage) -> dict[str, Any]:
    """Give OpenAI's usage object."""
    return {
        "prompt_tokens": event.prompt_tokens,
        "completion_tokens": event.completion_tokens,
        "total_tokens": event.prompt_tokens + event.completion_tokens,
        "prompt_tokens_details": {"cached_tokens": event.cached_tokens, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": event.reasoning_tokens,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def _senseless() -> UpstreamFailed:
    return UpstreamFailed("The model sent a record that makes no sense.")


@cache
def chunk_tails(include_usage: bool, obfuscate: bool) -> list[bytes]:
    """Return the ends of a chunk, from behind its last choice. The one to use is that of `-size % PADDING_BLOCK`."""
    usage = b',"usage":null' if include_usage else b""
    if not obfuscate:
        return [b"]" + usage + b"}\n\n"] * PADDING_BLOCK
    return [b"]" + usage + b',"obfuscation":"' + _PADDING[:size] + b'"}\n\n' for size in range(PADDING_BLOCK)]


@cache
def delta_tails(include_usage: bool, obfuscate: bool) -> list[bytes]:
    """Return the same from behind the delta of a choice that has no finish and no log probabilities."""
    ends = chunk_tails(include_usage, obfuscate)
    return [b',"logprobs":null,"finish_reason":null}' + end for end in ends]

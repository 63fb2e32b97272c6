"""What every wire form is, and what they share."""

from collections.abc import Iterable
from typing import Any, ClassVar, Literal, Protocol

import msgspec

from lambda_fn import limits
from lambda_fn.errors import AnswerTooLarge, APIError, UpstreamFailed
from lambda_fn.events import Delta, Event, Usage

Form = Literal["chat_stream", "chat_body", "completion_stream", "completion_body", "plain_text"]


class Head(msgspec.Struct, frozen=True):
    """What an encoder needs beside the events. The same head and events give the same bytes, in any process.

    `answer_id` is the request's id without a prefix, `created` Unix seconds, `model` the public name, `choices` how
    many were asked for; `service_tier` is named only where the request named one. `most` is how many bytes of it are
    held where it is not streamed. `form` names the encoder, and the rest are its options: whether a stream
    ends with a usage chunk, whether its chunks are padded, and the prompt that a completion repeats.
    """

    answer_id: str
    created: int
    model: str
    choices: int = 1
    fingerprint: str | None = None
    service_tier: str | None = None
    most: int = limits.MAX_WHOLE
    form: Form = "chat_stream"
    include_usage: bool = False
    obfuscate: bool = True
    echo: str = ""


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


class Whole:
    """The size of an answer that is held until its end."""

    def __init__(self, most: int) -> None:
        """Begin with nothing held, of `most` bytes."""
        self._size = 0
        self._most = most

    def add(self, event: Delta) -> None:
        """Count a delta.

        Raises:
            AnswerTooLarge: the answer has more bytes than may be held.

        """
        self._size += len(event.delta) + len(event.logprobs)
        if self._size > self._most:
            raise AnswerTooLarge(
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

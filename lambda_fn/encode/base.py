"""The protocol of an encoder, and the code that the wire formats share."""

from base64 import urlsafe_b64encode
from collections.abc import Sequence
from hashlib import sha256
from typing import Any, ClassVar, Literal, Protocol

import msgspec

from lambda_fn import limits
from lambda_fn.errors import APIError, ResponseTooLarge, UpstreamFailed
from lambda_fn.events import NULL, Delta, End, Ended, Event, Usage

PADDING_BLOCK = 32
"""The delta of a server-sent chunk and its padding together have a multiple of this many bytes.

Encryption hides what a chunk says but not its length, and the lengths of tokens reveal much of a
text. So each chunk has a field `obfuscation` that pads it. All tokens of up to 18 bytes make chunks
of one size. OpenAI pads to 8 characters. Each response prepares 32 endings, and each chunk gets the
one that pads it. The padding comes from the response's id, so that a stream that is resumed in
another process has the same bytes.
"""

VERSION = 1
"""The version of the encoders, and of the stored form of head and events. A change of the bytes of
either needs a new one.
"""

Form = Literal[
    "chat_stream",
    "chat_body",
    "completion_stream",
    "completion_body",
    "plain_text",
    "messages_stream",
    "messages_body",
    "responses_stream",
    "responses_body",
    "compaction_body",
]


class Head(msgspec.Struct, frozen=True):
    """The data that an encoder needs beside the events.

    The same head and events make the same bytes in every process.

    `response_id` is the request's id without a prefix, `created` is in Unix seconds, `model` is the
    public name, and `choices` is the number of requested choices. `service_tier` is None unless the
    request named one. `max_bytes` is the maximum size of a response that is not streamed. `form`
    names the encoder, and the rest are its options: whether a stream ends with a usage chunk,
    whether its chunks are padded, and the prompt that a completion repeats. Two options are of
    messages only: their stop sequences, and whether thoughts are shown. Three are of responses
    only: `echoes`, the members of the request that a response repeats, as the text of one JSON
    object, which may be large; `summary`, whether reasoning stands in the place of its summary; and
    `queued`, whether the stream says that the response is queued, and then that it runs. Of a
    compaction, `echoes` is the list of the items that it repeats.
    `version` is the version of the encoders when the response began. `numbered` is set if the
    response is logged and its form can be resumed (`encode.numbered`).
    """

    response_id: str
    created: int
    model: str
    choices: int = 1
    fingerprint: str | None = None
    service_tier: str | None = None
    max_bytes: int = limits.MAX_WHOLE
    form: Form = "chat_stream"
    include_usage: bool = False
    obfuscate: bool = True
    echo: str = ""
    version: int = VERSION
    stops: tuple[str, ...] | msgspec.UnsetType = msgspec.UNSET
    thinking: bool | msgspec.UnsetType = msgspec.UNSET
    echoes: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    summary: bool | msgspec.UnsetType = msgspec.UNSET
    numbered: bool | msgspec.UnsetType = msgspec.UNSET
    queued: bool | msgspec.UnsetType = msgspec.UNSET


class Encoder(Protocol):
    """The wire format of one response.

    Every method returns the bytes to send now, which may be none.

    An encoder trusts the decoder: indexes are those of requested choices, and deltas are objects.
    """

    content_type: ClassVar[str]

    def begin(self) -> bytes:
        """Return the beginning of the body. The status is 200."""
        ...

    def encode(self, events: Sequence[Event]) -> bytes:
        """Return the bytes for these events."""
        ...

    def heartbeat(self) -> bytes:
        """Return bytes that break a silence and that every client ignores."""
        ...

    def fail(self, error: APIError) -> bytes | None:
        """Return the end of a response that failed.

        None means that the format is one JSON value and cannot express an error. Then `unfinished`
        is sent, and the connection must be broken.
        """
        ...


def unfinished(error: APIError) -> bytes:
    """Return the end of a response of one JSON value that failed after it had begun.

    It is the error without its last brace. So what the client has is never a JSON value, even if
    the connection ends as if the response were whole.
    """
    return error.body().removesuffix(b"}")


class SizeLimit:
    """Limits the size of a response that is buffered until its end."""

    def __init__(self, max_bytes: int) -> None:
        """Begin with a size of 0."""
        self._size = 0
        self._max_bytes = max_bytes

    def add(self, event: Delta) -> None:
        """Add the size of a delta.

        Raises:
            ResponseTooLarge: the response is over the limit.

        """
        self._size += len(event.delta) + len(event.logprobs)
        if self._size > self._max_bytes:
            raise ResponseTooLarge(
                f"The response is over {self._max_bytes} bytes, the limit of a response that "
                "is not streamed. "
                "Set 'stream' to true, or request fewer tokens, choices or log probabilities."
            )


class FunctionPiece(msgspec.Struct):
    """The part of a function that a piece of a tool call contains."""

    name: str | None = None
    arguments: str | None = None


class ToolPiece(msgspec.Struct):
    """A piece of a tool call. The first piece of an index has the id and the name."""

    index: int = 0
    id: str | None = None
    function: FunctionPiece = msgspec.field(default_factory=FunctionPiece)


class Annotation(msgspec.Struct, frozen=True):
    """A source that the content cites.

    `start` and `end` are the characters of the marker in the content of the choice, and `source` is
    the place of the source in the request.
    """

    start: int
    end: int
    source: int
    url: str
    title: str

    def citation(self) -> dict[str, Any]:
        """Return OpenAI's `url_citation`."""
        return {
            "start_index": self.start,
            "end_index": self.end,
            "title": self.title,
            "url": self.url,
        }


class DeltaFields(msgspec.Struct):
    """The members of a delta. `annotations` is a member of our own, and has a delta for itself."""

    content: str | None = None
    reasoning_content: str | None = None
    refusal: str | None = None
    tool_calls: list[ToolPiece] | None = None
    annotations: list[Annotation] | None = None


ANNOTATIONS = b'{"annotations":'
"""The beginning of a delta with annotations."""


class TopLogprob(msgspec.Struct):
    """The log probability of one candidate."""

    token: str
    logprob: float
    bytes: list[int] | None = None


class Logprob(TopLogprob):
    """The log probability of one token, and those of the candidates in its place."""

    top_logprobs: list[TopLogprob] = []  # msgspec makes a new list for each


_delta = msgspec.json.Decoder(DeltaFields)
_raw_logprobs = msgspec.json.Decoder(dict[str, list[msgspec.Raw] | None] | None)
_entry = msgspec.json.Decoder(Logprob)
_logprobs = msgspec.json.Decoder(dict[str, list[Logprob] | None] | None)


def read_delta(event: Delta) -> DeltaFields:
    """Return the members of a delta.

    Raises:
        UpstreamFailed: the delta is malformed.

    """
    try:
        return _delta.decode(event.delta)
    except msgspec.DecodeError:
        raise _malformed() from None


_REASONING = b'"reasoning_content":'
_members = msgspec.json.Decoder(dict[str, msgspec.Raw])


def named(delta: msgspec.Raw) -> bytes | msgspec.Raw:
    """Return a delta as clients get it: its reasoning, if it has any, under both names.

    `reasoning` is the documented one, and `reasoning_content` what older clients read.
    """
    data = bytes(delta)
    if _REASONING not in data:  # in a text, the quotation marks would be escaped
        return delta
    try:
        fields = _members.decode(data)
    except msgspec.DecodeError:
        raise _malformed() from None
    if "reasoning_content" in fields:
        fields = {"reasoning": fields["reasoning_content"], **fields}
    return msgspec.json.encode(fields)


def raw_logprobs(event: Delta) -> bytes | None:
    """Return the entries of a delta's log probabilities as JSON, joined with commas.

    They are unchanged, but for members that OpenAI requires and some servers leave out. Returns
    None if the delta has no log probabilities. Raises as `read_delta`.
    """
    try:
        logprobs = _raw_logprobs.decode(event.logprobs)
        if logprobs is None:
            return None
        return b",".join(
            raw if b'"bytes":' in (raw := bytes(entry)) else msgspec.json.encode(_entry.decode(raw))
            for entry in logprobs.get("content") or []
        )
    except msgspec.DecodeError:
        raise _malformed() from None


def read_logprobs(event: Delta) -> list[Logprob]:
    """Return the entries of a delta's log probabilities. Raises as `read_delta`."""
    try:
        logprobs = _logprobs.decode(event.logprobs)
    except msgspec.DecodeError:
        raise _malformed() from None
    return (logprobs or {}).get("content") or []


def usage_of(event: Usage) -> dict[str, Any]:
    """Return OpenAI's usage object."""
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


def ended_fields(ended: Ended | None) -> dict[str, Any]:
    """Return the member `sluice` of a response that this service has ended, or nothing."""
    return {} if ended is None else {"sluice": {"ended": ended}}


def _malformed() -> UpstreamFailed:
    return UpstreamFailed("The model sent a malformed record.")


def chunk_tails(head: Head) -> list[bytes]:
    """Return the possible endings of a chunk, from the end of its last choice on.

    A chunk whose padded part has `size` bytes gets the one at `-size % PADDING_BLOCK`.
    """
    usage = b',"usage":null' if head.include_usage else b""
    if not head.obfuscate:
        return [b"]" + usage + b"}\n\n"] * PADDING_BLOCK
    unpadded = b"]" + usage + b',"obfuscation":"'
    padded = unpadded + urlsafe_b64encode(sha256(head.response_id.encode()).digest())
    return [padded[: len(unpadded) + size] + b'"}\n\n' for size in range(PADDING_BLOCK)]


def delta_tails(tails: list[bytes]) -> list[bytes]:
    """Return the endings from the end of a delta on, for a choice that is not finished."""
    return [b',"logprobs":null,"finish_reason":null}' + tail for tail in tails]


def moderation_of(end: End) -> msgspec.Raw | None:
    """Return what a chat tells of its moderation, None if the request did not ask for it.

    A chat has lists of results where a response has one result.
    """
    if end.moderation is NULL:
        return None
    found: dict[str, dict[str, Any]] = msgspec.json.decode(end.moderation)
    return msgspec.Raw(
        msgspec.json.encode(
            {
                side: result
                if result["type"] == "error"
                else {"type": "moderation_results", "model": result["model"], "results": [result]}
                for side, result in found.items()
            }
        )
    )

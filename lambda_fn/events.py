"""Events: the types that decoders return and encoders take, one for each kind of record.

A response is a `Start`, then `Delta`s with one `Finish` for each choice among them, then a `Usage`,
then an `End`. At any place it may break off with a `Failure`. Parts that an encoder can pass on
unchanged are kept as raw JSON. An event that was serialised to JSON and read back is encoded to the
same bytes.
"""

from typing import Annotated, Literal

import msgspec

Ended = Literal["budget", "meter", "deadline"]
"""Why this service ended a response before the model did.

- budget: a budget of the key did not allow more tokens.
- meter: the usage meter did not answer, so nothing more could be reserved.
- deadline: the time for one response was over.
"""
MOST = 2**40
"""Every count is below this, so that a server's lie does not exceed what the meter can keep."""
Count = Annotated[int, msgspec.Meta(ge=0, lt=MOST)]
Index = Annotated[int, msgspec.Meta(ge=0, lt=128)]

NULL = msgspec.Raw(b"null")
CANCELLED = "cancelled"
"""The code of a `Failure` for a response that was cancelled in the container."""
MALFORMED = "malformed"
"""The code of a `Failure` for a malformed record. The model may still be generating after it."""


class Start(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, tag="start"):
    """The prompt was read, and nothing is generated yet."""

    prompt_tokens: Count


class Delta(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, tag="delta"):
    """A piece of one choice.

    `delta` is OpenAI's delta object as JSON. `tokens` is the number of sampled tokens in it.
    `logprobs` is OpenAI's object as JSON, or `NULL`.
    """

    delta: msgspec.Raw
    index: Index = 0
    tokens: Count = 0
    logprobs: msgspec.Raw = NULL


class Finish(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, tag="finish"):
    """A choice is complete. `stop_sequence` is the text that ended it, if the server tells it."""

    finish_reason: str
    index: Index = 0
    ended: Ended | None = None
    """Set if this service ended the choice; the finish reason is `length` then."""
    stop_sequence: str | None = None


class Usage(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, tag="usage"):
    """The model's own token counts, and how many of them were cached or were reasoning."""

    prompt_tokens: Count
    completion_tokens: Count
    cached_tokens: Count = 0
    reasoning_tokens: Count = 0


class End(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, tag="end"):
    """The response is complete. Only forms that tell when have `completed_at`, in Unix seconds.

    `moderation` is OpenAI's object of Responses as JSON if the request asked for it, or `NULL`.
    """

    completed_at: Count | None = None
    moderation: msgspec.Raw = NULL


class Failure(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, tag="error"):
    """The response broke off.

    `code` is one of the container's codes, or one of the three that decoders add.
    """

    code: str
    message: str
    param: str | None = None
    """The field of the request that is at fault, if one is."""


class Failed(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, tag="failed"):
    """The terminal event of a response that failed: the error for the client.

    `kind` names the error's class as in `event_log`, and the other fields are its arguments.
    `fenced` is the event's number if somebody other than the producer ended the response: a client
    may have seen events from that number on which no log has. No decoder returns it.
    """

    kind: str
    message: str
    param: str | None = None
    code: str | None = None
    retry_after: int | None = None
    headers: dict[str, str] = {}  # msgspec makes a new dict for each
    fenced: int | None = None


Event = Start | Delta | Finish | Usage | End | Failure | Failed

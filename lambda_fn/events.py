"""What the decoders return and the encoders take: one type for each kind of record of the model's
response.

A response is a `Start`, then `Delta`s with one `Finish` for each choice among them, then a `Usage`,
then an `End`. At any place it may break off with a `Failure`. Parts that an encoder can pass on
unchanged are kept as raw JSON. Events that were written as JSON and read again are encoded to the
same bytes.
"""

from typing import Annotated

import msgspec

Count = Annotated[int, msgspec.Meta(ge=0)]
Index = Annotated[int, msgspec.Meta(ge=0, lt=128)]

NULL = msgspec.Raw(b"null")
GARBLED = "garbled"
"""The code of a `Failure` for a malformed record, behind which the model may still be generating.
"""


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
    """A choice is complete."""

    finish_reason: str
    index: Index = 0


class Usage(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, tag="usage"):
    """The model's own token counts, and how many of them were cached or were reasoning."""

    prompt_tokens: Count
    completion_tokens: Count
    cached_tokens: Count = 0
    reasoning_tokens: Count = 0


class End(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, tag="end"):
    """The response is complete."""


class Failure(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, tag="error"):
    """The response broke off.

    `code` is one of the container's codes, or of the two that decoders add.
    """

    code: str
    message: str


class Failed(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, tag="failed"):
    """The response broke off, and this is what the client gets: the last event if there is no
    `End`.

    `kind` names the error's class as in `stream.event_log`, and the other fields are its arguments.
    No decoder returns it.
    """

    kind: str
    message: str
    param: str | None = None
    code: str | None = None
    retry_after: int | None = None
    headers: dict[str, str] = {}  # msgspec makes a new dict for each


Event = Start | Delta | Finish | Usage | End | Failure | Failed

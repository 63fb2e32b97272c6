"""What the decoders yield and the encoders take: one type a record of the model's answer.

An answer is `Start`, then `Delta`s with one `Finish` for each choice among them, then `Usage`, then `End`; or it
breaks off with a `Failure` at any place. Parts that an encoder can pass on as they came are kept as raw JSON.
Events that were written as JSON and read again are encoded to the same bytes.
"""

from typing import Annotated

import msgspec

Count = Annotated[int, msgspec.Meta(ge=0)]
Index = Annotated[int, msgspec.Meta(ge=0, lt=128)]

NULL = msgspec.Raw(b"null")
GARBLED = "garbled"
"""The code of a `Failure` that a decoder gives where a record makes no sense, and the model may go on."""


class Start(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, tag="start"):
    """The prompt was read; nothing is generated yet."""

    prompt_tokens: Count


class Delta(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, tag="delta"):
    """A piece of one choice. `delta` is OpenAI's delta object as JSON, `tokens` how many sampled tokens it holds,
    `logprobs` OpenAI's object or `NULL`.
    """

    delta: msgspec.Raw
    index: Index = 0
    tokens: Count = 0
    logprobs: msgspec.Raw = NULL


class Finish(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, tag="finish"):
    """A choice ended by itself."""

    finish_reason: str
    index: Index = 0


class Usage(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, tag="usage"):
    """The model's own count; of the prompt so much was cached, of the completion so much reasoning."""

    prompt_tokens: Count
    completion_tokens: Count
    cached_tokens: Count = 0
    reasoning_tokens: Count = 0


class End(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, tag="end"):
    """The answer is whole."""


class Failure(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, tag="error"):
    """The answer broke off. `code` is one of the container's codes."""

    code: str
    message: str


class Failed(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, tag="failed"):
    """The response broke off, and this is what the client is told: the last event of one that has no `End`.

    `kind` is the name of the error's class in `errors`, and the other fields are its arguments. No decoder yields it.
    """

    kind: str
    message: str
    param: str | None = None
    code: str | None = None
    retry_after: int | None = None
    headers: dict[str, str] = {}  # msgspec makes a new dict for each


Event = Start | Delta | Finish | Usage | End | Failure | Failed

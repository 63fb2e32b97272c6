"""The shapes of a request for text, and what each is answered with: which encoder, which buffering.

    /v1/chat/completions                      chat.completion.chunk events, or one chat.completion
    /v1/chat/completions, Accept: text/plain  bare text as it comes
    /v1/completions                           text_completion events, or one text_completion

Buffering is asked for in the request (`"sluice": {"buffer": "word"}`) or by the header `x-sluice-buffer`.
"""

from collections.abc import Callable, Mapping
from typing import get_args

import msgspec

from lambda_fn.encode import ChatBody, ChatStream, CompletionBody, CompletionStream, Encoder, Head, PlainText
from lambda_fn.errors import InvalidRequest
from lambda_fn.schema import (
    Buffering,
    ChatRequest,
    StreamOptions,
    parse_chat,
    parse_completion,
    prompt_of,
    unsupported,
)
from lambda_fn.transform import Buffer, Transform, chain

BUFFER_HEADER = "x-sluice-buffer"


class Asked(msgspec.Struct, frozen=True):
    """A request that was read: what the model is to do, and the form of the answer."""

    request: ChatRequest
    encoder: Callable[[Head], Encoder]
    buffering: str = "none"

    def transform(self) -> Transform | None:
        """Return a new transform of the response's events, or None if nothing changes them."""
        buffering = None if self.buffering == "none" else Buffer(self.buffering, self.request.n or 1)
        return chain(buffering)


def read_chat(body: bytes, headers: Mapping[str, str]) -> Asked:
    """Read a chat request.

    Raises:
        InvalidRequest: it makes no sense, or cannot be honoured in the form that is asked for.

    """
    request = parse_chat(body)
    buffering = _buffering(request, headers)
    if _wants_text(headers.get("accept", "")):
        _check_text(request)
        return Asked(request, lambda _: PlainText(), buffering)
    if not request.stream:
        return Asked(request, ChatBody)
    usage, padding = _stream_options(request.stream_options)
    return Asked(request, lambda head: ChatStream(head, include_usage=usage, obfuscate=padding), buffering)


def read_completion(body: bytes, headers: Mapping[str, str]) -> Asked:
    """Read a completion request. Raises as `read_chat`."""
    completion, request = parse_completion(body)
    buffering = _buffering(request, headers)
    echo = prompt_of(completion) if completion.echo else ""
    if not request.stream:
        return Asked(request, lambda head: CompletionBody(head, echo=echo))
    usage, padding = _stream_options(request.stream_options)
    return Asked(
        request, lambda head: CompletionStream(head, include_usage=usage, obfuscate=padding, echo=echo), buffering
    )


def _stream_options(options: StreamOptions | None) -> tuple[bool, bool]:
    if options is None:
        return False, True
    return bool(options.include_usage), options.include_obfuscation is not False


def _buffering(request: ChatRequest, headers: Mapping[str, str]) -> str:
    if request.sluice is not None and request.sluice.buffer is not None:
        return request.sluice.buffer
    asked = headers.get(BUFFER_HEADER, "none").strip().lower()
    if asked not in get_args(Buffering):
        names = ", ".join(get_args(Buffering))
        raise InvalidRequest(f"The header {BUFFER_HEADER} is one of {names}.", param=BUFFER_HEADER)
    return asked


def _wants_text(accept: str) -> bool:
    """Tell whether plain text is wanted, and none of what the API otherwise answers with."""
    kinds = {kind.partition(";")[0].strip().lower() for kind in accept.split(",")}
    return "text/plain" in kinds and not kinds & {"application/json", "text/event-stream"}


def _check_text(request: ChatRequest) -> None:
    where = "it has no place in an answer of text/plain"
    if (request.n or 1) > 1:
        raise unsupported("n", "an answer of text/plain is one text")
    for name in ("tools", "logprobs", "stream_options"):
        if getattr(request, name):
            raise unsupported(name, where)
